package chaos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// The faults that Redis' own commands bring about.

const (
	// ballast is what a dataset is to have before something happens to it that takes as long as the
	// dataset is large: so many values of so many bytes.
	ballastValues = 64
	ballastValue  = 1 << 20
	clientLimit   = 5 * time.Second
)

// silenceLibrary: every fault makes it say on standard error what the story tells.
var silenceLibrary = sync.OnceFunc(logging.Disable)

// dial connects to the redis-server of a host, or the VIP's, as an application would.
func dial(c *cluster.Cluster, address string) *goredis.Client {
	silenceLibrary()
	return goredis.NewClient(&goredis.Options{
		Addr: address + ":6379", Password: c.Password(), Protocol: 2, Dialer: c.Lab.DialContext,
		DialTimeout: clientLimit, ReadTimeout: clientLimit, WriteTimeout: clientLimit,
		MaxRetries: -1, PoolSize: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// fill sees to it that so many values are there, and that the replicas have them: in bits that no
// compression makes smaller.
func fill(ctx context.Context, c *goredis.Client, values, size, replicas int) error {
	text := make([]byte, size)
	for i := range values {
		key := fmt.Sprintf("ballast:%d", i)
		if n, err := c.StrLen(ctx, key).Result(); err == nil && n == int64(size) {
			continue
		}
		if _, err := io.ReadFull(rand.Reader, text); err != nil {
			return err
		}
		if err := c.Set(ctx, key, text, 0).Err(); err != nil {
			return fmt.Errorf("fill the dataset: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	return lab.Await(ctx, time.Millisecond, func() error {
		n, err := c.Wait(ctx, replicas, clientLimit/2).Result()
		if err == nil && n < int64(replicas) {
			err = fmt.Errorf("fill the dataset: only %d replicas have it", n)
		}
		return err
	})
}

// busyScript keeps redis-server from everything else, as a client of the applications could.
func busyScript(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	script := fmt.Sprintf("local function now() local t = redis.call('TIME') return t[1] + t[2] / 1e6 end "+
		"local s = now() repeat until now() - s >= %.1f return 1", in.lasts.Seconds())
	return func(ctx context.Context) (mend, error) {
		cmd := in.c.Lab.Command(ctx, "redis-cli", "-h", in.host.Addr().String(), "EVAL", script, "0")
		cmd.Env = append(cmd.Environ(), "REDISCLI_AUTH="+in.c.Password())
		out, err := cmd.CombinedOutput()
		in.note("the script answered %q", out)
		if err == nil && strings.TrimSpace(string(out)) != "1" {
			err = fmt.Errorf("run a script: %s", out) // redis-cli itself is content with any answer
		}
		return nil, err
	}, nil
}

// outOfMemory: a client asks for more than there is, and the kernel's OOM killer ends redis-server.
func outOfMemory(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
	const left, asked = 16 << 20, 64 << 20
	p, err := in.host.Process(ctx, "redis-server")
	if err != nil {
		return nil, err
	}
	m, err := in.host.LimitMemory(p, left)
	if err != nil {
		return nil, err
	}
	c := dial(in.c, in.host.Addr().String())
	if err := c.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(err, c.Close(), m.Release())
	}
	return func(ctx context.Context) (mend, error) {
		defer c.Close()
		answer, err := c.Eval(ctx, fmt.Sprintf("return #string.rep('x', %d)", asked), nil).Result()
		in.note("the client that asked for too much was answered %v (%v)", answer, err)
		killed := func() error {
			n, err := m.Kills()
			if err == nil && n == 0 {
				err = errors.New("the OOM killer did nothing")
			}
			return err
		}
		limit, cancel := context.WithTimeout(ctx, clientLimit)
		defer cancel()
		err = lab.Await(limit, 10*time.Millisecond, killed)
		return nil, errors.Join(err, m.Release())
	}, nil
}

// snapshots has one after the other written, for as long as it is to last.
func snapshots(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
	c := dial(in.c, in.host.Addr().String())
	err := fill(ctx, c, ballastValues, ballastValue, len(in.c.Names())-1)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return func(ctx context.Context) (mend, error) {
		defer c.Close()
		n := 0
		for end := time.Now().Add(in.lasts); n == 0 || time.Now().Before(end); n++ {
			if err := snapshot(ctx, c); err != nil {
				return nil, err
			}
		}
		in.note("%d snapshots", n)
		return nil, nil
	}, nil
}

// snapshot has one written, if need be after the append-only file, and awaits it.
func snapshot(ctx context.Context, c *goredis.Client) error {
	before, _, err := saves(ctx, c)
	if err == nil {
		// An error where one is being written already, as redis-server itself does.
		err = lab.Await(ctx, 50*time.Millisecond, func() error { return c.Do(ctx, "BGSAVE", "SCHEDULE").Err() })
	}
	if err != nil {
		return fmt.Errorf("write a snapshot: %w", err)
	}
	return lab.Await(ctx, 50*time.Millisecond, func() error {
		begun, state, err := saves(ctx, c)
		if err == nil && (begun == before || state != "ok") {
			err = fmt.Errorf("write a snapshot: %d begun so far, the last one: %s", begun, state)
		}
		return err
	})
}

// saves is how many snapshots redis-server has begun to write, and how the last one went.
func saves(ctx context.Context, c *goredis.Client) (begun int, state string, err error) {
	info, err := c.InfoMap(ctx, "persistence").Result()
	if err != nil {
		return 0, "", err
	}
	p := info["Persistence"]
	state = p["rdb_last_bgsave_status"]
	if p["rdb_bgsave_in_progress"] != "0" {
		state = "under way"
	}
	begun, err = strconv.Atoi(p["rdb_saves"])
	return begun, state, err
}

// fullResync has a replica lose its place in the primary's backlog, so that it must copy the whole
// dataset, and the primary take as long for it as it is to last.
func fullResync(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
	c := dial(in.c, in.primary.Addr().String())
	r := dial(in.c, in.host.Addr().String())
	copies, err := fullCopies(ctx, c)
	if err == nil {
		err = fill(ctx, c, ballastValues, ballastValue, len(in.c.Names())-1)
	}
	if err == nil {
		err = errors.Join(awaitCalm(ctx, c), awaitCalm(ctx, r))
	}
	if err != nil {
		return nil, errors.Join(err, c.Close(), r.Close())
	}
	done := func(err error) error { return errors.Join(err, c.Close(), r.Close()) }
	begin := func(ctx context.Context) (mend, error) {
		err := forget(ctx, c, in)
		if err == nil {
			err = awaitLink(ctx, r, "down", clientLimit)
		}
		if err != nil {
			return nil, done(errors.Join(err, hurry(ctx, c)))
		}
		return func(ctx context.Context) error {
			err := awaitLink(ctx, r, "up", faultLimit)
			if now, asked := fullCopies(ctx, c); asked != nil || now == copies {
				err = errors.Join(err, fmt.Errorf("no full copy was made: %d as before (%v)", copies, asked))
			}
			return done(errors.Join(err, hurry(ctx, c)))
		}, nil
	}
	return begin, nil
}

// delaySetting has redis-server dawdle over each key of a snapshot, which it has for tests of its
// own.
const delaySetting = "rdb-key-save-delay"

func hurry(ctx context.Context, c *goredis.Client) error {
	return c.ConfigSet(ctx, delaySetting, "0").Err()
}

// awaitCalm waits until redis-server has no child, which would keep a connection open that
// redis-server has closed: the other end would not learn of it before its timeout.
func awaitCalm(ctx context.Context, c *goredis.Client) error {
	return lab.Await(ctx, 20*time.Millisecond, func() error {
		info, err := c.InfoMap(ctx, "persistence").Result()
		if p := info["Persistence"]; err == nil && (p["rdb_bgsave_in_progress"] != "0" || p["aof_rewrite_in_progress"] != "0") {
			err = errors.New("redis-server is writing its dataset")
		}
		return err
	})
}

// fullCopies is how many a redis-server has given to replicas.
func fullCopies(ctx context.Context, c *goredis.Client) (int, error) {
	info, err := c.InfoMap(ctx, "stats").Result()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(info["Stats"]["sync_full"])
}

// forget has the primary c close the connection of a replica and, before that can come back, write
// more than is kept of what it wrote.
func forget(ctx context.Context, c *goredis.Client, in injection) error {
	keys, err := c.DBSize(ctx).Result()
	if err != nil {
		return err
	}
	list, err := c.Do(ctx, "CLIENT", "LIST", "TYPE", "replica").Text()
	if err != nil {
		return err
	}
	replica := ""
	for _, field := range strings.Fields(list) {
		if addr, ok := strings.CutPrefix(field, "addr="+in.host.Addr().String()+":"); ok {
			replica = in.host.Addr().String() + ":" + addr
		}
	}
	if replica == "" {
		return fmt.Errorf("%s is not among the replicas: %s", in.host.Name(), list)
	}
	kept, err := c.ConfigGet(ctx, "repl-backlog-size").Result()
	if err != nil {
		return err
	}
	delay := in.lasts.Microseconds() / max(keys, 1)
	const least, chunks = 16 << 10, 8 // of the backlog; it is given up in pieces
	_, err = c.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.ConfigSet(ctx, delaySetting, strconv.FormatInt(delay, 10))
		p.ConfigSet(ctx, "repl-backlog-size", strconv.Itoa(least))
		p.Do(ctx, "CLIENT", "KILL", "ADDR", replica)
		for range chunks {
			p.Set(ctx, "ballast:forget", make([]byte, 8*least), 0)
		}
		return nil
	})
	// What the other replica still had to be sent is only given up now.
	for range chunks {
		err = errors.Join(err, c.Set(ctx, "ballast:forget", make([]byte, 8*least), 0).Err())
	}
	return errors.Join(err, c.ConfigSet(ctx, "repl-backlog-size", kept["repl-backlog-size"]).Err())
}

func awaitLink(ctx context.Context, r *goredis.Client, want string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return lab.Await(ctx, 20*time.Millisecond, func() error {
		info, err := r.InfoMap(ctx, "replication").Result()
		if err != nil {
			return err
		}
		if link := info["Replication"]["master_link_status"]; link != want {
			return fmt.Errorf("the replica's link is %s, not %s", link, want)
		}
		return nil
	})
}
