package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/redisd/redisd/reconcile"
)

func TestOlder(t *testing.T) {
	member := func(id string, release int) reconcile.Member {
		return reconcile.Member{ID: id, Alive: true, Redis: "10.0.0.1:6379", Release: release}
	}
	tests := []struct {
		name    string
		members []reconcile.Member // the first is this node, the last the target
		self    bool
		others  string
	}{
		{"all alike", []reconcile.Member{member("a", 7), member("b", 7), member("c", 7)}, false, ""},
		{"the first replica is upgraded", []reconcile.Member{member("a", 7), member("b", 7), member("c", 8)}, true, "b"},
		{"all but the primary are", []reconcile.Member{member("a", 7), member("b", 8), member("c", 8)}, true, ""},
		{"the primary was upgraded first", []reconcile.Member{member("a", 8), member("b", 7), member("c", 7)}, false, ""},
		{"not known", []reconcile.Member{member("a", 7), member("b", 0), member("c", 7)}, false, ""},
		{"of the target it is not known", []reconcile.Member{member("a", 7), member("b", 7), member("c", 0)}, false, ""},
		{"away", []reconcile.Member{member("a", 8), {ID: "b", Redis: "10.0.0.2:6379", Release: 7}, member("c", 8)}, false, ""},
		{"no redis-server", []reconcile.Member{member("a", 8), {ID: "b", Alive: true, Release: 7}, member("c", 8)}, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			self, others := older(reconcile.Observed{Self: "a", Members: tt.members}, tt.members[len(tt.members)-1])
			var ids []string
			for _, m := range others {
				ids = append(ids, m.ID)
			}
			if self != tt.self || strings.Join(ids, " ") != tt.others {
				t.Errorf("this node %v, others %q; want %v, %q", self, ids, tt.self, tt.others)
			}
		})
	}
}

func TestVersionWarnings(t *testing.T) {
	status := func(versions ...string) (s Status) {
		for i, v := range versions {
			n := NodeStatus{Name: string(rune('a' + i)), Role: "replica", Versions: Versions{Redis: v}}
			if i == 0 {
				n.Role, n.Lease = "primary", true
			}
			s.Nodes = append(s.Nodes, n)
		}
		return s
	}
	for _, tt := range []struct {
		versions []string
		want     []string // a part of each
	}{
		{[]string{"7.0.15", "7.0.14", ""}, nil},
		{[]string{"7.0.15", "8.0.2", "7.0.15"}, []string{"b has Redis 8.0.2, newer than the Redis 7.0.15 of the primary a"}},
		{[]string{"8.0.2", "7.0.15", "valkey 8.1.1"}, []string{"b has Redis 7.0.15 and the primary a a newer Redis 8.0.2", "c has Valkey 8.1.1 and the primary a a newer Redis 8.0.2"}},
		{[]string{"valkey 8.1.1", "7.0.15"}, []string{"b has Redis 7.0.15 and the primary a a newer Valkey 8.1.1"}},
	} {
		got := status(tt.versions...).VersionWarnings()
		if len(got) != len(tt.want) || !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
			t.Errorf("%q: %q, want %q", tt.versions, got, tt.want)
		}
	}
	if got := (Status{Nodes: []NodeStatus{{Role: "replica", Versions: Versions{Redis: "8.0.2"}}}}).VersionWarnings(); got != nil {
		t.Errorf("without a primary: %q", got)
	}
}
