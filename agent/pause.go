package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
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
	if !res.Changed {
		return res, nil
	}
	p = Pause{Version: p.Version + 1, On: on}
	if err := a.adoptPause(p); err != nil {
		return res, err
	}
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
}

// ownNote is the note of this node's renewals.
func (a *Agent) ownNote() []byte {
	a.stateMu.Lock()
	n := note{Pause: a.state.Pause}
	a.stateMu.Unlock()
	b, err := json.Marshal(n)
	if err != nil {
		return nil
	}
	return b
}

// readNote takes over what the holder says.
func (a *Agent) readNote(v election.View) {
	if len(v.Note) == 0 || v.Lease {
		return
	}
	var n note
	if err := json.Unmarshal(v.Note, &n); err != nil {
		return
	}
	if err := a.adoptPause(n.Pause); err != nil && a.noteErr.due(err) {
		a.log.Warn("what the primary says cannot be kept", "error", err)
	}
}

// errPaused: what was asked for changes the cluster.
var errPaused = errors.New("the cluster is paused: `redisd resume` first")
