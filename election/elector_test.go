package election_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/election"
)

func roster(term election.Term, version uint64, ids ...election.NodeID) election.Roster {
	var voters []election.Voter
	for _, id := range ids {
		voters = append(voters, election.Voter{ID: id})
	}
	r := election.NewRoster(version, voters)
	r.Term = term
	return r
}

// member is the state of a voter that follows h, who holds term 5.
func member() election.State {
	return election.State{ClusterID: "c", Term: 5, Vote: "h", Holder: "h", HolderTerm: 5, Roster: roster(5, 2, "h", "v", "x", "y")}
}

func data(term election.Term, offset int64) election.Data {
	return election.Data{Term: term, Offset: offset}
}

func TestRenew(t *testing.T) {
	for _, tt := range []struct {
		name   string
		state  func(*election.State)
		renew  func(*election.Renew)
		silent bool
		want   bool
	}{
		{name: "of the holder", want: true},
		{name: "of another cluster", renew: func(m *election.Renew) { m.ClusterID = "other" }, silent: true},
		{name: "of itself", renew: func(m *election.Renew) { m.Holder = "v" }, silent: true},
		{name: "of an older term", renew: func(m *election.Renew) { m.Term = 4 }},
		{name: "of a term before its vote", state: func(s *election.State) { s.Term, s.Vote = 6, "y" }},
		{name: "after the release", state: func(s *election.State) { s.Released = true }},
		{name: "of a second holder of the term", renew: func(m *election.Renew) { m.Holder = "x" }},
		{name: "of a new holder", renew: func(m *election.Renew) { m.Holder, m.Term = "x", 6 }, want: true},
		{name: "of a new holder it did not vote for", state: func(s *election.State) { s.Term, s.Vote = 6, "y" }, renew: func(m *election.Renew) { m.Holder, m.Term = "x", 6 }, want: true},
		{name: "at a node without a cluster", state: func(s *election.State) { *s = election.State{} }, want: true},
		{name: "at a node that gave its word to another bootstrap node", state: func(s *election.State) { *s = election.State{Vote: "y"} }, silent: true},
		{name: "at a node that gave its word to this one", state: func(s *election.State) { *s = election.State{Vote: "h"} }, want: true},
		{name: "with an older roster", renew: func(m *election.Renew) { m.Roster.Version = 1 }, want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := member()
			m := election.Renew{ClusterID: "c", Term: 5, Holder: "h", Sent: 7, Roster: st.Roster, Primary: "p", Note: []byte("n"), Successors: []election.NodeID{"x"}}
			if tt.state != nil {
				tt.state(&st)
			}
			if tt.renew != nil {
				tt.renew(&m)
			}
			e := election.New("v", st, 0)
			out := e.Step(1, m, election.Local{})
			if tt.silent {
				if len(out) > 0 {
					t.Fatalf("answers %+v, want none", out)
				}
				return
			}
			r := out[0].Message.(election.RenewReply)
			if r.Granted != tt.want || r.Sent != 7 || r.Term != m.Term || r.From != "v" || out[0].To != m.Holder {
				t.Fatalf("answers %+v, want granted %v", out[0], tt.want)
			}
			after, _ := e.Unsaved()
			if r.Highest != after.Term || r.RosterTerm != after.Roster.Term || r.RosterVersion != after.Roster.Version {
				t.Errorf("answers %+v, remembers %+v", r, after)
			}
			if after.Roster.Compare(st.Roster) < 0 {
				t.Errorf("went back to roster %+v", after.Roster)
			}
			if !tt.want {
				return
			}
			v := e.View(1)
			if v.Holder != m.Holder || v.HolderTerm != m.Term || v.Released || v.Primary != "p" || !v.EverHeard || v.HeardAt != 1 {
				t.Errorf("view %+v after %+v", v, m)
			}
			// It binds: another candidate, even with all the data, waits.
			c := election.Claim{ClusterID: "c", Term: m.Term + 5, Candidate: "y", Roster: after.Roster, Data: data(99, 0), HolderTerm: m.Term}
			if d := e.Step(election.Lapse, c, election.Local{})[0].Message.(election.ClaimReply).Denied; d != election.DeniedLease {
				t.Errorf("another candidate is denied %q, want %q", d, election.DeniedLease)
			}
		})
	}
}

