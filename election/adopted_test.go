package election

import "testing"

// TestAdopted: a node whose state is older than what it has said votes for nobody in a term in
// which it may have voted, and takes no lease up again.
func TestAdopted(t *testing.T) {
	voters := []Voter{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	old := State{ClusterID: "k", Term: 5, Vote: "a", Holder: "a", HolderTerm: 5, Roster: NewRoster(1, voters)}
	newer := NewRoster(4, voters)
	newer.Term = 9
	got := old.Adopted([]State{{ClusterID: "k", Term: 9, Roster: newer}, {ClusterID: "k", Term: 7, Roster: old.Roster}})
	if got.Term <= 9 || got.Vote != "" || !got.Released || got.Roster.Compare(newer) != 0 {
		t.Errorf("adopted as %+v", got)
	}
	e := New("a", got, 0)
	claim := Claim{ClusterID: "k", Term: 10, Candidate: "b", Roster: newer, Data: Data{Term: 9}}
	if reply := e.vote(Lapse, claim, Local{}); reply.Granted || reply.Highest != got.Term {
		t.Errorf("in a term in which it may have voted: %+v", reply)
	}
	claim.Term = got.Term + 1
	if reply := e.vote(2*Lapse, claim, Local{}); !reply.Granted {
		t.Errorf("in a later one: %+v", reply)
	}
	if _, ok := New("a", got, 0).LeaseUntil(1); ok {
		t.Error("it has a lease")
	}
	alone := State{ClusterID: "k", Term: 3, Vote: "a", Holder: "a", HolderTerm: 3, Roster: NewRoster(1, voters[:1])}
	if got := alone.Adopted(nil); got.Term != 3 || got.Released {
		t.Errorf("the only voter: %+v", got)
	}
}
