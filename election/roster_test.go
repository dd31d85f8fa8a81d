package election

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/internal/feature"
)

// leader is a holder of term 1 that has those voters, and whom b answers.
func leader(t *testing.T, voters ...NodeID) (*Elector, Time) {
	t.Helper()
	var list []Voter
	for _, id := range voters {
		list = append(list, Voter{ID: id, Addr: "10.0.0.1:7946"})
	}
	st := State{ClusterID: "x", Term: 1, Vote: "a", Holder: "a", HolderTerm: 1, Roster: NewRoster(1, list)}
	st.Roster.Term = 1
	now := Time(time.Hour)
	return New("a", st, now), now
}

// answers has voters answer the newest renewal.
func answers(e *Elector, now Time, ids ...NodeID) {
	r := e.st.Roster
	for _, id := range ids {
		e.Step(now, RenewReply{From: id, Term: 1, Granted: true, Sent: now, Highest: 1, RosterTerm: r.Term, RosterVersion: r.Version}, Local{})
	}
	e.Saved()
}

// TestSilent: a voter is silent since its last answer, though not for longer than the lease has
// run: what it could not answer counts for nothing.
func TestSilent(t *testing.T) {
	e, begin := leader(t, "a", "b", "c")
	now := begin
	for range 50 {
		now += RenewEvery
		answers(e, now, "b")
	}
	if v := e.View(now); !v.Lease || len(v.Silent) != 1 || v.Silent["c"] != begin+RenewEvery {
		t.Fatalf("silent %v at %v, lease %v", v.Silent, now-begin, v.Lease)
	}
	answers(e, now, "c", "learner")
	if v := e.View(now); v.Silent != nil || !slices.Equal(v.Answered, []NodeID{"b", "c", "learner"}) {
		t.Fatalf("silent %v, answered %v", v.Silent, v.Answered)
	}
	now += time.Hour // the host sleeps
	if v := e.View(now); v.Lease {
		t.Fatal("a lease after an hour")
	}
	answers(e, now, "b")
	if v := e.View(now); !v.Lease || v.Silent["c"] != now {
		t.Fatalf("silent %v, an hour after it was answered last, lease %v", v.Silent, v.Lease)
	}
}

// TestProposeRefusesWhatCannotBeSaved: nobody would hear of it, nor of anything after it.
func TestProposeRefusesWhatCannotBeSaved(t *testing.T) {
	ids := []NodeID{"a", "b"}
	for i := range 200 {
		ids = append(ids, NodeID(fmt.Sprintf("n%07d", i)))
	}
	e, now := leader(t, ids...)
	answers(e, now, ids[1:]...)
	voters := slices.Clone(e.st.Roster.Voters)
	for want, next := range map[string][]Voter{
		"can be saved":   append(slices.Clone(voters), Voter{ID: "new", Addr: "10.0.0.9:7946"}),
		"no proper name": append(slices.Clone(voters), Voter{Addr: "10.0.0.9:7946"}),
		"there twice":    append(slices.Clone(voters), voters[7]),
	} {
		if err := e.Propose(now, next); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want a word of %q, got %v", want, err)
		}
	}
	if err := e.Propose(now, voters[:len(voters)-1]); err != nil {
		t.Errorf("a roster that is too large cannot shrink: %v", err)
	}
}

// TestSizes: with as many voters as there may be, and the one more of an exchange, each message
// fits a packet, whatever the addresses and however many learners there are. So nobody needs to
// send a digest of the roster in its place.
func TestSizes(t *testing.T) {
	const packet = 1200 - 1 // gossip.MaxPacket, less the byte that says what it is
	ip := "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535"
	id := func(i int) NodeID { return NodeID(fmt.Sprintf("%08x", 0x89abcde0+i)) }
	highest := Term(maxTerm)
	r := Roster{Term: highest, Version: 1 << 40}
	for i := range 8 {
		r.Voters = append(r.Voters, Voter{ID: id(i), Addr: ip})
	}
	var next []NodeID
	for i := range 7 {
		next = append(next, id(i+1))
	}
	now := 100 * 365 * 24 * time.Hour
	note := []byte(strings.Repeat("n", 160)) // a pause, an offset and a replication ID
	cluster := strings.Repeat("c", 16)
	claim := Claim{
		ClusterID: cluster, Term: highest, Candidate: id(0), Sent: now, Roster: r, Data: Data{Term: highest, Offset: 1<<63 - 1},
		HolderTerm: highest, Released: true, Holding: true, Fenced: highest, Bootstrapping: true, Forced: true,
	}
	reply := ClaimReply{
		From: id(0), Term: highest, Sent: now, Denied: DeniedReachable, Highest: highest, Holder: id(1), HolderTerm: highest,
		Released: true, Born: true, Roster: &r,
	}
	why := strings.Repeat("w", 100)
	for _, m := range []Message{
		Renew{ClusterID: cluster, Term: highest, Holder: id(0), Sent: now, Bootstrapping: true, Roster: r, Successors: next, Primary: ip, Note: note},
		Renew{ClusterID: cluster, Term: highest, Holder: id(0), Sent: now, Roster: r, Successors: append(next[1:], "ffffffff"), Primary: ip, Note: note},
		RenewReply{From: id(0), Term: highest, Sent: now, Unreachable: true, Bootstrapping: true, Highest: highest, RosterTerm: highest, RosterVersion: 1 << 40, Roster: &r},
		claim, PreVote(claim), reply, PreVoteReply(reply),
		Release{ClusterID: cluster, Term: highest, Holder: id(0), Successors: next, Handed: 1<<63 - 1, Why: why},
		StandDown{ClusterID: cluster, Term: highest, Holder: id(0), Sent: now, Successors: next, Handed: 1<<63 - 1},
	} {
		b, err := Encode(m, feature.Own)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%T: %d bytes", m, len(b))
		if len(b) > packet {
			t.Errorf("%T takes %d bytes, a packet has %d", m, len(b), packet)
		}
	}
}
