package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
)

// threeMembers are n1, the holder, n2 and n3.
func threeMembers() reconcile.Observed {
	o := reconcile.Observed{Self: "1", At: time.Hour, Election: reconcile.Election{ClusterID: "c", Lease: true, Settled: true, EverHeard: true}}
	for _, id := range []string{"1", "2", "3"} {
		address := "10.0.0." + id
		o.Members = append(o.Members, reconcile.Member{ID: id, Name: "n" + id, ClusterID: "c", Alive: true, Gossip: address + ":7946", Redis: address + ":6379"})
		o.Election.Voters = append(o.Election.Voters, reconcile.Voter{ID: id, Addr: address + ":7946"})
	}
	return o
}

func TestMemberToForget(t *testing.T) {
	m := func(id, name string, alive bool) reconcile.Member {
		return reconcile.Member{ID: id, Name: name, Alive: alive, Gossip: "10.0.0.3:7946"}
	}
	for _, tt := range []struct {
		name    string
		members []reconcile.Member
		who     string
		want    string // an ID, or part of the refusal
	}{
		{"by name", []reconcile.Member{m("1", "n1", true), m("3", "n3", false)}, "n3", "3"},
		{"by id", []reconcile.Member{m("3", "n3", false), m("4", "n3", false)}, "4", "4"},
		{"its successor has its name", []reconcile.Member{m("3", "n3", false), m("4", "n3", true)}, "n3", "3"},
		{"two that are gone have the name", []reconcile.Member{m("3", "n3", false), m("4", "n3", false)}, "n3", "say which, by its id"},
		{"alive", []reconcile.Member{m("3", "n3", true)}, "n3", "n3 is alive"},
		{"alive, by id", []reconcile.Member{m("3", "n3", true)}, "3", "n3 is alive"},
		{"nobody", []reconcile.Member{m("3", "n3", false)}, "n4", `no member "n4"`},
	} {
		got, err := memberToForget(tt.members, tt.who)
		if err != nil && !strings.Contains(err.Error(), tt.want) || err == nil && got.ID != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, got.ID, err, tt.want)
		}
	}
	if all := withVoters(threeMembers().Members, []election.Voter{{ID: "3", Addr: "10.0.0.3:7946"}, {ID: "9", Addr: "10.0.0.9:7946"}}); len(all) != 4 || all[3].Name != "9" || all[3].Alive {
		t.Errorf("with a voter that gossip does not know: %+v", all)
	}
}

