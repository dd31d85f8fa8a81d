package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// wakeMargin is how much later than the end of a lease the rounds are called, since an
// answer that is here already, and not read yet, may make it longer; guardMargin how much
// later the guard looks.
const (
	wakeMargin  = 10 * time.Millisecond
	guardMargin = 30 * time.Millisecond
)

// guard is the dead man's switch of the rounds. What the end of a lease asks for is
// their business; but a round may be stuck, most likely in a write to a disk that
// hangs, and must not keep the right to write and the VIP with it. The guard touches
// no disk and takes no lock that is held during a write to one.
type guard struct {
	// until is the end of the lease as the rounds last knew it; zero: there is none,
	// or what has to be done was done.
	until atomic.Int64
	// taken tells watchLease of a lease after none.
	taken chan struct{}
}

// lease tells the guard of a lease; the rounds do, whenever they see it longer.
func (g *guard) lease(held bool, until time.Duration) {
	if !held || g.until.Swap(int64(until)) != 0 {
		return
	}
	select {
	case g.taken <- struct{}{}:
	default:
	}
}

// over takes the lease back: the rounds saw to its end themselves. Before fenceAfter
// they did not: the lease that this agent took over may run.
func (g *guard) over(at, fenceAfter time.Duration) {
	if at >= fenceAfter {
		g.until.Store(0)
	}
}

// ended reports that a lease is over that nobody has seen to yet.
func (g *guard) ended(at time.Duration) bool {
	until := g.until.Load()
	return until != 0 && at >= time.Duration(until)+wakeMargin
}

// due reports, once, that a lease has ended and nobody did anything.
func (g *guard) due(at time.Duration) bool {
	until := g.until.Load()
	return until != 0 && at >= time.Duration(until)+guardMargin && g.until.CompareAndSwap(until, 0)
}

// guardEvery bounds the pause between two looks: timers stand still while a host is
// suspended, and leases do not.
const guardEvery = 200 * time.Millisecond

// pause is how long there is nothing to look at: until the end of the lease, when the
// rounds are called, and then for their time to do what has to be done. ok is false
// without a lease.
func (g *guard) pause(at time.Duration) (d time.Duration, ok bool) {
	until := time.Duration(g.until.Load())
	next := until + wakeMargin
	if at >= next {
		next = until + guardMargin
	}
	return min(max(next-at, 0), guardEvery), until != 0
}

// watchLease runs the guard until ctx ends.
func (a *Agent) watchLease(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-a.guard.taken:
		}
		if a.guard.due(now()) {
			a.letGo(ctx)
		}
		at := now()
		if a.guard.ended(at) {
			a.wake()
		}
		if d, ok := a.guard.pause(at); ok {
			t.Reset(d)
		}
	}
}

// letGo does what reconcile plans for the end of a lease, without a plan.
func (a *Agent) letGo(parent context.Context) {
	ctx, cancel := context.WithTimeout(parent, actTimeout)
	defer cancel()
	killed, err := a.fenceSilently(ctx)
	if err == nil && killed == nil {
		_, err = a.redisW.server.CloseClients(ctx)
	}
	err = errors.Join(err, a.vips.dropAll(parent, false))
	a.events.add("guard", "the lease ended while the agent was stuck")
	a.log.Warn("the lease has ended while the agent is stuck: no writes, no VIP", "redis_killed", killed != nil)
	if err != nil {
		a.log.Error("not all could be let go", "error", err)
	}
}
