package election_test

import (
	"testing"
	"time"

	"github.com/redisd/redisd/election"
)

// TestVote asks voter v, long after the lease of h lapsed, for its vote for x in term 6.
func TestVote(t *testing.T) {
	const started, later = election.Time(0), 2 * time.Second
	full := election.Local{Data: data(5, 10), Candidate: true}
	for _, tt := range []struct {
		name  string
		state func(*election.State)
		claim func(*election.Claim)
		local func(*election.Local)
		now   election.Time // later when 0
		want  election.Denied
	}{
		{name: "granted"},
		{name: "another cluster", claim: func(c *election.Claim) { c.ClusterID = "other" }, want: election.DeniedForeign},
		{name: "no cluster named", claim: func(c *election.Claim) { c.ClusterID = "" }, want: election.DeniedForeign},
		{name: "no cluster here yet, but a voter of it", state: func(s *election.State) { *s = election.State{} }, claim: func(c *election.Claim) { c.Data.Term = 0; c.HolderTerm = 1 }, local: func(l *election.Local) { l.Data = data(0, 0) }},
		{name: "no cluster here yet, word given to another", state: func(s *election.State) { *s = election.State{Vote: "y"} }, want: election.DeniedForeign},
		{name: "term of the holder", claim: func(c *election.Claim) { c.Term = 5 }, want: election.DeniedTerm},
		{name: "older term", claim: func(c *election.Claim) { c.Term = 4 }, want: election.DeniedTerm},
		{name: "older than the vote", state: func(s *election.State) { s.Term, s.Vote = 7, "y" }, want: election.DeniedTerm},
		{name: "voted for another", state: func(s *election.State) { s.Term, s.Vote = 6, "y" }, want: election.DeniedVoted},
		{name: "voted for it already", state: func(s *election.State) { s.Term, s.Vote = 6, "x" }, local: func(l *election.Local) { l.Data.Offset = 99 }},
		{name: "older roster", claim: func(c *election.Claim) { c.Roster.Version = 1 }, want: election.DeniedRoster},
		{name: "roster of an older term, higher version", claim: func(c *election.Claim) { c.Roster.Term, c.Roster.Version = 4, 9 }, want: election.DeniedRoster},
		{name: "newer roster", claim: func(c *election.Claim) { c.Roster.Version = 3 }},
		{name: "candidate not in its roster", claim: func(c *election.Claim) { c.Roster = roster(5, 3, "h", "v", "y") }, want: election.DeniedNotVoter},
		{name: "voter not in the roster", claim: func(c *election.Claim) { c.Roster = roster(5, 3, "h", "x", "y") }, want: election.DeniedNotVoter},
		{name: "paused", local: func(l *election.Local) { l.Paused = true }, want: election.DeniedPaused},
		{name: "paused, but the holder again", local: func(l *election.Local) { l.Paused = true }, claim: func(c *election.Claim) { c.Candidate = "h" }},
		{name: "lease runs", now: election.Lapse - 1, want: election.DeniedLease},
		{name: "lease lapses", now: election.Lapse},
		{name: "lease runs, its holder again", now: 1, claim: func(c *election.Claim) { c.Candidate = "h" }},
		{name: "lease released", now: 1, state: func(s *election.State) { s.Released = true }},
		{name: "a vote binds like a lease", now: election.Lapse - 1, state: func(s *election.State) { s.Term, s.Vote, s.Released = 6, "y", true }, claim: func(c *election.Claim) { c.Term = 7 }, want: election.DeniedLease},
		{name: "fenced, but not for long enough", now: election.FencedLapse - 1, claim: func(c *election.Claim) { c.Fenced = 5 }, want: election.DeniedLease},
		{name: "holder answers", local: func(l *election.Local) { l.Reachable = true }, want: election.DeniedReachable},
		{name: "holder answers, and claims", local: func(l *election.Local) { l.Reachable = true }, claim: func(c *election.Claim) { c.Candidate = "h" }},
		{name: "holder answers, but released", state: func(s *election.State) { s.Released = true }, local: func(l *election.Local) { l.Reachable = true }},
		{name: "holder answers, but the candidate knows that it released", local: func(l *election.Local) { l.Reachable = true }, claim: func(c *election.Claim) { c.Released = true }},
		{name: "holder answers, an older one released", local: func(l *election.Local) { l.Reachable = true }, claim: func(c *election.Claim) { c.Released, c.HolderTerm = true, 4 }, want: election.DeniedReachable},
		{name: "holder answers, fenced", local: func(l *election.Local) { l.Reachable = true }, claim: func(c *election.Claim) { c.Fenced = 5 }},
		{name: "holder answers, an older one fenced", local: func(l *election.Local) { l.Reachable = true }, claim: func(c *election.Claim) { c.Fenced, c.HolderTerm = 4, 4 }, want: election.DeniedReachable},
		{name: "holder answers, but there was a later one", local: func(l *election.Local) { l.Reachable = true }, claim: func(c *election.Claim) { c.Term, c.HolderTerm = 7, 6 }},
		{name: "more data", local: func(l *election.Local) { l.Data.Offset = 11 }, want: election.DeniedData},
		{name: "data of a later term", local: func(l *election.Local) { l.Data = data(6, 1) }, want: election.DeniedData},
		{name: "data of an earlier term", local: func(l *election.Local) { l.Data = data(4, 99) }},
		{name: "more data, witness", local: func(l *election.Local) { l.Data.Offset, l.Candidate = 11, false }},
		{name: "more data than the holder at work", claim: func(c *election.Claim) { c.Candidate, c.Holding = "h", true }, local: func(l *election.Local) { l.Data.Offset = 11 }},
		{name: "more data than a holder without a lease", claim: func(c *election.Claim) { c.Candidate = "h" }, local: func(l *election.Local) { l.Data.Offset = 11 }, want: election.DeniedData},
		{name: "says that it holds a term it does not", claim: func(c *election.Claim) { c.Holding = true }, local: func(l *election.Local) { l.Data.Offset = 11 }, want: election.DeniedData},
		{name: "lacks as much as it may", local: func(l *election.Local) { l.Candidate, l.Least = false, data(5, 10) }},
		{name: "lacks more", local: func(l *election.Local) { l.Candidate, l.Least = false, data(5, 11) }, want: election.DeniedLag},
		{name: "more, of an older term", claim: func(c *election.Claim) { c.Data = data(4, 99) }, local: func(l *election.Local) { l.Candidate, l.Least = false, data(5, 11) }, want: election.DeniedLag},
		{name: "the last holder lacks more", claim: func(c *election.Claim) { c.Candidate = "h" }, local: func(l *election.Local) { l.Candidate, l.Least = false, data(5, 11) }},
		{name: "lacks more, and an operator knows", claim: func(c *election.Claim) { c.Forced = true }, local: func(l *election.Local) { l.Candidate, l.Least = false, data(5, 11) }},
		{name: "no data in a cluster that had some", claim: func(c *election.Claim) { c.Data = data(0, 99) }, local: func(l *election.Local) { l.Candidate = false }, want: election.DeniedData},
		{name: "no data in a cluster that never had any", state: func(s *election.State) { s.Bootstrapping = true }, claim: func(c *election.Claim) { c.Data = data(0, 0) }, local: func(l *election.Local) { l.Data = data(0, 0) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st, local := member(), full
			c := election.Claim{ClusterID: "c", Term: 6, Candidate: "x", Sent: 3, Roster: st.Roster, Data: data(5, 10), HolderTerm: 5}
			now := later
			if tt.state != nil {
				tt.state(&st)
			}
			if tt.claim != nil {
				tt.claim(&c)
			}
			if tt.local != nil {
				tt.local(&local)
			}
			if tt.now != 0 {
				now = tt.now
			}
			e := election.New("v", st, started)
			out := e.Step(now, c, local)
			if len(out) != 1 || out[0].To != c.Candidate {
				t.Fatalf("answers %+v, want one to %s", out, c.Candidate)
			}
			got := out[0].Message.(election.ClaimReply)
			if got.Denied != tt.want || got.Granted != (tt.want == "") {
				t.Fatalf("granted %v, denied %q, want %q", got.Granted, got.Denied, tt.want)
			}
			if got.Sent != c.Sent || got.Term != c.Term || got.From != "v" {
				t.Errorf("answer %+v is not one to %+v", got, c)
			}
			if known := got.Holder == st.Holder && got.HolderTerm == st.HolderTerm; tt.want == election.DeniedForeign && got.Highest+got.HolderTerm != 0 || tt.want != election.DeniedForeign && !known {
				t.Errorf("says of the last holder: %+v", got)
			}
			if (got.Roster != nil) != (tt.want == election.DeniedRoster) {
				t.Errorf("denied %q with roster %v", got.Denied, got.Roster)
			}
			saved, unsaved := e.Unsaved()
			if got.Granted && (saved.Term != c.Term || saved.Vote != c.Candidate || saved.ClusterID != "c" || saved.Roster.Compare(c.Roster) != 0) {
				t.Errorf("granted, but remembers %+v", saved)
			}
			if again := st.Term == c.Term && st.Vote == c.Candidate; got.Granted && unsaved == again {
				t.Errorf("granted, unsaved = %v", unsaved)
			}
			if !got.Granted && (saved.Term != st.Term || saved.Vote != st.Vote) {
				t.Errorf("denied, but remembers %+v", saved)
			}
			if v := e.View(now); v.Nudged != (tt.want == election.DeniedData) {
				t.Errorf("denied %q, nudged %v", tt.want, v.Nudged)
			}
		})
	}
}

