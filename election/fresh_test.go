package election

import "testing"

// TestFresh: the first primary of a cluster that was founded and never had one needs the word of
// every voter; one that knows of a primary is enough to deny it.
func TestFresh(t *testing.T) {
	voters := []Voter{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	roster := NewRoster(1, voters)
	roster.Term = 1
	founded := State{ClusterID: "k", Term: 1, Vote: "a", Holder: "a", HolderTerm: 1, Released: true, Fresh: true, Roster: roster}
	served := founded
	served.Fresh = false
	knows := Local{FreshNode: "b"}
	for name, c := range map[string]struct {
		a, c  State
		local Local // of a
		won   bool
	}{
		"all know that there was none": {founded, founded, knows, true},
		"one was the primary":          {served, founded, knows, false},
		"one does not see all":         {founded, founded, Local{}, false},
		"one has data":                 {founded, founded, Local{FreshNode: "b", Data: Data{Term: 1, Offset: 5}, Candidate: true}, false},
	} {
		b := New("b", founded, 0)
		electors := map[NodeID]*Elector{"a": New("a", c.a, 0), "b": b, "c": New("c", c.c, 0)}
		local := map[NodeID]Local{"a": c.local, "c": knows}
		at := 2 * Lapse
		for _, env := range b.Claim(at, knows, 0) {
			for _, reply := range electors[env.To].Step(at, env.Message, local[env.To]) {
				b.Step(at, reply.Message, knows)
			}
		}
		if won := b.View(at).Holder == "b"; won != c.won {
			t.Errorf("%s: won %v", name, won)
		}
	}
	e := New("a", founded, 0)
	e.Serve()
	if st, unsaved := e.Unsaved(); st.Fresh || !unsaved {
		t.Errorf("what is about to be served is to be on disk first: %+v, %v", st, unsaved)
	}
	follower := New("b", founded, 0)
	follower.Step(Lapse, Renew{ClusterID: "k", Term: 2, Holder: "c", Roster: roster}, Local{})
	if st, _ := follower.Unsaved(); !st.Fresh {
		t.Error("a lease alone is no primary")
	}
	follower.Step(Lapse, Renew{ClusterID: "k", Term: 2, Holder: "c", Roster: roster, Primary: "c:6379"}, Local{})
	if st, _ := follower.Unsaved(); st.Fresh {
		t.Error("it was told where the primary is, and does not know it")
	}
}

// TestForceAnUnbornCluster: a voter whose disk died while the cluster was founded is left out by an
// operator, and the cluster comes to life.
func TestForceAnUnbornCluster(t *testing.T) {
	voters := []Voter{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	roster := NewRoster(1, voters)
	roster.Term = 1
	founded := State{ClusterID: "k", Term: 1, Vote: "a", Holder: "a", HolderTerm: 1, Bootstrapping: true, Fresh: true, Roster: roster}
	electors := map[NodeID]*Elector{"a": New("a", founded, 0), "b": New("b", founded, 0)}
	at := 2 * Lapse
	deliver := func(out []Envelope) {
		for len(out) > 0 {
			var next []Envelope
			for _, env := range out {
				if e := electors[env.To]; e != nil {
					next = append(next, e.Step(at, env.Message, Local{})...)
				}
			}
			out = next
		}
	}
	deliver(electors["a"].Force(at, Local{}, voters[:2]))
	for range 5 {
		at += RenewEvery
		deliver(electors["a"].Tick(at, nil))
	}
	if _, leased := electors["a"].LeaseUntil(at); !leased {
		t.Errorf("no lease: %+v", electors["a"].View(at))
	}
}
