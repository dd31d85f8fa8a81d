package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// healthyStatus is three nodes, all well.
func healthyStatus() Status {
	node := func(name, address, role string) NodeStatus {
		return NodeStatus{
			ID: name, Name: name, Address: address, Role: role, State: "running", Voter: true,
			Replication: &Replication{Link: "up"},
			Sentinel:    SentinelStatus{State: "running", Primary: "10.0.0.1:6379", Quorum: 2, Known: 3},
		}
	}
	return Status{
		Cluster: "cache", ClusterID: "c1", Voters: 3, Majority: 2,
		Primary: &Primary{Name: "a", Address: "10.0.0.1:6379"},
		Nodes:   []NodeStatus{node("a", "10.0.0.1", "primary"), node("b", "10.0.0.2", "replica"), node("c", "10.0.0.3", "replica")},
	}
}

func TestJudge(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Status)
		health string
		says   string // in a problem; empty: no problem at all
	}{
		{"well", func(*Status) {}, "healthy", ""},
		{"not bootstrapped", func(s *Status) { s.ClusterID, s.Primary = "", nil }, "down", "not bootstrapped yet: 3 of 3"},
		{"no primary", func(s *Status) { s.Primary = nil }, "down", "no primary"},
		{"fenced", func(s *Status) { s.Nodes[0].State = "fenced" }, "down", "accepts no writes"},
		{"replica away", func(s *Status) { s.Nodes[2].State = "unreachable" }, "degraded", "c (10.0.0.3) is unreachable"},
		{"just the majority", func(s *Status) { s.Nodes[2].State = "unreachable" }, "degraded", "2 of 3 voters are here, and no further node can be lost: start c, or forget it and add another"},
		{"no majority", func(s *Status) {
			s.Primary, s.Nodes[1].State, s.Nodes[2].State = nil, "unreachable", "unreachable"
		}, "down", "1 of 3 voters are here, and a primary needs 2: start b and c"},
		{"link down", func(s *Status) { s.Nodes[1].Replication.Link = "down" }, "degraded", "b does not replicate"},
		{"links being made anew", func(s *Status) {
			for i := range s.Nodes[1:] {
				s.Nodes[1+i].Replication = &Replication{Link: "down", Changing: true}
			}
		}, "healthy", ""},
		{"one being made anew, the other down", func(s *Status) {
			s.Nodes[1].Replication = &Replication{Link: "down", Changing: true}
			s.Nodes[2].Replication.Link = "down"
		}, "degraded", "c does not replicate"},
		{"a full copy after a change", func(s *Status) {
			s.Nodes[1].State, s.Nodes[1].Replication = "syncing", &Replication{Link: "down", Changing: true}
		}, "degraded", "b is syncing"},
		{"lags", func(s *Status) { s.Nodes[1].Replication.LagSeconds = 5 }, "degraded", "b lags: the primary has not heard from it for 5 s"},
		{"nobody in sync", func(s *Status) {
			s.Nodes[1].Replication.Link, s.Nodes[2].Replication.Link = "down", "down"
		}, "degraded", "no replica is in sync"},
		{"sentinel wrong", func(s *Status) { s.Nodes[1].Sentinel.Primary = "10.0.0.3:6379" }, "degraded", "the sentinel on b names 10.0.0.3:6379"},
		{"sentinel stopped", func(s *Status) { s.Nodes[1].Sentinel.State = "stopped" }, "degraded", "redis-sentinel on b is stopped"},
		{"sentinel lonely", func(s *Status) { s.Nodes[1].Sentinel.Known = 1 }, "degraded", "knows 1 of 3"},
		{"paused", func(s *Status) { s.Paused = true }, "degraded", "paused"},
		{"exit", func(s *Status) { s.Nodes[1].State, s.Nodes[1].LastExit = "stopped", "exit status 1" }, "degraded", "stopped (exit status 1)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := healthyStatus()
			test.change(&s)
			var primary *NodeStatus
			if s.Primary != nil {
				primary = &s.Nodes[0]
			}
			s.judge(primary, 3)
			if s.Health != test.health {
				t.Errorf("health %q, want %q: %v", s.Health, test.health, s.Problems)
			}
			found := slices.ContainsFunc(s.Problems, func(p string) bool { return strings.Contains(p, test.says) })
			if test.says == "" && len(s.Problems) > 0 || test.says != "" && !found {
				t.Errorf("problems %q, want %q", s.Problems, test.says)
			}
		})
	}
}

func TestRelinks(t *testing.T) {
	const since = time.Hour
	down := reconcile.Redis{Role: reconcile.Replica}
	with := func(change func(*reconcile.Redis)) reconcile.Redis {
		r := down
		change(&r)
		return r
	}
	for _, c := range []struct {
		name       string
		redis      reconcile.Redis
		since, now time.Duration
		want       bool
	}{
		{"just now", down, since, since + time.Second, true},
		{"longer ago", down, since, since + reconcile.Relink, false},
		{"the same primary since this agent began", down, 0, time.Second, false},
		{"up", with(func(r *reconcile.Redis) { r.LinkUp = true }), since, since, false},
		{"copies", with(func(r *reconcile.Redis) { r.Syncing = true }), since, since, false},
		{"loads", with(func(r *reconcile.Redis) { r.Loading = true }), since, since, false},
		{"a primary", with(func(r *reconcile.Redis) { r.Role = reconcile.Primary }), since, since, false},
	} {
		if got := relinks(c.redis, c.since, c.now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestPublishes(t *testing.T) {
	const since, soon, late = time.Hour, time.Hour + time.Second, time.Hour + 2*reconcile.PublishAgain
	for _, c := range []struct {
		name              string
		wrong, since, now time.Duration
		want              bool
	}{
		{"a new primary, and Sentinel was not asked since", 0, since, soon, true},
		{"seen to be wrong", since, 0, soon, true},
		{"wrong for too long", since, 0, late, false},
		{"a new primary, long ago", 0, since, late, false},
		{"neither", 0, 0, soon, false},
	} {
		if got := publishes(reconcile.Sentinel{WrongSince: c.wrong}, c.since, c.now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestRedact(t *testing.T) {
	const text = `# a comment with masterauth word
masterauth secret1
user default reset on #0123456789abcdef ~* &* +@all
user x on >secret2 ~*
sentinel auth-pass cache secret3
sentinel sentinel-pass secret4
maxmemory 1gb
`
	got := Redact(text)
	for _, secret := range []string{"secret1", "secret2", "secret3", "secret4", "0123456789abcdef"} {
		if strings.Contains(got, secret) {
			t.Errorf("%q is shown:\n%s", secret, got)
		}
	}
	for _, keep := range []string{"masterauth word", "maxmemory 1gb", "~* &* +@all"} {
		if !strings.Contains(got, keep) {
			t.Errorf("%q is gone:\n%s", keep, got)
		}
	}
}
