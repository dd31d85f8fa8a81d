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
	return dialPatient(c, address, clientLimit)
}

// dialPatient is dial for what takes so long to be answered.
func dialPatient(c *cluster.Cluster, address string, limit time.Duration) *goredis.Client {
	silenceLibrary()
	return goredis.NewClient(&goredis.Options{
		Addr: address + ":6379", Password: c.Password(), Protocol: 2, Dialer: c.Lab.DialContext,
		DialTimeout: clientLimit, ReadTimeout: limit, WriteTimeout: clientLimit,
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
	return replicated(ctx, c, replicas)
}

// fillSmall sees to it that the small keys are there, and that the replicas have them.
func fillSmall(ctx context.Context, c *goredis.Client, replicas int) error {
	const batch = 1000
	name := func(i int) string { return "small:" + strconv.Itoa(i) }
	for from := 0; from < smallKeys; from += batch {
		// Of one batch all are there, or none.
		if n, err := c.Exists(ctx, name(from)).Result(); err == nil && n > 0 {
			continue
		}
		_, err := c.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			for i := range batch {
				p.Set(ctx, name(from+i), i, 0)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("fill the dataset: %w", err)
		}
	}
	return replicated(ctx, c, replicas)
}

func replicated(ctx context.Context, c *goredis.Client, replicas int) error {
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
