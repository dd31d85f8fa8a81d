package election_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/election"
)

const forcedAt = 2 * time.Second

// forces has a node of member's cluster claim by force with the voters that are left, who would all
// vote for it.
func forces(id election.NodeID, st election.State, left ...election.NodeID) (*election.Elector, []election.Envelope) {
	e := election.New(id, st, 0)
	out := e.Force(forcedAt, election.Local{Data: data(5, 1)}, roster(0, 0, left...).Voters)
	for _, env := range out {
		if asked, ok := env.Message.(election.PreVote); ok {
			reply := election.PreVoteReply{From: env.To, Term: asked.Term, Granted: true, Sent: asked.Sent, Highest: 5}
			if claim := e.Step(forcedAt, reply, election.Local{}); claim != nil {
				out = claim
			}
		}
	}
	e.Saved()
	return e, out
}

// forced has v become the primary without all others.
func forced(t *testing.T) *election.Elector {
	t.Helper()
	v, _ := forces("v", member(), "v")
	if at := v.View(forcedAt); !at.Lease || at.Holder != "v" {
		t.Fatalf("%+v", at)
	}
	return v
}

// sends has a node take in m, and returns what it answers.
func sends(t *testing.T, to *election.Elector, m election.Message) election.Message {
	t.Helper()
	out := to.Step(forcedAt, m, election.Local{})
	to.Saved()
	if len(out) == 0 {
		t.Fatalf("no answer to %+v", m)
	}
	return out[0].Message
}

// TestForceBeginsAnEpoch: the term of a forced claim that leaves voters out is higher than any that
// these come to by themselves, and no two nodes begin the same epoch.
func TestForceBeginsAnEpoch(t *testing.T) {
	claim := func(id election.NodeID, st election.State, left ...election.NodeID) election.Claim {
		t.Helper()
		_, out := forces(id, st, left...)
		if len(out) == 0 {
			t.Fatalf("%s does not claim", id)
		}
		return out[0].Message.(election.Claim)
	}
	same := claim("v", member(), "h", "v", "x", "y")
	if same.Term != 6 || same.Roster.Term != 5 || same.Roster.Version != 2 {
		t.Errorf("nobody is left out: term %d, roster %+v", same.Term, same.Roster)
	}
	first := claim("v", member(), "v", "x")
	if first.Roster.Term != first.Term || first.Term.Epoch() == 0 || first.Roster.Compare(member().Roster) < 0 {
		t.Errorf("two are left out: term %d, roster %+v", first.Term, first.Roster)
	}
	if most := election.Term(1 << 29); first.Term < 5+most {
		t.Errorf("term %d: those that are left out come to that by themselves", first.Term)
	}
	if other := claim("x", member(), "v", "x"); other.Term.Epoch() == first.Term.Epoch() {
		t.Errorf("x and v begin epoch %d", other.Term.Epoch())
	}
	st := member()
	st.Term, st.Roster = first.Term, first.Roster
	for _, id := range []election.NodeID{"v", "x"} {
		if next := claim(id, st, "v", "x", "y"); next.Term.Epoch() <= first.Term.Epoch() {
			t.Errorf("%s begins epoch %d after %d", id, next.Term.Epoch(), first.Term.Epoch())
		}
	}
	st.Term = 1<<53 - 10
	if last := claim("v", st, "v", "y"); last.Term != st.Term+1 {
		t.Errorf("there is no epoch left: term %d, want %d", last.Term, st.Term+1)
	}
}