// A renewal that comes late, or twice, does not take back what a later one has said: who takes
// over, and a dataset's version, hang on it.
func TestRenewOutOfOrder(t *testing.T) {
	e := election.New("v", member(), 0)
	m := election.Renew{ClusterID: "c", Term: 5, Holder: "h", Roster: member().Roster}
	hear := func(at, sent election.Time, primary string) election.View {
		m.Sent, m.Primary = sent, primary
		e.Step(at, m, election.Local{})
		return e.View(at)
	}
	hear(time.Second, 7000, "p")
	if v := hear(time.Second+50*time.Millisecond, 6900, ""); v.Primary != "p" || v.HeardAt != time.Second+50*time.Millisecond {
		t.Errorf("after a renewal sent before the last one: primary %q, heard at %v", v.Primary, v.HeardAt)
	}
	if v := hear(time.Second+100*time.Millisecond, 7100, "q"); v.Primary != "q" {
		t.Errorf("after a later one: primary %q", v.Primary)
	}
	if v := hear(time.Second+100*time.Millisecond+election.Lapse, 10, "r"); v.Primary != "r" {
		t.Errorf("after the holder's host was booted: primary %q", v.Primary)
	}
}

// TestRestart: what an elector granted before its agent died binds it after.
func TestRestart(t *testing.T) {
	e := election.New("v", member(), 0)
	e.Step(1, election.Renew{ClusterID: "c", Term: 6, Holder: "x", Sent: 1, Roster: roster(6, 2, "h", "v", "x", "y")}, election.Local{})
	st, unsaved := e.Unsaved()
	if !unsaved {
		t.Fatal("followed a new holder without saving")
	}
	const restart = time.Minute
	e = election.New("v", st, restart)
	c := election.Claim{ClusterID: "c", Term: 7, Candidate: "y", Roster: st.Roster, Data: data(6, 0), HolderTerm: 6}
	for _, tt := range []struct {
		at   election.Time
		want election.Denied
	}{{restart, election.DeniedLease}, {restart + election.Lapse - 1, election.DeniedLease}, {restart + election.Lapse, ""}} {
		if got := e.Step(tt.at, c, election.Local{})[0].Message.(election.ClaimReply).Denied; got != tt.want {
			t.Errorf("%v after the restart: denied %q, want %q", tt.at-restart, got, tt.want)
		}
	}
}

// holder returns h, whose lease of term 5 runs from 0.
func holder(t *testing.T, ids ...election.NodeID) *election.Elector {
	t.Helper()
	st := member()
	st.Roster = roster(5, 2, ids...)
	e := election.New("h", st, 0)
	for _, id := range ids {
		renewed(e, 0, id, 5, 2)
	}
	if until, ok := e.LeaseUntil(0); !ok || until != election.Lease {
		t.Fatalf("lease until %v, %v", until, ok)
	}
	return e
}

func renewed(e *election.Elector, sent election.Time, from election.NodeID, term election.Term, version uint64) {
	e.Step(sent, election.RenewReply{From: from, Term: term, Granted: true, Sent: sent, Highest: term, RosterTerm: term, RosterVersion: version}, election.Local{})
}

func TestLeaseUntil(t *testing.T) {
	const s = time.Second
	e := holder(t, "h", "x", "y", "z", "w")
	for _, tt := range []struct {
		reply election.RenewReply
		at    election.Time
		want  election.Time
	}{
		{election.RenewReply{From: "x", Term: 5, Granted: true, Sent: s}, s, election.Lease},                              // two of five
		{election.RenewReply{From: "y", Term: 5, Granted: false, Sent: s, Highest: 6}, s, election.Lease},                 // refused
		{election.RenewReply{From: "y", Term: 4, Granted: true, Sent: s}, s, election.Lease},                              // of an older term
		{election.RenewReply{From: "learner", Term: 5, Granted: true, Sent: s}, s, election.Lease},                        // no voter
		{election.RenewReply{From: "y", Term: 5, Granted: true, Sent: 9 * s}, s, election.Lease},                          // from the future
		{election.RenewReply{From: "y", Term: 5, Granted: true, Sent: s / 2}, s, s/2 + election.Lease},                    // the third of five
		{election.RenewReply{From: "z", Term: 5, Granted: true, Sent: s}, s, s + election.Lease},                          // a newer third
		{election.RenewReply{From: "z", Term: 5, Granted: true, Sent: s / 4}, s + 1, s + election.Lease},                  // late, older
		{election.RenewReply{From: "z", Term: 5, Granted: true, Sent: s}, s + election.Lease, s + election.Lease},         // doubled
		{election.RenewReply{From: "w", Term: 5, Granted: true, Sent: s + 5}, s + election.Lease + 9, s + election.Lease}, // two newer are no majority
	} {
		e.Step(tt.at, tt.reply, election.Local{})
		until, ok := e.LeaseUntil(tt.at)
		if until != tt.want || ok != (tt.want > tt.at) {
			t.Errorf("at %v after %+v: lease until %v, %v, want %v", tt.at, tt.reply, until, ok, tt.want)
		}
	}
	if got := e.View(s).Overtaken; !got {
		t.Error("a voter is ahead, but the holder is not overtaken")
	}
}

