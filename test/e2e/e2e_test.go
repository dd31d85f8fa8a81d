// Package e2e proves on booted hosts, with the package installed as a user installs it, what the
// README promises.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

// TestClusterFromNothing goes the way of an operator: three blank hosts, a fourth that joins, and
// what happens to them.
func TestClusterFromNothing(t *testing.T) {
	ctx := t.Context()
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})

	began := time.Now()
	if err := c.Enable(ctx, c.Names()...); err != nil {
		t.Fatal(err)
	}
	w := c.Writer(ctx)
	defer w.Stop()
	if err := w.AwaitAck(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("three blank hosts to a write through the VIP: %v", time.Since(began).Round(time.Millisecond))
	s := c.Healthy(ctx)
	t.Logf("healthy after %v", time.Since(began).Round(time.Millisecond))
	first := cluster.Primary(s)
	for _, n := range s.Nodes {
		if held := len(n.VIPs) > 0; held != (n.Name == first) {
			t.Errorf("%s holds %v, the primary is %s", n.Name, n.VIPs, first)
		}
	}
	w.Stop()

	t.Run("join", func(t *testing.T) { join(t, c) })
	t.Run("redis-server killed", func(t *testing.T) { killed(t, c) })
	t.Run("agent killed", func(t *testing.T) { agentKilled(t, c) })
	t.Run("service restarted", func(t *testing.T) { restarted(t, c) })
	t.Run("switchover", func(t *testing.T) { switchover(t, c) })
	t.Run("stop and start", func(t *testing.T) { stopped(t, c) })
	t.Run("power loss and return", func(t *testing.T) { powerLoss(t, c) })
	t.Run("cut and heal", func(t *testing.T) { cut(t, c) })
	t.Run("reboot", func(t *testing.T) { reboot(t, c) })
}

// fault runs do under a client that writes through the VIP, waits until the cluster is whole again,
// and checks what every fault must leave true: no two nodes acknowledged at once, and at most
// mayLose acknowledged writes are gone.
func fault(t *testing.T, c *cluster.Cluster, mayLose int, do func(ctx context.Context, primary string)) (*writer.Report, agent.Status) {
	t.Helper()
	o := faultOf(t, c, limits{lost: mayLose}, do)
	return o.report, o.after
}

// limits of what a fault may cost.
type limits struct {
	lost int
	// returns: the primary of that moment is killed as soon as it is one, and the one before it
	// takes over again. That takes less than the quarter of a second by which a client tells a
	// failover and back from two primaries at once.
	returns bool
}

// outcome is what a fault came to.
type outcome struct {
	report  *writer.Report
	after   agent.Status
	healthy time.Time
	lost    int
	dual    writer.Dual
}

