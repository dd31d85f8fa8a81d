package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// What clients can do to a redis-server who have the clients' password, and redisd has to live
// with.

// writingScript computes and writes for as long as it is to last; nobody else is served meanwhile.
func writingScript(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	const script = `local function now() local t = redis.call('TIME') return t[1] + t[2] / 1e6 end
local s, n = now(), 0
repeat n = n + 1; if n % 1000 == 0 then redis.call('SET', KEYS[1], n) end until now() - s >= tonumber(ARGV[1])
redis.call('DEL', KEYS[1]) return n`
	return func(ctx context.Context) (mend, error) {
		c := dialPatient(in.c, in.host.Addr().String(), in.lasts+clientLimit)
		defer c.Close()
		n, err := c.Eval(ctx, script, []string{"script"}, in.lasts.Seconds()).Result()
		in.note("the script answered %v (%v)", n, err)
		return nil, err
	}, nil
}

// pausedClients has redis-server answer none of its clients, or none of those who write.
func pausedClients(mode string) injector {
	return func(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
		c := dial(in.c, in.host.Addr().String())
		if err := c.Ping(ctx).Err(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return func(ctx context.Context) (mend, error) {
			err := c.Do(ctx, "CLIENT", "PAUSE", in.lasts.Milliseconds(), mode).Err()
			return func(ctx context.Context) error {
				return errors.Join(awaitWithin(ctx, clientLimit, func() error { return c.Ping(ctx).Err() }), c.Close())
			}, err
		}, nil
	}
}

// fullConnections leaves no room for another client; those that are there stay.
func fullConnections(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
	const room, name = 30, "maxclients"
	c := dial(in.c, in.host.Addr().String())
	was, err := c.ConfigGet(ctx, name).Result()
	var now int
	if err == nil {
		now, err = connected(ctx, c)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return func(ctx context.Context) (mend, error) {
		var open []net.Conn
		err := c.ConfigSet(ctx, name, strconv.Itoa(now+room)).Err()
		for err == nil {
			var conn net.Conn
			conn, err = in.c.Lab.DialContext(ctx, "tcp", in.host.Addr().String()+":6379")
			if err == nil {
				open = append(open, conn)
			}
			if len(open) == 4*room {
				break // more than there is room for: the last ones were turned away
			}
		}
		in.note("%d connections more than the %d that there were", room, now)
		return func(ctx context.Context) error {
			err := c.ConfigSet(ctx, name, was[name]).Err()
			for _, conn := range open {
				conn.Close()
			}
			return errors.Join(err, c.Close())
		}, err
	}, nil
}

func connected(ctx context.Context, c *goredis.Client) (int, error) {
	info, err := c.InfoMap(ctx, "clients").Result()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(info["Clients"]["connected_clients"])
}

// expiring floods the primary with keys that soon expire, at different times.
func expiring(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	const batch, different, longest = 200, 20_000, 2 * time.Second
	return func(ctx context.Context) (mend, error) {
		c := dial(in.c, in.c.VIP)
		defer c.Close()
		set, failed := 0, 0
		var last error
		for end := time.Now().Add(in.lasts); time.Now().Before(end); {
			_, err := c.Pipelined(ctx, func(p goredis.Pipeliner) error {
				for range batch {
					key := "expiring:" + strconv.Itoa(rand.IntN(different))
					p.Set(ctx, key, "x", time.Duration(1+rand.Int64N(longest.Milliseconds()))*time.Millisecond)
				}
				return nil
			})
			if err != nil {
				failed, last = failed+1, err
				pause(ctx, 10*time.Millisecond)
				continue
			}
			set += batch
		}
		in.note("%d keys that expire, %d batches failed (%v)", set, failed, last)
		if set == 0 {
			return nil, fmt.Errorf("no key that expires was set: %w", last)
		}
		return nil, nil
	}, nil
}

// careful are clients that do what the writer does not: transactions, writes that wait for a
// replica, and commands that block. Whatever befalls the primary, a transaction is there whole or
// not at all, and what WAIT has said that a replica has is not lost.
type careful struct {
	prefix string
	mu     sync.Mutex
	waited []string             // elements of the list "waited"
	exec   map[string]time.Time // when those of the lists "left" and "right" were acknowledged
	failed int
	last   error
}

func (k *careful) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.failed, k.last = k.failed+1, err
	}
}

func carefulClients(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	k := &careful{prefix: fmt.Sprintf("careful:%d:", rand.Uint64()), exec: map[string]time.Time{}}
	return func(ctx context.Context) (mend, error) {
		ctx, cancel := context.WithTimeout(ctx, in.lasts)
		defer cancel()
		var wg sync.WaitGroup
		for _, do := range []func(context.Context, *goredis.Client, string){k.transact, k.wait, k.block, k.block} {
			wg.Go(func() {
				c := dial(in.c, in.c.VIP)
				defer c.Close()
				for n := 0; ctx.Err() == nil; n++ {
					do(ctx, c, strconv.Itoa(n))
				}
			})
		}
		wg.Wait()
		in.note("%d transactions and %d writes that waited for a replica; %d errors, the last: %v", len(k.exec), len(k.waited), k.failed, k.last)
		in.later(k.verify)
		if len(k.exec) == 0 || len(k.waited) == 0 {
			return nil, fmt.Errorf("%d transactions and %d waits: %w", len(k.exec), len(k.waited), k.last)
		}
		return nil, nil
	}, nil
}

func (k *careful) transact(ctx context.Context, c *goredis.Client, id string) {
	_, err := c.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.RPush(ctx, k.prefix+"left", id)
		p.RPush(ctx, k.prefix+"right", id)
		return nil
	})
	k.note(err)
	if err == nil {
		k.mu.Lock()
		k.exec[id] = time.Now()
		k.mu.Unlock()
		return
	}
	pause(ctx, time.Millisecond)
}

func (k *careful) wait(ctx context.Context, c *goredis.Client, id string) {
	err := c.RPush(ctx, k.prefix+"waited", id).Err()
	var n int64
	if err == nil {
		n, err = c.Wait(ctx, 1, 100*time.Millisecond).Result()
	}
	k.note(err)
	if err == nil && n > 0 {
		k.mu.Lock()
		k.waited = append(k.waited, id)
		k.mu.Unlock()
		return
	}
	pause(ctx, time.Millisecond)
}

// block waits for what never comes; a redis-server that is no primary any more says so.
func (k *careful) block(ctx context.Context, c *goredis.Client, _ string) {
	err := c.BLPop(ctx, time.Second, k.prefix+"never").Err()
	if !errors.Is(err, goredis.Nil) {
		k.note(err)
		pause(ctx, time.Millisecond)
	}
}

// verify looks for all of it on the primary.
func (k *careful) verify(ctx context.Context, c *goredis.Client, s *Seen) error {
	there := map[string]map[string]bool{}
	for _, list := range []string{"left", "right", "waited"} {
		all, err := c.LRange(ctx, k.prefix+list, 0, -1).Result()
		if err != nil {
			return err
		}
		there[list] = map[string]bool{}
		for _, id := range all {
			there[list][id] = true
		}
	}
	for id := range there["left"] {
		if !there["right"][id] {
			s.Differ = append(s.Differ, "half of transaction "+id+" is there")
		}
	}
	for id, a := range k.exec {
		if !there["right"][id] {
			s.Lost = append(s.Lost, LostWrite{At: a, Until: a})
		}
	}
	for _, id := range k.waited {
		if !there["waited"][id] {
			s.Waited++
		}
	}
	return nil
}
