package gossip

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseSeed(t *testing.T) {
	for text, want := range map[string]seed{
		"192.0.2.1":          {addr: addrA},
		"192.0.2.1:80":       {addr: netip.MustParseAddrPort("192.0.2.1:80")},
		"::ffff:192.0.2.1":   {addr: addrA},
		"2001:db8::1":        {addr: netip.MustParseAddrPort("[2001:db8::1]:7946")},
		"[2001:db8::1]":      {addr: netip.MustParseAddrPort("[2001:db8::1]:7946")},
		"[2001:db8::1]:80":   {addr: netip.MustParseAddrPort("[2001:db8::1]:80")},
		"host.example":       {host: "host.example", port: 7946},
		"host:80":            {host: "host", port: 80},
		"srv:_r._tcp.x.test": {host: "_r._tcp.x.test", port: 7946, srv: true},
	} {
		want.text = text
		if want.addr.IsValid() {
			want.port = want.addr.Port()
		}
		if got, err := parseSeed(text, 7946); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", ":7946", "host:", "host:0", "host:99999", "host:http", "srv:", "srv:a:b", "a b", "0.0.0.0", "[::]:7946",
		"224.0.0.1", "255.255.255.255", "fe80::1", "fe80::1%eth0", "http://host", "host/24",
	} {
		if got, err := parseSeed(text, 7946); err == nil || !strings.Contains(err.Error(), "want an address") {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

// names is a resolver out of a table.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, s := range n[strings.TrimSuffix(host, ".")] {
		list = append(list, netip.MustParseAddr(s))
	}
	if list == nil {
		return nil, errors.New("no such host")
	}
	return list, nil
}

func (n names) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	var list []*net.SRV
	for _, s := range n["srv "+name] {
		list = append(list, &net.SRV{Target: s + ".", Port: 80})
	}
	if list == nil {
		return "", nil, errors.New("no such service")
	}
	return name, list, nil
}

func TestSeedLookup(t *testing.T) {
	dns := names{
		"two":   {"192.0.2.1", "::ffff:192.0.2.2", "fe80::1"},
		"one":   {"2001:db8::1"},
		"srv s": {"gone", "two", "one"},
		"srv d": {"gone"},
	}
	for text, want := range map[string]string{
		"192.0.2.9": "192.0.2.9:7946",
		"two":       "192.0.2.1:7946 192.0.2.2:7946",
		"two:1":     "192.0.2.1:1 192.0.2.2:1",
		"srv:s":     "192.0.2.1:80 192.0.2.2:80 [2001:db8::1]:80",
		"srv:d":     "error: look up gone.: no such host",
		"srv:none":  "error: look up srv:none: no such service",
		"none":      "error: look up none: no such host",
	} {
		s, err := parseSeed(text, 7946)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		addrs, err := s.lookup(t.Context(), dns)
		for _, a := range addrs {
			got = append(got, a.String())
		}
		if err != nil {
			got = append(got, "error: "+err.Error())
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestSelfCheck(t *testing.T) {
	node := netip.MustParseAddrPort("192.0.2.1:7946")
	for name, tc := range map[string]struct {
		bind, addr string
		want       bool
	}{
		"advertised":              {"192.0.2.1:7946", "192.0.2.1:7946", true},
		"another host":            {"192.0.2.1:7946", "192.0.2.2:7946", false},
		"another port":            {"192.0.2.1:7946", "192.0.2.1:7000", false},
		"loopback, bound to one":  {"192.0.2.1:7946", "127.0.0.1:7946", false},
		"loopback, bound to all":  {"0.0.0.0:7946", "127.0.0.1:7946", true},
		"other loopback, all":     {"0.0.0.0:7946", "127.9.9.9:7946", true},
		"bound to all, port":      {"0.0.0.0:7946", "127.0.0.1:7947", false},
		"bound to all, else":      {"[::]:7946", "198.51.100.7:7946", false},
		"bound address, behind N": {"10.0.0.1:7946", "10.0.0.1:7946", true},
	} {
		self := selfCheck(netip.MustParseAddrPort(tc.bind), node)
		if got := self(netip.MustParseAddrPort(tc.addr)); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// The pace is never slower than the slow one, is fast when needed, and the jitter stays within a
// fifth.
func TestPace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		delay := rejoinFast
		for _, needed := range rapid.SliceOf(rapid.Bool()).Draw(t, "needed") {
			last := delay
			delay = nextDelay(delay, needed)
			if needed && delay != rejoinFast || delay < min(last, rejoinFast) || delay > rejoinSlow {
				t.Fatalf("needed %v: %v after %v", needed, delay, last)
			}
			if j := jitter(delay); j < delay*4/5 || j > delay*6/5 {
				t.Fatalf("%v jittered to %v", delay, j)
			}
		}
	})
}

// world is what a rejoiner sees and does, for tests in synthetic time.
type world struct {
	mu       sync.Mutex
	up, gone []Member
	contacts map[netip.AddrPort][]time.Duration // since the start
	began    time.Time
	slow     time.Duration // how long a contact takes
}

func (w *world) rejoiner(seeds ...string) *rejoiner {
	w.contacts, w.began = make(map[netip.AddrPort][]time.Duration), time.Now()
	r := &rejoiner{
		self: selfCheck(addrA, addrA),
		join: func(a netip.AddrPort) error {
			w.mu.Lock()
			w.contacts[a] = append(w.contacts[a], time.Since(w.began))
			w.mu.Unlock()
			time.Sleep(w.slow)
			return errors.New("nobody there")
		},
		others: func() (up, gone []Member) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.up), slices.Clone(w.gone)
		},
		lookup: func(s seed) ([]netip.AddrPort, error) {
			return s.lookup(context.Background(), names{"b": {"192.0.2.2"}})
		},
		journal: newJournal(slog.New(slog.DiscardHandler)),
		hints:   make(chan netip.AddrPort, 1), stir: make(chan struct{}, 1),
		busy: make(map[string]struct{}), tried: make(map[netip.AddrPort]time.Time), failed: make(map[netip.AddrPort]error),
	}
	for _, text := range seeds {
		s, err := parseSeed(text, 7946)
		if err != nil {
			panic(err)
		}
		r.seeds = append(r.seeds, s)
	}
	return r
}

