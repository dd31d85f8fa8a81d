package gossip

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

const (
	// claimGap is how often one ID's claimants are asked: often enough to keep conflictTTL from
	// running out while both are there.
	claimGap = 5 * time.Second

	// answerWait and askTries bound the wait for an answer, given that either packet may be lost.
	answerWait = 200 * time.Millisecond
	askTries   = 3
)

// claims settles who has a right to an ID that turned up at two addresses. To memberlist a restart
// at a new address and a cloned disk look the same. Asking tells: of a moved node only one address
// answers, of a clone both, as two processes; one process at two addresses is a host that listens
// on all of its own.
type claims struct {
	g        *Gossip
	disputes chan dispute
	asked    chan question // Gossip.run answers them

	mu      sync.Mutex
	pending map[uint64]chan uint64 // nonce to where the answer goes
}

type dispute struct {
	id          string
	held, other netip.AddrPort
}

type question struct {
	nonce   uint64
	replyTo netip.AddrPort
	id      string
}

func newClaims(g *Gossip) *claims {
	return &claims{
		g:        g,
		disputes: make(chan dispute, 16),
		asked:    make(chan question, 16),
		pending:  make(map[uint64]chan uint64),
	}
}

// dispute reports that other claims the id which is held to be at held. It never blocks; disputes
// go on and are reported again.
func (c *claims) dispute(id string, held, other netip.AddrPort) {
	select {
	case c.disputes <- dispute{id, held, other}:
	default:
	}
}

func (c *claims) run(ctx context.Context) {
	settled := make(map[string]time.Time)
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-c.disputes:
			if time.Since(settled[d.id]) < claimGap {
				continue
			}
			if len(settled) >= maxGone {
				clear(settled)
			}
			c.settle(ctx, d)
			settled[d.id] = time.Now()
		}
	}
}

func (c *claims) settle(ctx context.Context, d dispute) {
	held, there := c.ask(ctx, d.id, d.held)
	other, too := c.ask(ctx, d.id, d.other)
	j := c.g.journal
	switch {
	case there && too && held != other:
		c.g.roster.conflict(d.id, d.other, time.Now())
		j.complain("clone "+d.id, slog.LevelWarn, "two hosts have the same node id, most likely a cloned disk",
			"id", d.id, "one", d.held, "other", d.other,
			"cure", "on the cloned host stop redisd, remove its node id, and start it again")
	case there && too:
		j.complain("twofold "+d.id, slog.LevelWarn, "a node answers at two addresses",
			"id", d.id, "one", d.held, "other", d.other, "cure", "bind its gossip to the one it advertises")
	default:
		j.note(slog.LevelDebug, "a node has moved", "id", d.id, "from", d.held, "to", d.other)
	}
}

// ask returns which process answers under id at addr, if one does.
func (c *claims) ask(ctx context.Context, id string, addr netip.AddrPort) (instance uint64, ok bool) {
	if id == c.g.cfg.ID && addr == c.g.cfg.Advertise {
		return c.g.instance, true
	}
	nonce, answer := rand.Uint64(), make(chan uint64, 1)
	c.mu.Lock()
	c.pending[nonce] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.pending, nonce)
	}()
	q := question{nonce, c.g.cfg.Advertise, id}
	for range askTries {
		if err := c.g.send(addr, kindAsk, q.encode()); err != nil {
			return 0, false
		}
		select {
		case instance = <-answer:
			return instance, true
		case <-time.After(answerWait):
		case <-ctx.Done():
			return 0, false
		}
	}
	return 0, false
}

// encode: nonce, length of the address, address, id.
func (q question) encode() []byte {
	addr, _ := q.replyTo.MarshalBinary() // never fails
	buf := binary.BigEndian.AppendUint64(nil, q.nonce)
	buf = append(append(buf, byte(len(addr))), addr...)
	return append(buf, q.id...)
}

func parseQuestion(buf []byte) (q question, ok bool) {
	if len(buf) < 9 || len(buf) < 9+int(buf[8]) {
		return q, false
	}
	q.nonce = binary.BigEndian.Uint64(buf)
	addr, id := buf[9:9+buf[8]], buf[9+buf[8]:]
	q.id = string(id)
	return q, q.replyTo.UnmarshalBinary(addr) == nil && checkReachable(q.replyTo) == nil
}

// onAsk queues a question that is for this node.
func (c *claims) onAsk(body []byte) {
	q, ok := parseQuestion(body)
	if !ok || q.id != c.g.cfg.ID {
		return
	}
	select {
	case c.asked <- q:
	default:
	}
}

// answer says which process this is.
func (c *claims) answer(q question) {
	buf := binary.BigEndian.AppendUint64(nil, q.nonce)
	buf = binary.BigEndian.AppendUint64(buf, c.g.instance)
	if err := c.g.send(q.replyTo, kindAnswer, buf); err != nil {
		c.g.journal.note(slog.LevelDebug, "answer not sent", "to", q.replyTo, "error", err)
	}
}

func (c *claims) onAnswer(body []byte) {
	if len(body) != 16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.pending[binary.BigEndian.Uint64(body)]; ok {
		select {
		case ch <- binary.BigEndian.Uint64(body[8:]):
		default: // it has its answer
		}
	}
}