func TestReleaseIsForGood(t *testing.T) {
	e := holder(t, "h", "x", "y")
	out := e.Release(1, "stop")
	if st, unsaved := e.Unsaved(); !unsaved || !st.Released || len(out) != 2 {
		t.Fatalf("released: %+v, unsaved %v, said %+v", st, unsaved, out)
	}
	renewed(e, 2, "x", 5, 2)
	renewed(e, 2, "y", 5, 2)
	if until, ok := e.LeaseUntil(2); ok {
		t.Errorf("a late answer to a renewal gave the lease back until %v", until)
	}
	if out := e.Tick(election.RenewEvery, nil); len(out) != 2 || out[0].Message.(election.Release).Term != 5 {
		t.Errorf("after a release, Tick says %+v, want it said again", out)
	}
	if out := e.Tick(2*election.BootstrapFor, nil); len(out) != 0 {
		t.Errorf("long after a release, Tick says %+v", out)
	}
	if out := e.Release(3, "twice"); out != nil {
		t.Errorf("released twice: %+v", out)
	}
	st, _ := e.Unsaved()
	e = election.New("h", st, 10)
	renewed(e, 10, "x", 5, 2)
	for _, env := range e.Tick(10+election.RenewEvery, nil) {
		if _, ok := env.Message.(election.Release); !ok {
			t.Errorf("after a restart says %+v, want the release said again", env)
		}
	}
}

// TestHolderVotes: a holder whose lease lapsed may vote, and has then given up its term: an answer
// that comes late does not bring it back.
func TestHolderVotes(t *testing.T) {
	e := holder(t, "h", "x", "y")
	e.Tick(500*time.Millisecond, nil)
	c := election.Claim{ClusterID: "c", Term: 6, Candidate: "x", Roster: roster(5, 2, "h", "x", "y"), Data: data(5, 1), HolderTerm: 5}
	if r := e.Step(election.Lapse-1, c, election.Local{})[0].Message.(election.ClaimReply); r.Denied != election.DeniedLease {
		t.Fatalf("denied %q just before it lapsed everywhere", r.Denied)
	}
	if r := e.Step(election.Lapse, c, election.Local{Reachable: true})[0].Message.(election.ClaimReply); !r.Granted {
		t.Fatalf("denied %q", r.Denied)
	}
	e.Step(election.Lapse+1, election.RenewReply{From: "y", Term: 5, Granted: true, Sent: 500 * time.Millisecond}, election.Local{})
	if until, ok := e.LeaseUntil(election.Lapse + 1); ok {
		t.Errorf("has a lease until %v after it voted for another", until)
	}
	if out := e.Tick(election.Lapse+2, nil); len(out) != 2 || out[0].Message.(election.Release).Term != 5 {
		t.Errorf("says %+v, want its lease released", out)
	}
}

