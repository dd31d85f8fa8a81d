package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
)

// Messages between agents begin with a byte that says what follows.
const (
	kindElection    = 'E' // in a packet
	kindElectionTCP = 'e' // the same over TCP
	kindCall        = 'C'
	kindAnswer      = 'A'
)

// reliableTimeout bounds a message over TCP.
const reliableTimeout = time.Second

// reliableMost is how many messages to one node may be on their way over TCP.
const reliableMost = 4

// talk speaks with the other agents: messages of the election, and calls that are answered.
type talk struct {
	*site
	// serve answers another agent's call; take is told of a message of the election.
	serve func(ctx context.Context, op string, body json.RawMessage) (any, error)
	take  func(node.Received)
	// voters are those of the roster.
	voters func() []election.Voter

	calls   calls
	sending sending
	forms   forms
}

func newTalk(s *site) *talk {
	return &talk{site: s, calls: calls{waiting: map[string]chan answer{}}, sending: sending{n: map[election.NodeID]int{}}}
}

// call asks another agent for something, answer is what it says.
type call struct {
	ID   string          `json:"id"`
	From string          `json:"from"`
	Op   string          `json:"op"`
	Body json.RawMessage `json:"body,omitempty"`
}

type answer struct {
	ID    string          `json:"id"`
	Error string          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

// calls are the questions that wait for an answer.
type calls struct {
	mu      sync.Mutex
	waiting map[string]chan answer
}

// receive handles messages until ctx ends. Election messages are handled one by one, calls each on
// their own.
func (t *talk) receive(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-t.gossip.Messages():
			if len(m.Payload) == 0 {
				continue
			}
			switch body := m.Payload[1:]; m.Payload[0] {
			case kindElection, kindElectionTCP:
				t.onElection(body, m.Payload[0] == kindElectionTCP)
			case kindCall:
				wg.Add(1)
				go func() {
					defer wg.Done()
					t.onCall(ctx, body)
				}()
			case kindAnswer:
				t.onAnswer(body)
			}
		}
	}
}

func (t *talk) onElection(body []byte, overTCP bool) {
	m, from, err := election.Decode(body)
	if err != nil {
		t.log.Debug("election message not understood", "error", err)
		return
	}
	t.forms.heard(m, from)
	t.take(node.Received{Message: m, Features: from, TCP: overTCP})
}

// sendElection carries a message of the election: one packet, and over TCP too where the node says
// so.
func (t *talk) sendElection(s node.Send) {
	addr, ok := t.address(string(s.To))
	if !ok {
		return
	}
	b, err := election.Encode(s.Message, t.formFor(s))
	if err != nil {
		t.log.Error("election message not sent", "error", err)
		return
	}
	if err := t.gossip.Send(addr, append([]byte{kindElection}, b...)); err != nil {
		t.log.Debug("packet not sent", "to", s.To, "error", err)
	}
	if s.Reliable {
		t.sendReliable(s.To, addr, append([]byte{kindElectionTCP}, b...))
	}
}

// address is where the agent of a node is reached: where gossip saw it last, or where the roster
// says.
func (t *talk) address(id string) (netip.AddrPort, bool) {
	if m, ok := t.member(id); ok {
		return m.Addr, m.Addr.IsValid()
	}
	for _, v := range t.voters() {
		if string(v.ID) == id {
			addr, err := netip.ParseAddrPort(v.Addr)
			return addr, err == nil
		}
	}
	return netip.AddrPort{}, false
}

// sendReliable sends over TCP beside the caller, one message to a node at a time.
func (t *talk) sendReliable(to election.NodeID, addr netip.AddrPort, payload []byte) {
	t.sending.mu.Lock()
	if t.sending.n[to] >= reliableMost || t.sending.closed {
		t.sending.mu.Unlock()
		return
	}
	t.sending.n[to]++
	t.sending.wg.Add(1)
	t.sending.mu.Unlock()
	go func() {
		defer t.sending.wg.Done()
		ctx, cancel := context.WithTimeout(context.Background(), reliableTimeout)
		defer cancel()
		if err := t.gossip.SendReliable(ctx, addr, payload); err != nil {
			t.log.Debug("message not sent", "to", to, "error", err)
		}
		t.sending.mu.Lock()
		t.sending.n[to]--
		t.sending.mu.Unlock()
	}()
}

// sending counts the messages on their way over TCP.
type sending struct {
	mu     sync.Mutex
	n      map[election.NodeID]int
	closed bool
	wg     sync.WaitGroup
}

func (s *sending) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
}

// ask calls another agent and waits for its answer.
func (t *talk) ask(ctx context.Context, to netip.AddrPort, op string, body, result any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	c := call{ID: randomID(8), From: t.gossipAddr.String(), Op: op, Body: b}
	ch := make(chan answer, 1)
	t.calls.mu.Lock()
	t.calls.waiting[c.ID] = ch
	t.calls.mu.Unlock()
	defer func() {
		t.calls.mu.Lock()
		delete(t.calls.waiting, c.ID)
		t.calls.mu.Unlock()
	}()
	payload, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := t.gossip.SendReliable(ctx, to, append([]byte{kindCall}, payload...)); err != nil {
		return fmt.Errorf("ask %s for %s: %w", to, op, err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("ask %s for %s: %w", to, op, ctx.Err())
	case ans := <-ch:
		if ans.Error != "" {
			return errors.New(ans.Error)
		}
		return json.Unmarshal(ans.Body, result)
	}
}

func (t *talk) onAnswer(body []byte) {
	var ans answer
	if err := json.Unmarshal(body, &ans); err != nil {
		return
	}
	t.calls.mu.Lock()
	ch := t.calls.waiting[ans.ID]
	t.calls.mu.Unlock()
	if ch == nil {
		return
	}
	select {
	case ch <- ans:
	default: // said twice
	}
}

func (t *talk) onCall(ctx context.Context, body []byte) {
	var c call
	if err := json.Unmarshal(body, &c); err != nil {
		return
	}
	to, err := netip.ParseAddrPort(c.From)
	if err != nil {
		return
	}
	ans := answer{ID: c.ID}
	result, err := t.serve(ctx, c.Op, c.Body)
	if err == nil {
		ans.Body, err = json.Marshal(result)
	}
	if err != nil {
		ans.Error = err.Error()
	}
	payload, err := json.Marshal(ans)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reliableTimeout)
	defer cancel()
	if err := t.gossip.SendReliable(ctx, to, append([]byte{kindAnswer}, payload...)); err != nil {
		t.log.Debug("answer not sent", "to", to, "error", err)
	}
}
