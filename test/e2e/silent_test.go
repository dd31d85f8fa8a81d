package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/test/cluster"
)

// TestPlannedChangeIsSilent: whatever clients are doing when the primary is moved, no command of
// theirs is refused. Each loses its connection once at most, which is how it learns where to go.
func TestPlannedChangeIsSilent(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	for _, planned := range []struct {
		name string
		do   func(ctx context.Context, primary string) error
		undo func(ctx context.Context, primary string) error
	}{
		{name: "switchover", do: func(ctx context.Context, primary string) error {
			_, err := c.Host(primary).Run(ctx, "redisd", "switchover")
			return err
		}},
		{name: "stop", do: func(ctx context.Context, primary string) error {
			_, err := c.Host(primary).Run(ctx, "systemctl", "stop", "redisd")
			return err
		}, undo: func(ctx context.Context, primary string) error {
			_, err := c.Host(primary).Run(ctx, "systemctl", "start", "redisd")
			return err
		}},
	} {
		t.Run(planned.name, func(t *testing.T) {
			for range 3 {
				ctx := t.Context()
				primary := cluster.Primary(c.Healthy(ctx))
				crowd := gather(t, c)
				if err := planned.do(ctx, primary); err != nil {
					t.Fatal(err)
				}
				crowd.goOn(t, 20)
				crowd.leave(t)
				if planned.undo != nil {
					if err := planned.undo(ctx, primary); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// habits are what clients do, again and again, on a connection of their own.
var habits = map[string]func(ctx context.Context, client *goredis.Client, key string) error{
	"set": func(ctx context.Context, r *goredis.Client, key string) error { return r.Set(ctx, key, 1, 0).Err() },
	"get": func(ctx context.Context, r *goredis.Client, key string) error {
		return ignoreNil(r.Get(ctx, key).Err())
	},
	"script": func(ctx context.Context, r *goredis.Client, key string) error {
		return r.Eval(ctx, "return redis.call('INCR', KEYS[1])", []string{key}).Err()
	},
	"transaction": func(ctx context.Context, r *goredis.Client, key string) error {
		_, err := r.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			p.Incr(ctx, key)
			p.RPush(ctx, key+":list", 1)
			return nil
		})
		return err
	},
	"pipeline": func(ctx context.Context, r *goredis.Client, key string) error {
		_, err := r.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for i := range 10 {
				p.Set(ctx, fmt.Sprint(key, i), i, 0)
			}
			return nil
		})
		return err
	},
	"wait": func(ctx context.Context, r *goredis.Client, key string) error {
		_, err := r.Pipelined(ctx, func(p goredis.Pipeliner) error {
			p.Set(ctx, key, 1, 0)
			p.Do(ctx, "WAIT", 1, 100)
			return nil
		})
		return err
	},
	"blocking pop": func(ctx context.Context, r *goredis.Client, key string) error {
		return ignoreNil(r.Do(ctx, "BLPOP", key+":nothing", "0.02").Err())
	},
}

func ignoreNil(err error) error {
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	return err
}

// crowd are clients, two of each habit.
type crowd struct {
	cancel func()
	wg     sync.WaitGroup
	mu     sync.Mutex
	did    map[string]int   // commands that were carried out, by client
	lost   map[string]int   // connections
	again  int              // connects that were refused
	told   map[string]error // a command that was refused
}

func gather(t *testing.T, c *cluster.Cluster) *crowd {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	g := &crowd{cancel: cancel, did: map[string]int{}, lost: map[string]int{}, told: map[string]error{}}
	t.Cleanup(func() { cancel(); g.wg.Wait() })
	for habit, do := range habits {
		for i := range 2 {
			name := fmt.Sprintf("%s %d", habit, i)
			g.did[name] = 0
			client := spyAt(c, net.JoinHostPort(c.VIP, "6379"), c.Password())
			g.wg.Go(func() {
				defer client.Close()
				for ctx.Err() == nil {
					g.note(ctx, name, do(ctx, client, "silent:"+name))
				}
			})
		}
	}
	g.goOn(t, 20)
	return g
}

func (g *crowd) note(ctx context.Context, name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var reply goredis.Error
	var dial *net.OpError
	switch {
	case ctx.Err() != nil:
	case err == nil:
		g.did[name]++
	case errors.As(err, &reply):
		g.told[name] = err
	case errors.As(err, &dial) && dial.Op == "dial":
		g.again++
	default:
		g.lost[name]++
	}
}

// goOn waits until each client has done so many commands more.
func (g *crowd) goOn(t *testing.T, more int) {
	t.Helper()
	g.mu.Lock()
	before := map[string]int{}
	for name, n := range g.did {
		before[name] = n
	}
	g.mu.Unlock()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		waits := ""
		g.mu.Lock()
		for name, n := range g.did {
			if n < before[name]+more {
				waits = name
			}
		}
		g.mu.Unlock()
		switch {
		case waits == "":
			return
		case time.Now().After(deadline):
			t.Fatalf("%s does not go on", waits)
		}
	}
}

func (g *crowd) leave(t *testing.T) {
	t.Helper()
	g.cancel()
	g.wg.Wait()
	for name, err := range g.told {
		t.Errorf("%s was refused: %v", name, err)
	}
	most := 0
	for name, n := range g.lost {
		most = max(most, n)
		if n > 1 {
			t.Errorf("%s lost %d connections", name, n)
		}
	}
	t.Logf("%d clients; connections lost by each: %d at most; connects refused: %d", len(g.did), most, g.again)
}
