package node

import (
	"testing"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// The renewal that says where the new primary is has the local Sentinel told in the same instant:
// what it names was known before, and it is asked again only afterwards.
func TestSentinelToldByARenewal(t *testing.T) {
	b := newBench(t, Options{State: holding(), SentinelPID: 2})
	b.n.desired.Redis, b.n.desired.Sentinel = false, true
	b.step(Tick{})
	poll := b.must("poll redis-sentinel")
	b.step(SentinelPolled{ID: poll.ID, PID: 2, View: &SentinelView{Monitors: "10.0.0.1:6379", Epoch: 4 * reconcile.EpochsPerTerm, Quorum: 1}})
	b.settle(nil, false)
	b.run(100*ms, false)

	renew := election.Renew{ClusterID: "c", Term: 5, Holder: "b", Roster: holding().Election.Roster, Primary: "10.0.0.2:6379"}
	b.step(Received{Message: renew})
	b.step(Saved{})
	told := b.must("sentinel: publish 10.0.0.2:6379 epoch=2560")
	b.step(Done{ID: told.ID, Answered: true})
	b.must("poll redis-sentinel")
}