func TestClaimReplies(t *testing.T) {
	at := election.Time(2 * time.Second)
	for _, tt := range []struct {
		name    string
		replies []election.ClaimReply
		at      election.Time
		holder  election.NodeID
		claims  bool // still
		roster  uint64
	}{
		{name: "two more of four", replies: []election.ClaimReply{{From: "x", Granted: true}, {From: "y", Granted: true}}, holder: "v"},
		{name: "one more", replies: []election.ClaimReply{{From: "x", Granted: true}}, holder: "h", claims: true},
		{name: "the same twice", replies: []election.ClaimReply{{From: "x", Granted: true}, {From: "x", Granted: true}}, holder: "h", claims: true},
		{name: "of another claim", replies: []election.ClaimReply{{From: "x", Granted: true}, {From: "y", Granted: true, Sent: 1}}, holder: "h", claims: true},
		{name: "of no voter", replies: []election.ClaimReply{{From: "x", Granted: true}, {From: "z", Granted: true}}, holder: "h", claims: true},
		{name: "denied by so many that it is over", replies: []election.ClaimReply{{From: "x", Denied: election.DeniedLease}, {From: "y", Denied: election.DeniedLease}}, holder: "h"},
		{name: "denied, then granted", replies: []election.ClaimReply{{From: "x", Denied: election.DeniedLease}, {From: "x", Granted: true}, {From: "y", Granted: true}}, holder: "v"},
		{name: "granted, then an older denial", replies: []election.ClaimReply{{From: "x", Granted: true}, {From: "x", Denied: election.DeniedLease}, {From: "y", Granted: true}}, holder: "v"},
		{name: "too late", replies: []election.ClaimReply{{From: "x", Granted: true}, {From: "y", Granted: true}}, at: at + election.ClaimFor, holder: "h"},
		{name: "with a newer roster, lost", replies: []election.ClaimReply{
			{From: "x", Denied: election.DeniedRoster, Roster: &election.Roster{Term: 5, Version: 3}}, {From: "y", Denied: election.DeniedLease},
		}, holder: "h", roster: 3},
		{name: "with a newer roster, undecided", replies: []election.ClaimReply{
			{From: "x", Denied: election.DeniedRoster, Roster: &election.Roster{Term: 5, Version: 3}},
		}, holder: "h", claims: true, roster: 2},
		{name: "with a newer roster, won", replies: []election.ClaimReply{
			{From: "x", Denied: election.DeniedRoster, Roster: &election.Roster{Term: 5, Version: 3}}, {From: "y", Granted: true}, {From: "h", Granted: true},
		}, holder: "v"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := election.New("v", member(), 0)
			if out := e.Claim(at, election.Local{Candidate: true, Data: data(5, 1)}, 0); len(out) != 3 {
				t.Fatalf("claims with %+v", out)
			}
			now := at + 1
			if tt.at != 0 {
				now = tt.at
			}
			for _, r := range tt.replies {
				if r.Term = 6; r.Sent == 0 {
					r.Sent = at
				}
				e.Step(now, r, election.Local{})
			}
			v := e.View(now)
			if v.Holder != tt.holder || v.Claiming != tt.claims || tt.roster != 0 && v.Roster.Version != tt.roster {
				t.Errorf("holder %s, claiming %v, roster %d", v.Holder, v.Claiming, v.Roster.Version)
			}
			if v.Lease {
				t.Error("has a lease before a renewal was answered")
			}
			if tt.holder == "v" && (v.Roster.Term != 6 || v.Roster.Version != 2) {
				t.Errorf("won with roster %d.%d, want it stamped 6.2", v.Roster.Term, v.Roster.Version)
			}
		})
	}
}

func TestPropose(t *testing.T) {
	e := holder(t, "h", "x", "y")
	voters := func(ids ...election.NodeID) []election.Voter { return roster(0, 0, ids...).Voters }
	if !e.View(1).Settled {
		t.Fatal("not settled though all have the roster")
	}
	for name, ids := range map[string][]election.NodeID{
		"two at once":                   {"h", "x", "y", "z", "w"},
		"one in, one out":               {"h", "x", "z"},
		"without the holder":            {"x", "y"},
		"nobody":                        {},
		"more than answer (of h, x, y)": {"h"},
	} {
		if err := e.Propose(1, voters(ids...)); err == nil {
			t.Errorf("%s: proposed", name)
		}
	}
	if err := e.Propose(1, voters("h", "x", "y", "z")); err != nil {
		t.Fatal(err)
	}
	if err := e.Propose(1, voters("h", "x", "y")); !errors.Is(err, election.ErrUnsettled) {
		t.Errorf("second change: %v, want %v", err, election.ErrUnsettled)
	}
	// Two of the old three are not three of the new four.
	at := election.Time(500 * time.Millisecond)
	renewed(e, at, "x", 5, 3)
	if until, _ := e.LeaseUntil(at); until != election.Lease {
		t.Errorf("lease until %v, want it to need both majorities", until)
	}
	if e.View(at).Settled {
		t.Error("settled before a majority of the new roster has it")
	}
	renewed(e, at, "z", 5, 2) // answers, but has the old roster
	if e.View(at).Settled {
		t.Error("settled by an answer with the old roster")
	}
	e.Step(at, election.RenewReply{From: "z", Term: 5, Granted: true, Sent: at, RosterTerm: 4, RosterVersion: 9}, election.Local{})
	if e.View(at).Settled {
		t.Error("settled by an answer with another holder's roster")
	}
	renewed(e, at, "z", 5, 3)
	if until, _ := e.LeaseUntil(at); !e.View(at).Settled || until != at+election.Lease {
		t.Errorf("settled %v, lease until %v", e.View(at).Settled, until)
	}
	if err := e.Propose(at+election.Lease, voters("h", "x", "y")); !errors.Is(err, election.ErrNotHolder) {
		t.Errorf("change without a lease: %v, want %v", err, election.ErrNotHolder)
	}
}

