package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// guide are the commands of a section of docs/MIGRATE.md, block by block. What a test does in
// another way is left out: an editor, and copying to other hosts.
func guide(t *testing.T, section string, blocks int) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/MIGRATE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	if !found {
		t.Fatalf("there is no section %q", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var steps []string
	for _, after := range strings.Split(rest, "```sh\n")[1:] {
		block, _, _ := strings.Cut(after, "```\n")
		step := ""
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, "editor ") && !strings.HasPrefix(line, "scp ") {
				step += line
			}
		}
		steps = append(steps, step)
	}
	if len(steps) != blocks {
		t.Fatalf("%d blocks of commands, not %d: %q", len(steps), blocks, steps)
	}
	return steps
}

func sh(t *testing.T, h *lab.Host, script string) string {
	t.Helper()
	return run(t, h, "sh", "-ec", script)
}

// asOld is a command as the clients of the old server give it.
func asOld(args ...string) []string {
	return append([]string{"redis-cli", "-e", "--no-auth-warning", "-a", "hunter2"}, args...)
}

// prepareOld has Debian's Redis on a host, with a configuration, users and data.
func prepareOld(t *testing.T, h *lab.Host) {
	t.Helper()
	const conf = "maxmemory 64mb\nmaxmemory-policy allkeys-lru\ndatabases 32\nrequirepass hunter2\nrename-command FLUSHALL \"\"\ntimeout 600\ninclude /etc/redis/more.conf\n"
	sh(t, h, "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; apt-get install -y -qq redis-server")
	sh(t, h, "cat >> /etc/redis/redis.conf <<'END'\n"+conf+"END\necho 'user app on >hunter3 ~app:* +@all' > /etc/redis/more.conf\n"+
		"chgrp redis /etc/redis/more.conf; chmod 0640 /etc/redis/more.conf; systemctl restart redis-server")
	for _, args := range [][]string{{"SET", "old", "data"}, {"-n", "20", "SET", "old", "more"}, {"SET", "app:key", "mine"}} {
		run(t, h, asOld(args...)...)
	}
}

// tookOver: a node has what the old server had.
func tookOver(t *testing.T, h *lab.Host) {
	t.Helper()
	asApp := []string{"redis-cli", "-e", "--no-auth-warning", "--user", "app", "-a", "hunter3", "GET"}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"data", asOld("GET", "old")},
		{"more", asOld("-n", "20", "GET", "old")},
		{"67108864", asOld("CONFIG", "GET", "maxmemory")},
		{"allkeys-lru", asOld("CONFIG", "GET", "maxmemory-policy")},
		{"600", asOld("CONFIG", "GET", "timeout")},
		{"mine", append(asApp, "app:key")},
	} {
		if got := run(t, h, tt.args...); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v: %q, want %s", h.Name(), tt.args, got, tt.want)
		}
	}
	if out, err := h.Run(t.Context(), append(asApp, "old")...); err == nil {
		t.Errorf("%s: the user app reads what is not its own: %q", h.Name(), out)
	}
}

// copyFiles copies files of /etc/redisd to another host, as they are.
func copyFiles(t *testing.T, from, to *lab.Host, names ...string) {
	t.Helper()
	for _, name := range names {
		path := "/etc/redisd/" + name
		if err := to.WriteFile(t.Context(), path, []byte(run(t, from, "cat", path)), 0o640); err != nil {
			t.Fatal(err)
		}
		run(t, to, "chgrp", "redis", path)
	}
}

