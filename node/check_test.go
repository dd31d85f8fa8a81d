package node

import (
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// wellOff is the primary a of three nodes that are in sync.
func wellOff() reconcile.Observed {
	member := func(id string) reconcile.Member {
		return reconcile.Member{ID: "id-" + id, Name: id, Redis: id + ":6379", Alive: true, Ready: true, Priority: 100}
	}
	return reconcile.Observed{
		Self: "id-a",
		Election: reconcile.Election{
			ClusterID: "c1", Holder: "id-a", Lease: true, Successors: []string{"id-c", "id-b"},
			Voters: []reconcile.Voter{{ID: "id-a"}, {ID: "id-b"}, {ID: "id-c"}},
		},
		Redis: reconcile.Redis{
			Running: true, Known: true, Role: reconcile.Primary,
			Replicas: []reconcile.Link{{Addr: "b:6379", Online: true}, {Addr: "c:6379", Online: true}},
		},
		Members: []reconcile.Member{member("a"), member("b"), member("c")},
	}
}

func TestCheckSwitchover(t *testing.T) {
	tests := []struct {
		name   string
		to     string
		change func(*reconcile.Observed)
		want   string // the target, or, after "!", a part of what is said
	}{
		{"the first successor", "", func(*reconcile.Observed) {}, "c"},
		{"by name", "b", func(*reconcile.Observed) {}, "b"},
		{"by ID", "id-b", func(*reconcile.Observed) {}, "b"},
		{"the next successor", "", func(o *reconcile.Observed) { o.Members[2].Priority = 0 }, "b"},
		{"not announced yet", "", func(o *reconcile.Observed) { o.Election.Successors = nil }, "b"},
		{"unknown", "d", func(*reconcile.Observed) {}, `!there is no node "d"; there are: a, b, c`},
		{"itself", "a", func(*reconcile.Observed) {}, "!a is the primary already"},
		{"paused", "", func(o *reconcile.Observed) { o.Paused = true }, "!the cluster is paused: `redisd resume` first"},
		{"no majority", "", func(o *reconcile.Observed) { o.Election.Lease = false }, "!a majority of the voters does not answer the primary (a switchover needs 2 of 3)"},
		{"not the primary", "", func(o *reconcile.Observed) { o.Election.Lease, o.Election.Holder = false, "id-b" }, "!not the primary any more"},
		{"not promoted yet", "", func(o *reconcile.Observed) { o.Redis.Role = reconcile.Replica }, "!a failover to this node is under way"},
		{"fenced yet", "", func(o *reconcile.Observed) { o.Redis.MinReplicas = reconcile.Fence }, "!a failover to this node is under way"},
		{"away", "b", func(o *reconcile.Observed) { o.Members[1].Alive = false }, "!b is not reachable"},
		{"priority 0", "b", func(o *reconcile.Observed) { o.Members[1].Priority = 0 }, "!b may not become primary: its priority is 0"},
		{"a sentinel", "b", func(o *reconcile.Observed) { o.Members[1].Redis = "" }, "!b may not become primary: it runs no redis-server"},
		{"no voter", "b", func(o *reconcile.Observed) { o.Election.Voters = o.Election.Voters[2:] }, "!b may not become primary: it is no voter yet"},
		{"no link", "b", func(o *reconcile.Observed) { o.Redis.Replicas = o.Redis.Replicas[1:] }, "!b does not replicate from the primary"},
		{"copying", "b", func(o *reconcile.Observed) { o.Redis.Replicas[0].Online = false }, "!b is not in sync: the dataset is still being copied"},
		{"lagging", "b", func(o *reconcile.Observed) { o.Redis.Replicas[0].Lag = 5 * time.Second }, "!b is not in sync: it acknowledged last 5s ago, the limit is 2s"},
		{"nobody", "", func(o *reconcile.Observed) {
			o.Redis.Replicas[0].Online, o.Members[2].Alive = false, false
		}, "!no replica is in sync, so nobody can take over without losing data: b is not in sync: the dataset is still being copied to it; wait until `redisd status` shows it running; c is not reachable"},
		{"alone", "", func(o *reconcile.Observed) { o.Members, o.Redis.Replicas = o.Members[:1], nil }, "!this node is the only one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := wellOff()
			tt.change(&o)
			m, err := CheckSwitchover(o, tt.to)
			said, refused := strings.CutPrefix(tt.want, "!")
			switch {
			case refused && (err == nil || !strings.Contains(err.Error(), said)):
				t.Errorf("%q, %v; want a refusal: %s", m.Name, err, said)
			case !refused && (err != nil || m.Name != tt.want):
				t.Errorf("%q, %v; want %q", m.Name, err, tt.want)
			case err != nil && strings.Contains(err.Error(), "\n"):
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

func TestCheckBehind(t *testing.T) {
	if err := CheckBehind("b", MaxBehind); err != nil {
		t.Error(err)
	}
	err := CheckBehind("b", MaxBehind+1)
	if err == nil || !strings.Contains(err.Error(), "b is 3125001 bytes behind, the limit is 3125000") {
		t.Error(err)
	}
}