// TestLeftOutHolder: a holder that was left out is told so by the answer to its own renewal, before
// it can claim a term of the new epoch by the roster before.
func TestLeftOutHolder(t *testing.T) {
	v, h := forced(t), holder(t, "h", "v", "x", "y")
	at := forcedAt
	h.Tick(at, nil)
	for _, id := range []election.NodeID{"x", "y"} {
		renewed(h, at, id, h.View(at).HolderTerm, h.View(at).Roster.Version)
	}
	before := h.View(at)
	if !before.Lease {
		t.Fatal("h has no lease")
	}
	answer := sends(t, v, election.Renew{ClusterID: "c", Term: before.HolderTerm, Holder: "h", Sent: at, Roster: before.Roster})
	if r := answer.(election.RenewReply); r.Granted || r.Roster == nil {
		t.Fatalf("v answers %+v", r)
	}
	h.Step(at, answer, election.Local{})
	if after := h.View(at); after.Lease || after.Roster.Compare(v.View(at).Roster) != 0 {
		t.Errorf("lease %v by roster %+v", after.Lease, after.Roster)
	}
	if out := h.Claim(at, election.Local{Data: data(9, 9)}, 0); out != nil {
		t.Errorf("it claims: %+v", out)
	}
}

// TestLeftOutCandidate: one denial by who knows the new epoch ends a claim, whoever grants it then.
// A pre-vote teaches the same, both who asks and who is asked.
func TestLeftOutCandidate(t *testing.T) {
	v, at := forced(t), forcedAt
	epoch := v.View(at).Roster
	x := election.New("x", member(), 0)
	claim := x.Claim(at, election.Local{Data: data(5, 9)}, 0)[0].Message.(election.Claim)
	x.Saved()
	denial := sends(t, v, claim)
	x.Step(at, denial, election.Local{})
	for _, id := range []election.NodeID{"h", "y"} {
		x.Step(at, election.ClaimReply{From: id, Term: claim.Term, Granted: true, Sent: at, Highest: claim.Term}, election.Local{})
	}
	if view := x.View(at); view.Claiming || view.Holder == "x" || view.Roster.Compare(epoch) != 0 {
		t.Errorf("after %+v: %+v", denial, view)
	}

	y := election.New("y", member(), 0)
	asked := y.PreVote(at, election.Local{Data: data(5, 9)})[0].Message
	y.Step(at, sends(t, v, asked), election.Local{})
	if view := y.View(at); view.Roster.Compare(epoch) != 0 || view.BackedAt != 0 {
		t.Errorf("after a pre-vote: %+v", view)
	}

	// It passes that on: by an answer to who has not heard, and by a question of its own.
	h := election.New("h", member(), 0)
	ask := h.Claim(at, election.Local{Data: data(5, 9)}, 0)[0].Message
	if r := sends(t, y, ask).(election.ClaimReply); r.Granted || r.Roster == nil || r.Roster.Compare(epoch) != 0 {
		t.Errorf("y answers %+v", r)
	}
	stranger := election.PreVote{ClusterID: "c", Term: 9, Candidate: "v", Sent: at, Roster: epoch, Data: data(5, 1), HolderTerm: 5, Fenced: 5}
	sends(t, h, stranger)
	if got := h.View(at).Roster; got.Compare(epoch) != 0 {
		t.Errorf("after a question by who knows: roster %+v", got)
	}
	z := election.New("x", member(), 0)
	stranger.ClusterID = "other"
	if r := sends(t, z, stranger).(election.PreVoteReply); r.Denied != election.DeniedForeign || z.View(at).Roster.Compare(member().Roster) != 0 {
		t.Errorf("of another cluster: %+v", r)
	}
}

