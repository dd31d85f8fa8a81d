package vip

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	own4, own6   = "10.0.0.1/24", "fd00::1/64"
	peer4, peer6 = "10.0.0.2/24", "fd00::2/64"
)

// families are the two forms of the VIP that every behaviour is tested with.
var families = []struct {
	name   string
	vip    netip.Prefix
	single string // as it is held
}{
	{"IPv4", prefix("10.0.0.100/24"), "10.0.0.100/32"},
	{"IPv6", prefix("fd00::100/64"), "fd00::100/128"},
}

// newAddress is New at home; it is dropped and closed when the test ends.
func newAddress(t testing.TB, cfg Config) *Address {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	if _, ok := t.(*testing.B); ok {
		log = nothingLogged
	}
	a, err := New(cfg, log)
	must(t, err)
	t.Cleanup(func() {
		if err := errors.Join(a.Drop(context.Background()), a.Close()); err != nil {
			t.Error(err)
		}
	})
	return a
}

func hold(t testing.TB, a *Address) {
	t.Helper()
	must(t, a.Hold(context.Background()))
}

func drop(t testing.TB, a *Address) {
	t.Helper()
	must(t, a.Drop(context.Background()))
}

func wantHeld(t testing.TB, a *Address, want bool) {
	t.Helper()
	held, err := a.Held()
	must(t, err)
	if held != want {
		t.Fatalf("held is %v, want %v", held, want)
	}
}

func TestHoldAndDrop(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me := newLAN(t).home(own4, own6)
			before := me.addresses()
			a := newAddress(t, Config{Prefix: tt.vip})
			if got := a.Interface(); got != "eth0" {
				t.Fatalf("interface is %q", got)
			}
			wantHeld(t, a, false)
			drop(t, a) // nothing to drop is no error
			for range 3 {
				hold(t, a)
				wantHeld(t, a, true)
				var now []string
				for _, addr := range me.addresses() {
					if addr != tt.single {
						now = append(now, addr)
					}
				}
				if diff := cmp.Diff(before, now); diff != "" || len(me.addresses()) != len(before)+1 {
					t.Fatalf("addresses beside the VIP (-before +now):\n%s", diff)
				}
			}
			for range 2 {
				drop(t, a)
				wantHeld(t, a, false)
				if diff := cmp.Diff(before, me.addresses()); diff != "" {
					t.Fatalf("addresses (-before +now):\n%s", diff)
				}
			}
		})
	}
}

func TestFormOfTheAddress(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me := newLAN(t).home(own4, own6)
			a := newAddress(t, Config{Prefix: tt.vip, Lifetime: 7 * time.Second})
			hold(t, a)
			var got *netlink.Addr
			all, err := me.nl.AddrList(me.link(), netlink.FAMILY_ALL)
			must(t, err)
			for _, c := range all {
				if c.IPNet.String() == tt.single {
					got = &c
				}
			}
			if got == nil {
				t.Fatalf("no %s in %v", tt.single, all)
			}
			flags, preferred := unix.IFA_F_NOPREFIXROUTE, 7
			if tt.vip.Addr().Is6() {
				flags, preferred = flags|unix.IFA_F_NODAD|unix.IFA_F_DEPRECATED, 0
			}
			if got.Flags != flags {
				t.Errorf("flags %#x, want %#x", got.Flags, flags)
			}
			if got.Scope != unix.RT_SCOPE_UNIVERSE {
				t.Errorf("scope %d, want global", got.Scope)
			}
			if got.ValidLft < 6 || got.ValidLft > 7 || got.PreferedLft < preferred-1 || got.PreferedLft > preferred {
				t.Errorf("lifetimes: valid %d, preferred %d, want 7 and %d", got.ValidLft, got.PreferedLft, preferred)
			}
		})
	}
}

// The host's own connections never start from the VIP, not even when the host's own address was
// taken away and came back, and so is the younger one.
func TestNeverASourceAddress(t *testing.T) {
	me, _ := newPair(t)
	source := func(to string) string {
		c, err := net.Dial("udp", net.JoinHostPort(to, "9"))
		must(t, err)
		defer c.Close()
		host, _, err := net.SplitHostPort(c.LocalAddr().String())
		must(t, err)
		return host
	}
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			own, to := own4, "10.0.0.2"
			if tt.vip.Addr().Is6() {
				own, to = own6, "fd00::2"
			}
			want := prefix(own).Addr().String()
			a := newAddress(t, Config{Prefix: tt.vip})
			hold(t, a)
			if got := source(to); got != want {
				t.Errorf("source is %s, want %s", got, want)
			}
			me.del(own)
			if !me.has(tt.vip.Addr().String()) {
				t.Error("the VIP went with the host's own address")
			}
			me.add(own)
			if got := source(to); got != want {
				t.Errorf("after the own address came back: source is %s, want %s", got, want)
			}
		})
	}
}

