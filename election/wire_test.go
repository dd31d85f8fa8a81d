package election_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/feature"
)

func messages() []election.Message {
	r := election.NewRoster(3, []election.Voter{{ID: "b", Addr: "10.0.0.2:7946"}, {ID: "a", Addr: "[fd00::1]:7946"}})
	r.Term = 7
	return []election.Message{
		election.Renew{ClusterID: "c", Term: 7, Holder: "a", Sent: 5, Roster: r, Successors: []election.NodeID{"b"}, Primary: "10.0.0.1:6379", Note: []byte{0, 1, 255}},
		election.Renew{ClusterID: "c", Term: 7, Holder: "a", Sent: 5, Roster: r, Successors: []election.NodeID{"b", "learner"}},
		election.RenewReply{From: "b", Term: 7, Granted: true, Sent: 5, Highest: 7, RosterTerm: 7, RosterVersion: 3},
		election.RenewReply{From: "b", Term: 7, Sent: 5, Highest: 9},
		election.RenewReply{From: "b", Term: 7, Sent: 5, Highest: 9, Roster: &r},
		election.RenewReply{From: "b", Term: 1, Granted: true, Sent: 5, Bootstrapping: true, Highest: 1, RosterTerm: 1, RosterVersion: 1},
		election.Claim{ClusterID: "c", Term: 8, Candidate: "b", Sent: 1, Roster: r, Data: election.Data{Term: 7, Offset: -1}, HolderTerm: 7, Released: true, Holding: true, Fenced: 7},
		election.Claim{ClusterID: "c", Term: 1, Candidate: "b", Roster: r, Bootstrapping: true},
		election.ClaimReply{From: "a", Term: 8, Granted: true, Sent: 1, Highest: 8},
		election.ClaimReply{From: "a", Term: 8, Sent: 1, Denied: election.DeniedRoster, Highest: 8, Holder: "b", HolderTerm: 7, Released: true, Born: true, Roster: &r},
		election.Release{ClusterID: "c", Term: 8, Holder: "b", Successors: []election.NodeID{"a"}, Why: "stopped <by hand> & \"so\""},
		election.PreVote{ClusterID: "c", Term: 9, Candidate: "a", Sent: 1, Roster: roster(8, 2, "a", "b"), Data: election.Data{Term: 8, Offset: 5}, HolderTerm: 8, Fenced: 8},
		election.PreVoteReply{From: "b", Term: 9, Sent: 1, Denied: election.DeniedLease, Highest: 8},
		election.StandDown{ClusterID: "c", Term: 8, Holder: "b", Sent: 7, Successors: []election.NodeID{"a"}, Handed: 12},
	}
}

