package ways

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

func openRedisd(t testing.TB) *Running {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	if err := c.Enable(t.Context(), c.Names()...); err != nil {
		t.Fatal(err)
	}
	return Redisd(c)
}

// Redisd is a cluster of redisd as the measurements see it.
func Redisd(c *cluster.Cluster) *Running {
	r := &Running{Lab: c.Lab, Service: c.VIP + ":" + redisPort, Password: c.Password(), Name: cluster.Name, Unit: "redisd"}
	for _, name := range c.Names() {
		r.Nodes = append(r.Nodes, c.Host(name))
	}
	r.Whole = func(ctx context.Context) (*lab.Host, error) { return wholeRedisd(ctx, c, r.Nodes) }
	r.Switchover = func(ctx context.Context, primary *lab.Host) error {
		_, err := primary.Run(ctx, "redisd", "switchover")
		return err
	}
	return r
}

// wholeRedisd goes by the first host that answers: its status has every node's own account in it,
// and what each Sentinel says.
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
		if err := wholeStatus(s, len(nodes)); err != nil {
			return nil, err
		}
		return c.Host(s.Primary.Name), nil
	}
	return nil, errors.Join(errs...)
}

// wholeStatus returns what is not as it should be.
func wholeStatus(s agent.Status, nodes int) error {
	if s.Health != "healthy" || s.Primary == nil || len(s.Nodes) != nodes {
		return fmt.Errorf("%s with %d nodes: %s", s.Health, len(s.Nodes), strings.Join(s.Problems, "; "))
	}
	for _, n := range s.Nodes {
		if !n.Voter || (n.Name == s.Primary.Name) != (len(n.VIPs) > 0) {
			return fmt.Errorf("%s: voter %v, VIPs %v", n.Name, n.Voter, n.VIPs)
		}
	}
	return nil
}
