package agent

import (
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	const ms = time.Millisecond
	g := guard{taken: make(chan struct{}, 1)}
	if _, ok := g.pause(0); ok {
		t.Error("there is something to look at without a lease")
	}
	if g.due(time.Hour) {
		t.Error("due without a lease")
	}
	g.lease(true, 600*ms)
	select {
	case <-g.taken:
	default:
		t.Error("nobody was told of the lease")
	}
	if d, ok := g.pause(590 * ms); !ok || d != 10*ms+wakeMargin {
		t.Errorf("looks again in %v (%v), want 20ms: at the end of the lease", d, ok)
	}
	if d, ok := g.pause(615 * ms); !ok || d != 15*ms {
		t.Errorf("looks again in %v (%v), want 15ms: when the rounds have had their time", d, ok)
	}
	if g.ended(609*ms) || !g.ended(610*ms) {
		t.Error("the end of the lease is not seen when it comes")
	}
	if d, _ := g.pause(0); d != guardEvery {
		t.Errorf("looks again in %v, want %v at most: the host may be suspended", d, guardEvery)
	}
	g.lease(false, 0) // a round without a lease says so by over
	if g.due(600 * ms) {
		t.Error("due at the end of the lease: the rounds come first")
	}
	if !g.due(630 * ms) {
		t.Error("not due after the end of the lease")
	}
	if g.due(700 * ms) {
		t.Error("due twice")
	}
	g.lease(true, 800*ms)
	g.lease(true, 900*ms)
	if g.due(850 * ms) {
		t.Error("due although the lease was renewed")
	}
	g.over(850*ms, 0)
	if g.due(time.Hour) {
		t.Error("due although the rounds saw to it")
	}
	// A lease taken over from an earlier agent: rounds without a lease of their own do
	// not call off its end, however often they run, and one of them may be stuck.
	g.lease(true, 800*ms)
	g.over(700*ms, 800*ms)
	if !g.due(830 * ms) {
		t.Error("not due after the end of the lease that was taken over")
	}
	g.lease(true, 800*ms)
	g.over(800*ms, 800*ms)
	if g.due(time.Hour) {
		t.Error("due although the rounds saw to it")
	}
}
