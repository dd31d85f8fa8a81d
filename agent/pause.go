package agent

import (
	"context"
	"fmt"
	"sync"

	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/node"
)

// Pause is an operator's request that nothing be changed automatically.
type Pause = node.Pause

// PauseResult says which members have not confirmed the request; they learn of it from the holder
// when they are back.
type PauseResult struct {
	On      bool     `json:"on"`
	Changed bool     `json:"changed"`
	Silent  []string `json:"silent"`
}

// SetPause pauses or resumes the cluster.
func (c *commands) SetPause(ctx context.Context, on bool) (PauseResult, error) {
	p := c.driver.paused()
	res := PauseResult{On: on, Changed: p.On != on, Silent: []string{}}
	if res.Changed {
		p = Pause{Version: p.Version + 1, On: on}
		if err := c.adoptPause(ctx, p); err != nil {
			return res, err
		}
	}
	// Also a request that is known here already: somebody may have been away when it was made.
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, m := range c.gossip.Members() {
		if m.ID == c.self || m.State == gossip.Left {
			continue
		}
		wg.Go(func() {
			var ok bool
			if err := c.talk.ask(ctx, m.Addr, opPause, p, &ok); err != nil {
				mu.Lock()
				defer mu.Unlock()
				res.Silent = append(res.Silent, m.Name)
			}
		})
	}
	wg.Wait()
	return res, nil
}

// adoptPause takes a request over when it is later than the one known, and returns when it is on
// disk.
func (c *commands) adoptPause(ctx context.Context, p Pause) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	before, _ := c.driver.pauseRefused(0)
	c.driver.step(node.SetPause{Pause: p})
	var refused error
	known := until(ctx, func() bool {
		_, refused = c.driver.pauseRefused(before)
		return refused != nil || c.driver.paused().Version >= p.Version
	})
	switch {
	case refused != nil:
		return fmt.Errorf("remember that the cluster is paused, or resumed: %w", refused)
	case !known:
		return fmt.Errorf("remember that the cluster is paused, or resumed: this node's disk has not taken it within %v; whether it will is not known: see `redisd status`", statusTimeout)
	}
	return nil
}
