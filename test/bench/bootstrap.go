package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/ways"
)

// bootstrap is how three blank hosts with the package installed became a cluster, and a fourth one
// part of it. Times are in milliseconds, from the `systemctl enable --now redisd` of the last of
// the three, or of the fourth.
type bootstrap struct {
	Run        int     `json:"run"`
	FirstWrite float64 `json:"first_write_ms"` // acknowledged through the VIP
	Whole      float64 `json:"whole_ms"`
	InSync     float64 `json:"join_in_sync_ms"`
	Joined     float64 `json:"join_whole_ms"` // a voter, and known to every Sentinel
}

const enableLimit = 2 * time.Minute

func measureBootstrap(t testing.TB) (b bootstrap, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), enableLimit)
	defer cancel()
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	if err := c.Enable(ctx, "a", "b"); err != nil {
		return b, err
	}
	w := c.Writer(ctx)
	defer w.Stop()
	began := time.Now()
	var enabling sync.WaitGroup
	var enabled error
	enabling.Go(func() { enabled = c.Enable(ctx, "c") }) // it may return later than the first write
	err = w.AwaitAck(ctx)
	b.FirstWrite = ms(time.Since(began))
	w.Stop()
	enabling.Wait()
	if err := errors.Join(err, enabled); err != nil {
		return b, err
	}
	if _, err := ways.Redisd(c).AwaitWhole(ctx, wholeLimit); err != nil {
		return b, err
	}
	b.Whole = ms(time.Since(began))

	if _, err := c.Join(ctx, "d"); err != nil {
		return b, err
	}
	began = time.Now()
	if err := c.Enable(ctx, "d"); err != nil {
		return b, err
	}
	err = awaitStatus(ctx, c, func(s agent.Status) error {
		if n := cluster.Node(s, "d"); n.Replication == nil || n.Replication.Link != "up" {
			return fmt.Errorf("d is %s %s", n.Role, n.State)
		}
		return nil
	})
	b.InSync = ms(time.Since(began))
	if err != nil {
		return b, err
	}
	_, err = ways.Redisd(c).AwaitWhole(ctx, wholeLimit)
	b.Joined = ms(time.Since(began))
	return b, err
}

func awaitStatus(ctx context.Context, c *cluster.Cluster, ok func(agent.Status) error) error {
	return lab.Await(ctx, 20*time.Millisecond, func() error {
		s, err := c.Status(ctx, "a")
		if err == nil {
			err = ok(s)
		}
		return err
	})
}
