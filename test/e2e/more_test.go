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
	t.Run("pause", func(t *testing.T) { pause(t, c) })
	t.Run("blackout", func(t *testing.T) { blackout(t, c) })
	t.Run("all but the last primary return", func(t *testing.T) { withoutLastPrimary(t, c) })
	t.Run("nobody knows what was lost", func(t *testing.T) { strict(t, c) })
	t.Run("a dataset does not load", func(t *testing.T) { brokenDataset(t, c) })
	t.Run("a majority is gone for good", func(t *testing.T) { forced(t, c) })
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
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		// systemctl returns once the signal is sent: the file is tried and read after that.
		err := lab.Await(ctx, 20*time.Millisecond, func() error {
			got := run(t, h, program("redis-cli"), "--no-auth-warning", "-a", c.Password(), "CONFIG", "GET", "maxmemory")
			if !strings.Contains(got, "67108864") {
				return fmt.Errorf("maxmemory was not set live: %s", got)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		pid := redisPID(t, c, node)
		write(t, h, c.Config()+"[redis]\nmaxmemory = \"lots\"\nprot = 1\n[redis.directives]\nport = \"1\"\n")
		run(t, h, "systemctl", "reload", "redisd")
		err = lab.Await(ctx, 20*time.Millisecond, func() error {
			journal := run(t, h, "journalctl", "-u", "redisd", "--no-pager", "-n", "60")
			for _, want := range []string{"not reloaded", "redis.prot", "port"} {
				if !strings.Contains(journal, want) {
					return fmt.Errorf("the journal does not say %q:\n%s", want, journal)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
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

// badFile kills the agent of a node whose file is broken: the next agent must take the node over
// all the same.
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

// pause checks that a paused cluster does not replace its primary, shows that it is paused on every
// node, survives the agents' restart, and goes on when it is resumed.
func pause(t *testing.T, c *cluster.Cluster) {
	fault(t, c, asyncWindow, func(ctx context.Context, primary string) {
		run(t, c.Host(primary), "redisd", "pause")
		for _, name := range c.Names() {
			run(t, c.Host(name), "systemctl", "restart", "redisd")
		}
		kill(t, c, primary, "redis-server", unix.SIGKILL)
		s := c.Await(ctx, "a status that shows it", func(s agent.Status) error {
			if s.Primary != nil || len(s.Nodes) != len(c.Names()) {
				return fmt.Errorf("primary %v", s.Primary)
			}
			for _, n := range s.Nodes {
				if !n.Paused {
					return fmt.Errorf("%s is not paused", n.Name)
				}
			}
			return nil
		})
		if out, err := c.Host(primary).Run(ctx, "redisd", "switchover"); err == nil {
			t.Errorf("a paused cluster switched over: %s", out)
		}
		time.Sleep(3 * time.Second) // nothing may happen: longer than any failover takes
		if again, err := c.Status(ctx, primary); err != nil || again.Primary != nil || again.Term != s.Term {
			t.Errorf("a paused cluster did something: %+v %v", again.Primary, err)
		}
		run(t, c.Host(c.Others(primary)[0]), "redisd", "resume")
	})
}

// forced takes the primary's host and another one away for good, so that the one that is left has
// no majority and must not become primary by itself. The operator says that it is to.
func forced(t *testing.T, c *cluster.Cluster) {
	var left string
	_, after := fault(t, c, everySecond, func(ctx context.Context, primary string) {
		left = c.Others(primary)[0]
		gone := c.Others(left)
		off(t, c, gone)
		h := c.Host(left)
		if out, err := h.Run(ctx, "redisd", "failover", "--allow-data-loss"); err == nil {
			t.Errorf("done without being confirmed: %s", out)
		}
		err := lab.Await(ctx, 500*time.Millisecond, func() error {
			out, err := h.Run(ctx, "redisd", "failover", "--allow-data-loss", "--yes")
			if err == nil {
				t.Log(out)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Await(ctx, "a primary", func(s agent.Status) error {
			if cluster.Primary(s) != left {
				return fmt.Errorf("the primary is %q", cluster.Primary(s))
			}
			return nil
		})
		on(t, c, gone)
	})
	if cluster.Primary(after) != left || after.Voters != 3 {
		t.Errorf("primary %s with %d voters, want %s with 3", cluster.Primary(after), after.Voters, left)
	}
}

// blackout takes the power from all hosts at once and gives it back. What was on the disks is there
// again; nobody helps.
func blackout(t *testing.T, c *cluster.Cluster) {
	fault(t, c, everySecond, func(ctx context.Context, primary string) {
		off(t, c, c.Names())
		on(t, c, c.Names())
	})
}

// brokenDataset has a replica start with files that redis-server cannot load: it gets the data from
// the primary, and what could not be loaded is kept.
func brokenDataset(t *testing.T, c *cluster.Cluster) {
	fault(t, c, 0, func(ctx context.Context, primary string) {
		h := c.Host(c.Others(primary)[0])
		run(t, h, "systemctl", "stop", "redisd")
		run(t, h, "sh", "-ec", "cd /var/lib/redisd/redis/appendonlydir; for file in *.aof; do echo rubbish >$file; done")
		run(t, h, "systemctl", "start", "redisd")
		c.Healthy(ctx)
		if kept := run(t, h, "sh", "-ec", "cat /var/lib/redisd/redis/set-aside-*/appendonlydir/*.aof"); !strings.Contains(kept, "rubbish") {
			t.Errorf("what could not be loaded is not kept: %q", kept)
		}
		if events := run(t, h, "redisd", "events"); !strings.Contains(events, "could not be loaded") {
			t.Errorf("no event tells of it:\n%s", events)
		}
	})
}

// strict sets a limit on what a failover may lose, and takes the primary away while the agents of
// the replicas are new and have not heard how much it had: none becomes primary until it is back.
func strict(t *testing.T, c *cluster.Cluster) {
	configure := func(more string) {
		for _, name := range c.Names() {
			write(t, c.Host(name), c.Config()+more)
			run(t, c.Host(name), "systemctl", "reload", "redisd")
		}
	}
	configure("[redis]\nmax_lag_on_failover = \"1mb\"\n")
	fault(t, c, everySecond, func(ctx context.Context, primary string) {
		replicas := c.Others(primary)
		for _, name := range replicas {
			kill(t, c, name, "redisd", unix.SIGSTOP)
		}
		off(t, c, []string{primary})
		for _, name := range replicas {
			kill(t, c, name, "redisd", unix.SIGKILL)
		}
		for _, name := range replicas {
			err := lab.Await(ctx, 100*time.Millisecond, func() error {
				s, err := c.Status(ctx, name)
				if err != nil {
					return err
				}
				if p := cluster.Node(s, name).Problems; len(p) != 1 || !strings.Contains(p[0], "max_lag_on_failover") {
					return fmt.Errorf("%s does not say that it waits: %q, primary %q", name, s.Problems, cluster.Primary(s))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		on(t, c, []string{primary})
	})
	configure("")
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

// everySecond is how many writes of this client may be lost with the power of all hosts, who lose
// it together: what was not on the disk of those who come back. With appendfsync everysec that is
// up to two seconds of writes, and this client writes at most four keys a millisecond.
const everySecond = 8000

func off(t *testing.T, c *cluster.Cluster, names []string) {
	t.Helper()
	var hosts []*lab.Host
	for _, name := range names {
		hosts = append(hosts, c.Host(name))
	}
	if err := c.Lab.PowerOff(t.Context(), hosts...); err != nil {
		t.Fatal(err)
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
	run(t, h, "sh", "-ec", "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; apt-get install -y -qq "+program("redis-server"))
	run(t, h, program("redis-cli"), "SET", "old", "data")
	if err := cluster.Install(ctx, h, cluster.Deb(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Configure(ctx, h); err != nil {
		t.Fatal(err)
	}
	c.Start(ctx)
	check := func(when string) {
		t.Helper()
		if got := run(t, h, program("redis-cli"), "--no-auth-warning", "-a", c.Password(), "GET", "old"); strings.TrimSpace(got) != "data" {
			t.Errorf("%s, the data of Debian's redis-server is not there: %q", when, got)
		}
		for _, unit := range []string{program("redis-server"), program("redis-sentinel")} {
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
