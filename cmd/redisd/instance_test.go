package main

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
)

func TestChooseConfig(t *testing.T) {
	t.Chdir(t.TempDir())
	for given, want := range map[string]string{
		defaultConfig: defaultConfig, "sessions": "/etc/redisd/sessions.toml", "redisd": defaultConfig, "a.b": "/etc/redisd/a.b.toml",
		"redisd.toml": "redisd.toml", "./sessions": "./sessions", "dir/../redisd.toml": "dir/../redisd.toml", "/etc/redisd/../redisd/x.toml": "/etc/redisd/x.toml",
	} {
		a := &app{configPath: given}
		if err := a.chooseConfig(); err != nil || a.configPath != want {
			t.Errorf("-c %s: %s, %v; want %s", given, a.configPath, err, want)
		}
	}
	for _, given := range []string{"", "a b", "a:b", strings.Repeat("x", 64)} {
		if err := (&app{configPath: given}).chooseConfig(); err == nil {
			t.Errorf("-c %q: accepted", given)
		}
	}
}

// TestItsOwn: the service redisd@redisd neither runs nor releases the node of redisd.service.
func TestItsOwn(t *testing.T) {
	for given, own := range map[string]bool{defaultConfig: true, "sessions": true, "redisd": false} {
		a := &app{configPath: given}
		if err := a.chooseConfig(); err != nil {
			t.Fatal(err)
		}
		if err := a.itsOwn(); (err == nil) != own {
			t.Errorf("-c %s: %v", given, err)
		}
	}
	for _, command := range []string{"agent", "release"} {
		var out strings.Builder
		if code := run(t.Context(), []string{command, "-c", "redisd"}, &out, &out); code != 2 || !strings.Contains(out.String(), "redisd@redisd.service cannot be") {
			t.Errorf("redisd %s -c redisd: exit code %d, %s", command, code, &out)
		}
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"see `redisd status` and `journalctl -u redisd` on b":                    "see `redisd -c x status` and `journalctl -u redisd@x` on b",
		"then `systemctl stop redisd && systemctl start redisd`":                 "then `systemctl stop redisd@x && systemctl start redisd@x`",
		"paused: no automatic failover (redisd resume ends it)":                  "paused: no automatic failover (redisd -c x resume ends it)",
		"redisd.service may write below":                                         "redisd@x.service may write below",
		"`redisd keygen > /etc/redisd/x.secret`, /var/lib/redisd: redisd is new": "`redisd keygen > /etc/redisd/x.secret`, /var/lib/redisd: redisd is new",
		"another agent does: `redisd -c redisd status`":                          "another agent does: `redisd -c redisd status`",
	} {
		if got := words("x", text); got != want {
			t.Errorf("%s\nis %s\nwant %s", text, got, want)
		}
		for _, instance := range []string{"", config.Main} {
			if got := words(instance, text); got != text {
				t.Errorf("%s became %s", text, got)
			}
		}
	}
}

// TestEveryCommandHasItsWords: those that ask an agent, or look at its files, do so for an instance
// when a message tells to give them.
func TestEveryCommandHasItsWords(t *testing.T) {
	for _, c := range (&app{}).root().Commands() {
		about := !slices.Contains(ofNoCluster, c.Name())
		text := "`redisd " + c.Name() + "`"
		if got := words("x", text) != text; got != about {
			t.Errorf("%s: changed %v, want %v", text, got, about)
		}
	}
}

