package clients

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/ways"
)

const (
	startLimit  = 60 * time.Second // until all programs have done something, on a busy machine
	aliveLimit  = 10 * time.Second // until one that has come back is as before
	idleTime    = 300 * time.Millisecond
	changeLimit = 60 * time.Second // until another redis-server takes writes
	wholeLimit  = 3 * time.Minute  // until a fault's traces are gone: Sentinels take their time
	lookEvery   = 20 * time.Millisecond
	probeKey    = "clients:probe"
	feedLimit   = 200 * time.Millisecond
	feedAgain   = time.Second // what a dying connection took is sent once more
	readLimit   = 20 * time.Second
	poolRound   = 8 // connections that a round of pool uses: POOLED in the programs
)

// bench is a way to make Redis highly available, and the clients that use it.
type bench struct {
	t        testing.TB
	way      ways.Way
	running  *ways.Running
	settings string
	patience time.Duration
	clients  []*client
	number   int           // of the last client: no two write to one key
	feeder   *redis.Client // publishes and pushes what listeners wait for
}

func openBench(t testing.TB, way ways.Way, settings string, patience time.Duration) *bench {
	b := &bench{t: t, way: way, running: way.Open(t), settings: settings, patience: patience}
	if err := ways.OnAll(b.running.Nodes, (*lab.Host).SyncDisks); err != nil {
		t.Fatal(err)
	}
	b.primary(t.Context())
	b.feeder = b.dial(b.running.Service, feedLimit)
	t.Cleanup(func() {
		for _, c := range b.clients {
			c.stop()
		}
		b.feeder.Close()
	})
	return b
}

// dial makes a client that gives up on a dead connection after that time.
func (b *bench) dial(address string, limit time.Duration) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: address, Password: b.running.Password, Dialer: b.running.Lab.DialContext,
		DialTimeout: limit, ReadTimeout: limit, MaxRetries: -1,
	})
}

func (b *bench) add(l library, via, mode string) {
	b.number++
	c := &client{library: l, via: via, mode: mode, key: fmt.Sprintf("clients:%d:%s:%s:%s", b.number, l.id, via, mode)}
	env := []string{
		"REDIS_VIP=" + b.running.Service, "REDIS_NAME=" + b.running.Name, "REDIS_PASSWORD=" + b.running.Password, "REDIS_SETTINGS=" + b.settings,
	}
	if via == "sentinel" {
		var list []string
		for _, h := range b.running.Nodes {
			list = append(list, ways.SentinelOf(h))
		}
		env = append(env, "REDIS_SENTINELS="+strings.Join(list, ","))
	}
	if err := startClient(context.WithoutCancel(b.t.Context()), b.running.Lab, c, env); err != nil {
		b.t.Fatal(err)
	}
	b.clients = append(b.clients, c)
}

// replace has a new program take over from one that is stuck.
func (b *bench) replace(c *client) {
	c.stop()
	for i := range b.clients {
		if b.clients[i] == c {
			b.clients = append(b.clients[:i], b.clients[i+1:]...)
			break
		}
	}
	b.add(c.library, c.via, c.mode)
}

// alive waits until every client does what it is there for. One that does not within a limit is
// replaced, once.
func (b *bench) alive(ctx context.Context) {
	silent := b.silent(ctx, aliveLimit)
	for _, c := range silent {
		b.t.Logf("%s is replaced: it did nothing for %v with a healthy cluster", c, aliveLimit)
		b.replace(c)
	}
	if len(silent) > 0 {
		b.mustBeAlive(ctx)
	}
}

func (b *bench) mustBeAlive(ctx context.Context) {
	for _, c := range b.silent(ctx, startLimit) {
		last := c.since(time.Time{})
		b.t.Fatalf("%s does nothing; of %d lines the last are %v; %s", c, len(last), last[max(0, len(last)-3):], c.stderr.String())
	}
}

