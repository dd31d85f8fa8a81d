package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// versions skips a test that boots other images than the default one: building them takes minutes,
// and `make versions` does.
func versions(t *testing.T) {
	t.Helper()
	if os.Getenv("REDISD_VERSIONS") == "" {
		t.Skip("other versions of Redis: `make versions`")
	}
	lab.Require(t)
}

// TestTooOldRedis: where Redis is too old, apt refuses the package; and where that was overruled,
// redisd says why it does not start, and stays down.
func TestTooOldRedis(t *testing.T) {
	versions(t)
	ctx := t.Context()
	l := lab.New(t, lab.Options{Image: lab.Debian11})
	c := cluster.New(t, l, cluster.Options{Nodes: []string{"old"}, Unconfigured: true})
	h := c.Host("old")
	if err := cluster.Install(ctx, h, cluster.Deb(t)); err == nil {
		t.Error("apt installs the package beside Redis 6.0")
	}
	if out, err := h.Shell(ctx, "apt-get install -y /root/redisd.deb 2>&1"); err == nil || !strings.Contains(out, "redis-server (>= 5:7.0)") {
		t.Errorf("apt does not say what the package needs: %v\n%s", err, out)
	}
	run(t, h, "sh", "-ec", "export DEBIAN_FRONTEND=noninteractive; apt-get install -y -qq redis-server redis-sentinel adduser dbus; dpkg --force-depends -i /root/redisd.deb")
	if err := c.Configure(ctx, h); err != nil {
		t.Fatal(err)
	}
	refused := func(what, said string) {
		t.Helper()
		for _, word := range []string{"redis-server is version 6.0.16", "redisd needs Redis 7.0 or later", "upgrade the package redis-server"} {
			if !strings.Contains(said, word) {
				t.Errorf("%s does not say %q: %s", what, word, said)
			}
		}
	}
	_, err := h.Run(ctx, "redisd", "check")
	refused("redisd check", fmt.Sprint(err))
	_, _ = h.Run(ctx, "systemctl", "enable", "--now", "redisd")
	down, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = lab.Await(down, 100*time.Millisecond, func() error {
		if out, _ := h.Run(ctx, "systemctl", "is-failed", "redisd"); strings.TrimSpace(out) != "failed" {
			return fmt.Errorf("redisd.service is %s", out)
		}
		return nil
	})
	if err != nil {
		t.Errorf("the service does not stay down: %v", err)
	}
	text, err := h.Journal(ctx, "redisd")
	if err != nil {
		t.Fatal(err)
	}
	refused("the journal", text)
}

// TestValkeyAlone: a host that has Valkey goes on with it, and with its data; apt brings no Redis.
func TestValkeyAlone(t *testing.T) {
	versions(t)
	ctx := t.Context()
	for _, tt := range []struct{ name, packages string }{
		{"server", "valkey-server valkey-tools"},
		{"server and sentinel", "valkey-server valkey-sentinel valkey-tools"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster.New(t, lab.New(t, lab.Options{Image: lab.Debian13}), cluster.Options{Nodes: []string{"solo"}, Unconfigured: true})
			h := c.Host("solo")
			run(t, h, "sh", "-ec", "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; apt-get install -y -qq "+tt.packages)
			run(t, h, "valkey-cli", "SET", "old", "data")
			if err := cluster.Install(ctx, h, cluster.Deb(t)); err != nil {
				t.Fatal(err)
			}
			if out, _ := h.Run(ctx, "sh", "-c", "dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'redis-*' | grep ^installed"); out != "" {
				t.Errorf("beside Valkey, apt has installed %q", out)
			}
			if err := c.Configure(ctx, h); err != nil {
				t.Fatal(err)
			}
			run(t, h, "redisd", "check")
			c.Start(ctx)
			if got := run(t, h, "valkey-cli", "--no-auth-warning", "-a", c.Password(), "GET", "old"); strings.TrimSpace(got) != "data" {
				t.Errorf("the data of the distribution's valkey-server is not there: %q", got)
			}
			if s := c.Healthy(ctx); !strings.HasPrefix(cluster.Node(s, "solo").Versions.Redis, "valkey 8.1.") {
				t.Errorf("the version is %q", cluster.Node(s, "solo").Versions.Redis)
			}
			out := run(t, h, "sh", "-ec", "export DEBIAN_FRONTEND=noninteractive; apt-get install -y --reinstall valkey-server")
			if !strings.Contains(out, "the running Redis is the old one until this node is restarted") {
				t.Errorf("nobody is told what an upgrade of valkey-server asks for: %s", out)
			}
		})
	}
}