func TestNeighbours(t *testing.T) {
	dir := t.TempDir()
	// Another port than Redis' own: 6379 may be in use where this test runs, and so may the next.
	taken, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const ports = "[redis]\nport = 6390\n[sentinel]\nport = 26390\n"
	write(t, filepath.Join(dir, "redisd.toml"), "# as installed\n[cluster]\n", 0o644)
	write(t, filepath.Join(dir, "cache.toml"), "[cluster]\ngossip_port = 7950\n"+ports, 0o644)
	write(t, filepath.Join(dir, "broken.toml"), "[", 0o644)
	find := func(gossip int, p past) *findings {
		cfg := config.DefaultOf("sessions")
		cfg.Cluster.GossipPort = gossip
		cfg.Sentinel.Port = 26390
		f := &findings{cfg: cfg, file: "/etc/redisd/sessions.toml"}
		f.neighbours(t.Context(), dir, p.collides)
		return f
	}
	f := find(7946, past{})
	if got := f.of(mistake); len(got) != 1 || !strings.HasPrefix(got[0].Error(),
		"/etc/redisd/sessions.toml: sentinel.port (not set there): port 26390 is that of another node on this host (sentinel.port, "+dir+"/cache.toml:6): ") ||
		!strings.Contains(got[0].Error(), " is free here; ") {
		t.Errorf("found %v", got)
	}
	if got := f.of(warning); len(got) != 1 || !strings.Contains(got[0].Error(), "broken.toml:1: this is not TOML") {
		t.Errorf("warnings %v", got)
	}
	if got := find(7950, past{agent: true}); len(got.of(mistake)) != 0 || len(got.of(warning)) != 3 || !slices.Equal(got.taken, []string{"cluster.gossip_port", "sentinel.port"}) {
		t.Errorf("found %v, taken %v", got.list, got.taken)
	}
	// What something else listens on is not offered.
	port := taken.Addr().(*net.TCPAddr).Port
	if portFree(context.Background(), port) {
		t.Errorf("port %d counts as free", port)
	}
}

// TestCollisionRefusesTheOneThatChanged: a node that has worked with its file is not taken down by
// another one's.
func TestCollisionRefusesTheOneThatChanged(t *testing.T) {
	for _, tt := range []struct {
		p       past
		started bool
		want    gravity
	}{
		{past{}, true, mistake}, {past{}, false, mistake},
		{past{agent: true}, true, mistake}, {past{agent: true}, false, warning},
		{past{agent: true, worked: true}, true, warning},
	} {
		if got := tt.p.collides(tt.started); got != tt.want {
			t.Errorf("%+v, the other one started: %v: %v, want %v", tt.p, tt.started, got, tt.want)
		}
	}
}

func TestCompleteConfig(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"redisd.toml", "sessions.toml", "sessions.secret", "a b.toml"} {
		write(t, filepath.Join(dir, name), "", 0o644)
	}
	if got := instances(dir); !slices.Equal(got, []string{"redisd", "sessions"}) {
		t.Errorf("offered: %q", got)
	}
	for typed, want := range map[string]cobra.ShellCompDirective{
		"": cobra.ShellCompDirectiveNoFileComp, "se": cobra.ShellCompDirectiveNoFileComp,
		"/et": cobra.ShellCompDirectiveFilterFileExt, "./x": cobra.ShellCompDirectiveFilterFileExt,
	} {
		if _, got := completeConfig(nil, nil, typed); got != want {
			t.Errorf("%q: directive %d, want %d", typed, got, want)
		}
	}
}

// TestReleaseConfig: what is let go of is what the node ran with, and nothing of a node that never
// ran; its file may name the ports and the VIP of another one.
func TestReleaseConfig(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, agent.LastGoodName)
	file := filepath.Join(t.TempDir(), "node.toml")
	release := func(path string) (port int, none bool) {
		cfg, none := (&app{configPath: path}).releaseConfig()
		return cfg.Redis.Port, none
	}
	t.Setenv("REDISD_NODE_STATE_DIR", dir)
	if _, none := release("/etc/redisd/no-such-instance.toml"); !none {
		t.Error("a further node that has never run lets go of something")
	}
	if port, none := release(file); none || port != 6379 {
		t.Errorf("without a file: port %d, none %v", port, none)
	}
	write(t, file, "[redis]\nport = 6391", 0o600)
	if port, none := release(file); none || port != 6391 {
		t.Errorf("by the file: port %d, none %v", port, none)
	}
	write(t, good, "[redis]\nport = 6392", 0o600)
	for _, path := range []string{file, "/etc/redisd/no-such-instance.toml"} {
		if port, none := release(path); none || port != 6392 {
			t.Errorf("%s: port %d, none %v, want what it ran with", path, port, none)
		}
	}
}