// silent gives every client something to do, and returns those that have not done it in time.
func (b *bench) silent(ctx context.Context, limit time.Duration) []*client {
	w := b.watch(ctx, time.Now())
	w.feed()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(lookEvery) {
		if w.feed(); len(w.waiting()) == 0 {
			return nil
		}
	}
	return w.waiting()
}

// watch is for all clients to come back after something.
type watch struct {
	*bench
	ctx  context.Context
	from time.Time
	fed  map[*client]time.Time // when it got what is not sent all the time
}

func (b *bench) watch(ctx context.Context, from time.Time) *watch {
	return &watch{bench: b, ctx: ctx, from: from, fed: map[*client]time.Time{}}
}

// back says whether a client has done what it was given.
func (w *watch) back(c *client) bool {
	switch {
	case c.mode == "pool":
		return c.count(w.from, "ok") >= poolRound
	case c.mode == "subscribe":
		for _, e := range c.since(w.from) {
			if e.Kind == "ok" && strings.HasPrefix(e.What, "message") {
				return true
			}
		}
		return false
	}
	return c.count(w.from, "ok") > 0
}

func (w *watch) waiting() (out []*client) {
	for _, c := range w.clients {
		if !w.back(c) {
			out = append(out, c)
		}
	}
	return out
}

// feed gives those who wait what they wait for: a message each time, an element now and then, a
// round once. Should the primary change again, on a machine so busy that an agent stands still, it
// goes on with the new one.
func (w *watch) feed() {
	waiting := w.waiting()
	if len(waiting) > 0 && w.feeder.Set(w.ctx, probeKey, "", 0).Err() != nil {
		_, _ = w.findPrimary(w.ctx, "") // it is looked for again with the next call
	}
	for _, c := range waiting {
		switch c.mode {
		case "blpop":
			if time.Since(w.fed[c]) > feedAgain && w.feeder.RPush(w.ctx, c.key, "element").Err() == nil {
				w.fed[c] = time.Now()
			}
		case "subscribe":
			w.feeder.Publish(w.ctx, c.key, "message")
		case "pool":
			if w.fed[c].IsZero() {
				c.say("")
				w.fed[c] = time.Now()
			}
		}
	}
}

// primary is the host of the primary, when all is whole.
func (b *bench) primary(ctx context.Context) *lab.Host {
	b.t.Helper()
	primary, err := b.running.AwaitWhole(ctx, wholeLimit)
	if err != nil {
		b.t.Fatalf("waited in vain for a whole cluster: %v", err)
	}
	return primary
}

// findPrimary waits until a redis-server other than the old one takes writes, and feeds clients
// there from then on: at its host's own address, so that the way of the VIP does not matter.
func (b *bench) findPrimary(ctx context.Context, old string) (runID string, err error) {
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	type found struct {
		id string
		r  *redis.Client
	}
	answers := make(chan found, len(b.running.Nodes))
	for _, h := range b.running.Nodes {
		go func() {
			r := b.dial(ways.RedisOf(h), feedLimit)
			id := ""
			err := lab.Await(ctx, lookEvery, func() (err error) {
				id, err = takesWrites(ctx, r, old)
				return err
			})
			if err != nil {
				r.Close()
				id, r = "", nil
			}
			answers <- found{id, r}
		}()
	}
	for range b.running.Nodes {
		answer := <-answers
		if answer.r == nil {
			continue
		}
		cancel() // the others need not look any more
		if runID == "" {
			runID = answer.id
			b.feeder.Close()
			b.feeder = answer.r
		} else {
			answer.r.Close()
		}
	}
	if runID == "" {
		return "", fmt.Errorf("no other redis-server than %q took writes within %v", old, changeLimit)
	}
	return runID, nil
}

// takesWrites returns the run id of a redis-server that does, and is not the old one.
func takesWrites(ctx context.Context, r *redis.Client, old string) (string, error) {
	info, err := r.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(info, "run_id:")
	id, _, _ := strings.Cut(rest, "\r\n")
	if id == old {
		return "", fmt.Errorf("%s is the old one", id)
	}
	return id, r.Set(ctx, probeKey, "", 0).Err()
}
