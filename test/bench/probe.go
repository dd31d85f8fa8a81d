package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const probeTimeout = time.Second // of one question

var silenceLibrary = sync.OnceFunc(logging.Disable)

// dial connects to a redis-server or redis-sentinel, once.
func (r *running) dial(address, password string) *goredis.Client {
	silenceLibrary()
	return goredis.NewClient(&goredis.Options{
		Addr: address, Password: password, Protocol: 2, Dialer: r.lab.DialContext,
		DialTimeout: probeTimeout, ReadTimeout: probeTimeout, WriteTimeout: probeTimeout,
		DialerRetries: 1, MaxRetries: -1, PoolSize: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// ask sends one command, on a connection of its own: after a fault there must be none that is
// waited for in vain.
func (r *running) ask(ctx context.Context, address, password string, args ...any) (any, error) {
	c := r.dial(address, password)
	defer c.Close()
	answer, err := c.Do(ctx, args...).Result()
	if err != nil {
		return nil, fmt.Errorf("ask %s %v: %w", address, args[0], err)
	}
	return answer, nil
}

// list is an answer that has to have so many elements at least.
func list(answer any, atLeast int) ([]any, error) {
	l, ok := answer.([]any)
	if !ok || len(l) < atLeast {
		return nil, fmt.Errorf("unexpected answer %v", answer)
	}
	return l, nil
}

// fields is an answer of names and values in turn.
func fields(answer any) (map[string]string, error) {
	l, err := list(answer, 2)
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	for i := 0; i+1 < len(l); i += 2 {
		m[fmt.Sprint(l[i])] = fmt.Sprint(l[i+1])
	}
	return m, nil
}

const (
	manyKeys   = 1_000_000
	fillScript = `for i=0,99 do redis.call('SET','many:'..ARGV[1]..':'..i,string.rep('x',100)) end return 1`
	fillBatch  = 50 // scripts at once: five thousand keys
)

// fillUp sees to it that a million keys of 100 bytes are there.
func (r *running) fillUp(ctx context.Context) error {
	c := r.dial(r.service, r.password)
	defer c.Close()
	n, err := c.DBSize(ctx).Result()
	if err != nil || n >= manyKeys {
		return err
	}
	for i := 0; i < manyKeys/100; i += fillBatch {
		_, err := c.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for j := range fillBatch {
				p.Eval(ctx, fillScript, nil, i+j)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("fill the dataset: %w", err)
		}
	}
	return nil
}
