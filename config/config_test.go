package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/mistakes.golden")

// environment is a lookup of variables for parse.
type environment map[string]string

func (e environment) lookup(name string) (string, bool) {
	v, ok := e[name]
	return v, ok
}

func mustParse(t *testing.T, text string) Config {
	t.Helper()
	c, err := parse("redisd.toml", text, none)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	if c := mustParse(t, ""); !cmp.Equal(c, Default(), sameConfig) {
		t.Error("an empty file is not the default")
	}
}

func TestParse(t *testing.T) {
	c := mustParse(t, `
redis.port = 6380 # dotted
cluster = { name = "cache", expect = 5, join = ["db1", "10.0.0.1:7946"] }
[node]
name = "db1"
address = "::ffff:10.0.0.1"
roles = ["sentinel"]
priority = 0
[redis.directives]
appendonly = false
Save = ["900 1", "300 10"]
hash-max-ziplist-entries = 256
"search.timeout" = 5
notify-keyspace-events = ""
[sentinel]
down_after = "2.5s"
[[vip]]
address = "10.0.0.100/24"
[[vip]]
address = "2001:db8::100/64"
role = "replica"
interface = "eth1"
`)
	want := Default()
	want.Cluster.Name, want.Cluster.Expect, want.Cluster.Join = "cache", 5, []string{"db1", "10.0.0.1:7946"}
	want.Node = Node{
		Name: "db1", Address: netip.MustParseAddr("10.0.0.1"), Roles: []string{"sentinel"},
		StateDir: "/var/lib/redisd", RunDir: "/run/redisd",
	}
	want.Redis.Port = 6380
	want.Redis.Directives = map[string]string{
		"appendonly": "no", "save": "900 1\n300 10", "hash-max-listpack-entries": "256", "search.timeout": "5", "notify-keyspace-events": "",
	}
	want.Sentinel.DownAfter = Duration(2500 * time.Millisecond)
	want.VIPs = []VIP{
		{Address: netip.MustParsePrefix("10.0.0.100/24"), Role: "primary"},
		{Address: netip.MustParsePrefix("2001:db8::100/64"), Role: "replica", Interface: "eth1"},
	}
	if diff := cmp.Diff(want, c, sameConfig); diff != "" {
		t.Error(diff)
	}
	if c.HasRole(RoleRedis) || !c.HasRole(RoleSentinel) {
		t.Error("it has the wrong roles")
	}
	for key, want := range map[string]string{
		"redis.port": "redisd.toml:2", "cluster.name": "redisd.toml:3", "cluster.join[1]": "redisd.toml:3", "vip[1].role": "redisd.toml:21",
		"redis.directives.save": "redisd.toml:11", "sentinel.port": "default",
	} {
		if got := c.Where(key); got != want {
			t.Errorf("Where(%s) = %s, want %s", key, got, want)
		}
	}
	if again := mustParse(t, string(c.TOML())); !cmp.Equal(c, again, sameConfig) {
		t.Errorf("written as TOML it is another one: %s", cmp.Diff(c, again, sameConfig))
	}
}

