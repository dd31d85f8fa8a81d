package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// TestFaults is what goes wrong beside a plain crash.
func TestFaults(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	t.Run("redis-server hangs", func(t *testing.T) { hung(t, c) })
	t.Run("agent hangs", func(t *testing.T) { agentHung(t, c) })
	t.Run("sentinel killed", func(t *testing.T) { sentinelKilled(t, c) })
	t.Run("reload", func(t *testing.T) { reload(t, c) })
	t.Run("bad file and a crashed agent", func(t *testing.T) { badFile(t, c) })
	t.Run("blackout", func(t *testing.T) { blackout(t, c) })
	t.Run("all but the last primary return", func(t *testing.T) { withoutLastPrimary(t, c) })
}

func hung(t *testing.T, c *cluster.Cluster) {
	fault(t, c, asyncWindow, func(ctx context.Context, primary string) {
		kill(t, c, primary, "redis-server", unix.SIGSTOP)
	})
}

func agentHung(t *testing.T, c *cluster.Cluster) {
	var pid int
	var node string
	_, after := fault(t, c, 0, func(ctx context.Context, primary string) {
		node, pid = primary, redisPID(t, c, primary)
		before := agentPID(t, c, primary)
		kill(t, c, primary, "redisd", unix.SIGSTOP)
		err := lab.Await(ctx, 100*time.Millisecond, func() error {
			if now, err := c.Host(primary).PIDOf(ctx, "redisd"); err != nil || now == before {
				return errors.New("the hung agent was not replaced")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	unmoved(t, c, after, node, pid)
}

func agentPID(t *testing.T, c *cluster.Cluster, node string) int {
	t.Helper()
	pid, err := c.Host(node).PIDOf(t.Context(), "redisd")
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func sentinelKilled(t *testing.T, c *cluster.Cluster) {
	fault(t, c, 0, func(ctx context.Context, primary string) {
		kill(t, c, primary, "redis-sentinel", unix.SIGKILL)
	})
}

// reload changes a setting live, and then offers a file with several mistakes.
func reload(t *testing.T, c *cluster.Cluster) {
	ctx := t.Context()
	node := c.Names()[0]
	h := c.Host(node)
	fault(t, c, 0, func(ctx context.Context, primary string) {
		write(t, h, c.Config()+"[redis]\nmaxmemory = \"64mb\"\n")
		run(t, h, "systemctl", "reload", "redisd")
		if got := run(t, h, "redis-cli", "--no-auth-warning", "-a", c.Password(), "CONFIG", "GET", "maxmemory"); !strings.Contains(got, "67108864") {
			t.Errorf("maxmemory was not set live: %s", got)
		}
		pid := redisPID(t, c, node)
		write(t, h, c.Config()+"[redis]\nmaxmemory = \"lots\"\nprot = 1\n[redis.directives]\nport = \"1\"\n")
		run(t, h, "systemctl", "reload", "redisd")
		journal := run(t, h, "journalctl", "-u", "redisd", "--no-pager", "-n", "60")
		for _, want := range []string{"not reloaded", "redis.prot", "port"} {
			if !strings.Contains(journal, want) {
				t.Errorf("the journal does not say %q:\n%s", want, journal)
			}
		}
		if now := redisPID(t, c, node); now != pid {
			t.Error("a bad file restarted redis-server")
		}
		write(t, h, c.Config())
		run(t, h, "systemctl", "reload", "redisd")
	})
	if s, err := c.Status(ctx, node); err != nil || s.Health != "healthy" {
		t.Errorf("after the reloads: %+v %v", s.Problems, err)
	}
}

// badFile kills the agent of a node whose file is broken: the next agent must take
// the node over all the same.
func badFile(t *testing.T, c *cluster.Cluster) {
	var pid int
	var node string
	_, after := fault(t, c, 0, func(ctx context.Context, primary string) {
		node, pid = primary, redisPID(t, c, primary)
		write(t, c.Host(primary), "[cluster\nname = ")
		kill(t, c, primary, "redisd", unix.SIGKILL)
		c.Await(ctx, "the new agent", func(s agent.Status) error {
			if n := cluster.Node(s, primary); n.State != "running" {
				return fmt.Errorf("%s is %s", primary, n.State)
			}
			return nil
		})
		write(t, c.Host(primary), c.Config())
		run(t, c.Host(primary), "systemctl", "reload", "redisd")
	})
	unmoved(t, c, after, node, pid)
}

func write(t *testing.T, h *lab.Host, text string) {
	t.Helper()
	if err := h.WriteFile(t.Context(), "/etc/redisd/redisd.toml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, h *lab.Host, args ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// blackout takes the power from all hosts at once and gives it back. What was on
// the disks is there again; nobody helps.
func blackout(t *testing.T, c *cluster.Cluster) {
	fault(t, c, everySecond, func(ctx context.Context, primary string) {
		off(t, c, c.Names())
		on(t, c, c.Names())
	})
}

// withoutLastPrimary leaves the last primary off until another one is there.
func withoutLastPrimary(t *testing.T, c *cluster.Cluster) {
	fault(t, c, everySecond, func(ctx context.Context, primary string) {
		off(t, c, c.Names())
		on(t, c, c.Others(primary))
		awaitOther(t, c, primary)
		on(t, c, []string{primary})
	})
}

// everySecond is how many writes of this client may be lost with the power of all
// hosts: appendfsync everysec keeps all but the last second or two on disk, but a
// power loss of these hosts leaves the page cache alone, so only what had not been
// written out is gone.
const everySecond = 2000

func off(t *testing.T, c *cluster.Cluster, names []string) {
	t.Helper()
	for _, name := range names {
		if err := c.Host(name).PowerOff(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func on(t *testing.T, c *cluster.Cluster, names []string) {
	t.Helper()
	errs := make(chan error, len(names))
	for _, name := range names {
		go func() { errs <- c.Host(name).PowerOn(t.Context()) }()
	}
	for range names {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// TestInstallOverData installs the package where Debian's redis-server has data.
func TestInstallOverData(t *testing.T) {
	lab.Require(t)
	ctx := t.Context()
	l := lab.New(t, lab.Options{})
	c := cluster.New(t, l, cluster.Options{Nodes: []string{"solo"}, Unconfigured: true})
	h := c.Host("solo")
	run(t, h, "sh", "-ec", "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; apt-get install -y -qq redis-server")
	run(t, h, "redis-cli", "SET", "old", "data")
	if err := cluster.Install(ctx, h, cluster.Deb(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Configure(ctx, h); err != nil {
		t.Fatal(err)
	}
	c.Start(ctx)
	check := func(when string) {
		t.Helper()
		if got := run(t, h, "redis-cli", "--no-auth-warning", "-a", c.Password(), "GET", "old"); strings.TrimSpace(got) != "data" {
			t.Errorf("%s, the data of Debian's redis-server is not there: %q", when, got)
		}
		for _, unit := range []string{"redis-server", "redis-sentinel"} {
			if out, _ := h.Run(ctx, "systemctl", "is-active", unit); strings.TrimSpace(out) == "active" {
				t.Errorf("%s, Debian's %s runs", when, unit)
			}
		}
		if out, _ := h.Run(ctx, "systemctl", "is-system-running"); strings.TrimSpace(out) != "running" {
			t.Errorf("%s, the system is %s", when, out)
		}
	}
	check("after the installation")
	if err := h.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	c.Healthy(ctx)
	check("after a reboot")
}
