package redis

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunning(t *testing.T) {
	t.Parallel()
	_, s := newPrimary(t)
	names := []string{"appendonly", "requirepass", "no-such-directive", "masteruser"}
	want := map[string]string{"appendonly": "no", "requirepass": "", "masteruser": ReplicaUser}
	for _, old := range []bool{false, true} { // one command, or one each
		s.plain.Store(old)
		r, err := s.Running(t.Context(), names)
		must(t, err)
		if diff := cmp.Diff(want, r.Config); diff != "" {
			t.Errorf("before Redis 7 %v:\n%s", old, diff)
		}
		if len(r.Users) != 5 || !strings.HasPrefix(r.Users[0], "user ") {
			t.Errorf("users: %q", r.Users)
		}
	}
}

// A server that is older than Redis 7 knows no CONFIG GET of several names.
func TestRunningBefore7(t *testing.T) {
	t.Parallel()
	addr := fakeServer(t, func(args []string) string {
		switch {
		case strings.EqualFold(args[0], "auth"):
			return "+OK"
		case strings.EqualFold(args[0], "acl"):
			return "*1\r\n" + bulk("user default on nopass")
		case len(args) == 3:
			return "*2\r\n" + bulk(args[2]) + "\r\n" + bulk("yes")
		}
		return "-ERR Unknown subcommand or wrong number of arguments for 'GET'. Try CONFIG HELP."
	})
	s := connect(t, addr, agent)
	for range 2 {
		r, err := s.Running(t.Context(), []string{"a", "b"})
		must(t, err)
		if diff := cmp.Diff(map[string]string{"a": "yes", "b": "yes"}, r.Config); diff != "" {
			t.Error(diff)
		}
	}
}

func TestInfoSaysThatAReplicaTakesWrites(t *testing.T) {
	t.Parallel()
	_, s := newServer(t, placeholder)
	for _, writable := range []bool{false, true, false} {
		must(t, s.ConfigSet(t.Context(), Directive{"replica-read-only", map[bool]string{true: "no", false: "yes"}[writable]}))
		if i, err := s.Info(t.Context()); err != nil || i.Writable != writable {
			t.Errorf("writable: %v, want %v (%v)", i.Writable, writable, err)
		}
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	p, s := newPrimary(t)
	c := client(t, p.addr, "default")
	subscribe(t, p)
	must(t, c.Do(t.Context(), "CONFIG", "SET", "requirepass", "").Err()) // it is that already
	must(t, c.Do(t.Context(), "CONFIG", "SET", "requirepass", "other").Err())
	must(t, c.Do(t.Context(), "ACL", "DELUSER", ReplicaUser).Err())

	rules := func(more ...string) []string {
		return append([]string{"reset", "on", ">" + testPassword, "~*", "&*"}, more...)
	}
	r, err := s.Restore(t.Context(),
		[]Directive{{"requirepass", ""}, {"appendonly", "perhaps"}, {"min-replicas-max-lag", "7"}},
		[]UserRules{{"default", rules("+@all")}, {ReplicaUser, rules("-@all", "+psync")}, {"redisd-x", []string{"nonsense"}}, {"app", rules("+@all")}})
	must(t, err)
	if len(r.Refused) != 2 || r.Refused["appendonly"] == nil || r.Refused["redisd-x"] == nil {
		t.Errorf("refused: %v", r.Refused)
	}
	want := map[string]string{"requirepass": "", "appendonly": "no", "min-replicas-max-lag": "7"}
	if diff := cmp.Diff(want, r.After.Config); diff != "" {
		t.Error(diff)
	}
	if was := r.Before.Config["requirepass"]; was != "other" {
		t.Errorf("requirepass was %q", was)
	}
	has := func(users []string, name string) bool {
		return slices.ContainsFunc(users, func(l string) bool { return strings.HasPrefix(l, "user "+name+" ") })
	}
	if has(r.Before.Users, ReplicaUser) || !has(r.After.Users, ReplicaUser) {
		t.Errorf("users before %q, after %q", r.Before.Users, r.After.Users)
	}
	must(t, client(t, p.addr, "default").Ping(t.Context()).Err())
	must(t, c.Ping(t.Context()).Err())
	if n, err := c.Publish(t.Context(), "channel", "x").Result(); n != 1 {
		t.Errorf("%d subscriptions are left of a user that was set to what it is, want 1: %v", n, err)
	}
}

func TestRestoreNotCarriedOut(t *testing.T) {
	t.Parallel()
	p, s := newPrimary(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := s.Restore(ended, []Directive{{"appendonly", "yes"}}, nil); err == nil {
		t.Errorf("restored without a connection: %+v", r)
	}
	must(t, client(t, p.addr, "default").Do(t.Context(), "ACL", "SETUSER", AgentUser, "-config|set").Err())
	r, err := s.Restore(t.Context(), []Directive{{"appendonly", "yes"}}, []UserRules{{"app", []string{"off"}}})
	if AnswerOf(err) != NoAuth {
		t.Errorf("restored without permission: %+v, %v", r, err)
	}
}
