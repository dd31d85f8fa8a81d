package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInstanceOf(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/redisd/redisd.toml": Main, "/etc/redisd/sessions.toml": "sessions", "/etc/redisd/a.b-c_1.toml": "a.b-c_1",
		"/etc/redisd/sessions": "", "/etc/redisd/.toml": "", "/etc/redisd/more/sessions.toml": "", "/srv/redisd.toml": "", "sessions.toml": "",
	} {
		if got := InstanceOf(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := InstanceOf(File("sessions")); got != "sessions" {
		t.Errorf("the file of sessions is that of %q", got)
	}
}

// TestDefaultOf: two instances with nothing in their files share their ports alone.
func TestDefaultOf(t *testing.T) {
	if diff := cmp.Diff(Default(), DefaultOf(Main), sameConfig); diff != "" {
		t.Errorf("redisd.service has other defaults:\n%s", diff)
	}
	c := DefaultOf("sessions")
	want := []string{"sessions", "/etc/redisd/sessions.secret", "/var/lib/redisd-sessions", "/run/redisd-sessions"}
	got := []string{c.Cluster.Name, c.Cluster.SecretFile, c.Node.StateDir, c.Node.RunDir}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := DefaultOf(strings.Repeat("x", 63)).Validate(); err != nil {
		t.Error(err)
	}
	for _, found := range c.Collisions(DefaultOf("cache")) {
		if found.Port == 0 {
			t.Errorf("they share %s", found.Value)
		}
	}
}

func TestCollisions(t *testing.T) {
	of := func(instance, text string) Config {
		t.Helper()
		c, err := DefaultOf(instance).with(instance+extension, text, none)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const own = "[cluster]\ngossip_port = 7950\n[redis]\nport = 6390\n[sentinel]\nport = 26390\n"
	for _, tt := range []struct {
		name, mine, its string
		want            []string // "KEY: VALUE: OTHER KEY at OTHER"
	}{
		{"nothing", own, "", nil},
		{"all ports", "", "", []string{
			"cluster.gossip_port: port 7946: cluster.gossip_port at b.toml",
			"redis.port: port 6379: redis.port at b.toml", "sentinel.port: port 26379: sentinel.port at b.toml",
		}},
		{"one port, that of something else there", own, "[sentinel]\nport = 6390", []string{"redis.port: port 6390: sentinel.port at b.toml:2"}},
		{"a port of what does not run", own, "[node]\nroles = [\"redis\"]\n[sentinel]\nport = 26390", nil},
		{"a VIP", own + "[[vip]]\naddress = \"10.0.0.99/24\"\n[[vip]]\naddress = \"10.0.0.100/24\"", "[[vip]]\naddress = \"10.0.0.100/32\"", []string{
			"vip[1].address: the VIP 10.0.0.100: vip[0].address at b.toml:2",
		}},
		{"a VIP that is its address", own + "[[vip]]\naddress = \"10.0.0.99/24\"", "[node]\naddress = \"10.0.0.99\"", []string{
			"vip[0].address: the host's own address 10.0.0.99: node.address at b.toml:2",
		}},
		{"directories", own + "[node]\nstate_dir = \"/srv/a\"\nrun_dir = \"/run/x\"", "[node]\nstate_dir = \"/srv/a/b\"\nrun_dir = \"/run/x\"", []string{
			"node.state_dir: the directory /srv/a/b: node.state_dir at b.toml:2", "node.run_dir: the directory /run/x: node.run_dir at b.toml:3",
		}},
		{"directories with a common beginning", own + "[node]\nstate_dir = \"/srv/a\"", "[node]\nstate_dir = \"/srv/ab\"", nil},
		{"a socket", own + "[redis.directives]\nunixsocket = \"/run/r.sock\"", "[redis.directives]\nunixsocket = \"/run/r.sock\"", []string{
			"redis.directives.unixsocket: the socket /run/r.sock: redis.directives.unixsocket at b.toml:2",
		}},
		{"a cluster", "[cluster]\nname = \"b\"\n" + strings.TrimPrefix(own, "[cluster]\n"), "", []string{`cluster.name: the cluster "b": cluster.name at b.toml`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, c := range of("a", tt.mine).Collisions(of("b", tt.its)) {
				got = append(got, fmt.Sprintf("%s: %s: %s at %s", c.Key, c.Value, c.OtherKey, c.Other))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFreePort(t *testing.T) {
	b := DefaultOf("b")
	b.Redis.Port, b.Sentinel.Port = 6380, 6381
	got := FreePort(6379, []Config{Default(), b}, func(port int) bool { return port != 6382 })
	if got != 6383 {
		t.Errorf("%d, want 6383", got)
	}
	if got := FreePort(65535, nil, func(int) bool { return true }); got != 0 {
		t.Errorf("there is no port %d", got)
	}
}

func TestOthers(t *testing.T) {
	t.Setenv("REDISD_NODE_STATE_DIR", "/srv/mine")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"redisd.toml": manual(t), "mine.toml": "", "b.toml": "[redis]\nport = 6380", "broken.toml": "[redis", "secret": "x", "b.toml.dpkg-dist": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	others, errs := Others(dir, "mine")
	if len(others) != 2 || others[0].Instance() != "b" || others[1].Instance() != Main || others[0].Unset() || !others[1].Unset() {
		t.Errorf("found %+v", others)
	}
	if others[0].Node.StateDir != "/var/lib/redisd-b" {
		t.Errorf("the environment of this process moved another node's state to %s", others[0].Node.StateDir)
	}
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "broken.toml:1") {
		t.Errorf("errors %v", errs)
	}
}
