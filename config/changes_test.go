package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// setters give each key another good value, as TOML.
var setters = map[string]string{
	"cluster.name": `"other"`, "cluster.secret_file": `"/etc/other"`, "cluster.expect": "5", "cluster.voters": "7", "cluster.replace_after": `"5m0s"`, "cluster.reap_after": `"24h0m0s"`, "cluster.join": `["db1"]`, "cluster.gossip_port": "7947",
	"node.name": `"db9"`, "node.address": `"10.0.0.9"`, "node.interface": `"eth9"`, "node.roles": `["sentinel"]`, "node.priority": "9", "node.zone": `"west"`,
	"node.state_dir": `"/srv/state"`, "node.run_dir": `"/srv/run"`,
	"redis.port": "6380", "redis.listen": `["10.0.0.0/24", "lo"]`, "redis.password_file": `"/etc/password"`, "redis.users_file": `"/etc/users"`, "redis.binary": `"valkey-server"`, "redis.maxmemory": `"2gb"`, "redis.min_replicas_to_write": "2", "redis.max_lag_on_failover": `"1mb"`,
	"sentinel.port": "26380", "sentinel.listen": `["*"]`, "sentinel.binary": `"valkey-sentinel"`, "sentinel.down_after": `"5s"`, "sentinel.failover_timeout": `"20s"`,
}

// TestChangesOfEachKey also says, for whoever changes the table, which changes need what.
func TestChangesOfEachKey(t *testing.T) {
	effects := map[Effect][]string{
		Live: {
			"cluster.expect", "cluster.voters", "cluster.replace_after", "cluster.join", "cluster.reap_after", "node.zone", "node.priority", "redis.listen", "redis.password_file", "redis.users_file", "redis.maxmemory", "redis.min_replicas_to_write", "redis.max_lag_on_failover",
			"sentinel.down_after", "sentinel.failover_timeout",
		},
		RestartSentinel: {"sentinel.port", "sentinel.listen", "sentinel.binary"},
		RestartRedis:    {"redis.port", "redis.binary"},
		RestartAgent: {
			"cluster.secret_file", "cluster.gossip_port", "node.name", "node.address", "node.interface", "node.roles", "node.state_dir", "node.run_dir",
		},
		Refused: {"cluster.name"},
	}
	want := map[string]Effect{}
	for e, names := range effects {
		for _, n := range names {
			want[n] = e
		}
	}
	for _, k := range keys {
		value, ok := setters[k.name]
		if !ok {
			t.Errorf("%s has no other value in this test", k.name)
			continue
		}
		effect, ok := want[k.name]
		if !ok {
			t.Errorf("%s: nobody says what a change of it needs", k.name)
		}
		changes := Changes(Default(), mustParse(t, k.name+" = "+value))
		if len(changes) != 1 || changes[0].Key != k.name || changes[0].New != value || changes[0].Effect != effect {
			t.Errorf("%s = %s: %v, want one that is %s", k.name, value, changes, effect)
			continue
		}
		if c := changes[0]; (c.Why == "") != (effect == Live) {
			t.Errorf("%s: the reason is %q", c, c.Why)
		}
	}
}

func TestChangesOfDirectivesAndVIPs(t *testing.T) {
	old := mustParse(t, `
[redis.directives]
hz = 10
appendfsync = "always"
databases = 16
timeout = 0
lfu-decay-time = 1
[[vip]]
address = "10.0.0.100/24"
[[vip]]
address = "10.0.0.101/24"
[[vip]]
address = "10.0.0.102/24"
`)
	next := mustParse(t, `
[redis.directives]
lfu-decay-time = "1"
hz = 20
databases = 32
io-threads = 4
lazyfree-lazy-eviction = true
[[vip]]
address = "10.0.0.102/24"
[[vip]]
address = "10.0.0.101/24"
role = "replica"
[[vip]]
address = "10.0.0.103/24"
`)
	var got []string
	changes := Changes(old, next)
	for _, c := range changes {
		text, _, _ := strings.Cut(c.String(), ": redis-server ") // without the reason
		got = append(got, text)
	}
	want := []string{
		`redis.directives.appendfsync: "always" → (not set): live`, // redisd has a default for it
		`redis.directives.databases: "16" → "32": restart redis-server`,
		`redis.directives.hz: "10" → "20": live`,
		`redis.directives.io-threads: (not set) → "4": restart redis-server`,
		`redis.directives.lazyfree-lazy-eviction: (not set) → "yes": live`,
		`redis.directives.timeout: "0" → (not set): restart redis-server`,
		`vip 10.0.0.100: 10.0.0.100/24, role primary, interface "" → (not set): live`,
		`vip 10.0.0.101: 10.0.0.101/24, role primary, interface "" → 10.0.0.101/24, role replica, interface "": live`,
		`vip 10.0.0.103: (not set) → 10.0.0.103/24, role primary, interface "": live`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if w := Worst(changes); w != RestartRedis {
		t.Errorf("the worst is %s, want %s", w, RestartRedis)
	}
	if c := Changes(old, old); c != nil {
		t.Errorf("nothing differs, but: %v", c)
	}
}

func TestEffectString(t *testing.T) {
	for e := Live; e <= Refused; e++ {
		if strings.HasPrefix(e.String(), "Effect(") {
			t.Errorf("effect %d has no name", int(e))
		}
	}
}