// mixed is a cluster in the middle of an upgrade: a and b have Redis 7.0, c has 8.0.
func mixed(t *testing.T) *cluster.Cluster {
	t.Helper()
	c := cluster.New(t, cluster.Lab(t, lab.Debian12, lab.Debian13), cluster.Options{
		Images: map[string]string{"a": lab.Debian12, "b": lab.Debian12, "c": lab.Debian13},
	})
	c.Start(t.Context())
	return c
}

// fullSyncs is how many full copies a node's redis-server was asked for.
func fullSyncs(t *testing.T, c *cluster.Cluster, node string) int {
	t.Helper()
	out := run(t, c.Host(node), "redis-cli", "--no-auth-warning", "-a", c.Password(), "INFO", "stats")
	m := regexp.MustCompile(`sync_full:(\d+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("INFO has no sync_full: %s", out)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestMixedVersions: replicas that cannot read the copies of a newer primary do not have it make
// one after the other, it is said why, and nobody comes into this by himself.
func TestMixedVersions(t *testing.T) {
	versions(t)
	ctx := t.Context()
	c := mixed(t)
	s := c.Await(ctx, "the older node as the standing successor", func(s agent.Status) error {
		for _, n := range s.Nodes {
			if want := map[string]int{"a": 1, "b": 1, "c": 2}[n.Name]; n.Name != cluster.Primary(s) && n.Successor != want {
				return fmt.Errorf("the primary is %s, %s is successor %d", cluster.Primary(s), n.Name, n.Successor)
			}
		}
		return nil
	})
	first := cluster.Primary(s)
	if first == "c" {
		t.Fatal("the newest node became the first primary")
	}
	other := map[string]string{"a": "b", "b": "a"}[first]
	_, err := c.Host(first).Run(ctx, "redisd", "switchover", "--to", "c")
	if err == nil || !strings.Contains(err.Error(), other+" (Redis 7.0.") || !strings.Contains(err.Error(), "--allow-version-skew") {
		t.Errorf("a switchover to the newer node, which %s cannot follow: %v", other, err)
	}
	if now := cluster.Primary(c.Healthy(ctx)); now != first {
		t.Fatalf("the primary moved to %s", now)
	}
	run(t, c.Host(first), "redisd", "switchover", "--to", "c", "--allow-version-skew")
	c.Healthy(ctx) // they go on with the stream
	for _, name := range []string{"a", "b"} {
		kill(t, c, name, "redis-server", unix.SIGKILL) // and come back in need of a full copy
	}
	c.Await(ctx, "the cause in the status", func(s agent.Status) error {
		for _, name := range []string{"a", "b"} {
			if said := strings.Join(cluster.Node(s, name).Problems, "; "); !strings.Contains(said, "the primary c a newer Redis 8.0.") {
				return fmt.Errorf("%s has problems %q", name, said)
			}
		}
		return nil
	})
	before := fullSyncs(t, c, "c")
	t.Logf("%d full copies until the cause was named", before)
	for range 3 {
		wait(t, 10*time.Second)
		now := fullSyncs(t, c, "c")
		t.Logf("%d full copies in 10 s, for two replicas", now-before)
		if now-before > 8 { // 190 without the pauses
			t.Errorf("%d full copies in 10 s", now-before)
		}
		before = now
	}
	for _, name := range []string{"a", "b"} {
		h := c.Host(name)
		if _, err := h.Run(ctx, "redis-cli", "--no-auth-warning", "-e", "-a", c.Password(), "SET", "x", "1"); err == nil {
			t.Errorf("%s accepts a write", name)
		}
		text, err := h.Journal(ctx, "redisd")
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(text, "redis-server does not get in sync: this host has Redis 7.0."); n != 1 {
			t.Errorf("the journal of %s says the cause %d times", name, n)
		}
		if out := run(t, h, "redisd", "check"); !strings.Contains(out, "warning: "+name+" has Redis 7.0.") {
			t.Errorf("redisd check on %s says: %s", name, out)
		}
	}
	upgrade(t, c, "a", "b")
	for _, name := range []string{"a", "b"} {
		began := time.Now()
		run(t, c.Host(name), "systemctl", "restart", "redisd") // adopts what runs
		run(t, c.Host(name), "systemctl", "stop", "redisd")
		run(t, c.Host(name), "systemctl", "start", "redisd")
		c.Await(ctx, name+" in sync", func(s agent.Status) error {
			n := cluster.Node(s, name)
			if n.Replication == nil || n.Replication.Link != "up" || !strings.HasPrefix(n.Versions.Redis, "8.0.") {
				return fmt.Errorf("%s %s: %v", n.Versions.Redis, n.State, n.Problems)
			}
			return nil
		})
		t.Logf("%s follows %v after its upgrade", name, time.Since(began).Round(time.Millisecond))
	}
	c.Healthy(ctx)
}

// wait lets time pass in which something is counted.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(d):
	}
}

// upgrade gives hosts of Debian 12 the redis-server and redis-sentinel of Debian 13, as a package
// from elsewhere would: the program of 8.0 with the libraries it was built against, under the same
// names. Nothing is restarted.
func upgrade(t *testing.T, c *cluster.Cluster, names ...string) {
	t.Helper()
	ctx := t.Context()
	program := newerRedis(t, ctx)
	for _, name := range names {
		h := c.Host(name)
		if err := h.CopyIn(ctx, program, "/root/redis8.tar"); err != nil {
			t.Fatal(err)
		}
		run(t, h, "sh", "-ec", `mkdir -p /opt/redis8 && tar -xf /root/redis8.tar -C /opt/redis8
for name in redis-server redis-sentinel; do
	printf '#!/bin/sh\nexec /opt/redis8/ld.so --argv0 /usr/bin/%s --library-path /opt/redis8 /opt/redis8/redis "$@"\n' $name >/usr/bin/$name.new
	chmod 755 /usr/bin/$name.new
	mv /usr/bin/$name.new /usr/bin/$name
done
redis-server --version | grep -q v=8`)
	}
}

// newerRedis is an archive of Debian 13's Redis: the program, its libraries, and what loads them.
func newerRedis(t *testing.T, ctx context.Context) string {
	t.Helper()
	l := lab.New(t, lab.Options{Image: lab.Debian13})
	h, err := l.Host(ctx, "newer")
	if err != nil {
		t.Fatal(err)
	}
	run(t, h, "sh", "-ec", `export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; apt-get install -y -qq redis-server redis-sentinel >/dev/null
mkdir /root/out; cp -L /usr/bin/redis-check-rdb /root/out/redis
ldd /usr/bin/redis-check-rdb | grep -o '/[^ ]*' | while read -r lib; do cp -L "$lib" /root/out/; done
mv /root/out/ld-linux-* /root/out/ld.so
tar -C /root/out -cf /root/redis8.tar .`)
	content, err := h.ReadFile(ctx, "/root/redis8.tar")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "redis8.tar")
	if err := errors.Join(os.WriteFile(path, content, 0o600), h.PowerOff(ctx)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRedisUpgrade follows docs/UPGRADE.md from Redis 7.0 to 8.0, under a client that writes all
// the time.
func TestRedisUpgrade(t *testing.T) {
	versions(t)
	ctx := t.Context()
	c := cluster.New(t, cluster.Lab(t, lab.Debian12), cluster.Options{
		Images: map[string]string{"a": lab.Debian12, "b": lab.Debian12, "c": lab.Debian12},
	})
	c.Start(ctx)
	upgrade(t, c, c.Names()...) // the packages may be there before anything is restarted
	restart := func(name string) {
		t.Helper()
		fault(t, c, 0, func(ctx context.Context, _ string) {
			run(t, c.Host(name), "systemctl", "stop", "redisd")
			run(t, c.Host(name), "systemctl", "start", "redisd")
		})
	}
	s := c.Healthy(ctx)
	primary := cluster.Primary(s)
	replicas := c.Others(primary)
	restart(replicas[0])
	if s := c.Healthy(ctx); cluster.Node(s, replicas[1]).Successor != 1 {
		t.Errorf("half way, %s, the older one, is successor %d", replicas[1], cluster.Node(s, replicas[1]).Successor)
	}
	restart(replicas[1])
	restart(primary)
	s = c.Healthy(ctx)
	for _, n := range s.Nodes {
		if !strings.HasPrefix(n.Versions.Redis, "8.0.") {
			t.Errorf("%s runs %s", n.Name, n.Versions.Redis)
		}
	}
	if cluster.Primary(s) == primary {
		t.Errorf("%s is the primary still", primary)
	}
}