func TestKernelTakesTheAddressAway(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			const lifetime = 2 * time.Second
			me := newLAN(t).home(own4, own6)
			a := newAddress(t, Config{Prefix: tt.vip, Lifetime: lifetime})
			for range 7 { // 3 s of renewing, beyond one lifetime
				hold(t, a)
				time.Sleep(500 * time.Millisecond)
				wantHeld(t, a, true)
			}
			hold(t, a)
			took := await(t, "the kernel removes the address", lifetime+1500*time.Millisecond,
				func() bool { return !me.has(tt.vip.Addr().String()) })
			t.Logf("gone %s after the last Hold, lifetime %s", took.Round(time.Millisecond), lifetime)
			if took < lifetime-100*time.Millisecond {
				t.Errorf("too early: after %s", took)
			}
			changed(t, a)
			hold(t, a) // and back
			wantHeld(t, a, true)
		})
	}
}

func TestReleaseRemovesEveryCopy(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me := newLAN(t).home(own4, own6)
			before := me.addresses()
			a := newAddress(t, Config{Prefix: tt.vip})
			lo, err := me.nl.LinkByName("lo")
			must(t, err)
			copies := func() {
				hold(t, a)
				must(t, me.nl.AddrAdd(lo, parseAddr(t, tt.single)))
				if tt.vip.Addr().Is4() { // IPv6 has an address once on an interface
					me.add(tt.vip.String()) // as an operator would
				}
			}
			copies()
			must(t, Release(tt.vip))
			wantHeld(t, a, false)
			must(t, Release(tt.vip)) // nothing to release is no error
			copies()
			drop(t, a)
			wantHeld(t, a, false)
			if diff := cmp.Diff(before, me.addresses()); diff != "" {
				t.Errorf("addresses (-before +now):\n%s", diff)
			}
		})
	}
}

// A VIP that somebody made the first address of its network cannot be removed without the host's
// own.
func TestForeignCopy(t *testing.T) {
	me := newLAN(t).home("10.0.0.9/24", own6)
	vip := prefix("10.0.0.100/24")
	a := newAddress(t, Config{Prefix: vip})
	me.del("10.0.0.9/24")
	me.add("10.0.0.100/24", "10.0.0.9/24")
	before := me.addresses()
	hold(t, a)
	err := a.Drop(context.Background())
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "10.0.0.100/24 on eth0") {
		t.Errorf("Drop: got %v, want %v that names the address and the interface", err, ErrForeign)
	}
	if err := Release(vip); !errors.Is(err, ErrForeign) {
		t.Errorf("Release: got %v, want %v", err, ErrForeign)
	}
	if diff := cmp.Diff(before, me.addresses()); diff != "" {
		t.Errorf("addresses (-before +now):\n%s", diff)
	}
	if _, err := New(Config{Prefix: vip}, nothingLogged); !errors.Is(err, ErrForeign) {
		t.Errorf("New: got %v, want %v", err, ErrForeign)
	}
	me.del("10.0.0.100/24")
	if me.has("10.0.0.9") {
		t.Error("the kernel kept the host's own address: the refusal is not needed")
	}
}

func TestNewRefusesTheHostsOwnAddress(t *testing.T) {
	newLAN(t).home(own4)
	_, err := New(Config{Prefix: prefix(own4), Interface: "eth0"}, nothingLogged)
	if !errors.Is(err, ErrForeign) {
		t.Errorf("got %v, want %v", err, ErrForeign)
	}
}

