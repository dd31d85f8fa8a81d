package agent

import (
	"log/slog"
	"sync"

	"github.com/redisd/redisd/election"
)

// ballot lets the rounds and the message handler share one elector, and keeps
// its promise: what an answer depends on is on disk before the answer is sent.
type ballot struct {
	mu   sync.Mutex
	e    *election.Elector
	save func(election.State) error
	send func(env election.Envelope, overTCP bool)
	log  *slog.Logger
	// saveErr keeps a broken disk from filling the journal.
	saveErr sometimes
}

// do runs f on the elector and sends what it returns. When the state cannot be
// saved nothing is sent, which to the others is a lost message.
func (b *ballot) do(f func(*election.Elector) []election.Envelope) error { return b.exchange(false, f) }

// exchange is do for the answer to a message, which goes the way it came.
func (b *ballot) exchange(overTCP bool, f func(*election.Elector) []election.Envelope) error {
	b.mu.Lock()
	out := f(b.e)
	if st, unsaved := b.e.Unsaved(); unsaved {
		if err := b.save(st); err != nil {
			b.mu.Unlock()
			if b.saveErr.due(err) {
				b.log.Error("election state not saved: no vote is given and no lease taken", "error", err)
			}
			return err
		}
		b.e.Saved()
	}
	b.mu.Unlock()
	for _, env := range out {
		b.send(env, overTCP)
	}
	return nil
}

// view returns the state of the election. A lease that is not on disk yet is
// not shown: it would not survive this agent.
func (b *ballot) view() election.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.e.View(now())
	if _, unsaved := b.e.Unsaved(); unsaved {
		v.Lease = false
	}
	return v
}

// answeredAt is when the last renewal that a voter answered was sent.
func (b *ballot) answeredAt(id election.NodeID) (election.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.e.AnsweredAt(id)
}
