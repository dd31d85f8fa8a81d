package node

import (
	"slices"
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// TestForceWaitsForTheDataset: an operator's word takes no voters out while the node that is to go
// on with what is left loads its dataset, perhaps for minutes.
func TestForceWaitsForTheDataset(t *testing.T) {
	st := holding()
	st.Election.Released = true
	b := newBench(t, Options{State: st, RedisPID: 1})
	b.step(Members{List: []reconcile.Member{{ID: "a", Name: "a", ClusterID: "c", Gossip: "10.0.0.1:7946", Redis: "10.0.0.1:6379", Alive: true}}})
	b.now += 3 * time.Second
	b.step(Force{LeaveOut: true, Until: b.now + 5*time.Second})
	voters := func(loading bool) int {
		for end := b.now + time.Second; b.now < end; {
			b.tick(5 * ms)
			info := primary(1000)
			info.Loading = loading
			b.settle(info, false)
		}
		return len(b.n.current().Roster.Voters)
	}
	if n := voters(true); n != 2 {
		t.Errorf("%d voters while it loads, want 2", n)
	}
	if n := voters(false); n != 1 {
		t.Errorf("%d voters once it has loaded, want 1", n)
	}
}

// TestForceByWhoWasLeftOut: where no voter is left, an operator can make one of those the primary
// that an earlier forced failover had left out.
func TestForceByWhoWasLeftOut(t *testing.T) {
	for _, leaveOut := range []bool{false, true} {
		st := holding()
		st.Election.Holder, st.Election.Vote, st.Election.Released = "b", "b", true
		st.Election.Roster.Voters = []election.Voter{{ID: "b", Addr: "10.0.0.2:7946"}}
		b := newBench(t, Options{State: st, RedisPID: 1, Record: Record{Version: Version{Term: 4, Offset: 1000, Keys: 1}, RunID: "r"}})
		b.step(Members{List: []reconcile.Member{
			{ID: "a", Name: "a", ClusterID: "c", Gossip: "10.0.0.1:7946", Redis: "10.0.0.1:6379", Alive: true},
			{ID: "b", Name: "b", ClusterID: "c", Gossip: "10.0.0.2:7946", Redis: "10.0.0.2:6379"},
		}})
		b.now += 3 * time.Second
		b.step(Force{LeaveOut: leaveOut, Until: b.now + 5*time.Second})
		b.run(2*time.Second, false)
		want := []election.Voter{{ID: "b", Addr: "10.0.0.2:7946"}}
		if leaveOut {
			want = []election.Voter{{ID: "a", Addr: "10.0.0.1:7946"}}
		}
		if got := b.n.current().Roster.Voters; !slices.Equal(got, want) {
			t.Errorf("leave out %v: the voters are %v, want %v", leaveOut, got, want)
		}
		if _, leased := b.n.lease(); leased != leaveOut {
			t.Errorf("leave out %v: it holds the lease: %v", leaveOut, leased)
		}
	}
}
