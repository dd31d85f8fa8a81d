package election_test

import (
	"testing"
	"time"

	"github.com/redisd/redisd/election"
)

// follower is a voter of three that follows the holder "h" of term 5, and has heard it at now.
func follower(t *testing.T, id election.NodeID, now election.Time) *election.Elector {
	t.Helper()
	e := election.New(id, election.State{ClusterID: "c", Term: 5, Holder: "h", HolderTerm: 5, Roster: roster(5, 1, "a", "b", "h")}, 0)
	hear(t, e, now, true)
	return e
}

// hear has a voter hear a renewal that was sent just now; granted: it follows.
func hear(t *testing.T, e *election.Elector, now election.Time, granted bool) {
	t.Helper()
	out := e.Step(now, election.Renew{ClusterID: "c", Term: 5, Holder: "h", Sent: now, Roster: roster(5, 1, "a", "b", "h"), Primary: "x"}, election.Local{})
	if len(out) != 1 || out[0].Message.(election.RenewReply).Granted != granted {
		t.Fatalf("a renewal: %+v", out)
	}
	e.Saved()
}

// TestPreVote: who hears nobody learns that a voter hears the holder, and has changed nothing by
// asking; when nobody hears it, a majority backs the one who asks.
func TestPreVote(t *testing.T) {
	local := election.Local{Candidate: true, Data: data(5, 10), Reachable: true}
	for _, tt := range []struct {
		name   string
		heard  election.Time // by the other voter, before it is asked
		backed bool
	}{
		{"the other hears the holder", 50 * time.Millisecond, false},
		{"the other has not heard it for a lapse, but not for as long as a fence needs", election.Lapse, false},
		{"nobody hears it, and its redis-server answers", election.FencedLapse, true},
	} {
		const now = time.Minute
		a, b := follower(t, "a", now-10*time.Second), follower(t, "b", now-tt.heard)
		asked := a.PreVote(now, local)
		if len(asked) != 2 {
			t.Fatalf("%s: asks %d", tt.name, len(asked))
		}
		for _, q := range asked {
			if q.To != "b" {
				continue
			}
			for _, r := range b.Step(now, q.Message, local) {
				a.Step(now, r.Message, local)
			}
		}
		if got := a.View(now).BackedAt > 0; got != tt.backed {
			t.Errorf("%s: backed %v", tt.name, got)
		}
		for _, e := range []*election.Elector{a, b} {
			if st, unsaved := e.Unsaved(); unsaved || st.Vote != "" || st.Term != 5 {
				t.Errorf("%s: a question has changed something: %+v", tt.name, st)
			}
		}
	}
}

// TestPreVoteIsForgotten: once the holder is heard again nobody backs its overthrow any more.
func TestPreVoteIsForgotten(t *testing.T) {
	const now = time.Minute
	local := election.Local{Candidate: true, Data: data(5, 10), Reachable: true}
	a, b := follower(t, "a", now-10*time.Second), follower(t, "b", now-10*time.Second)
	for _, q := range a.PreVote(now, local) {
		if q.To == "b" {
			a.Step(now, b.Step(now, q.Message, local)[0].Message, local)
		}
	}
	if a.View(now).BackedAt == 0 {
		t.Fatal("not backed")
	}
	hear(t, a, now+1, true)
	if a.View(now+1).BackedAt != 0 {
		t.Error("backed still, though the holder is heard again")
	}
}