// TestVoidClaim: a claim is void also where who denies it has voted for what was forced, and does
// not know yet who won; and so is a question.
func TestVoidClaim(t *testing.T) {
	at := forcedAt
	_, out := forces("v", member(), "v", "y")
	y := election.New("y", member(), 0)
	if r := sends(t, y, out[0].Message).(election.ClaimReply); !r.Granted {
		t.Fatalf("%+v", r)
	}
	x := election.New("x", member(), 0)
	claim := x.Claim(at, election.Local{Data: data(5, 9)}, 0)[0].Message.(election.Claim)
	x.Step(at, sends(t, y, claim), election.Local{})
	for _, id := range []election.NodeID{"h", "v"} {
		x.Step(at, election.ClaimReply{From: id, Term: claim.Term, Granted: true, Sent: at, Highest: claim.Term}, election.Local{})
	}
	if v := x.View(at); v.Claiming || v.Holder != "h" || v.Roster.Term.Epoch() == 0 {
		t.Errorf("%+v", v)
	}
	x = election.New("x", member(), 0)
	asked := x.PreVote(at, election.Local{Data: data(5, 9)})[0].Message
	x.Step(at, sends(t, y, asked), election.Local{})
	for _, id := range []election.NodeID{"h", "v"} {
		x.Step(at, election.PreVoteReply{From: id, Term: claim.Term, Granted: true, Sent: at, Highest: 5}, election.Local{})
	}
	if v := x.View(at); v.BackedAt != 0 {
		t.Errorf("it was backed at %v", v.BackedAt)
	}
}

// TestForcedByAVote: what an operator forces holds for who votes for it. Who denies it has heard of
// no more than an attempt: the holder that he reaches goes on.
func TestForcedByAVote(t *testing.T) {
	for _, tt := range []struct {
		name  string
		local election.Local
		want  bool
	}{
		{"granted", election.Local{}, true},
		{"denied", election.Local{Reachable: true}, false},
	} {
		_, out := forces("v", member(), "v", "x")
		claim := out[0].Message.(election.Claim)
		x := election.New("x", member(), 0)
		reply := x.Step(forcedAt, claim, tt.local)[0].Message.(election.ClaimReply)
		want := member().Roster
		if tt.want {
			want = claim.Roster
		}
		if d := cmp.Diff(want, x.View(forcedAt).Roster); reply.Granted != tt.want || d != "" {
			t.Errorf("%s: %+v, roster (-want +got):\n%s", tt.name, reply, d)
		}
	}
}

// TestForceAsksFirst: nothing comes of what most of those that are left would not vote for, and the
// operator is told why.
func TestForceAsksFirst(t *testing.T) {
	v := election.New("v", member(), 0)
	out := v.Force(forcedAt, election.Local{Data: data(5, 1)}, roster(0, 0, "v", "x").Voters)
	x := election.New("x", member(), 0)
	if len(out) != 1 || out[0].To != "x" {
		t.Fatalf("asks %+v", out)
	}
	reply := x.Step(forcedAt, out[0].Message, election.Local{Reachable: true})[0].Message
	if out := v.Step(forcedAt, reply, election.Local{}); out != nil {
		t.Errorf("claims: %+v", out)
	}
	for name, e := range map[string]*election.Elector{"v": v, "x": x} {
		if _, unsaved := e.Unsaved(); unsaved {
			t.Errorf("%s remembers it: %+v", name, e.View(forcedAt))
		}
	}
	if d := cmp.Diff(map[election.NodeID]election.Denied{"x": election.DeniedReachable}, v.View(forcedAt).Denials); d != "" {
		t.Errorf("denials (-want +got):\n%s", d)
	}
	v.Force(forcedAt, election.Local{Reachable: true}, roster(0, 0, "v", "x").Voters)
	if d := cmp.Diff(map[election.NodeID]election.Denied{"v": election.DeniedReachable}, v.View(forcedAt).Denials); d != "" {
		t.Errorf("its own denial (-want +got):\n%s", d)
	}
}

// TestLeftOutIsForced: who was left out, and knows, is made the primary by another force only.
func TestLeftOutIsForced(t *testing.T) {
	st := member()
	st.Roster = forced(t).View(forcedAt).Roster
	if e := election.New("x", st, 0); e.Claim(forcedAt, election.Local{Data: data(5, 1)}, 0) != nil {
		t.Error("it claims by a roster that it is not in")
	}
	e, _ := forces("x", st, "x")
	if v := e.View(forcedAt); !v.Lease || v.HolderTerm.Epoch() <= st.Roster.Term.Epoch() {
		t.Errorf("%+v", v)
	}
}
