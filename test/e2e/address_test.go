package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// TestRenumbered: a host gets another address in place of its own, as by DHCP.
func TestRenumbered(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	t.Run("replica", func(t *testing.T) {
		renumbered(t, c, 51, func(primary string) string { return c.Others(primary)[0] })
	})
	t.Run("primary", func(t *testing.T) {
		renumbered(t, c, 52, func(primary string) string { return primary })
	})
}

func renumbered(t *testing.T, c *cluster.Cluster, last int, which func(primary string) string) {
	var node string
	var pid int
	to := c.Lab.IP(last)
	// A primary without its address is cut off from the others, and not from its clients at the
	// VIP: what it acknowledges until its lease ends is lost.
	o := faultOf(t, c, limits{lost: cutOffLoses}, func(ctx context.Context, primary string) {
		node = which(primary)
		h := c.Host(node)
		pid = redisPID(t, c, node)
		began := time.Now()
		bits := c.Lab.Prefix().Bits()
		out := run(t, h, "ip", "-o", "addr", "show", "dev", "host0", "to", netip.PrefixFrom(addressOf(t, c, node), to.BitLen()).String())
		if !strings.Contains(out, "host0") {
			t.Fatalf("%s does not have its address: %s", node, out)
		}
		run(t, h, "ip", "addr", "del", netip.PrefixFrom(addressOf(t, c, node), bits).String(), "dev", "host0")
		run(t, h, "ip", "addr", "add", netip.PrefixFrom(to, bits).String(), "dev", "host0", "nodad")
		awaitEverywhere(ctx, t, c, func(s agent.Status) error {
			n := cluster.Node(s, node)
			if n.Address != to.String() || s.Health != "healthy" {
				return fmt.Errorf("%s is at %s, the cluster is %s: %q", node, n.Address, s.Health, s.Problems)
			}
			return nil
		})
		t.Logf("%s is a member at %s after %v", node, to, time.Since(began).Round(100*time.Millisecond))
	})
	if now := redisPID(t, c, node); now != pid {
		t.Errorf("redis-server of %s was restarted", node)
	}
	primary := cluster.Primary(o.after)
	// The link that it had from its old address is listed for repl-timeout: nobody there can end
	// it. The new one comes as soon as the replica's end of the old is closed.
	if err := lab.Await(t.Context(), 100*time.Millisecond, func() error {
		info := run(t, c.Host(primary), asClient(c, "INFO", "replication")...)
		if node == primary || strings.Contains(info, "ip="+to.String()+",port=6379,state=online") {
			return nil
		}
		if time.Since(o.healthy) > cluster.Patience {
			t.Fatalf("replication:\n%s", info)
		}
		return errors.New("the primary does not hear it")
	}); err != nil {
		t.Error(err)
	}
	for _, name := range c.Names() {
		out := run(t, c.Host(name), "redisd", "members")
		if !strings.Contains(out, to.String()) {
			t.Errorf("members, on %s:\n%s", name, out)
		}
	}
}

// cutOffLoses is what no writer of these tests gets acknowledged in the 540 ms of a lease.
const cutOffLoses = 20_000

// awaitEverywhere waits until every node's own account is as it should be.
func awaitEverywhere(ctx context.Context, t *testing.T, c *cluster.Cluster, ok func(agent.Status) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	err := lab.Await(ctx, 100*time.Millisecond, func() error {
		for _, name := range c.Names() {
			s, err := c.Status(ctx, name)
			if err == nil {
				err = ok(s)
			}
			if err != nil {
				return fmt.Errorf("on %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// addressOf is where a node is now.
func addressOf(t *testing.T, c *cluster.Cluster, node string) netip.Addr {
	t.Helper()
	s, err := c.Status(t.Context(), c.Names()[0])
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.Nodes, func(n agent.NodeStatus) bool { return n.Name == node })
	addr, err := netip.ParseAddr(s.Nodes[i].Address)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
