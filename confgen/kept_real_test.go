package confgen_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/internal/directive"
)

// config is all that CONFIG GET says.
func (s *server) config() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	lines := strings.Split(s.do("CONFIG", "GET", "*"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		out[lines[i]] = lines[i+1]
	}
	return out
}

// A redis-server that was started with what confgen wrote does not differ from it, however it
// writes the values: else it would be set again for ever.
func TestNoDifferenceFromRealServer(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), loopback(t, 11)
	facts := redisFacts(dir, addr)
	facts.MaxMemory = "100mb"
	facts.Directives = map[string]string{
		"timeout": "600", "save": "900 1\n300 10", "hz": "600", "client-output-buffer-limit": "replica 512mb 128mb 60",
		"notify-keyspace-events": "KEg$lshzxetd", "maxmemory-policy": "ALLKEYS-LRU", "maxmemory-clients": "5%",
		"lazyfree-lazy-eviction": "yes", "slowlog-log-slower-than": "-1", "list-max-ziplist-size": "-2", "oom-score-adj": "no",
		"proc-title-template": "'{title} x'", "latency-tracking-info-percentiles": "50 99.90", "auto-aof-rewrite-min-size": "32MB",
		"lua-time-limit": "3000", "repl-backlog-ttl": "60", "maxmemory-samples": "10", "proto-max-bulk-len": "512mb",
		"appendonly": "YES", "slave-serve-stale-data": "no", "tcp-keepalive": "0", "oom-score-adj-values": "0 200 800",
	}
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), confgen.RedisConf(facts))
	write(t, filepath.Join(dir, confgen.ACLFileName), acl)
	s := start(t, "redis-server", conf, addr)

	running := s.config()
	for _, d := range confgen.CompareKept(confgen.Kept(facts), running, map[string]string{"appendonly": "yes"}) {
		t.Errorf("kept: %+v", d)
	}
	for _, d := range confgen.CompareChosen(confgen.Chosen(facts), running) {
		t.Errorf("chosen: %+v", d)
	}
	users := confgen.Users(confgen.ACLFacts{
		ClientPassword: clientPassword, AgentPassword: agentPassword, ReplicaPassword: replicaPassword, SentinelPassword: sentinelPassword,
	})
	different, others := confgen.CompareUsers(users, strings.Split(s.do("ACL", "LIST"), "\n"), nil)
	if len(different)+len(others) > 0 {
		t.Errorf("users: %+v, others %v", different, others)
	}

	// Whatever redis-server says of a directive means the same as itself.
	facts.Directives = map[string]string{}
	for name, value := range running {
		if value != "" && directive.Canonical(name) == name && !strings.Contains(value, "{") {
			facts.Directives[name] = value
		}
	}
	delete(facts.Directives, "maxmemory")
	for _, d := range confgen.CompareChosen(confgen.Chosen(facts), running) {
		t.Errorf("of itself: %+v", d)
	}
}

// Each directive that is kept can be set to what it is kept at, and is that then: so that what a
// client changed is as it was after one CONFIG SET.
func TestKeptCanBeSet(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), loopback(t, 12)
	facts := redisFacts(dir, addr)
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), confgen.RedisConf(facts))
	write(t, filepath.Join(dir, confgen.ACLFileName), acl)
	s := start(t, "redis-server", conf, addr)
	for _, k := range confgen.Kept(facts) {
		before := s.get(k.Name)
		if got := s.do("CONFIG", "SET", k.Name, k.Value); got != "OK" && !strings.HasPrefix(k.Name, "tls-") {
			t.Errorf("CONFIG SET %s %q: %s", k.Name, k.Value, got)
		}
		if after := s.get(k.Name); after != before || after != k.Value && !strings.HasPrefix(k.Name, "tls-") {
			t.Errorf("%s was %q, and is %q after it was set to %q", k.Name, before, after, k.Value)
		}
	}
	for _, u := range confgen.Users(confgen.ACLFacts{
		ClientPassword: clientPassword, AgentPassword: agentPassword, ReplicaPassword: replicaPassword, SentinelPassword: sentinelPassword,
	}) {
		before := s.do("ACL", "LIST")
		if got := s.do(append([]string{"ACL", "SETUSER", u.Name}, u.Rules...)...); got != "OK" {
			t.Errorf("ACL SETUSER %s: %s", u.Name, got)
		}
		if after := s.do("ACL", "LIST"); after != before {
			t.Errorf("ACL SETUSER %s changed\n%s\nto\n%s", u.Name, before, after)
		}
	}
}
