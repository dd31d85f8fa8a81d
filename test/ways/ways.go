// Package ways has redisd, and the usual manual set-ups that make Redis highly available, at work
// on booted hosts, to be measured beside one another: Debian's redis-server and redis-sentinel with
// a script, keepalived or HAProxy, by the files in baseline.
//
// What it opens is asked and faulted from outside; nothing here knows how redisd works.
package ways

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

// Way is one of the ways to make three hosts one highly available Redis.
type Way struct {
	ID    string
	Title string
	// Open boots fresh hosts and sets them up.
	Open func(t testing.TB) *Running
}

// All are the ways, redisd first.
var All = []Way{
	{"redisd", "redisd", openRedisd},
	{"address", "Sentinel + script", openAddress},
	{"keepalived", "Sentinel + keepalived", openKeepalived},
	{"haproxy", "Sentinel + HAProxy", openHAProxy},
}

// Running is a way at work on some hosts.
type Running struct {
	Lab      *lab.Lab
	Nodes    []*lab.Host // those with a redis-server
	Service  string      // where clients write, "ip:port"
	Password string
	Name     string // by which Sentinel knows the primary
	Unit     string // what an operator stops to stop Redis on a host
	// Whole returns the primary once nothing is left to be repaired: one primary that has the
	// service's address, the others in sync with it, every Sentinel agreeing.
	Whole func(ctx context.Context) (*lab.Host, error)
	// Switchover has another node made primary, as an operator would.
	Switchover func(ctx context.Context, primary *lab.Host) error
}

const (
	redisPort    = "6379"
	sentinelPort = "26379"

	lookEvery = 200 * time.Millisecond // at whether a cluster is whole; seldom enough not to disturb what is measured
)

// AwaitWhole waits until it is, for so long at most.
func (r *Running) AwaitWhole(ctx context.Context, limit time.Duration) (primary *lab.Host, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = lab.Await(ctx, lookEvery, func() (err error) {
		primary, err = r.Whole(ctx)
		return err
	})
	return primary, err
}

// Write starts the client. Beside the service it writes to every node itself: only so can two nodes
// that take writes at the same time be seen.
func (r *Running) Write(ctx context.Context, prefix string) (*writer.Writer, error) {
	o := writer.Options{Dial: r.Lab.DialContext, Addrs: []string{r.Service}, Password: r.Password, Prefix: prefix}
	for _, h := range r.Nodes {
		o.Direct = append(o.Direct, RedisOf(h))
	}
	return writer.Start(ctx, o)
}

// DirectLane says whether a lost write was one of those sent to a node itself, which no application
// does.
func DirectLane(l writer.Write, prefix string) bool {
	return strings.HasPrefix(l.Key, prefix+"direct:")
}

// RedisOf is where the redis-server of a host listens, SentinelOf its redis-sentinel.
func RedisOf(h *lab.Host) string { return h.Addr().String() + ":" + redisPort }

func SentinelOf(h *lab.Host) string { return h.Addr().String() + ":" + sentinelPort }

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
