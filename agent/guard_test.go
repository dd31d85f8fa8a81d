package agent

import (
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	const ms = time.Millisecond
	var g guard
	if g.due(time.Hour) {
		t.Error("due without a lease")
	}
	g.lease(true, 600*ms)
	g.lease(false, 0) // a round without a lease says so by over
	if g.due(600 * ms) {
		t.Error("due at the end of the lease: the rounds come first")
	}
	if !g.due(620 * ms) {
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
	g.over()
	if g.due(time.Hour) {
		t.Error("due although the rounds saw to it")
	}
}