func TestFindInterfaceOnTheRealHost(t *testing.T) {
	me := newLAN(t).home(own4, own6)
	for _, tt := range families {
		if got, err := FindInterface(tt.vip); got != "eth0" || err != nil {
			t.Errorf("%s: got %q, %v", tt.name, got, err)
		}
	}
	_, err := FindInterface(prefix("192.0.2.100/24"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"192.0.2.100/24", "eth0: 10.0.0.1/24, fd00::1/64", "lo: 127.0.0.1/8", "choose an address in one of these networks"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
	_ = me
}

func TestHoldRefusesADoneContext(t *testing.T) {
	newLAN(t).home(own4)
	a := newAddress(t, Config{Prefix: prefix("10.0.0.100/24")})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.Hold(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Hold: got %v, want %v", err, context.Canceled)
	}
	wantHeld(t, a, false)
	hold(t, a)
	if err := a.Drop(ctx); err != nil {
		t.Errorf("Drop: %v", err)
	}
	wantHeld(t, a, false)
}

func TestClose(t *testing.T) {
	newLAN(t).home(own4)
	a := newAddress(t, Config{Prefix: prefix("10.0.0.100/24")})
	hold(t, a)
	for range 2 {
		begin := time.Now()
		must(t, a.Close())
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("Close took %s", took)
		}
	}
	wantHeld(t, a, true) // only Drop drops
	if err := a.Hold(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Hold: got %v, want %v", err, net.ErrClosed)
	}
	drop(t, a)
	wantHeld(t, a, false)
}

// Every method at once, for the race detector; and what Drop promises: it must not be held up by
// announcements, probes or a log.
func TestAllAtOnce(t *testing.T) {
	newLAN(t).home(own4)
	a := newAddress(t, Config{Prefix: prefix("10.0.0.100/24")})
	ctx, cancel := context.WithCancel(context.Background())
	var others errgroup.Group
	others.Go(func() error {
		for ctx.Err() == nil {
			if _, err := a.Probe(ctx, 5*time.Millisecond); err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	others.Go(func() error {
		for ctx.Err() == nil {
			a.Announce()
			if _, err := a.Held(); err != nil {
				return err
			}
			_ = a.String()
		}
		return nil
	})
	var drops []time.Duration
	for range 200 {
		hold(t, a)
		time.Sleep(time.Millisecond) // into the middle of an announcement
		begin := time.Now()
		drop(t, a)
		drops = append(drops, time.Since(begin))
		wantHeld(t, a, false)
	}
	cancel()
	must(t, others.Wait())
	slices.Sort(drops)
	t.Logf("Drop took %s, at most %s", drops[len(drops)/2], drops[len(drops)-1])
	if median := drops[len(drops)/2]; median > 5*time.Millisecond {
		t.Errorf("Drop took %s", median)
	}
}

func TestIPv6SwitchedOff(t *testing.T) {
	newLAN(t).home(own4)
	const knob = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"
	must(t, os.WriteFile(knob, []byte("1"), 0))
	a := newAddress(t, Config{Prefix: prefix("fd00::100/64"), Interface: "eth0"})
	err := a.Hold(context.Background())
	if err == nil || !strings.Contains(err.Error(), "net.ipv6.conf.eth0.disable_ipv6") {
		t.Errorf("got %v, want an error that names the setting", err)
	}
}

func TestServiceUserWithTheTwoCapabilities(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			l := newLAN(t)
			me, peer := l.host(own4, own6), l.host(peer4, peer6)
			heard := peer.sniff(tt.vip.Addr())
			ag := me.agent(Config{Prefix: tt.vip}, agentUser)
			ag.do("hold")
			await(t, "announced", time.Second, func() bool { return len(heard.by(me.hw())) > 0 })
			if !ag.do("held").Held || !me.has(tt.vip.Addr().String()) {
				t.Error("not held")
			}
			peer.add(tt.single)
			if r := ag.do("probe"); r.Owner != peer.hw().String() {
				t.Errorf("probe: got %q, want %s", r.Owner, peer.hw())
			}
			ag.do("drop")
			ag.do("hold")
			ag.do("release")
			if me.has(tt.vip.Addr().String()) {
				t.Error("still held")
			}
			ag.do("close")
		})
	}
}

func TestMissingCapability(t *testing.T) {
	cfg := Config{Prefix: prefix("10.0.0.100/24")}
	for _, tt := range []struct {
		name, command string // the one that fails
		caps          []uintptr
	}{
		{"none", "ready", nil},
		{"only CAP_NET_RAW", "hold", []uintptr{unix.CAP_NET_RAW}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			me := newLAN(t).host(own4)
			ag := me.start(cfg, &syscall.SysProcAttr{Credential: agentUser.Credential, AmbientCaps: tt.caps})
			if r := ag.try(tt.command); !strings.Contains(r.Err, "CAP_NET_ADMIN and CAP_NET_RAW are needed") {
				t.Errorf("%s: got %q, want an error that names the capabilities", tt.command, r.Err)
			}
		})
	}
}

func TestDeadAndFrozenAgent(t *testing.T) {
	const lifetime = 2 * time.Second
	for name, s := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "frozen": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t)
			me, peer := l.host(own4), l.host(peer4)
			ag := me.agent(Config{Prefix: prefix("10.0.0.100/24"), Lifetime: lifetime}, agentUser)
			hears := peer.sniff(ip4)
			ag.do("hold")
			await(t, "announced for a while", 5*time.Second, func() bool { return len(hears.by(me.hw())) >= 6 })
			ag.do("hold")
			ag.signal(s)
			took := await(t, "the kernel removes the address", lifetime+1500*time.Millisecond,
				func() bool { return !me.has("10.0.0.100") })
			t.Logf("gone %s after the agent was %s, lifetime %s", took.Round(time.Millisecond), name, lifetime)
			if s == syscall.SIGKILL {
				return
			}
			heard := peer.sniff(ip4)
			ag.signal(syscall.SIGCONT)
			ag.do("held") // it runs again
			time.Sleep(300 * time.Millisecond)
			if got := heard.by(me.hw()); len(got) > 0 {
				t.Errorf("announced %d times after it was thawed", len(got))
			}
		})
	}
}
