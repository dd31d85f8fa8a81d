// Command go-redis is that library as an application uses it; ../README.md has the arguments and
// the output.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	pause  = 2500 * time.Microsecond
	pooled = 8
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go-redis MODE KEY")
		os.Exit(2)
	}
	mode, key := os.Args[1], os.Args[2]
	ctx, r := context.Background(), connect()
	switch mode {
	case "writer":
		writes(func(n int) (string, error) {
			return fmt.Sprint(n), r.RPush(ctx, key, n).Err()
		})
	case "multi":
		writes(func(n int) (string, error) {
			_, err := r.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.RPush(ctx, key, n)
				p.Incr(ctx, key+":count")
				return nil
			})
			return fmt.Sprint(n), err
		})
	case "pipeline":
		writes(func(n int) (string, error) {
			_, err := r.Pipelined(ctx, func(p redis.Pipeliner) error {
				for i := n * 10; i < n*10+10; i++ {
					p.RPush(ctx, key, i)
				}
				return nil
			})
			return fmt.Sprintf("%d-%d", n*10, n*10+9), err
		})
	case "blpop":
		say("note", "listening")
		for {
			attempt(func() (string, error) {
				got, err := r.BLPop(ctx, 0, key).Result()
				return strings.TrimPrefix(strings.Join(got, " "), key+" "), err
			})
		}
	case "subscribe":
		subscribe(ctx, r, key)
	case "pool":
		pool(ctx, r, key)
	}
}

func connect() *redis.Client {
	password, name := os.Getenv("REDIS_PASSWORD"), os.Getenv("REDIS_NAME")
	documented := os.Getenv("REDIS_SETTINGS") == "documented"
	if list := os.Getenv("REDIS_SENTINELS"); list != "" {
		// doc:
		options := &redis.FailoverOptions{
			MasterName:    name,
			SentinelAddrs: strings.Split(list, ","),
			Password:      password,
		}
		// :doc
		if documented {
			// doc:
			options.DialTimeout = 250 * time.Millisecond
			options.ReadTimeout = 2 * time.Second
			options.MaxRetries = 30
			options.MaxRetryBackoff = 100 * time.Millisecond
			options.DialerRetryTimeout = 20 * time.Millisecond
			options.Dialer = dialer.DialContext
			// :doc
		}
		return redis.NewFailoverClient(options)
	}
	// doc:
	options := &redis.Options{Addr: os.Getenv("REDIS_VIP"), Password: password}
	// :doc
	if documented {
		// doc:
		options.DialTimeout = 250 * time.Millisecond
		options.ReadTimeout = 2 * time.Second
		options.MaxRetries = 30
		options.MaxRetryBackoff = 100 * time.Millisecond
		options.DialerRetryTimeout = 20 * time.Millisecond
		options.Dialer = dialer.DialContext
		// :doc
	}
	return redis.NewClient(options)
}

// doc:
var dialer = net.Dialer{
	Timeout: 250 * time.Millisecond,
	KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3,
	},
}

// :doc

func say(kind, what string) {
	fmt.Printf("%d %s %s\n", time.Now().UnixMicro(), kind, strings.ReplaceAll(what, "\n", " "))
}

// attempt says what came of it, and whether it went well.
func attempt(do func() (string, error)) bool {
	what, err := do()
	if err != nil {
		say("err", err.Error())
		time.Sleep(pause)
		return false
	}
	say("ok", what)
	return true
}

func writes(one func(n int) (string, error)) {
	for n := 1; ; n++ {
		if attempt(func() (string, error) { return one(n) }) {
			time.Sleep(pause)
		}
	}
}

func subscribe(ctx context.Context, r *redis.Client, key string) {
	for event := range r.Subscribe(ctx, key).ChannelWithSubscriptions() {
		switch event := event.(type) {
		case *redis.Subscription:
			say("note", "subscribed")
		case *redis.Message:
			say("ok", event.Payload)
		}
	}
}

// pool does a round for each line on standard input: so many connections are used once, at the same
// time, each until it has done its command.
func pool(ctx context.Context, r *redis.Client, key string) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var everybody sync.WaitGroup
		for i := range pooled {
			everybody.Go(func() {
				for !attempt(func() (string, error) { return fmt.Sprintf("used %d", i), r.RPush(ctx, key, i).Err() }) {
				}
			})
		}
		everybody.Wait()
	}
}