func TestFounderVote(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state election.State
		local election.Local
		claim func(*election.Claim)
		now   election.Time
		want  election.Denied
	}{
		{name: "granted", local: election.Local{BootstrapNode: "x"}},
		{name: "has a cluster", state: member(), want: election.DeniedForeign},
		{name: "not one of the voters", claim: func(c *election.Claim) { c.Roster = roster(0, 1, "x", "y") }, want: election.DeniedNotVoter},
		{name: "paused", local: election.Local{BootstrapNode: "x", Paused: true}, want: election.DeniedPaused},
		{name: "would choose another", local: election.Local{BootstrapNode: "y"}, want: election.DeniedChoice},
		{name: "its view is not complete", local: election.Local{}, want: election.DeniedChoice},
		{name: "gave its word", state: election.State{Vote: "y"}, local: election.Local{BootstrapNode: "x"}, now: election.BootstrapFor - 1, want: election.DeniedVoted},
		{name: "gave its word long ago", state: election.State{Vote: "y"}, local: election.Local{BootstrapNode: "x"}, now: election.BootstrapFor},
		{name: "gave its word to this one", state: election.State{Vote: "x"}, local: election.Local{BootstrapNode: "x"}, now: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := election.New("v", tt.state, 0)
			c := election.Claim{ClusterID: "new", Term: 1, Candidate: "x", Roster: roster(0, 1, "v", "x", "y"), Bootstrapping: true}
			if tt.claim != nil {
				tt.claim(&c)
			}
			got := e.Step(tt.now, c, tt.local)[0].Message.(election.ClaimReply)
			if got.Denied != tt.want || got.Granted != (tt.want == "") {
				t.Fatalf("granted %v, denied %q, want %q", got.Granted, got.Denied, tt.want)
			}
			if st, unsaved := e.Unsaved(); got.Granted && (st.Vote != "x" || unsaved != (tt.state.Vote != "x")) {
				t.Errorf("granted, remembers %+v, unsaved %v", st, unsaved)
			}
		})
	}
}

