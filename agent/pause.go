package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/reconcile"
)

// Pause is a person's wish that nothing be changed automatically. It holds for the
// whole cluster: every node keeps it on disk, the holder's renewals carry it to
// those that were away when it was made, and the later wish counts.
type Pause struct {
	Version uint64 `json:"version"`
	On      bool   `json:"on"`
}

// PauseResult says which members have not confirmed the wish; they learn of it from
// the holder when they are back.
type PauseResult struct {
	On      bool     `json:"on"`
	Changed bool     `json:"changed"`
	Silent  []string `json:"silent"`
}

// SetPause pauses or resumes the cluster.
func (a *Agent) SetPause(ctx context.Context, on bool) (PauseResult, error) {
	a.stateMu.Lock()
	p := a.state.Pause
	a.stateMu.Unlock()
	res := PauseResult{On: on, Changed: p.On != on, Silent: []string{}}
	if res.Changed {
		p = Pause{Version: p.Version + 1, On: on}
		if err := a.adoptPause(p); err != nil {
			return res, err
		}
	}
	// Also a wish that is known here already: somebody may have been away when it was made.
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, m := range a.gossip.Members() {
		if m.ID == a.self || m.State == gossip.Left {
			continue
		}
		wg.Go(func() {
			var ok bool
			if err := a.ask(ctx, m.Addr, opPause, p, &ok); err != nil {
				mu.Lock()
				defer mu.Unlock()
				res.Silent = append(res.Silent, m.Name)
			}
		})
	}
	wg.Wait()
	return res, nil
}

// adoptPause takes a wish over when it is later than the one known.
func (a *Agent) adoptPause(p Pause) error {
	a.stateMu.Lock()
	defer a.stateMu.Unlock()
	if p.Version <= a.state.Pause.Version {
		return nil
	}
	next := a.state
	next.Pause = p
	if err := a.disk.saveState(next); err != nil {
		return fmt.Errorf("remember that the cluster is paused: %w", err)
	}
	a.state = next
	if a.paused.Swap(p.On) != p.On {
		word := map[bool]string{true: "paused", false: "resumed"}[p.On]
		a.log.Warn("the cluster is " + word + " by hand")
		a.events.add(word, "the cluster is "+word+" by hand")
	}
	a.wake()
	return nil
}

// note is what the holder's renewals tell every node.
type note struct {
	Pause Pause `json:"pause"`
	// Offset is how much the holder's redis-server had; 0: not known.
	Offset int64 `json:"offset,omitempty"`
	// ReplID is the history that the holder's redis-server is the primary of: whose data
	// has another is not in sync with it, whatever its link says. It is there whenever the
	// renewal names a primary, unless the holder's agent is of a version before this field.
	ReplID string `json:"repl_id,omitempty"`
}

// ownNote is the note of this node's renewals.
func (a *Agent) ownNote(o reconcile.Observed) note {
	a.stateMu.Lock()
	defer a.stateMu.Unlock()
	n := note{Pause: a.state.Pause}
	if o.Redis.Data.Term == o.Election.Term {
		n.Offset = o.Redis.Data.Offset // also when its redis-server has just ended
	}
	return n
}

func (n note) encode() []byte {
	b, err := json.Marshal(n)
	if err != nil {
		return nil
	}
	return b
}

// noteOf is what the holder said last; zero when it said nothing.
func noteOf(v election.View) note {
	var n note
	if len(v.Note) == 0 || json.Unmarshal(v.Note, &n) != nil {
		return note{}
	}
	return n
}

// said is the most that the holder of a term has said it had, and the history of the last
// primary that it named. It may say less later, or nothing: an agent that has just been
// started knows no more than its last record, and a redis-server that has ended has no
// history.
type said struct {
	mu     sync.Mutex
	term   election.Term
	offset int64
	replID string
}

func (s *said) hear(v election.View) (offset int64, replID string) {
	n := noteOf(v)
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.HolderTerm != s.term {
		s.term, s.offset, s.replID = v.HolderTerm, 0, ""
	}
	s.offset = max(s.offset, n.Offset)
	if v.Primary != "" {
		s.replID = n.ReplID // the newest counts: its redis-server may have begun a new one
	}
	return s.offset, s.replID
}

// readNote takes over what the holder says.
func (a *Agent) readNote(v election.View) {
	if v.Lease {
		return
	}
	n := noteOf(v)
	if err := a.adoptPause(n.Pause); err != nil && a.noteErr.due(err) {
		a.log.Warn("what the primary says cannot be kept", "error", err)
	}
}

// errPaused: what was asked for changes the cluster.
var errPaused = errors.New("the cluster is paused: `redisd resume` first")