func faultOf(t *testing.T, c *cluster.Cluster, may limits, do func(ctx context.Context, primary string)) outcome {
	t.Helper()
	ctx := t.Context()
	before := c.Healthy(ctx)
	w := c.Writer(ctx)
	defer w.Stop()
	if err := w.AwaitAck(ctx); err != nil {
		t.Fatal(err)
	}
	w.Mark(t.Name())
	began := time.Now()
	do(ctx, cluster.Primary(before))
	if err := w.AwaitAck(ctx); err != nil {
		t.Fatalf("writes did not come back: %v", err)
	}
	after := c.Healthy(ctx)
	o := outcome{after: after, healthy: time.Now()}
	healthy := o.healthy.Sub(began)
	r := w.Stop()
	v, err := w.Verify(ctx, after.Primary.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("write downtime %v, %d acknowledged, %d lost, whole again after %v, primary %s -> %s",
		r.Downtime().Length().Round(100*time.Microsecond), v.Acked, len(v.Lost), healthy.Round(time.Millisecond), cluster.Primary(before), cluster.Primary(after))
	if d := r.LongestDual(); d.Length() > 0 && !(may.returns && d.Changes == 2) {
		o.dual = d
		t.Errorf("two nodes acknowledged at once: %+v\n%s", d, r)
	}
	if len(v.Lost) > may.lost {
		t.Errorf("%d acknowledged writes are lost, at most %d may be", len(v.Lost), may.lost)
	}
	o.report, o.lost = r, len(v.Lost)
	return o
}

// asyncWindow is how many writes may be lost with a primary that dies: those that had not reached a
// replica. The client has four writes under way at most; a replica on this network has what is
// older than a few milliseconds.
const asyncWindow = 100

func join(t *testing.T, c *cluster.Cluster) {
	ctx := t.Context()
	if _, err := c.Join(ctx, "d"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := c.Enable(ctx, "d"); err != nil {
		t.Fatal(err)
	}
	synced := c.Await(ctx, "d in sync", func(s agent.Status) error {
		if n := cluster.Node(s, "d"); n.Replication == nil || n.Replication.Link != "up" {
			return fmt.Errorf("d is %s %s", n.Role, n.State)
		}
		return nil
	})
	t.Logf("in sync after %v", time.Since(began).Round(time.Millisecond))
	whole := c.Await(ctx, "every sentinel to know all four, and the quorum", func(s agent.Status) error {
		var errs []error
		for _, n := range s.Nodes {
			if n.Sentinel.Known != 4 || n.Sentinel.Quorum != 3 || !n.Voter {
				errs = append(errs, fmt.Errorf("%s: voter %v, sentinel %+v", n.Name, n.Voter, n.Sentinel))
			}
		}
		return errors.Join(errs...)
	})
	t.Logf("all agree after %v", time.Since(began).Round(time.Millisecond))
	if cluster.Primary(whole) != cluster.Primary(synced) {
		t.Error("the primary moved because a node joined")
	}
}

func killed(t *testing.T, c *cluster.Cluster) {
	_, after := fault(t, c, asyncWindow, func(ctx context.Context, primary string) {
		kill(t, c, primary, "redis-server", unix.SIGKILL)
	})
	_ = after
}

// program is what a program of Redis is called on the hosts of the default image.
func program(name string) string {
	if rest, is := strings.CutPrefix(name, "redis-"); is && lab.DefaultImage() == lab.Valkey {
		return "valkey-" + rest
	}
	return name
}

func kill(t *testing.T, c *cluster.Cluster, node, process string, sig unix.Signal) {
	t.Helper()
	ctx := t.Context()
	h := c.Host(node)
	p, err := h.Process(ctx, program(process))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Signal(ctx, sig, p.PID); err != nil {
		t.Fatal(err)
	}
}

func agentKilled(t *testing.T, c *cluster.Cluster) {
	var pid int
	var node string
	_, after := fault(t, c, 0, func(ctx context.Context, primary string) {
		node, pid = primary, redisPID(t, c, primary)
		kill(t, c, primary, "redisd", unix.SIGKILL)
	})
	unmoved(t, c, after, node, pid)
}

func restarted(t *testing.T, c *cluster.Cluster) {
	var pid int
	var node string
	_, after := fault(t, c, 0, func(ctx context.Context, primary string) {
		node, pid = primary, redisPID(t, c, primary)
		if _, err := c.Host(primary).Run(ctx, "systemctl", "restart", "redisd"); err != nil {
			t.Fatal(err)
		}
	})
	unmoved(t, c, after, node, pid)
}

func redisPID(t *testing.T, c *cluster.Cluster, node string) int {
	t.Helper()
	pid, err := c.Host(node).PIDOf(t.Context(), program("redis-server"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// unmoved checks that neither the primary nor its process changed.
func unmoved(t *testing.T, c *cluster.Cluster, after agent.Status, node string, pid int) {
	t.Helper()
	if cluster.Primary(after) != node {
		t.Errorf("the primary moved from %s to %s", node, cluster.Primary(after))
	}
	if now := redisPID(t, c, node); now != pid {
		t.Errorf("redis-server of %s was restarted: process %d, before %d", node, now, pid)
	}
}

func switchover(t *testing.T, c *cluster.Cluster) {
	var said, to string
	_, after := fault(t, c, 0, func(ctx context.Context, primary string) {
		to = c.Others(primary)[0]
		out, err := c.Host(c.Others(primary)[1]).Run(ctx, "redisd", "switchover", "--to", to)
		if err != nil {
			t.Fatal(err)
		}
		said = out
	})
	t.Log(said)
	if cluster.Primary(after) != to {
		t.Errorf("the primary is %s, not %s", cluster.Primary(after), to)
	}
}

func stopped(t *testing.T, c *cluster.Cluster) {
	fault(t, c, 0, func(ctx context.Context, primary string) {
		h := c.Host(primary)
		began := time.Now()
		if _, err := h.Run(ctx, "systemctl", "stop", "redisd"); err != nil {
			t.Fatal(err)
		}
		t.Logf("stopped after %v", time.Since(began).Round(time.Millisecond))
		for _, name := range []string{"redis-server", "redis-sentinel", "redisd"} {
			if left, err := h.Processes(ctx, program(name)); err != nil || len(left) > 0 {
				t.Errorf("%s runs on after the stop: %v %v", name, left, err)
			}
		}
		if _, err := h.Run(ctx, "systemctl", "start", "redisd"); err != nil {
			t.Fatal(err)
		}
	})
}

func powerLoss(t *testing.T, c *cluster.Cluster) {
	var node string
	r, after := fault(t, c, asyncWindow, func(ctx context.Context, primary string) {
		node = primary
		if err := c.Host(primary).PowerOff(ctx); err != nil {
			t.Fatal(err)
		}
		awaitOther(t, c, primary)
		if err := c.Host(primary).PowerOn(ctx); err != nil {
			t.Fatal(err)
		}
	})
	if cluster.Primary(after) == node {
		t.Errorf("%s is the primary again\n%s", node, r)
	}
}

// awaitOther waits until another node than old is the primary.
func awaitOther(t *testing.T, c *cluster.Cluster, old string) agent.Status {
	t.Helper()
	return c.Await(t.Context(), "another primary", func(s agent.Status) error {
		if p := cluster.Primary(s); p == "" || p == old {
			return fmt.Errorf("the primary is %q: %v", p, s.Problems)
		}
		return nil
	})
}

func cut(t *testing.T, c *cluster.Cluster) {
	fault(t, c, asyncWindow, func(ctx context.Context, primary string) {
		h := c.Host(primary)
		if err := h.Silence(ctx); err != nil {
			t.Fatal(err)
		}
		names := c.Others(primary)
		if !slices.Contains(names, primary) {
			awaitOther(t, c, primary)
		}
		if err := h.Unsilence(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

func reboot(t *testing.T, c *cluster.Cluster) {
	fault(t, c, 0, func(ctx context.Context, primary string) {
		if err := c.Host(primary).Reboot(ctx); err != nil {
			t.Fatal(err)
		}
	})
}