// A node that had more than the last holder, back with less, knows so until there is another one:
// with a limit on what may be lost, candidates that only ever claim when the holder has asked do so
// all at once, and nobody wins.
func TestLessThanHolder(t *testing.T) {
	full := election.Local{Data: data(5, 10), Candidate: true}
	e := election.New("v", member(), 0)
	c := election.Claim{ClusterID: "c", Term: 6, Candidate: "h", Roster: member().Roster, Data: data(5, 9), HolderTerm: 5}
	e.Step(2*time.Second, c, full)
	e.Claim(3*time.Second, full, 0)
	if v := e.View(4 * time.Second); !v.ByHolder {
		t.Error("it forgot that the holder is back with less")
	}
	e.Step(5*time.Second, election.Renew{ClusterID: "c", Holder: "x", Term: 9, Roster: member().Roster}, full)
	if v := e.View(5 * time.Second); v.Holder != "x" || v.ByHolder {
		t.Errorf("%s holds the lease, by its holder %v", v.Holder, v.ByHolder)
	}
}

// A voter leaves whom it voted for some time. One that gives its lease back has had it: whoever the
// primary is handed to next need not wait for what is over.
func TestVotedAtEndsWithTheLease(t *testing.T) {
	e := election.New("v", member(), 0)
	c := election.Claim{ClusterID: "c", Term: 6, Candidate: "x", Roster: member().Roster, Data: data(5, 9), HolderTerm: 5}
	e.Step(2*time.Second, c, election.Local{})
	if at := e.View(2 * time.Second).VotedAt; at != 2*time.Second {
		t.Fatalf("voted at %v, want 2s", at)
	}
	e.Step(2100*time.Millisecond, election.Renew{ClusterID: "c", Term: 6, Holder: "x", Sent: 1, Roster: c.Roster}, election.Local{})
	if at := e.View(2100 * time.Millisecond).VotedAt; at != 2*time.Second {
		t.Errorf("x has the lease: voted at %v, want 2s", at)
	}
	e.Step(2200*time.Millisecond, election.Release{ClusterID: "c", Term: 6, Holder: "x"}, election.Local{})
	if at := e.View(2200 * time.Millisecond).VotedAt; at != 0 {
		t.Errorf("x has given the lease back: voted at %v, want 0", at)
	}
}