func (w *world) times(a netip.AddrPort) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.contacts[a])
}

func (w *world) set(up, gone []Member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up, w.gone = up, gone
}

// runFor runs r in the bubble's time.
func runFor(r *rejoiner, d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	r.run(ctx)
}

func TestRejoinPaces(t *testing.T) {
	member := func(id string, a netip.AddrPort, s State) Member {
		return Member{Meta: Meta{ID: id}, Addr: a, State: s, Since: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}
	}
	b, c := member("b", addrB, Alive), member("c", addrC, Alive)
	dead, left := member("b", addrB, Dead), member("b", addrB, Left)
	for name, tc := range map[string]struct {
		seeds    []string
		peers    []netip.AddrPort
		up, gone []Member
		min, max int // contacts of B in a minute
	}{
		"alone, by name":         {seeds: []string{"b"}, min: 50, max: 75},
		"alone, by address":      {seeds: []string{"192.0.2.2", "192.0.2.1"}, min: 50, max: 75},
		"alone, remembered":      {peers: []netip.AddrPort{addrA, addrB}, min: 50, max: 75},
		"all there":              {seeds: []string{"b"}, peers: []netip.AddrPort{addrB}, up: []Member{b}},
		"in company, one dead":   {up: []Member{c}, gone: []Member{dead}, min: 6, max: 12},
		"in company, one left":   {peers: []netip.AddrPort{addrB}, up: []Member{c}, gone: []Member{left}},
		"left, but configured":   {seeds: []string{"b"}, up: []Member{c}, gone: []Member{left}, min: 6, max: 12},
		"nobody known to be met": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{up: tc.up, gone: tc.gone}
				r := w.rejoiner(tc.seeds...)
				r.peers = tc.peers
				runFor(r, time.Minute)
				if n := len(w.times(addrB)); n < tc.min || n > tc.max {
					t.Errorf("%d contacts, want %d to %d: %v", n, tc.min, tc.max, w.times(addrB))
				}
				if n := len(w.times(addrA)); n > 0 {
					t.Errorf("contacted itself %d times", n)
				}
			})
		})
	}
}

// A host that swallows packets holds up neither the others nor its own next attempt after the
// time-out; it is never tried twice at a time.
func TestRejoinIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{slow: 4 * time.Second}
		runFor(w.rejoiner("192.0.2.2", "192.0.2.3"), time.Minute)
		for _, a := range []netip.AddrPort{addrB, addrC} {
			times := w.times(a)
			if len(times) < 10 {
				t.Errorf("%s: %v", a, times)
			}
			for i := 1; i < len(times); i++ {
				if times[i]-times[i-1] < w.slow {
					t.Errorf("%s: tried while being tried: %v", a, times)
				}
			}
		}
	})
}

func TestRejoinFollowsHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		c := Member{Meta: Meta{ID: "c"}, Addr: addrC, State: Alive}
		w.set([]Member{c}, nil)
		r := w.rejoiner()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { r.run(ctx) })
		time.Sleep(30 * time.Second)
		for range 100 { // as many as may come, for ten seconds
			r.hint(addrB)
			r.hint(addrA)
			time.Sleep(100 * time.Millisecond)
		}
		if times := w.times(addrB); len(times) < 8 || len(times) > 11 || times[0] > 30*time.Second+time.Millisecond {
			t.Errorf("%v", times)
		}
		if n := len(w.times(addrA)); n > 0 {
			t.Errorf("contacted itself %d times", n)
		}
		cancel()
		wg.Wait()
	})
}

// While others hold this node for dead it calls on all of them, fast; so it does for a while after
// a death.
func TestRejoinWhenMisjudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		b := Member{Meta: Meta{ID: "b"}, Addr: addrB, State: Alive}
		w.set([]Member{b}, nil)
		r := w.rejoiner()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { r.run(ctx) })
		time.Sleep(time.Minute)
		if n := len(w.times(addrB)); n > 0 {
			t.Fatalf("%d contacts without need", n)
		}
		r.misjudged(time.Now())
		time.Sleep(time.Minute)
		if times := w.times(addrB); len(times) < 3 || len(times) > 7 || times[0] > 62*time.Second {
			t.Errorf("misjudged: %v", times)
		}
		c := Member{Meta: Meta{ID: "c"}, Addr: addrC, State: Dead, Since: time.Now()}
		died := time.Since(w.began)
		w.set([]Member{b}, []Member{c})
		r.hurry()
		time.Sleep(4 * time.Second)
		if times := w.times(addrC); len(times) < 3 || times[0] > died+2*time.Second {
			t.Errorf("died at %v: %v", died, times)
		}
		cancel()
		wg.Wait()
	})
}