// TestStandDown: a holder that cannot save its release is taken at its word by those who hear it,
// until it renews again.
func TestStandDown(t *testing.T) {
	const now = time.Minute
	roster := roster(5, 1, "a", "b", "h")
	h := election.New("h", election.State{ClusterID: "c", Term: 5, Vote: "h", Holder: "h", HolderTerm: 5, Roster: roster}, 0)
	if len(h.StandDown(now)) != 0 {
		t.Fatal("it stands down without having released anything")
	}
	h.HandOver(now, []election.NodeID{"a"}, 10, "handed over") // and the disk takes nothing
	said := h.StandDown(now)
	if len(said) != 2 {
		t.Fatalf("%+v", said)
	}
	claim := election.Claim{ClusterID: "c", Term: 6, Candidate: "a", Sent: now, Roster: roster, Data: data(5, 10), HolderTerm: 5}
	local := election.Local{Candidate: true, Data: data(5, 12), Reachable: true} // its redis-server answers still
	vote := func(e *election.Elector) election.Denied {
		return e.Step(now+1, claim, local)[0].Message.(election.ClaimReply).Denied
	}
	b := follower(t, "b", now-10)
	if got := vote(b); got != election.DeniedLease {
		t.Errorf("nobody has stood down: denied %q", got)
	}
	b.Step(now, said[0].Message, local)
	if v := b.View(now); !v.Released || v.OpenedAt != now || len(v.Successors) != 1 {
		t.Errorf("after its word: %+v", v)
	}
	if got := vote(b); got != "" {
		t.Errorf("it has stood down, and the successor has all it had: denied %q", got)
	}
	// Started anew it has forgotten, and renews: its word counts no more, nor does a copy of
	// it that comes late.
	b = follower(t, "b", now-10)
	b.Step(now, said[0].Message, local)
	hear(t, b, now+1, true)
	b.Step(now+1, said[0].Message, local)
	if got := vote(b); got != election.DeniedLease {
		t.Errorf("it renews again: denied %q", got)
	}
}

// TestStoodDownEnds: the word of a holder that stands down ends with its next renewal, also when
// its lease has lapsed again by then and its redis-server is there.
func TestStoodDownEnds(t *testing.T) {
	const now = time.Minute
	b := follower(t, "b", now)
	b.Step(now+1, election.StandDown{ClusterID: "c", Term: 5, Holder: "h", Sent: now + 1}, election.Local{})
	hear(t, b, now+2, true)
	claim := election.Claim{ClusterID: "c", Term: 6, Candidate: "a", Sent: now, Roster: roster(5, 1, "a", "b", "h"), Data: data(5, 10), HolderTerm: 5}
	got := b.Step(now+2+election.Lapse, claim, election.Local{Data: data(5, 10), Reachable: true})[0].Message.(election.ClaimReply)
	if got.Denied != election.DeniedReachable {
		t.Errorf("denied %q: it has renewed since it stood down, and its redis-server answers", got.Denied)
	}
}

// TestDoubt: a holder that a voter asks to overthrow renews at once, and has DoubtFor for answers.
func TestDoubt(t *testing.T) {
	const now = time.Minute
	voters := roster(5, 1, "a", "b", "h")
	h := election.New("h", election.State{ClusterID: "c", Term: 5, Vote: "h", Holder: "h", HolderTerm: 5, Roster: voters}, 0)
	answer := func(sent election.Time) {
		h.Step(sent+1, election.RenewReply{From: "b", Term: 5, Granted: true, Sent: sent, Highest: 5, RosterTerm: 5, RosterVersion: 1}, election.Local{})
	}
	h.Tick(now, nil)
	answer(now)
	if until, _ := h.LeaseUntil(now + 2); until != now+election.Lease {
		t.Fatalf("the lease runs until %v", until-now)
	}
	out := h.Step(now+2, election.Claim{ClusterID: "c", Term: 6, Candidate: "a", Sent: now, Roster: voters, Data: data(5, 10), HolderTerm: 5}, election.Local{})
	if until, _ := h.LeaseUntil(now + 3); until != now+2+election.DoubtFor {
		t.Errorf("asked to go, its lease runs for %v", until-now)
	}
	renewals := 0
	for _, e := range out {
		if _, ok := e.Message.(election.Renew); ok {
			renewals++
		}
	}
	if renewals != 2 {
		t.Errorf("%d renewals at once", renewals)
	}
	answer(now + 2)
	if until, _ := h.LeaseUntil(now + 4); until != now+2+election.Lease {
		t.Errorf("answered, its lease runs for %v", until-now)
	}
}
