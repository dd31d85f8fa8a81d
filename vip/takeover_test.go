package vip

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"
)

// takeover is a LAN with a client that pings the VIP, and the first of two hosts holding it. The
// client's neighbour cache is populated.
type takeover struct {
	lan         *lan
	one, two    *node
	first, next *agent
	pings       *pinger
}

func newTakeover(t *testing.T, cfg Config) *takeover {
	l := newLAN(t)
	x := &takeover{lan: l, one: l.host(own4, own6), two: l.host(peer4, peer6)}
	client := l.host("10.0.0.3/24", "fd00::3/64")
	x.first, x.next = x.one.agent(cfg, agentUser), x.two.agent(cfg, agentUser)
	x.first.do("hold")
	x.pings = client.ping(cfg.Prefix.Addr())
	begin := time.Now()
	await(t, "the client reaches the VIP", 5*time.Second, func() bool { return x.pings.since(begin) > 50 })
	return x
}

// moved waits until the client is served again, and returns how long it was not.
func (x *takeover) moved(t *testing.T, since time.Time) time.Duration {
	t.Helper()
	await(t, "the client reaches the VIP again", 2*time.Second, func() bool { return x.pings.since(since) > 50 })
	return x.pings.gap(since)
}

func TestTakeover(t *testing.T) {
	for _, tt := range families {
		cfg := Config{Prefix: tt.vip, Lifetime: time.Minute}
		t.Run(tt.name+" handed over", func(t *testing.T) {
			x := newTakeover(t, cfg)
			begin := time.Now()
			dropped := x.first.do("drop").Took
			held := x.next.do("hold").Took
			x.moved(t, time.Now())
			gap := x.pings.gap(begin)
			t.Logf("Drop took %s, Hold %s; the client saw no echo for %s", dropped, held, gap)
			if gap > time.Second {
				t.Errorf("the client saw no echo for %s", gap)
			}
		})
		t.Run(tt.name+" from a host that is cut off", func(t *testing.T) {
			x := newTakeover(t, cfg)
			x.one.connect(false)
			begin := time.Now()
			x.next.do("hold")
			gap := x.moved(t, begin)
			t.Logf("the client saw no echo for %s after Hold", gap)
			if gap > time.Second {
				t.Errorf("the client saw no echo for %s", gap)
			}
			// The cut-off host comes back, still believing, and is dropped: the client must not
			// have been left with it.
			x.one.connect(true)
			x.first.do("drop")
			if r := x.next.do("probe"); r.Owner != "" {
				t.Errorf("%s has the VIP too", r.Owner)
			}
			x.moved(t, time.Now())
		})
		t.Run(tt.name+" and back again at once", func(t *testing.T) {
			x := newTakeover(t, cfg) // within the client's lock time of 1 s for a changed entry
			begin := time.Now()
			x.first.do("drop")
			x.next.do("hold")
			time.Sleep(20 * time.Millisecond)
			x.next.do("drop")
			x.first.do("hold")
			x.moved(t, time.Now())
			if gap := x.pings.gap(begin); gap > time.Second {
				t.Errorf("the client saw no echo for %s", gap)
			} else {
				t.Logf("the client saw no echo for %s", gap)
			}
		})
	}
}

// A planned change: the old holder keeps the address, and its clients, until it hears the new one.
// A client is told at once, and connects again at once.
func TestHandoverWithoutAVoid(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			x := newHandover(t, tt.vip)
			back := make(chan error, 1)
			var void time.Duration
			var told error
			go func() {
				_, told = x.conn.Read(make([]byte, 1))
				begin := time.Now()
				c, err := x.client.dial(x.vip)
				for errors.Is(err, syscall.ECONNREFUSED) && time.Since(begin) < time.Second {
					c, err = x.client.dial(x.vip) // by the old holder, which takes no more
				}
				void = time.Since(begin)
				if err == nil {
					t.Cleanup(func() { c.Close() })
				}
				back <- err
			}()
			x.next.do("hold")
			r := x.first.do("elsewhere")
			if r.Owner != x.two.hw().String() {
				t.Errorf("heard %s, want %s", r.Owner, x.two.hw())
			}
			must(t, x.one.server.Close()) // as CONFIG SET bind without the VIP does
			x.first.do("park")
			if n := x.first.do("destroy").N; n != 1 {
				t.Errorf("%d connections were ended, want 1", n)
			}
			x.first.do("drop")
			must(t, <-back)
			t.Logf("the client was told %v, and connected again within %s", told, void)
			if !errors.Is(told, syscall.ECONNRESET) {
				t.Errorf("the client was told %v, want %v", told, syscall.ECONNRESET)
			}
			if void > 500*time.Millisecond {
				t.Errorf("the client connected again after %s", void)
			}
			select {
			case <-x.new:
			case <-time.After(time.Second):
				t.Error("the new holder has no connection")
			}
		})
	}
}

// What the announcements are for: without them, the client goes on talking to the host that is
// gone. If this fails, TestTakeover shows nothing.
func TestTakeoverWithoutAnnouncementsIsBlind(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			x := newTakeover(t, Config{Prefix: tt.vip, Lifetime: time.Minute})
			x.one.connect(false)
			begin := time.Now()
			x.two.add(tt.single) // as `ip addr add` would
			time.Sleep(time.Second)
			if n := x.pings.since(begin); n > 0 {
				t.Errorf("the client got %d echoes", n)
			}
		})
	}
}

// The probe works on its own socket: a Hold at the same time is as quick as ever.
func TestProbeDoesNotDelayHold(t *testing.T) {
	newLAN(t).home(own4)
	a := newAddress(t, Config{Prefix: prefix("10.0.0.100/24")})
	done := make(chan error, 1)
	go func() {
		_, err := a.Probe(context.Background(), 500*time.Millisecond)
		done <- err
	}()
	for range 20 {
		begin := time.Now()
		hold(t, a)
		drop(t, a)
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("Hold and Drop took %s during a probe", took)
		}
		time.Sleep(10 * time.Millisecond)
	}
	must(t, <-done)
}

func BenchmarkHold(b *testing.B) {
	newLAN(b).home(own4)
	a := newAddress(b, Config{Prefix: prefix("10.0.0.100/24")})
	for b.Loop() {
		hold(b, a)
	}
}

func BenchmarkHeld(b *testing.B) {
	newLAN(b).home(own4)
	a := newAddress(b, Config{Prefix: prefix("10.0.0.100/24")})
	hold(b, a)
	for b.Loop() {
		wantHeld(b, a, true)
	}
}

func BenchmarkHoldAndDrop(b *testing.B) {
	for _, tt := range families {
		b.Run(tt.name, func(b *testing.B) {
			newLAN(b).home(own4, own6)
			a := newAddress(b, Config{Prefix: tt.vip})
			for b.Loop() {
				hold(b, a)
				drop(b, a)
			}
		})
	}
}
