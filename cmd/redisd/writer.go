package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// writer is the demo's application: it sets one key after another, and remembers what was
// acknowledged. Its client is an ordinary one, which asks the Sentinels for the primary, with the
// library's defaults: what it sees is what an application would.
type writer struct {
	client   *goredis.Client
	password string
	cancel   func()
	done     chan struct{}

	mu      sync.Mutex
	began   time.Time
	acked   int64
	last    time.Time
	longest time.Duration
	skipped map[int64]bool // keys whose write was never acknowledged
}

func startWriter(parent context.Context, cluster string, sentinels []string, password string) *writer {
	logging.Disable() // a node that is down is the point of the demo
	ctx, cancel := context.WithCancel(parent)
	w := &writer{
		client:   goredis.NewFailoverClient(&goredis.FailoverOptions{MasterName: cluster, SentinelAddrs: sentinels, Password: password}),
		password: password, cancel: cancel, done: make(chan struct{}), began: time.Now(), skipped: map[int64]bool{},
	}
	go w.run(ctx)
	return w
}

func demoKey(n int64) string { return fmt.Sprintf("demo:%d", n) }

// run writes until ctx ends.
func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	for n := int64(1); ctx.Err() == nil; n++ {
		err := w.client.Set(ctx, demoKey(n), n, 0).Err()
		w.mu.Lock()
		if err != nil {
			w.skipped[n] = true
		} else {
			at := time.Now()
			if !w.last.IsZero() {
				w.longest = max(w.longest, at.Sub(w.last))
			}
			w.last = at
		}
		w.acked = n
		w.mu.Unlock()
		if err != nil {
			// It has tried again by itself: do not spin.
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Microsecond):
			}
		}
	}
}

// acknowledged waits for n writes.
func (w *writer) acknowledged(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for w.count() < n {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %d writes: %w", n, ctx.Err())
		case <-t.C:
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.longest = 0 // what finding the primary cost does not count
	return nil
}

func (w *writer) count() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked - int64(len(w.skipped))
}

func (w *writer) rate() int64 { return int64(float64(w.count()) / time.Since(w.began).Seconds()) }

func (w *writer) downtime() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.longest
}

// stop ends the writing; it may be called twice.
func (w *writer) stop() {
	w.cancel()
	<-w.done
	_ = w.client.Close()
}

// lost counts the acknowledged writes that the node at addr does not have.
func (w *writer) lost(ctx context.Context, addr string) (int, error) {
	client := goredis.NewClient(&goredis.Options{Addr: addr, Password: w.password})
	defer client.Close()
	const batch = 500
	lost := 0
	for from := int64(1); from <= w.acked; from += batch {
		var keys []string
		for n := from; n < from+batch && n <= w.acked; n++ {
			if !w.skipped[n] {
				keys = append(keys, demoKey(n))
			}
		}
		if len(keys) == 0 {
			continue
		}
		found, err := client.Exists(ctx, keys...).Result()
		if err != nil {
			return 0, fmt.Errorf("look for lost writes: %w", err)
		}
		lost += len(keys) - int(found)
	}
	return lost, nil
}