// TestMigrateInPlace follows docs/MIGRATE.md on a host where Debian's Redis has data and settings.
func TestMigrateInPlace(t *testing.T) {
	lab.Require(t)
	ctx := t.Context()
	c := cluster.New(t, lab.New(t, lab.Options{}), cluster.Options{Nodes: []string{"a", "b"}, Unconfigured: true})
	a, b := c.Host("a"), c.Host("b")
	prepareOld(t, a)
	if err := errors.Join(cluster.Install(ctx, b, cluster.Deb(t)), a.CopyIn(ctx, cluster.Deb(t), "/root/redisd_of_this_test.deb")); err != nil {
		t.Fatal(err)
	}
	steps := guide(t, "On the host that has the data", 3)
	install, settings, _ := strings.Cut(steps[0], "redisd import-config")
	sh(t, a, "cd /root; export DEBIAN_FRONTEND=noninteractive; "+install)
	write(t, a, c.Config())

	// Before anything is settled it does not start, and says why; nothing is taken over.
	if out, err := a.Run(ctx, "systemctl", "start", "redisd"); err == nil {
		t.Errorf("it started, and dropped what the old server had: %s", out)
	}
	journal := run(t, a, "journalctl", "-u", "redisd", "-o", "cat")
	for _, want := range []string{
		`redis.maxmemory (not set there): the Redis that was here before has "64mb"`, "redis.password_file (not set there)", "redis.users_file (not set there)",
		"redis.directives.databases (not set there)", "rename-command FLUSHALL", "`redisd import-config --write`",
	} {
		if !strings.Contains(journal, want) {
			t.Errorf("the journal does not say %q:\n%s", want, journal)
		}
	}
	if strings.Contains(journal, "hunter") {
		t.Errorf("the journal tells a password:\n%s", journal)
	}

	sh(t, a, "redisd import-config"+settings)
	sh(t, a, steps[1])
	copyFiles(t, a, b, "secret", "redisd.toml", "password", "users.acl")
	sh(t, b, "systemctl enable --now redisd")
	start, _, _ := strings.Cut(steps[2], "redisd status") // which is looked at until all is well
	sh(t, a, start)
	if s := c.Healthy(ctx); cluster.Primary(s) != "a" {
		t.Errorf("the primary is %s, and a had the data", cluster.Primary(s))
	}
	tookOver(t, a)
	run(t, a, "redisd", "switchover", "--to", "b")
	c.Healthy(ctx)
	tookOver(t, b)
}

// TestMigrateFollowing follows docs/MIGRATE.md from a Redis on another host that serves meanwhile.
func TestMigrateFollowing(t *testing.T) {
	lab.Require(t)
	ctx := t.Context()
	c := cluster.New(t, cluster.Lab(t), cluster.Options{Nodes: []string{"a", "b"}})
	old, err := c.Lab.Host(ctx, "old")
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Host("a"), c.Host("b")
	sh(t, old, "apt-get remove -y -qq redisd")
	prepareOld(t, old)
	sh(t, old, "sed -i 's/^bind .*/bind 0.0.0.0/' /etc/redis/redis.conf; systemctl restart redis-server")
	for from, to := range map[string]string{"/etc/redis/redis.conf": "/root/old-redis.conf", "/etc/redis/more.conf": "/etc/redis/more.conf"} {
		if err := a.WriteFile(ctx, to, []byte(run(t, old, "cat", from)), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	steps := guide(t, "On other hosts, with a short pause", 5)
	do := func(i int) string {
		t.Helper()
		script := strings.NewReplacer("10.0.0.9", old.Addr().String(), "databases 16", "databases 32").Replace(steps[i])
		return sh(t, a, "cd /root; export REDISCLI_AUTH=hunter2\n"+script)
	}
	do(0)
	copyFiles(t, a, b, "redisd.toml", "password", "users.acl")
	do(1)
	sh(t, a, "export REDISCLI_AUTH=hunter2; for i in $(seq 100); do redis-cli -s /var/lib/redis/follow.sock INFO replication | grep -q master_link_status:up && exit; sleep 0.1; done; exit 1")
	if out := do(2); !strings.Contains(out, "lag=") {
		t.Errorf("no lag is shown: %s", out)
	}
	run(t, old, asOld("SET", "late", "write")...)
	do(3)
	if out, err := old.Run(ctx, asOld("SET", "too", "late")...); err == nil {
		t.Errorf("the old server still takes writes: %s", out)
	}
	sh(t, b, "systemctl enable --now redisd")
	do(4)
	c.Await(ctx, "the cluster with the data", func(s agent.Status) error {
		if s.Health != "healthy" || cluster.Primary(s) != "a" {
			return fmt.Errorf("it is %s, and the primary %q", s.Health, cluster.Primary(s))
		}
		return nil
	})
	tookOver(t, a)
	if got := run(t, a, asOld("GET", "late")...); strings.TrimSpace(got) != "write" {
		t.Errorf("the write that was acknowledged last is %q", got)
	}
}
