package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

func openRedisd(t testing.TB) *running {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	if err := c.Enable(t.Context(), c.Names()...); err != nil {
		t.Fatal(err)
	}
	return runningRedisd(c)
}

// runningRedisd is a cluster of redisd as the measurements see it.
func runningRedisd(c *cluster.Cluster) *running {
	r := &running{lab: c.Lab, service: c.VIP + ":" + redisPort, password: c.Password(), unit: "redisd"}
	for _, name := range c.Names() {
		r.nodes = append(r.nodes, c.Host(name))
	}
	r.whole = func(ctx context.Context) (*lab.Host, error) { return wholeRedisd(ctx, c, r.nodes) }
	r.switchover = func(ctx context.Context, primary *lab.Host) error {
		_, err := primary.Run(ctx, "redisd", "switchover")
		return err
	}
	return r
}

// wholeRedisd goes by the first host that answers: its status has every node's own
// account in it, and what each Sentinel says.
func wholeRedisd(ctx context.Context, c *cluster.Cluster, nodes []*lab.Host) (*lab.Host, error) {
	var errs []error
	for _, h := range nodes {
		if !h.Running() {
			errs = append(errs, fmt.Errorf("%s is off", h.Name()))
			continue
		}
		s, err := c.Status(ctx, h.Name())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return wholeStatus(s, nodes)
	}
	return nil, errors.Join(errs...)
}

func wholeStatus(s agent.Status, nodes []*lab.Host) (*lab.Host, error) {
	if s.Health != "healthy" || s.Primary == nil || len(s.Nodes) != len(nodes) {
		return nil, fmt.Errorf("%s with %d nodes: %s", s.Health, len(s.Nodes), strings.Join(s.Problems, "; "))
	}
	var primary *lab.Host
	for _, h := range nodes {
		if h.Name() == s.Primary.Name {
			primary = h
		}
	}
	for _, n := range s.Nodes {
		isPrimary := n.Name == s.Primary.Name
		if !n.Voter || isPrimary != (len(n.VIPs) > 0) {
			return nil, fmt.Errorf("%s: voter %v, VIPs %v", n.Name, n.Voter, n.VIPs)
		}
	}
	return primary, nil
}
