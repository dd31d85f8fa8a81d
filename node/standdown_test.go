package node

import (
	"testing"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// TestStandsDownBesideASlowDisk: a release that the disk does not take is said without that after a
// moment, once, and neither before nor when the disk has taken it.
func TestStandsDownBesideASlowDisk(t *testing.T) {
	for _, takes := range []bool{true, false} {
		b := leads(t)
		b.run(CalmEvery, true)
		b.sent = nil
		b.n.rounds.cur.o = b.n.Observe(b.now)
		b.n.perform.release(reconcile.Release{Why: "its redis-server is dead"}, func(error) {})
		if !b.n.ballot.saving {
			t.Fatal("the release is not being saved")
		}
		said := func() (n int) {
			for _, s := range b.sent {
				if _, ok := s.Message.(election.StandDown); ok {
					n++
				}
			}
			return n
		}
		if takes {
			b.step(Saved{})
		}
		b.tick(StandDownAfter / 2)
		if said() > 0 {
			t.Errorf("disk takes it %v: stands down at once", takes)
		}
		b.tick(2 * StandDownAfter)
		if got := said() > 0; got == takes {
			t.Errorf("disk takes it %v: stands down %v", takes, got)
		}
	}
}

// TestStandsDownWithoutADisk: a release that cannot be saved is said without that.
func TestStandsDownWithoutADisk(t *testing.T) {
	b := leads(t)
	b.run(CalmEvery, true)
	b.sent = nil
	b.n.rounds.cur.o = b.n.Observe(b.now)
	b.n.perform.release(reconcile.Release{Why: "handed over"}, func(error) {})
	b.step(Saved{Err: errUnanswered})
	for _, s := range b.sent {
		if _, ok := s.Message.(election.StandDown); ok {
			return
		}
	}
	t.Errorf("it does not stand down: %+v", b.sent)
}
