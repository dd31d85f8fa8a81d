package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/test/cluster"
)

// TestSentinelsAreTold is about clients that ask Sentinel: every Sentinel that is left comes to
// name the new primary and none else, and tells those who listen once. How soon is logged, from its
// first acknowledged write on; docs/findings-sentinel.md has the figures.
func TestSentinelsAreTold(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	for _, fault := range []struct {
		name   string
		inject func(ctx context.Context, old string) error
		undo   func(ctx context.Context, old string) error
		gone   bool // the old primary's Sentinel, too
	}{
		{name: "switchover", inject: func(ctx context.Context, old string) error {
			_, err := c.Host(c.Others(old)[0]).Run(ctx, "redisd", "switchover", "--to", c.Others(old)[1])
			return err
		}},
		{name: "redis-server killed", inject: func(_ context.Context, old string) error {
			kill(t, c, old, "redis-server", unix.SIGKILL)
			return nil
		}},
		{name: "power loss", gone: true, inject: func(ctx context.Context, old string) error {
			return c.Host(old).PowerOff(ctx)
		}, undo: func(ctx context.Context, old string) error { return c.Host(old).PowerOn(ctx) }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			var named, heard []time.Duration
			for range 5 {
				ctx := t.Context()
				old := cluster.Primary(c.Healthy(ctx))
				left := c.Names()
				if fault.gone {
					left = c.Others(old)
				}
				s := spy(t, c, old, left)
				if err := fault.inject(ctx, old); err != nil {
					t.Fatal(err)
				}
				n, h := s.told(t)
				s.stop()
				named, heard = append(named, n...), append(heard, h...)
				if fault.undo != nil {
					if err := fault.undo(ctx, old); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("after the first acknowledged write: named %s, subscriber told %s", spread(named), spread(heard))
		})
	}
}

// spread is the least, the median and the most.
func spread(all []time.Duration) string {
	slices.Sort(all)
	ms := func(i int) string { return fmt.Sprintf("%.1f", float64(all[i].Microseconds())/1000) }
	return fmt.Sprintf("%s / %s / %s ms (n=%d)", ms(0), ms(len(all)/2), ms(len(all)-1), len(all))
}

// watched is what one host's Sentinel said, and its redis-server.
type watched struct {
	acked time.Time // the first write that it acknowledged
	named []answer  // what its Sentinel names, whenever that changed
	heard []answer  // what its Sentinel told a subscriber
}

type answer struct {
	at   time.Time
	addr string
}

// spies watch the hosts from the client's end of the network, all by one clock.
type spies struct {
	mu    sync.Mutex
	old   string
	hosts map[string]*watched
	addrs map[string]string // of redis-server, by host
	stop  func()
}

func spy(t *testing.T, c *cluster.Cluster, old string, left []string) *spies {
	t.Helper()
	s := &spies{old: old, hosts: map[string]*watched{}, addrs: map[string]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	s.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(s.stop)
	for _, name := range left {
		w := &watched{}
		s.hosts[name] = w
		ip := c.Host(name).Addr().String()
		s.addrs[name] = net.JoinHostPort(ip, "6379")
		sentinel := spyAt(c, net.JoinHostPort(ip, "26379"), "")
		sub := sentinel.Subscribe(ctx, "+switch-master")
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer sub.Close()
			for {
				m, err := sub.ReceiveMessage(ctx)
				if err != nil {
					return
				}
				f := strings.Fields(m.Payload)
				s.note(&w.heard, net.JoinHostPort(f[3], f[4]))
			}
		})
		wg.Go(func() {
			defer sentinel.Close()
			for ctx.Err() == nil {
				r, err := sentinel.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", clusterName).StringSlice()
				if err == nil && len(r) == 2 {
					s.note(&w.named, net.JoinHostPort(r[0], r[1]))
				}
				moment(ctx)
			}
		})
		if name == old {
			continue
		}
		server := spyAt(c, s.addrs[name], c.Password())
		wg.Go(func() {
			defer server.Close()
			for ctx.Err() == nil {
				if server.Set(ctx, "told", name, 0).Err() == nil {
					s.mu.Lock()
					if w.acked.IsZero() {
						w.acked = time.Now()
					}
					s.mu.Unlock()
				}
				moment(ctx)
			}
		})
	}
	return s
}

func moment(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(500 * time.Microsecond):
	}
}

func (s *spies) note(list *[]answer, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(*list); n == 0 || (*list)[n-1].addr != addr {
		*list = append(*list, answer{time.Now(), addr})
	}
}

// told awaits that all Sentinels have named the new primary and said so, and returns how long after
// its first acknowledged write each had: before it, less than nothing.
func (s *spies) told(t *testing.T) (named, heard []time.Duration) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if named, heard = s.look(); len(named) == len(s.hosts) && len(heard) == len(s.hosts) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not all were told: %+v", s.hosts)
		}
		moment(t.Context())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, w := range s.hosts {
		if len(w.named) != 2 || len(w.heard) != 1 {
			t.Errorf("the sentinel on %s named %+v and told %+v", name, w.named, w.heard)
		}
	}
	return named, heard
}

func (s *spies) look() (named, heard []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, w := range s.hosts {
		if w.acked.IsZero() {
			continue
		}
		for _, o := range s.hosts {
			for _, a := range o.named {
				if a.addr == s.addrs[name] {
					named = append(named, a.at.Sub(w.acked))
				}
			}
			for _, a := range o.heard {
				if a.addr == s.addrs[name] {
					heard = append(heard, a.at.Sub(w.acked))
				}
			}
		}
	}
	return named, heard
}

// clusterName is that of every cluster of package cluster.
const clusterName = "lab"

func spyAt(c *cluster.Cluster, address, password string) *goredis.Client {
	return goredis.NewClient(&goredis.Options{
		Addr: address, Password: password, Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialTimeout: time.Second,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return c.Lab.DialContext(ctx, network, addr)
		},
	})
}
