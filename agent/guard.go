package agent

import (
	"context"
	"sync/atomic"
	"time"
)

// guardEvery is how often the guard looks, and so how late it can be.
const guardEvery = 20 * time.Millisecond

// guard is the dead man's switch of the rounds. What the end of a lease asks for is
// their business; but a round may be stuck, most likely in a write to a disk that
// hangs, and must not keep the right to write and the VIP with it. The guard touches
// no disk and takes no lock that is held during a write to one.
type guard struct {
	// until is the end of the lease as the rounds last knew it; zero: there is none,
	// or what has to be done was done.
	until atomic.Int64
}

// lease tells the guard of a lease; the rounds do, whenever they see it longer.
func (g *guard) lease(held bool, until time.Duration) {
	if held {
		g.until.Store(int64(until))
	}
}

// over takes the lease back: the rounds see to its end themselves.
func (g *guard) over() { g.until.Store(0) }

// due reports, once, that a lease has ended and nobody did anything.
func (g *guard) due(at time.Duration) bool {
	until := g.until.Load()
	return until != 0 && at >= time.Duration(until)+guardEvery && g.until.CompareAndSwap(until, 0)
}

// watchLease runs the guard until ctx ends.
func (a *Agent) watchLease(ctx context.Context) error {
	t := time.NewTicker(guardEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if !a.guard.due(now()) {
			continue
		}
		a.letGo(ctx)
	}
}

// letGo does what reconcile plans for the end of a lease, without a plan.
func (a *Agent) letGo(parent context.Context) {
	ctx, cancel := context.WithTimeout(parent, actTimeout)
	defer cancel()
	err := a.fence(ctx, "the lease has ended and the agent is stuck")
	if err == nil {
		_, err = a.redisW.server.CloseClients(ctx)
	}
	if err != nil {
		a.log.Warn("clients not closed", "error", err)
	}
	if err := a.vips.dropAll(parent, false); err != nil {
		a.log.Error("vip not dropped", "error", err)
	}
	a.events.add("guard", "the lease ended while the agent was stuck")
}