func TestCheckRemoval(t *testing.T) {
	here := func(voters, here int) Standing { return standingOf(voters, here, 1, true) }
	for _, tt := range []struct {
		name   string
		change func(*reconcile.Observed)
		after  Standing
		req    removal
		want   string // empty: it may be
	}{
		{"one that left", func(*reconcile.Observed) {}, here(2, 2), removal{ID: "3", Name: "n3", Left: true}, ""},
		{"one that is gone", func(o *reconcile.Observed) { o.Members[2].Alive = false }, here(2, 2), removal{ID: "3", Name: "n3"}, ""},
		{"one that nobody has heard of", func(*reconcile.Observed) {}, here(3, 3), removal{ID: "9", Name: "9"}, ""},
		{"alive", func(*reconcile.Observed) {}, here(2, 2), removal{ID: "3", Name: "n3"}, "n3 is alive"},
		{"the primary", func(*reconcile.Observed) {}, here(2, 2), removal{ID: "1", Name: "n1", Left: true}, "n1 is the primary"},
		{"not the holder", func(o *reconcile.Observed) { o.Election.Lease = false }, here(2, 2), removal{ID: "3", Name: "n3", Left: true}, "not the primary any more"},
		{"paused", func(o *reconcile.Observed) { o.Paused = true }, here(2, 2), removal{ID: "3", Name: "n3", Left: true}, "paused"},
		{"no majority afterwards", func(*reconcile.Observed) {}, here(3, 1), removal{ID: "3", Name: "n3", Left: true}, "without n3, 1 of 3 voters would be here, and a primary needs 2"},
	} {
		o := threeMembers()
		tt.change(&o)
		err := checkRemoval(o, tt.after, tt.req)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestCheckLeave(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*reconcile.Observed)
		want   string
	}{
		{"all are there", func(*reconcile.Observed) {}, ""},
		{"one of three is away", func(o *reconcile.Observed) { o.Members[2].Alive = false }, "1 of 2 voters would be here"},
		{"one of two", func(o *reconcile.Observed) { o.Election.Voters = o.Election.Voters[:2] }, ""},
		{"the last", func(o *reconcile.Observed) { o.Election.Voters = o.Election.Voters[:1] }, "the last node"},
		{"no cluster", func(o *reconcile.Observed) { o.Election.ClusterID = "" }, "in no cluster yet"},
		{"paused", func(o *reconcile.Observed) { o.Paused = true }, "paused"},
		{"no primary", func(o *reconcile.Observed) { o.Election.EverHeard = false }, "no primary"},
	} {
		o := threeMembers()
		tt.change(&o)
		err := checkLeave(o, election.View{})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestRetirable(t *testing.T) {
	gone := func(o *reconcile.Observed) { o.Members[2].Alive = false }
	newDisk := func(o *reconcile.Observed) {
		m := o.Members[2]
		m.ID = "4"
		o.Members[2].Alive = false
		o.Members = append(o.Members, m)
	}
	for _, tt := range []struct {
		name   string
		change func(*reconcile.Observed)
		gone   time.Duration // how long 3 has been
		after  time.Duration
		want   string
	}{
		{"all are there", func(*reconcile.Observed) {}, 0, time.Minute, ""},
		{"gone, and nothing is said of that", gone, 1000 * time.Hour, 0, ""},
		{"not for long enough", gone, 59 * time.Second, time.Minute, ""},
		{"for long enough", gone, time.Minute, time.Minute, "3"},
		{"another disk at its place", newDisk, replacedAfter, 0, "3"},
		{"that has only just come", newDisk, replacedAfter - 1, 0, ""},
		{"whose name is another one", func(o *reconcile.Observed) { newDisk(o); o.Members[3].Name = "n4" }, time.Hour, 0, ""},
		{"at another address", func(o *reconcile.Observed) { newDisk(o); o.Members[3].Gossip = "10.0.0.4:7946" }, time.Hour, 0, ""},
		{"of no cluster yet", func(o *reconcile.Observed) { newDisk(o); o.Members[3].ClusterID = "" }, time.Hour, 0, ""},
		{"a voter that gossip does not know", func(o *reconcile.Observed) {
			newDisk(o)
			o.Members = slices.Delete(o.Members, 2, 3)
		}, time.Hour, 0, "3"},
		{"done already", func(o *reconcile.Observed) { newDisk(o); o.Forgotten = []string{"3"} }, time.Hour, time.Minute, ""},
		{"a member without a vote", func(o *reconcile.Observed) {
			gone(o)
			o.Election.Voters = o.Election.Voters[:2]
		}, time.Hour, time.Minute, "3"},
	} {
		o := threeMembers()
		tt.change(&o)
		got := ""
		for _, m := range retirable(o, map[string]time.Duration{"3": tt.gone}, tt.after) {
			got += m.ID
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestStanding(t *testing.T) {
	for _, tt := range []struct {
		voters, here, synced int
		primary              bool
		want                 int
	}{
		{1, 1, 0, true, 0},
		{2, 2, 1, true, 0},
		{3, 3, 2, true, 1},
		{3, 3, 1, true, 1}, // one of them is a Sentinel alone
		{3, 3, 0, true, 0}, // nobody could take over
		{3, 2, 1, true, 0},
		{4, 4, 3, true, 1},
		{4, 2, 1, true, 0}, // a majority is gone already, and the lease about to end
		{5, 5, 4, true, 2},
		{5, 4, 3, true, 1},
		{5, 5, 1, true, 1},
		{7, 7, 6, true, 3},
		{3, 3, 2, false, 0},
	} {
		if got := standingOf(tt.voters, tt.here, tt.synced, tt.primary).Survives; got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
	v := election.View{
		Lease: true, Answered: []election.NodeID{"2", "4"}, Successors: []election.NodeID{"2", "4"},
		Roster: election.Roster{Voters: []election.Voter{{ID: "1"}, {ID: "2"}, {ID: "3"}, {ID: "4"}}},
	}
	before := standing(v, "1")
	if before.Survives != 0 || before.Here != 3 || before.Majority != 3 {
		t.Errorf("one of four is gone: %v", before)
	}
	for id, want := range map[string]Standing{
		"3": standingOf(3, 3, 2, true), "4": standingOf(3, 2, 1, true), "9": before,
	} {
		if got := before.without(v, id); got != want {
			t.Errorf("without %s: %v, want %v", id, got, want)
		}
	}
}

func TestRaise(t *testing.T) {
	away := func(s *Status, names ...string) {
		for i := range s.Nodes {
			if slices.Contains(names, s.Nodes[i].Name) {
				s.Nodes[i].State, s.Nodes[i].Role, s.Nodes[i].Replication = "unreachable", "unknown", nil
			}
		}
	}
	for _, tt := range []struct {
		name                 string
		voters, here, synced int
		change               func(*Status)
		want                 string
	}{
		{"three, all well", 3, 3, 2, func(*Status) {}, "add two nodes"},
		{"two", 2, 2, 1, func(s *Status) { s.Nodes = s.Nodes[:2] }, "add a node"},
		{"one is away", 3, 2, 1, func(s *Status) { away(s, "c") }, "start c, or forget it and add another"},
		{"two are away", 3, 1, 0, func(s *Status) { away(s, "b", "c") }, "start b and c, or forget them and add others"},
		{"nobody in sync", 3, 3, 0, func(s *Status) { s.Nodes[1].State, s.Nodes[2].State = "syncing", "loading" }, "wait until b and c is in sync"},
		{"one of two replicas in sync", 3, 3, 1, func(s *Status) { s.Nodes[2].State = "syncing" }, "wait until c is in sync"},
		{"Sentinels alone", 5, 5, 1, func(*Status) {}, "add a node with a redis-server"},
	} {
		s := healthyStatus()
		tt.change(&s)
		if got := standingOf(tt.voters, tt.here, tt.synced, true).raise(s.Nodes); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestFindGhosts(t *testing.T) {
	at := netip.MustParseAddrPort
	down := redis.Flags{SDown: true}
	sentinel := func(a string, f redis.Flags) redis.SentinelView { return redis.SentinelView{Addr: at(a), Flags: f} }
	replica := func(a string, f redis.Flags) redis.ReplicaView { return redis.ReplicaView{Addr: at(a), Flags: f} }
	member := func(id, a string, state gossip.State) gossip.Member {
		return gossip.Member{Meta: gossip.Meta{ID: id, RedisPort: 6379, SentinelPort: 26379}, Addr: at(a), State: state}
	}
	members := []gossip.Member{member("1", "10.0.0.1:7946", gossip.Alive), member("2", "10.0.0.2:7946", gossip.Dead)}
	voters := []election.Voter{{ID: "1", Addr: "10.0.0.1:7946"}, {ID: "3", Addr: "10.0.0.3:7946"}}
	for _, tt := range []struct {
		name     string
		peers    []redis.SentinelView
		replicas []redis.ReplicaView
		want     string
	}{
		{"members", []redis.SentinelView{sentinel("10.0.0.1:26379", redis.Flags{})}, []redis.ReplicaView{replica("10.0.0.1:6379", redis.Flags{})}, ""},
		{"members that are gone, but not for good", []redis.SentinelView{sentinel("10.0.0.2:26379", down)}, []redis.ReplicaView{replica("10.0.0.2:6379", down)}, ""},
		{"a voter that gossip does not know", []redis.SentinelView{sentinel("10.0.0.3:26379", down)}, []redis.ReplicaView{replica("10.0.0.3:6379", down)}, ""},
		{"nobody", []redis.SentinelView{sentinel("10.0.0.4:26379", down)}, []redis.ReplicaView{replica("10.0.0.4:6379", redis.Flags{Disconnected: true})}, "sentinel 10.0.0.4:26379, replica 10.0.0.4:6379"},
		{"nobody that is known, and alive", []redis.SentinelView{sentinel("10.0.0.4:26379", redis.Flags{})}, nil, ""},
		{"another port of a member", nil, []redis.ReplicaView{replica("10.0.0.1:6380", down)}, "replica 10.0.0.1:6380"},
	} {
		if got := findGhosts(tt.peers, tt.replicas, members, voters).String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	both := ghosts{sentinels: []netip.AddrPort{at("10.0.0.4:26379"), at("10.0.0.5:26379")}}.both(ghosts{sentinels: []netip.AddrPort{at("10.0.0.5:26379")}})
	if both.String() != "sentinel 10.0.0.5:26379" || !(ghosts{}).none() || both.none() {
		t.Errorf("in both: %v", both)
	}
}

// TestTurns: one node's Sentinel is away at a time, and one whose agent dies meanwhile does not
// keep the others waiting.
func TestTurns(t *testing.T) {
	var turns turns
	for i, tt := range []struct {
		turn turn
		at   time.Duration
		ok   bool
	}{
		{turn{By: "a"}, 0, true},
		{turn{By: "b"}, time.Second, false},
		{turn{By: "b", Done: true}, time.Second, false},
		{turn{By: "a"}, 2 * time.Second, true},
		{turn{By: "a", Done: true}, 3 * time.Second, true},
		{turn{By: "b"}, 3 * time.Second, true},
		{turn{By: "a"}, 3*time.Second + turnFor, true},
	} {
		if err := turns.take(tt.turn, tt.at); (err == nil) != tt.ok {
			t.Errorf("%d: %+v at %v: %v", i, tt.turn, tt.at, err)
		}
	}
}

func TestAwayVoter(t *testing.T) {
	o := threeMembers()
	o.Members[2].Alive = false
	if got := awayVoter(o.Members, o.Election.Voters[2]); got != "n3 (10.0.0.3:7946)" {
		t.Error(got)
	}
	next := o.Members[2]
	next.ID, next.Alive = "4", true
	if got := awayVoter(append(o.Members, next), o.Election.Voters[2]); got != "n3 (id 3, whose disk was at 10.0.0.3:7946, where n3 is now)" {
		t.Error(got)
	}
}
