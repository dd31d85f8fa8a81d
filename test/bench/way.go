package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

// way is one of the ways to make three hosts one highly available Redis.
type way struct {
	id    string
	title string
	// open boots fresh hosts and sets them up.
	open func(t testing.TB) *running
}

var ways = []way{
	{"redisd", "redisd", openRedisd},
	{"address", "Sentinel + script", openAddress},
	{"keepalived", "Sentinel + keepalived", openKeepalived},
	{"haproxy", "Sentinel + HAProxy", openHAProxy},
}

// running is a way at work on some hosts.
type running struct {
	lab      *lab.Lab
	nodes    []*lab.Host // those with a redis-server
	service  string      // where clients write, "ip:port"
	password string
	unit     string // what an operator stops to stop Redis on a host
	// whole returns the primary once nothing is left to be repaired: one primary that has the
	// service's address, the others in sync with it, every Sentinel agreeing.
	whole func(ctx context.Context) (*lab.Host, error)
	// switchover has another node made primary, as an operator would.
	switchover func(ctx context.Context, primary *lab.Host) error
}

const (
	redisPort    = "6379"
	sentinelPort = "26379"

	lookEvery = 200 * time.Millisecond // at whether a cluster is whole; seldom enough not to disturb what is measured
)

// awaitWhole waits until it is, for so long at most.
func (r *running) awaitWhole(ctx context.Context, limit time.Duration) (primary *lab.Host, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = lab.Await(ctx, lookEvery, func() (err error) {
		primary, err = r.whole(ctx)
		return err
	})
	return primary, err
}

// write starts the client. Beside the service it writes to every node itself: only so can two nodes
// that take writes at the same time be seen.
func (r *running) write(ctx context.Context, prefix string) (*writer.Writer, error) {
	o := writer.Options{Dial: r.lab.DialContext, Addrs: []string{r.service}, Password: r.password, Prefix: prefix}
	for _, h := range r.nodes {
		o.Direct = append(o.Direct, redisOf(h))
	}
	return writer.Start(ctx, o)
}

// directLane says whether a lost write was one of those sent to a node itself, which no application
// does.
func directLane(l writer.Write, prefix string) bool {
	return strings.HasPrefix(l.Key, prefix+"direct:")
}

func redisOf(h *lab.Host) string { return h.Addr().String() + ":" + redisPort }

func sentinelOf(h *lab.Host) string { return h.Addr().String() + ":" + sentinelPort }

// holders are the hosts on which the address is.
func holders(ctx context.Context, nodes []*lab.Host, address string) (names []string, err error) {
	for _, h := range nodes {
		out, err := h.Run(ctx, "ip", "-4", "-o", "addr", "show", "dev", "host0")
		if err != nil {
			return nil, err
		}
		if strings.Contains(out, " "+address+"/") {
			names = append(names, h.Name())
		}
	}
	return names, nil
}

// heldBy says whether the address is on this host and no other.
func heldBy(ctx context.Context, nodes []*lab.Host, address string, primary *lab.Host) error {
	names, err := holders(ctx, nodes, address)
	if err == nil && (len(names) != 1 || names[0] != primary.Name()) {
		err = fmt.Errorf("the address is on %v, the primary is %s", names, primary.Name())
	}
	return err
}
