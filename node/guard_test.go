package node

import (
	"slices"
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// A lease is over once another node has won, whatever this host's clock shows: it may have stood
// still. When the rounds are stuck, here in the disk that is to take that word, the guard does not
// wait for the clock.
func TestGuardOfAnOverthrownHolder(t *testing.T) {
	b := leads(t)
	b.step(Received{Message: election.Renew{ClusterID: "c", Term: 5, Holder: "b", Roster: holding().Election.Roster}})
	if len(b.saves) == 0 {
		t.Fatal("nothing is to be saved")
	}
	b.tick(GuardMargin)
	if fence := b.must("fence redis-server"); fence.Lane != Guard {
		t.Errorf("not the guard's: %+v", fence)
	}
}

// Rounds that see to it in time call the guard off, also before the lease that the agent before
// left is over by the clock.
func TestOverthrownRoundsCallTheGuardOff(t *testing.T) {
	b := newBench(t, Options{State: holding(), RedisPID: 1, LeaseUntil: time.Hour + 500*ms, Record: Record{Version: Version{Term: 4, Offset: 1000, Keys: 1}, RunID: "r", Primary: true}})
	b.tick(10 * ms)
	b.answerPolls(primary(1000))
	b.step(Received{Message: election.Renew{ClusterID: "c", Term: 5, Holder: "b", Roster: holding().Election.Roster}})
	fenced := *primary(1000)
	fenced.MinReplicas = reconcile.Fence
	for range 40 {
		b.settle(&fenced, false)
		b.tick(5 * ms)
	}
	if slices.ContainsFunc(b.told, func(e Event) bool { _, ok := e.(GuardActs); return ok }) {
		t.Error("the guard acted although the rounds had")
	}
	if !slices.ContainsFunc(b.told, func(e Event) bool {
		p, ok := e.(ActionPlanned)
		return ok && p.Action == reconcile.FenceRedis{Why: "no lease"}
	}) {
		t.Errorf("not fenced: %v", b.told)
	}
}