func TestReleaseFreesOnlyItsTerm(t *testing.T) {
	for _, tt := range []struct {
		release election.Release
		free    bool
	}{
		{election.Release{ClusterID: "c", Term: 5, Holder: "h"}, true},
		{election.Release{ClusterID: "c", Term: 6, Holder: "h"}, false}, // of a claim it withdrew
		{election.Release{ClusterID: "c", Term: 4, Holder: "h"}, false},
		{election.Release{ClusterID: "c", Term: 5, Holder: "x"}, false},
		{election.Release{ClusterID: "other", Term: 5, Holder: "h"}, false},
	} {
		e := election.New("v", member(), 0)
		e.Step(1, tt.release, election.Local{})
		c := election.Claim{ClusterID: "c", Term: 9, Candidate: "y", Roster: member().Roster, Data: data(5, 1), HolderTerm: 5}
		if got := e.Step(2, c, election.Local{})[0].Message.(election.ClaimReply).Granted; got != tt.free {
			t.Errorf("after %+v: granted %v, want %v", tt.release, got, tt.free)
		}
		if v := e.View(2); v.Released != tt.free || tt.free && v.OpenedAt != 1 {
			t.Errorf("after %+v: released %v, opened at %v", tt.release, v.Released, v.OpenedAt)
		}
	}
}

// TestNudgedLearnsRoster: a voter that denies for its data can claim itself, even if it had not
// heard yet that it is a voter.
func TestNudgedLearnsRoster(t *testing.T) {
	st := member()
	st.Roster = roster(5, 1, "h", "x", "y")
	e := election.New("v", st, 0)
	local := election.Local{Data: data(5, 9), Candidate: true}
	at := election.Time(2 * time.Second)
	c := election.Claim{ClusterID: "c", Term: 6, Candidate: "x", Roster: roster(5, 2, "h", "v", "x", "y"), Data: data(5, 1), HolderTerm: 5}
	if r := e.Step(at, c, local)[0].Message.(election.ClaimReply); r.Denied != election.DeniedData {
		t.Fatalf("denied %q", r.Denied)
	}
	if out := e.Claim(at, local, 0); len(out) != 3 {
		t.Errorf("claims with %+v, want three messages", out)
	}
}

// TestOvertakenByLearner: a node that left the roster while it was ahead would follow nobody any
// more.
func TestOvertakenByLearner(t *testing.T) {
	e := holder(t, "h", "x", "y")
	e.Step(1, election.RenewReply{From: "learner", Term: 5, Sent: 1, Highest: 8}, election.Local{})
	if !e.View(1).Overtaken {
		t.Error("a learner is ahead, but the holder is not overtaken")
	}
	out := e.Claim(1, election.Local{Data: data(5, 1)}, 0)
	if m := out[0].Message.(election.Claim); m.Term != 9 || !m.Holding {
		t.Errorf("claims %+v, want term 9, holding", m)
	}
}

// TestUnborn: who wins a cluster that not all bootstrap voters are known to have on disk has no
// lease until they do, unless a voter knows better.
func TestUnborn(t *testing.T) {
	for _, born := range []bool{false, true} {
		st := member()
		st.Bootstrapping = true
		e := election.New("v", st, 0)
		at := election.Time(2 * time.Second)
		e.Claim(at, election.Local{Data: data(5, 1)}, 0)
		for _, id := range []election.NodeID{"x", "y"} {
			e.Step(at, election.ClaimReply{From: id, Term: 6, Granted: true, Sent: at, Holder: "h", HolderTerm: 5, Born: born && id == "y"}, election.Local{})
		}
		for _, id := range []election.NodeID{"x", "y"} {
			renewed(e, at, id, 6, 2)
		}
		if v := e.View(at); v.Holder != "v" || v.Lease != born || v.Bootstrapping == born {
			t.Errorf("born %v: holder %s, lease %v, bootstrap %v", born, v.Holder, v.Lease, v.Bootstrapping)
		}
		renewed(e, at, "h", 6, 2)
		if v := e.View(at); v.Bootstrapping || v.Lease != born {
			t.Errorf("born %v, all have it: lease %v before they were told, bootstrap %v", born, v.Lease, v.Bootstrapping)
		}
		renewed(e, at+1, "x", 6, 2)
		renewed(e, at+1, "y", 6, 2)
		if v := e.View(at + 1); !v.Lease {
			t.Errorf("born %v, all were told: no lease", born)
		}
	}
}

