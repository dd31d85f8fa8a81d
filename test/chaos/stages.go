package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/test/lab"
)

// The stages of what takes as long as a dataset is large: a full copy is written by the primary,
// sent, loaded by the replica and written to its disk; a redis-server that was started loads, and
// rewrites its append-only file now and then. Each fault here begins when its stage has been
// reached, so that another one can hit it, and lasts as long as it is to last.

// Directives that redis-server has for tests of its own: it dawdles over each key that it writes to
// a snapshot, and over each that it loads. The last has it answer while it does.
const (
	saveDelay  = "rdb-key-save-delay"
	loadDelay  = "key-load-delay"
	loadEvents = "loading-process-events-interval-bytes"
	oftenBytes = 64 << 10
	// smallKeys are as many as make the delay of each a fraction of a millisecond: redis-server
	// answers after each 1024 commands of an append-only file.
	smallKeys = 30_000
)

// dawdle has redis-server take so long for all of its keys.
func dawdle(ctx context.Context, c *goredis.Client, directive string, lasts time.Duration) error {
	keys, err := c.DBSize(ctx).Result()
	if err != nil {
		return err
	}
	if directive == loadDelay && lasts.Microseconds()/max(keys, 1) > 200 {
		return fmt.Errorf("only %d keys: it would not answer while it loads", keys)
	}
	if directive == loadDelay {
		if err := c.ConfigSet(ctx, loadEvents, strconv.Itoa(oftenBytes)).Err(); err != nil {
			return err
		}
	}
	return c.ConfigSet(ctx, directive, strconv.FormatInt(lasts.Microseconds()/max(keys, 1), 10)).Err()
}

func hurry(ctx context.Context, c *goredis.Client, directive string) error {
	return c.ConfigSet(ctx, directive, "0").Err()
}

// fullCopy has a replica lose its place in the primary's backlog, so that it must copy the whole
// dataset, and slow says who takes as long for it as it is to last, over what. It has begun when
// reached says so.
type fullCopy struct {
	directive string
	primary   bool // who dawdles; else the replica
	reached   func(ctx context.Context, replica *goredis.Client) error
	over      func(ctx context.Context, replica *goredis.Client) error
}

var (
	copyWritten = fullCopy{saveDelay, true, linkIs("down"), linkIs("up")}
	copyLoaded  = fullCopy{loadDelay, false, persistence("loading", "1"), linkIs("up")}
	// copyKept: until the append-only file has been rewritten, the disk has what was there before.
	copyKept = fullCopy{saveDelay, false, persistence("aof_rewrite_in_progress", "1"), persistence("aof_rewrite_in_progress", "0")}
)

func (f fullCopy) inject(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
	c := dial(in.c, in.primary.Addr().String())
	r := dial(in.c, in.host.Addr().String())
	slow := r
	if f.primary {
		slow = c
	}
	copies, err := fullCopies(ctx, c)
	if err == nil {
		err = fill(ctx, c, ballastValues, ballastValue, len(in.c.Names())-1)
	}
	if err == nil && f.directive == loadDelay {
		err = fillSmall(ctx, c, len(in.c.Names())-1)
	}
	if err == nil {
		err = errors.Join(awaitCalm(ctx, c), awaitCalm(ctx, r))
	}
	if err != nil {
		return nil, errors.Join(err, c.Close(), r.Close())
	}
	done := func(err error) error { return errors.Join(err, c.Close(), r.Close()) }
	begin := func(ctx context.Context) (mend, error) {
		err := dawdle(ctx, slow, f.directive, in.lasts)
		if err == nil {
			err = forget(ctx, c, in)
		}
		if err == nil {
			err = awaitWithin(ctx, clientLimit, func() error { return f.reached(ctx, r) })
		}
		if err != nil {
			return nil, done(errors.Join(err, hurry(ctx, slow, f.directive)))
		}
		return func(ctx context.Context) error {
			// A redis-server that is another one by now has forgotten the delay, or not.
			err := hurry(ctx, slow, f.directive)
			err = errors.Join(err, awaitWithin(ctx, stageLimit, func() error { return f.over(ctx, r) }))
			if now, asked := fullCopies(ctx, c); asked != nil || now == copies {
				err = errors.Join(err, fmt.Errorf("no full copy was made: %d as before (%v)", copies, asked))
			}
			return done(err)
		}, nil
	}
	return begin, nil
}

