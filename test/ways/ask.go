package ways

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

// Dial connects to a redis-server or redis-sentinel, once.
func (r *Running) Dial(address, password string) *goredis.Client {
	silenceLibrary()
	return goredis.NewClient(&goredis.Options{
		Addr: address, Password: password, Protocol: 2, Dialer: r.Lab.DialContext,
		DialTimeout: probeTimeout, ReadTimeout: probeTimeout, WriteTimeout: probeTimeout,
		DialerRetries: 1, MaxRetries: -1, PoolSize: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Ask sends one command, on a connection of its own: after a fault there must be none that is
// waited for in vain.
func (r *Running) Ask(ctx context.Context, address, password string, args ...any) (any, error) {
	c := r.Dial(address, password)
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
