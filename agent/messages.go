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
)

// Messages between agents begin with a byte that says what follows.
const (
	kindElection    = 'E' // in a packet
	kindElectionTCP = 'e' // the same over TCP
	kindCall        = 'C'
	kindAnswer      = 'A'
)

const (
	// reliableTimeout bounds a message over TCP.
	reliableTimeout = time.Second
	// reliableAfter: a voter that did not answer for this long is also tried over
	// TCP, since its network may let no UDP through.
	reliableAfter = 300 * time.Millisecond
	// freshTimeout bounds the look at the own dataset before a vote.
	freshTimeout = 50 * time.Millisecond
)

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

// receive handles messages until ctx ends. Election messages are handled one by
// one, calls each on their own.
func (a *Agent) receive(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-a.gossip.Messages():
			if len(m.Payload) == 0 {
				continue
			}
			switch body := m.Payload[1:]; m.Payload[0] {
			case kindElection, kindElectionTCP:
				a.onElection(ctx, body, m.Payload[0] == kindElectionTCP)
			case kindCall:
				wg.Add(1)
				go func() {
					defer wg.Done()
					a.onCall(ctx, body)
				}()
			case kindAnswer:
				a.onAnswer(body)
			}
		}
	}
}

func (a *Agent) onElection(ctx context.Context, body []byte, overTCP bool) {
	m, err := election.Decode(body)
	if err != nil {
		a.log.Debug("election message not understood", "error", err)
		return
	}
	var local election.Local
	switch m.(type) {
	case election.Claim:
		local = a.local(ctx)
	case election.Renew:
		local.Unreachable = a.probe.unreachable()
	}
	before := a.ballot.view()
	_ = a.ballot.exchange(overTCP, func(e *election.Elector) []election.Envelope { return e.Step(now(), m, local) })
	after := a.ballot.view()
	if before.Holder != after.Holder || before.HolderTerm != after.HolderTerm || before.Released != after.Released ||
		before.Lease != after.Lease || before.Nudged != after.Nudged || before.Claiming != after.Claiming ||
		before.Overtaken != after.Overtaken || before.EverHeard != after.EverHeard || before.Primary != after.Primary {
		a.wake()
	}
}

// sendElection carries an envelope: one packet, and over TCP too where a lost
// packet would cost time or where packets do not get through.
func (a *Agent) sendElection(env election.Envelope, overTCP bool) {
	addr, ok := a.address(string(env.To))
	if !ok {
		return
	}
	b, err := election.Encode(env.Message)
	if err != nil {
		a.log.Error("election message not sent", "error", err)
		return
	}
	payload := append([]byte{kindElection}, b...)
	if err := a.gossip.Send(addr, payload); err != nil {
		a.log.Debug("packet not sent", "to", env.To, "error", err)
	}
	reliable := true
	switch env.Message.(type) {
	case election.Renew:
		reliable = a.silent(env.To)
	case election.RenewReply:
		// Whoever renews over TCP hears no packets, and so would not hear this one.
		reliable = overTCP
	}
	if reliable {
		a.sendReliable(env.To, addr, append([]byte{kindElectionTCP}, b...))
	}
}

// sendReliable sends over TCP beside the caller, one message to a node at a time.
func (a *Agent) sendReliable(to election.NodeID, addr netip.AddrPort, payload []byte) {
	a.sending.mu.Lock()
	if a.sending.n[to] >= 4 || a.sending.closed {
		a.sending.mu.Unlock()
		return
	}
	a.sending.n[to]++
	a.sending.wg.Add(1)
	a.sending.mu.Unlock()
	go func() {
		defer a.sending.wg.Done()
		ctx, cancel := context.WithTimeout(context.Background(), reliableTimeout)
		defer cancel()
		if err := a.gossip.SendReliable(ctx, addr, payload); err != nil {
			a.log.Debug("message not sent", "to", to, "error", err)
		}
		a.sending.mu.Lock()
		a.sending.n[to]--
		a.sending.mu.Unlock()
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
func (a *Agent) ask(ctx context.Context, to netip.AddrPort, op string, body, result any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	c := call{ID: randomID(8), From: a.gossipAddr.String(), Op: op, Body: b}
	ch := make(chan answer, 1)
	a.calls.mu.Lock()
	a.calls.waiting[c.ID] = ch
	a.calls.mu.Unlock()
	defer func() {
		a.calls.mu.Lock()
		delete(a.calls.waiting, c.ID)
		a.calls.mu.Unlock()
	}()
	payload, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := a.gossip.SendReliable(ctx, to, append([]byte{kindCall}, payload...)); err != nil {
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

func (a *Agent) onAnswer(body []byte) {
	var ans answer
	if err := json.Unmarshal(body, &ans); err != nil {
		return
	}
	a.calls.mu.Lock()
	ch := a.calls.waiting[ans.ID]
	a.calls.mu.Unlock()
	if ch == nil {
		return
	}
	select {
	case ch <- ans:
	default: // said twice
	}
}

func (a *Agent) onCall(ctx context.Context, body []byte) {
	var c call
	if err := json.Unmarshal(body, &c); err != nil {
		return
	}
	to, err := netip.ParseAddrPort(c.From)
	if err != nil {
		return
	}
	ans := answer{ID: c.ID}
	result, err := a.serve(ctx, c.Op, c.Body)
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
	if err := a.gossip.SendReliable(ctx, to, append([]byte{kindAnswer}, payload...)); err != nil {
		a.log.Debug("answer not sent", "to", to, "error", err)
	}
}