// stageLimit is for a stage to end that nothing delays any more.
const stageLimit = 20 * time.Second

// rewrite has the append-only file written anew, which is to take so long.
func rewrite(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
	c, err := filled(ctx, in, 0)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (mend, error) {
		err := dawdle(ctx, c, saveDelay, in.lasts)
		if err == nil {
			err = c.BgRewriteAOF(ctx).Err()
		}
		under := persistence("aof_rewrite_in_progress", "1")
		if err == nil {
			err = awaitWithin(ctx, clientLimit, func() error { return under(ctx, c) })
		}
		return func(ctx context.Context) error {
			over := persistence("aof_rewrite_in_progress", "0")
			err := hurry(ctx, c, saveDelay)
			return errors.Join(err, awaitWithin(ctx, stageLimit, func() error { return over(ctx, c) }), c.Close())
		}, err
	}, nil
}

// loads has redis-server crash and load for so long. The delay is in its file, where CONFIG REWRITE
// has put it: redisd keeps what it does not own.
func loads(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
	c, err := filled(ctx, in, smallKeys)
	if err != nil {
		return nil, err
	}
	p, err := process(ctx, in.host, "redis-server")
	if err == nil {
		err = dawdle(ctx, c, loadDelay, in.lasts)
	}
	if err == nil {
		err = c.ConfigRewrite(ctx).Err()
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return func(ctx context.Context) (mend, error) {
		err := p.Kill()
		loading := persistence("loading", "1")
		if err == nil {
			err = awaitWithin(ctx, clientLimit, func() error { return loading(ctx, c) })
		}
		return func(ctx context.Context) error {
			loaded := persistence("loading", "0")
			err := awaitWithin(ctx, stageLimit, func() error { return hurry(ctx, c, loadDelay) })
			err = errors.Join(err, awaitWithin(ctx, stageLimit, func() error { return loaded(ctx, c) }))
			return errors.Join(err, c.ConfigRewrite(ctx).Err(), c.Close())
		}, err
	}, nil
}

// filled connects to the host of a fault when there is something in the dataset that takes time.
func filled(ctx context.Context, in injection, small int) (*goredis.Client, error) {
	p := dial(in.c, in.primary.Addr().String())
	defer p.Close()
	c := dial(in.c, in.host.Addr().String())
	err := fill(ctx, p, ballastValues, ballastValue, len(in.c.Names())-1)
	if err == nil && small > 0 {
		err = fillSmall(ctx, p, len(in.c.Names())-1)
	}
	if err == nil {
		err = awaitCalm(ctx, c)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// persistence asks whether a field of INFO persistence is as it should be.
func persistence(field, want string) func(context.Context, *goredis.Client) error {
	return infoIs("Persistence", field, want)
}

func linkIs(want string) func(context.Context, *goredis.Client) error {
	return infoIs("Replication", "master_link_status", want)
}

func infoIs(section, field, want string) func(context.Context, *goredis.Client) error {
	return func(ctx context.Context, c *goredis.Client) error {
		info, err := c.InfoMap(ctx, strings.ToLower(section)).Result()
		if err == nil && info[section][field] != want {
			err = fmt.Errorf("%s is %q, not %q", field, info[section][field], want)
		}
		return err
	}
}

func awaitWithin(ctx context.Context, limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return lab.Await(ctx, 10*time.Millisecond, try)
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
	const least, chunks = 16 << 10, 8 // of the backlog; it is given up in pieces
	_, err = c.TxPipelined(ctx, func(p goredis.Pipeliner) error {
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
