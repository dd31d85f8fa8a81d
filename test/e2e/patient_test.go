package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// TestPatientClientsComeBack: clients without any time limit, which connect again as soon as they
// are told that a connection is over, are not taken in by a redis-server that hangs, or is being
// killed, and never told again.
func TestPatientClientsComeBack(t *testing.T) {
	const (
		clients = 60
		hangs   = 4
		within  = 5 * time.Second // the kernel sends a lost SYN again after 1 s, and then after 3 s
	)
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	answered := make([]atomic.Int64, clients) // when, each the last time
	for i := range clients {
		all.Go(func() { patient(ctx, c, &answered[i]) })
	}
	for range hangs {
		primary := cluster.Primary(c.Healthy(ctx))
		p, err := c.Host(primary).Process(ctx, "redis-server")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
		awaitOther(t, c, primary)
		began := time.Now()
		err = lab.Await(ctx, 20*time.Millisecond, func() error {
			waiting := 0
			for i := range answered {
				if answered[i].Load() < began.UnixNano() {
					waiting++
				}
			}
			if waiting == 0 {
				return nil
			}
			if err := fmt.Errorf("%d of %d clients wait for an answer", waiting, clients); time.Since(began) > within {
				t.Fatalf("%v after %s has been replaced: %v", within, primary, err)
			}
			return fmt.Errorf("%d clients wait", waiting)
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("all %d clients are back %v after the change", clients, time.Since(began).Round(time.Millisecond))
	}
}

// patient asks again and again, and connects anew when a connection ends.
func patient(ctx context.Context, c *cluster.Cluster, answered *atomic.Int64) {
	for ctx.Err() == nil {
		conn, err := c.Lab.DialContext(ctx, "tcp", net.JoinHostPort(c.VIP, "6379"))
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		in := bufio.NewReader(conn)
		_, err = fmt.Fprintf(conn, "AUTH %s\r\n", c.Password())
		for err == nil {
			if _, err = in.ReadString('\n'); err == nil {
				answered.Store(time.Now().UnixNano())
				time.Sleep(5 * time.Millisecond)
				_, err = fmt.Fprint(conn, "PING\r\n")
			}
		}
		stop()
		conn.Close()
	}
}