// TestLearnHolder: a candidate learns of a later holder, or of a release, from the answers to its
// claim, but only from its own cluster.
func TestLearnHolder(t *testing.T) {
	for _, tt := range []struct {
		name     string
		reply    election.ClaimReply
		holder   election.NodeID
		term     election.Term
		released bool
		claims   bool
	}{
		{"nothing new", election.ClaimReply{Denied: election.DeniedLease, Holder: "h", HolderTerm: 5}, "h", 5, false, true},
		{"older", election.ClaimReply{Denied: election.DeniedLease, Holder: "y", HolderTerm: 4, Released: true}, "h", 5, false, true},
		{"released", election.ClaimReply{Granted: true, Holder: "h", HolderTerm: 5, Released: true}, "h", 5, true, true},
		{"later", election.ClaimReply{Denied: election.DeniedTerm, Highest: 9, Holder: "y", HolderTerm: 9}, "y", 9, false, false},
		{"of another cluster", election.ClaimReply{Denied: election.DeniedForeign, Highest: 9, Holder: "y", HolderTerm: 9}, "h", 5, false, true},
		{"itself", election.ClaimReply{Denied: election.DeniedTerm, Holder: "v", HolderTerm: 9}, "h", 5, false, true},
	} {
		e := election.New("v", member(), 0)
		at := election.Time(2 * time.Second)
		e.Claim(at, election.Local{Data: data(5, 1)}, 0)
		tt.reply.From, tt.reply.Term, tt.reply.Sent = "x", 6, at
		e.Saved()
		e.Step(at, tt.reply, election.Local{})
		v := e.View(at)
		if v.Holder != tt.holder || v.HolderTerm != tt.term || v.Released != tt.released || v.Claiming != tt.claims {
			t.Errorf("%s: holder %s of %d, released %v, claiming %v", tt.name, v.Holder, v.HolderTerm, v.Released, v.Claiming)
		}
		if st, unsaved := e.Unsaved(); unsaved != (tt.term != 5 || tt.released) || st.Term < st.HolderTerm {
			t.Errorf("%s: unsaved %v, term %d after one of %d", tt.name, unsaved, st.Term, st.HolderTerm)
		}
	}
}

// TestClaimIsSaidAgain: a lost claim costs no more than a renewal.
func TestClaimIsSaidAgain(t *testing.T) {
	e := election.New("v", member(), 0)
	at := election.Time(2 * time.Second)
	first := e.Claim(at, election.Local{Data: data(5, 1)}, 0)
	e.Step(at+1, election.ClaimReply{From: "x", Term: 6, Granted: true, Sent: at}, election.Local{})
	again := e.Tick(at+election.RenewEvery/2, nil)
	want := []election.Envelope{first[0], first[2]} // h and y
	if d := cmp.Diff(want, again); d != "" {
		t.Errorf("said again (-want +got):\n%s", d)
	}
	if out := e.Tick(at+election.ClaimFor, nil); len(out) != 3 || e.View(at+election.ClaimFor).Claiming {
		t.Errorf("in the end: %+v, want three releases", out)
	}
}

// The rounds come every 100 ms when all is calm, a little earlier or later: one that is early
// renews, else there would be 200 ms between two renewals.
func TestRenewsAtEachBeat(t *testing.T) {
	e := holder(t, "h", "x", "y")
	at := time.Second
	e.Tick(at, nil)
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{50 * time.Millisecond, 0}, {98 * time.Millisecond, 2}, {148 * time.Millisecond, 0}, {201 * time.Millisecond, 2}} {
		if out := e.Tick(at+tt.after, nil); len(out) != tt.want {
			t.Errorf("after %v: %d renewals, want %d", tt.after, len(out), tt.want)
		}
	}
}