func TestWireRoundTrip(t *testing.T) {
	for _, m := range messages() {
		b, err := election.Encode(m, feature.Own)
		if err != nil {
			t.Errorf("Encode(%+v): %v", m, err)
			continue
		}
		got, from, err := election.Decode(b)
		if err != nil {
			t.Errorf("Decode(%s): %v", b, err)
			continue
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Errorf("%s:\n%s", b, d)
		}
		if from != feature.Own {
			t.Errorf("%s: the sender's features are %v, want %v", b, from, feature.Own)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := election.Encode(election.RenewReply{From: "b", Term: 7, Granted: true, Sent: 5, Highest: 7}, feature.Own)
	if err != nil {
		t.Fatal(err)
	}
	const claim = `{"t":"c","c":"c","e":2,"h":"a","s":1,"r":{"t":1,"v":1,"m":[["a","x"],["b","y"]]},"d":1,"o":1,"l":1}`
	if _, _, err := election.Decode([]byte(claim)); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"nothing":             ``,
		"no tag":              `{"f":"b","e":7}`,
		"tag not in front":    `{"f":"b","t":"a","e":7,"s":5,"x":7,"k":0,"v":0}`,
		"unknown tag":         strings.Replace(string(good), `"t":"a"`, `"t":"z"`, 1),
		"number for a string": strings.Replace(string(good), `"f":"b"`, `"f":7`, 1),
		"string for a number": strings.Replace(string(good), `"e":7`, `"e":"7"`, 1),
		"fraction":            strings.Replace(string(good), `"e":7`, `"e":7.5`, 1),
		"negative term":       strings.Replace(string(good), `"e":7`, `"e":-7`, 1),
		"term 0":              strings.Replace(string(good), `"e":7`, `"e":0`, 1),
		"term about to wrap":  strings.Replace(string(good), `"x":7`, `"x":18446744073709551615`, 1),
		"number for a bool":   strings.Replace(string(good), `"g":true`, `"g":1`, 1),
		"no sender":           strings.Replace(string(good), `"f":"b"`, `"f":""`, 1),
		"trailing":            string(good) + "{}",
		"cut off":             string(good[:len(good)-1]),
		"clock below zero":    strings.Replace(string(good), `"s":5`, `"s":-5`, 1),
		"voter without addr":  strings.Replace(claim, `["b","y"]`, `["b"]`, 1),
		"voter twice":         strings.Replace(claim, `["b","y"]`, `["a","y"]`, 1),
		"voters unordered":    strings.Replace(claim, `["a","x"],["b","y"]`, `["b","x"],["a","y"]`, 1),
		"no voters":           strings.Replace(claim, `["a","x"],["b","y"]`, ``, 1),
		"no cluster":          strings.Replace(claim, `"c":"c"`, `"c":""`, 1),
		"neither nor":         `{"t":"v","f":"a","e":2,"s":1,"x":2}`,
		"both":                `{"t":"v","f":"a","e":2,"g":true,"s":1,"y":"no","x":2}`,
		"successor unknown":   `{"t":"r","c":"c","e":1,"h":"a","s":1,"r":{"t":1,"v":1,"m":[["a","x"]]},"i":[1]}`,
	} {
		if m, _, err := election.Decode([]byte(s)); err == nil {
			t.Errorf("%s: Decode(%s) = %+v, want an error", name, s, m)
		}
	}
	if _, err := election.Encode(nil, feature.Own); err == nil {
		t.Error("Encode(nil): want an error")
	}
	if _, err := election.Encode(election.Release{ClusterID: "c", Term: 1, Holder: "\xff"}, feature.Own); err == nil {
		t.Error("Encode of an ID that is no text: want an error")
	}
}

// bigRenew is a renewal to n voters with the longest IDs that agents draw (16 hexadecimal digits).
func bigRenew(n int, addr string) election.Renew {
	m := election.Renew{ClusterID: "0123456789abcdef", Term: 123456, Holder: "0123456789abcdef", Sent: 1e18, Primary: addr, Note: make([]byte, 48)}
	for i := range n {
		id := election.NodeID(fmt.Sprintf("%016x", i+1))
		m.Roster.Voters = append(m.Roster.Voters, election.Voter{ID: id, Addr: addr})
		m.Successors = append(m.Successors, id)
	}
	m.Roster.Term, m.Roster.Version = 123456, 1234
	return m
}

func TestRenewFitsOnePacket(t *testing.T) {
	for _, addr := range []string{"192.168.100.100:17946", "[2001:db8:1111:2222:3333:4444:5555:6666]:17946"} {
		for _, n := range []int{3, 5, 9} {
			b, err := election.Encode(bigRenew(n, addr), feature.Own)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d voters at %s: %d bytes", n, addr, len(b))
			if len(b) > 1200 {
				t.Errorf("%d voters at %s: %d bytes, want at most 1200", n, addr, len(b))
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		b, err := election.Encode(m, feature.Own)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"t":"r"}`))
	f.Add([]byte(`{"t":"r","t":null,"r":{"m":[null]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _, err := election.Decode(b)
		if err != nil {
			return
		}
		again, err := election.Encode(m, feature.Own)
		if err != nil {
			t.Fatalf("Decode(%q) = %+v, which Encode refuses: %v", b, m, err)
		}
		n, _, err := election.Decode(again)
		if err != nil {
			t.Fatalf("Decode(Encode(%+v)): %v", m, err)
		}
		if d := cmp.Diff(m, n, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
		// Whatever was let in must not upset an elector.
		e := election.New("a", election.State{ClusterID: "c", Term: 3, Holder: "b", HolderTerm: 3, Roster: election.NewRoster(1, []election.Voter{{ID: "a"}, {ID: "b"}})}, 0)
		for now := range election.Time(3) {
			e.Step(now*election.Lapse, m, election.Local{})
			e.Tick(now*election.Lapse, nil)
			e.Claim(now*election.Lapse, election.Local{Data: election.Data{Term: 1}}, 0)
		}
	})
}

func BenchmarkEncodeRenew9(b *testing.B) {
	m := bigRenew(9, "192.168.100.100:17946")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := election.Encode(m, feature.Own); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeRenew9(b *testing.B) {
	p, err := election.Encode(bigRenew(9, "192.168.100.100:17946"), feature.Own)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := election.Decode(p); err != nil {
			b.Fatal(err)
		}
	}
}
