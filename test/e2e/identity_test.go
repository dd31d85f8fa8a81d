package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
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

// TestIdentity is what docs/GUARANTEES.md says of a host that is replaced, and what may not pass
// for that.
func TestIdentity(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	t.Run("replaced host", func(t *testing.T) { replaced(t, c) })
	t.Run("damaged state", func(t *testing.T) { damaged(t, c) })
	t.Run("no machine id", func(t *testing.T) { withoutMachineID(t, c) })
	t.Run("cloned disk", func(t *testing.T) { cloned(t, c) })
}

// anotherMachine makes the disk of a host that is off that of another machine.
func anotherMachine(t *testing.T, h *lab.Host) {
	t.Helper()
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	if err := h.WriteFile(t.Context(), "/etc/machine-id", []byte(hex.EncodeToString(id)+"\n"), 0o444); err != nil {
		t.Fatal(err)
	}
}

// notStarted waits until the service on a host has given up, and every way to ask why says so.
func notStarted(t *testing.T, h *lab.Host, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	err := lab.Await(ctx, 100*time.Millisecond, func() error {
		if out, _ := h.Run(ctx, "systemctl", "is-failed", "redisd"); strings.TrimSpace(out) != "failed" {
			return fmt.Errorf("the service is %s", out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range []string{"redisd status 2>&1 || true", "redisd check 2>&1 || true", "journalctl -u redisd -b --no-pager"} {
		out := run(t, h, "sh", "-c", ask)
		for _, word := range words {
			if !strings.Contains(out, word) {
				t.Errorf("%s: %q does not say %q:\n%s", h.Name(), ask, word, out)
			}
		}
	}
}

// stateOf is the state of a node as it is on its disk.
func stateOf(t *testing.T, h *lab.Host) string {
	t.Helper()
	return run(t, h, "sh", "-c", "sha256sum </var/lib/redisd/state; ls -A /var/lib/redisd")
}

// replaced gives the name, the address and the state directory of a dead host to another machine.
func replaced(t *testing.T, c *cluster.Cluster) {
	ctx := t.Context()
	primary := cluster.Primary(c.Healthy(ctx))
	name := c.Others(primary)[0]
	before := c.Healthy(ctx)
	h := c.Host(name)
	off(t, c, []string{name})
	anotherMachine(t, h)
	on(t, c, []string{name})
	notStarted(t, h, "redisd adopt-identity", "of another machine")
	kept := stateOf(t, h)
	if out, err := h.Run(ctx, "sh", "-c", "echo no | redisd adopt-identity"); err == nil {
		t.Errorf("went on unconfirmed: %s", out)
	}
	if now := stateOf(t, h); now != kept {
		t.Errorf("the state was written over without a word: %s, was %s", now, kept)
	}
	t.Log(run(t, h, "redisd", "adopt-identity", "--yes"))
	run(t, h, "systemctl", "reset-failed", "redisd")
	run(t, h, "systemctl", "start", "redisd")
	after := c.Healthy(ctx)
	if len(after.Nodes) != 3 || after.Voters != 3 {
		t.Errorf("%d nodes and %d voters, want 3 of each", len(after.Nodes), after.Voters)
	}
	if was, is := cluster.Node(before, name).ID, cluster.Node(after, name).ID; was != is {
		t.Errorf("%s was the node %s and is %s", name, was, is)
	}
	// Its vote counts: the primary may go.
	fault(t, c, asyncWindow, func(_ context.Context, primary string) { kill(t, c, primary, "redis-server", unix.SIGKILL) })
}

// damaged takes both copies of the state, and puts an older one back.
func damaged(t *testing.T, c *cluster.Cluster) {
	ctx := t.Context()
	name := c.Others(cluster.Primary(c.Healthy(ctx)))[0]
	h := c.Host(name)
	run(t, h, "cp", "-a", "/var/lib/redisd/state", "/root/state.old")
	// What happens meanwhile is not in the backup.
	run(t, h, "redisd", "switchover")
	if cluster.Primary(c.Healthy(ctx)) == name {
		run(t, h, "redisd", "switchover")
		c.Healthy(ctx)
	}
	run(t, h, "systemctl", "stop", "redisd")
	run(t, h, "sh", "-c", "head -c 16384 /dev/urandom | dd of=/var/lib/redisd/state conv=notrunc status=none")
	_, _ = h.Run(ctx, "systemctl", "start", "redisd")
	notStarted(t, h, "damaged", "redisd adopt-identity")
	run(t, h, "cp", "-a", "/root/state.old", "/var/lib/redisd/state")
	t.Log(run(t, h, "redisd", "adopt-identity", "--yes"))
	run(t, h, "systemctl", "reset-failed", "redisd")
	run(t, h, "systemctl", "start", "redisd")
	if after := c.Healthy(ctx); len(after.Nodes) != 3 || after.Voters != 3 {
		t.Errorf("%d nodes and %d voters, want 3 of each", len(after.Nodes), after.Voters)
	}
}

// withoutMachineID has a node start on a host that cannot say which one it is, until it can.
func withoutMachineID(t *testing.T, c *cluster.Cluster) {
	ctx := t.Context()
	name := c.Others(cluster.Primary(c.Healthy(ctx)))[0]
	h := c.Host(name)
	run(t, h, "systemctl", "stop", "redisd")
	run(t, h, "sh", "-c", "cp /etc/machine-id /root/id; : >/etc/machine-id")
	_, _ = h.Run(ctx, "systemctl", "start", "--no-block", "redisd")
	// journalctl finds nothing on such a host.
	for _, ask := range []string{"redisd status 2>&1 || true", "redisd check 2>&1 || true"} {
		if out := run(t, h, "sh", "-c", ask); !strings.Contains(out, "systemd-machine-id-setup") {
			t.Errorf("%q does not say it:\n%s", ask, out)
		}
	}
	run(t, h, "sh", "-c", "cat /root/id >/etc/machine-id; sync") // the power goes next
	if after := c.Healthy(ctx); len(after.Nodes) != 3 {
		t.Errorf("%d nodes, want 3", len(after.Nodes))
	}
}

// cloned copies a host's disk to another machine and starts both.
func cloned(t *testing.T, c *cluster.Cluster) {
	ctx := t.Context()
	name := c.Others(cluster.Primary(c.Healthy(ctx)))[0]
	off(t, c, []string{name})
	clone, err := c.Lab.Clone(ctx, c.Host(name), "clone")
	if err != nil {
		t.Fatal(err)
	}
	anotherMachine(t, clone)
	on(t, c, []string{name})
	c.Healthy(ctx)
	if err := clone.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	notStarted(t, clone, "redisd adopt-identity", "of another machine")
	out, err := clone.Run(ctx, "sh", "-c", "redisd adopt-identity --yes 2>&1")
	if err == nil || !strings.Contains(out, "runs at "+c.Host(name).Addr().String()) {
		t.Errorf("what lives elsewhere is adopted, or it is not said where: %v\n%s", err, out)
	}
	t.Log(out)
	if s := c.Healthy(ctx); len(s.Nodes) != 3 {
		t.Errorf("%d nodes, want 3: who only asks is no member", len(s.Nodes))
	}
	t.Log(run(t, clone, "redisd", "join", "--abandon-data", "--yes"))
	run(t, clone, "systemctl", "reset-failed", "redisd")
	run(t, clone, "systemctl", "start", "redisd")
	c.Await(ctx, "the clone as a node of its own", func(s agent.Status) error {
		if s.Health != "healthy" || len(s.Nodes) != 4 || s.Voters != 4 {
			return fmt.Errorf("%s, %d nodes, %d voters: %s", s.Health, len(s.Nodes), s.Voters, strings.Join(s.Problems, "; "))
		}
		return nil
	})
}

// TestTwoClusters has hosts with the same two files come to be of two clusters.
func TestTwoClusters(t *testing.T) {
	ctx := t.Context()
	c := cluster.New(t, cluster.Lab(t), cluster.Options{Nodes: []string{"a", "b", "c", "d"}, Expect: 1})
	if err := c.Enable(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	id := awaitNode(t, c, "a", func(s agent.Status) bool { return cluster.Primary(s) == "a" }).ClusterID
	if err := c.Enable(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	// It hears of the primary before it belongs to the cluster.
	awaitNode(t, c, "b", func(s agent.Status) bool { return s.ClusterID == id && cluster.Primary(s) == "a" && len(s.Nodes) == 2 })
	redis(t, c, "a", "SET", "of", "a")

	t.Run("without data", func(t *testing.T) {
		found(t, c, "c")
		heal(t, c, "c")
		s := awaitNode(t, c, "c", func(s agent.Status) bool { return s.ClusterID == id && s.Health == "healthy" && len(up(s)) == 3 })
		if got := redis(t, c, "c", "GET", "of"); got != "a" {
			t.Errorf("it has %q: %+v", got, s.Problems)
		}
		for _, name := range []string{"a", "b"} {
			told(t, c.Host(name), "another cluster of this name and secret is here")
		}
		if out := run(t, c.Host("c"), "journalctl", "-u", "redisd", "--no-pager"); !strings.Contains(out, "gives way to cluster "+id) {
			t.Errorf("the journal does not say why:\n%s", out)
		}
	})
}

// found has a host found a cluster while nobody hears it.
func found(t *testing.T, c *cluster.Cluster, name string) {
	t.Helper()
	if err := c.Host(name).Silence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Enable(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	awaitNode(t, c, name, func(s agent.Status) bool { return cluster.Primary(s) == name && len(cluster.Node(s, name).VIPs) == 1 })
}

func heal(t *testing.T, c *cluster.Cluster, name string) {
	t.Helper()
	if err := c.Host(name).Unsilence(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// up are the nodes that answer.
func up(s agent.Status) (nodes []agent.NodeStatus) {
	for _, n := range s.Nodes {
		if n.State == "running" {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// awaitNode waits until one node itself says what is waited for.
func awaitNode(t *testing.T, c *cluster.Cluster, name string, ok func(agent.Status) bool) agent.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	var s agent.Status
	said := "nothing"
	err := lab.Await(ctx, 100*time.Millisecond, func() (err error) {
		if s, err = c.Status(ctx, name); err == nil && !ok(s) {
			said = fmt.Sprintf("%s, cluster %q, primary %q, %d of %d nodes up: %s", s.Health, s.ClusterID, cluster.Primary(s), len(up(s)), len(s.Nodes), strings.Join(s.Problems, "; "))
			err = errors.New(said)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v; it said last: %s", name, err, said)
	}
	return s
}

// redis runs one command on the redis-server of a host.
func redis(t *testing.T, c *cluster.Cluster, name string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, c.Host(name), append([]string{program("redis-cli"), "--no-auth-warning", "-a", c.Password()}, args...)...))
}