// After a handover the history of the old primary creeps on with heartbeats, so a voter may have a
// little more than the successor had when it claimed. It has every acknowledged write all the same.
func TestVoteAfterAHandover(t *testing.T) {
	handed := election.Release{ClusterID: "c", Term: 5, Holder: "h", Successors: []election.NodeID{"x", "v"}, Handed: 1000}
	for _, tt := range []struct {
		name  string
		hears []election.Message
		claim func(*election.Claim)
		want  election.Denied
	}{
		{name: "the candidate has all", hears: []election.Message{handed}},
		{name: "it lacks what was acknowledged", hears: []election.Message{handed}, claim: func(c *election.Claim) { c.Data.Offset = 999 }, want: election.DeniedData},
		{name: "its data is of another term", hears: []election.Message{handed}, claim: func(c *election.Claim) { c.Data.Term = 4 }, want: election.DeniedData},
		{name: "it knows a later holder than this node", hears: []election.Message{handed}, claim: func(c *election.Claim) { c.Term, c.HolderTerm = 7, 6 }, want: election.DeniedData},
		{name: "given back, not handed over", hears: []election.Message{election.Release{ClusterID: "c", Term: 5, Holder: "h"}}, want: election.DeniedData},
		{name: "an older handover of the same node", hears: []election.Message{
			election.Release{ClusterID: "c", Term: 4, Holder: "h", Handed: 1000}, election.Release{ClusterID: "c", Term: 5, Holder: "h"},
		}, want: election.DeniedData},
		{name: "known by a claim first", hears: []election.Message{
			election.Claim{ClusterID: "c", Term: 6, Candidate: "x", Roster: member().Roster, Data: data(5, 900), HolderTerm: 5, Released: true}, handed,
		}, claim: func(c *election.Claim) { c.Term = 7 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now, local := 2*time.Second, election.Local{Data: data(5, 1150), Candidate: true}
			e := election.New("v", member(), 0)
			for _, m := range tt.hears {
				e.Step(now, m, local)
			}
			c := election.Claim{ClusterID: "c", Term: 6, Candidate: "x", Roster: member().Roster, Data: data(5, 1000), HolderTerm: 5, Released: true}
			if tt.claim != nil {
				tt.claim(&c)
			}
			got := e.Step(now, c, local)[0].Message.(election.ClaimReply)
			if got.Denied != tt.want {
				t.Errorf("denied %q, want %q", got.Denied, tt.want)
			}
		})
	}
}
