package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/oldconf"
)

// oldFindings are what is found about an old redis.conf with a redisd.toml.
func oldFindings(t *testing.T, conf, toml string) *findings {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("redisd.toml", toml)
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	old, err := oldconf.Read(write("redis.conf", conf))
	if err != nil {
		t.Fatal(err)
	}
	f := &findings{cfg: cfg, file: "redisd.toml"}
	f.oldConf(t.Context(), old)
	return f
}

// TestOldConf: what clients and the data depend on keeps a first start from being made until
// redisd.toml says something of it, whatever that is; the rest is named.
func TestOldConf(t *testing.T) {
	for _, tt := range []struct{ conf, mistake, settled string }{
		{"maxmemory 2gb", `redis.maxmemory (not set there): the Redis that was here before has "2gb" (`, "[redis]\nmaxmemory = \"0\""},
		{"maxmemory 2gb", "`redisd import-config --write` takes it over", "[redis.directives]\nmaxmemory = \"1gb\""},
		{"maxmemory-policy allkeys-lru", `redis.directives.maxmemory-policy (not set there): the Redis that was here before has "allkeys-lru"`, "[redis.directives]\nmaxmemory-policy = \"noeviction\""},
		{"databases 32", `redis.directives.databases (not set there)`, "[redis.directives]\ndatabases = 16"},
		{"requirepass hunter2", "redis.password_file (not set there): clients of the Redis that was here before log in with a password", "[redis]\npassword_file = \"/p\""},
		{"user default on #0123 ~* &* +@all", "its password is here as a hash alone", "[redis]\npassword_file = \"/p\""},
		{"user app on nopass +get", "redis.users_file (not set there): the Redis that was here before has users", "[redis]\nusers_file = \"/u\""},
		{"rename-command FLUSHALL \"\"", "redis.conf:1: rename-command FLUSHALL \"\": this is not taken over", ""},
		{"cluster-enabled yes", "redis.conf:1: cluster-enabled yes: this is not taken over", ""},
		{"maxmemory 0\nmaxmemory-policy noeviction\ndatabases 16\ncluster-enabled no\ntls-port 0\nreplica-priority 100\nport 6379", "", ""},
	} {
		found := oldFindings(t, tt.conf, "")
		all := errors.Join(found.of(mistake)...)
		if tt.mistake == "" && all != nil || tt.mistake != "" && (all == nil || !strings.Contains(all.Error(), tt.mistake)) {
			t.Errorf("%q: %v, want %q", tt.conf, all, tt.mistake)
		}
		if all != nil && strings.Contains(all.Error(), "hunter2") {
			t.Errorf("a password is told: %v", all)
		}
		if tt.settled == "" {
			continue
		}
		if all := oldFindings(t, tt.conf, tt.settled).of(mistake); len(all) > 0 {
			t.Errorf("%q with %q: %v", tt.conf, tt.settled, all)
		}
	}
	found := oldFindings(t, "timeout 600\nslowlog-max-len 128\nmaxclients 50\nmaxmemory 1gb", "[redis.directives]\nmaxclients = 60")
	if w := found.of(warning); len(w) != 1 || !strings.Contains(w[0].Error(), "redis.conf sets timeout, and redisd.toml does not") {
		t.Errorf("the rest: %v", w)
	}
}