// TestMistakes compares with testdata/mistakes.golden what is said about testdata/mistakes.toml:
// everything that is wrong with it, in its order.
func TestMistakes(t *testing.T) {
	t.Chdir("testdata")
	for variable, value := range map[string]string{"REDISD_NODE_PRIORITY": "high", "REDISD_NODE_INTERFACE": "eth0"} {
		t.Setenv(variable, value)
	}
	_, err := Load("mistakes.toml")
	if err == nil {
		t.Fatal("no mistake found")
	}
	if *update {
		if err := os.WriteFile("mistakes.golden", []byte(err.Error()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, readErr := os.ReadFile("mistakes.golden")
	if readErr != nil {
		t.Fatal(readErr)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(err.Error()+"\n", "\n")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, ok := errors.AsType[*Mistake](err); !ok {
		t.Errorf("the error has no *Mistake in it: %T", err)
	}
}

func TestLoadMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "redisd.toml")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}

// TestOneMistake has one bad value each, and what must be said about it.
func TestOneMistake(t *testing.T) {
	tests := []struct{ text, want string }{
		{"[cluster", "redisd.toml:1: this is not TOML: "},
		{"[cluster]\nname = \"a\"\nname = \"b\"", "redisd.toml:3: this is not TOML: key 'cluster.name' has already been defined"},
		{"cluster = 1", `redisd.toml:1: cluster: invalid value 1: must be a table, [cluster]`},
		{"[vip]\naddress = \"10.0.0.100/24\"", "redisd.toml:1: vip: invalid value [vip]: must be [[vip]]"},
		{"vip = [1]", "redisd.toml:1: vip[0]: invalid value 1: must be a table"},
		{"vip = 1", "redisd.toml:1: vip: invalid value 1"},
		{"redis.directives = 1", "redis.directives: invalid value 1: must be a table"},
		{"[redis.directives]\n\n\nsave = []", "redisd.toml:4: redis.directives.save: invalid value []: must have at least one line"},
		{"[redis.directives]\nsave = [\n  \"900 1\",\n  \"\",\n]", "redisd.toml:2: redis.directives.save: line 2 of the list is empty"},
		{"[redis.directives]\nsave = \"900 1\\n300 10\"", "must be a list"},
		{"[redis.directives]\nsave = { a = 1 }", "invalid value (a table): must be a text"},
		{"[redis.directives]\n\"a b\" = 1", "cannot be the name of a directive"},
		{"[redis.directives]\nmaxmemory = \"1gb\"\n[redis]\nmaxmemory = \"2gb\"", "redisd.toml:2: redis.directives.maxmemory: it is set as redis.maxmemory, too"},
		{"[Cluster]", `redisd.toml:1: Cluster: there is no such key; did you mean "cluster"?`},
		{"[cluster]\nname = 1", "redisd.toml:2: cluster.name: invalid value 1: must be a name"},
		{"[cluster]\njoin = \"10.0.0.1\"", `write ["10.0.0.1"]`},
		{"[cluster]\njoin = [1]", "invalid value (a list)"},
		{"[cluster]\njoin = [\"a\",\n\"b:0\"]", "redisd.toml:3: cluster.join[1]"},
		{"[node]\naddress = \"10.0.0.0/24\"", "redisd.toml:2: node.address: invalid value \"10.0.0.0/24\": must be an IP address"},
		{"[node]\naddress = \"0.0.0.0\"", "node.address"},
		{"[node]\naddress = \"fe80::1%eth0\"", "node.address"},
		{"[node]\nname = 2026-01-01", "invalid value (a date)"},
		{"[node]\nroles = []", "node.roles"},
		{"[node]\nroles = [\"redis\", \"redis\"]", "each once"},
		{"[node]\npriority = 1001", "node.priority"},
		{"[node]\nrun_dir = \"/" + strings.Repeat("x", 95) + "\"", "at most 95"},
		{"[redis]\nport = 0", "redis.port"},
		{"[redis]\nport = 7946", "redisd.toml:2: redis.port: invalid value 7946: must not be that of cluster.gossip_port"},
		{"[redis]\nport = true", "invalid value true"},
		{"[redis]\nmin_replicas_to_write = -1", "invalid value -1"},
		{"[redis]\nmin_replicas_to_write = 9223372036854775807", "invalid value 9223372036854775807"},
		{"[redis]\nmaxmemory = \"10kb\"", "redis.maxmemory"},
		{"[redis]\nmax_lag_on_failover = \"0\"", "redis.max_lag_on_failover"},
		{"[redis]\nmax_lag_on_failover = \"much\"", "redis.max_lag_on_failover"},
		{"[redis]\nbinary = \"bin/redis-server\"", "redis.binary"},
		{"[sentinel]\ndown_after = \"1s\"", `"1.5s" to "10m"`},
		{"[sentinel]\ndown_after = \"1500001us\"", `"1.5s" to "10m"`},
		{"[sentinel]\ndown_after = \"20s\"", `sentinel.failover_timeout: invalid value "15s": must be more than sentinel.down_after, which is "20s"`},
		{"[[vip]]\naddress = \"10.0.0.255/24\"", "vip[0].address"},
		{"[[vip]]\naddress = \"127.0.0.2/8\"", "vip[0].address"},
		{"[[vip]]\naddress = \"fe80::1/64\"", "vip[0].address"},
		{"[[vip]]\naddress = \"10.0.0.1/24\"\n[[vip]]\naddress = \"10.0.0.1/16\"", "redisd.toml:4: vip[1].address: invalid value 10.0.0.1: must differ from that of another [[vip]]"},
		{"node.address = \"10.0.0.1\"\n[[vip]]\naddress = \"10.0.0.1/24\"", "redisd.toml:3: vip[0].address: invalid value 10.0.0.1: must not be node.address"},
	}
	for _, tt := range tests {
		_, err := parse("redisd.toml", tt.text, none)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q:\n got %v\nwant %s", tt.text, err, tt.want)
			continue
		}
		if n := strings.Count(err.Error(), "\n"); n > 0 {
			t.Errorf("%q: %d mistakes instead of one:\n%v", tt.text, n+1, err)
		}
	}
}

func TestGoodValues(t *testing.T) {
	for _, text := range []string{
		"[cluster]\njoin = [\"10.0.0.1\", \"10.0.0.1:7946\", \"2001:db8::1\", \"[2001:db8::1]:7946\", \"db1\", \"db1.example.com:1\", \"srv:_redisd._tcp.example.com\"]",
		"[cluster]\nexpect = 1", "[redis]\nmaxmemory = \"0\"", "[redis]\nmaxmemory = \"512MB\"", "[redis]\nbinary = \"/opt/valkey/bin/valkey-server\"",
		"[redis]\nmin_replicas_to_write = 0", "[node]\naddress = \"127.77.0.1\"", "[node]\naddress = \"\"",
		"[redis.directives]\nactive-defrag-cycle-us = 500", // Valkey 8.1: not known here, and not a slip
		"[[vip]]\naddress = \"10.0.0.100/32\"", "[[vip]]\naddress = \"10.0.0.0/31\"", "[[vip]]\naddress = \"2001:db8::/64\"",
		"vip = [{ address = \"10.0.0.100/24\" }]",
	} {
		if _, err := parse("redisd.toml", text, none); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	env := environment{
		"REDISD_NODE_NAME": "db7", "REDISD_NODE_ADDRESS": "10.0.0.7", "REDISD_NODE_INTERFACE": "", "REDISD_NODE_PRIORITY": "7",
		"REDISD_NODE_STATE_DIR": "/srv/state", "REDISD_NODE_RUN_DIR": "/srv/run", "": "not one",
	}
	c, err := parse("redisd.toml", "[node]\nname = \"file\"\ninterface = \"eth0\"\npriority = 5", env.lookup)
	if err != nil {
		t.Fatal(err)
	}
	want := Default().Node
	want.Name, want.Address, want.Interface, want.Priority = "db7", netip.MustParseAddr("10.0.0.7"), "eth0", 7
	want.StateDir, want.RunDir = "/srv/state", "/srv/run"
	if diff := cmp.Diff(want, c.Node, sameConfig); diff != "" {
		t.Error(diff)
	}
	if got := c.Where("node.name"); got != "REDISD_NODE_NAME" {
		t.Errorf("Where(node.name) = %s", got)
	}
	// A node may be called by a number.
	if c, err := parse("redisd.toml", "", environment{"REDISD_NODE_NAME": "7"}.lookup); err != nil || c.Node.Name != "7" {
		t.Errorf("name %q, %v", c.Node.Name, err)
	}
	_, err = parse("redisd.toml", "", environment{"REDISD_NODE_ADDRESS": "db1"}.lookup)
	if want := `REDISD_NODE_ADDRESS: node.address: invalid value "db1"`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestValidateWithoutAFile(t *testing.T) {
	c := Default()
	c.Redis.Port = 0
	c.Redis.Directives = map[string]string{"bind": "x", "timeout": "'"}
	c.VIPs = []VIP{{Address: netip.MustParsePrefix("10.0.0.1/24")}}
	err := c.Validate()
	for _, want := range []string{"redis.port: invalid value 0", "redis.directives.bind: redisd sets", "redis.directives.timeout: invalid value", "vip[0].role: invalid value \"\""} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestDirectiveMistake(t *testing.T) {
	c := mustParse(t, "[redis]\nmaxmemory = \"1gb\"\n[redis.directives]\nslave-lazy-flush = true")
	for directive, want := range map[string]string{
		"slave-lazy-flush": "redisd.toml:4: redis.directives.replica-lazy-flush: no", "maxmemory": "redisd.toml:2: redis.maxmemory: no",
	} {
		if got := c.DirectiveMistake(directive, "no").Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestDurationText(t *testing.T) {
	var d Duration
	if err := d.UnmarshalText([]byte("1.5s")); err != nil || d != Duration(1500*time.Millisecond) || fmt.Sprint(d) != "1.5s" {
		t.Errorf("%v, %v", d, err)
	}
	if err := d.UnmarshalText([]byte("3")); err == nil {
		t.Error("a number without a unit is taken")
	}
}

func FuzzParse(f *testing.F) {
	for _, path := range []string{manualPath, "testdata/mistakes.toml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("a.\"b\\\"c\" . 'd' = [1, [2, '''x\n'''], {e = \"\"\"\n\"\"\"\"\"}]\n[[vip]]\n[vip.x]\n[[a]]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("redisd.toml", text, none)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without words")
			}
			return
		}
		again, err := parse("redisd.toml", string(c.TOML()), none)
		if err != nil {
			t.Fatalf("what it writes it refuses: %v\n%s", err, c.TOML())
		}
		if diff := cmp.Diff(c, again, sameConfig); diff != "" {
			t.Errorf("written as TOML it is another one:\n%s", diff)
		}
		if changes := Changes(c, again); changes != nil {
			t.Errorf("changes: %v", changes)
		}
	})
}
