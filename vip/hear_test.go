package vip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
)

// elsewhere waits for an announcement of another host, which must come.
func elsewhere(t *testing.T, a *Address, since time.Time) net.HardwareAddr {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	hw, err := a.AwaitElsewhere(ctx, since)
	must(t, err)
	return hw
}

// nothingElsewhere fails the test if another host is heard within 300 ms, in which three
// announcements fit.
func nothingElsewhere(t *testing.T, a *Address, since time.Time) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if hw, err := a.AwaitElsewhere(ctx, since); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("heard %v, %v", hw, err)
	}
}

func TestHearAnotherHost(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			_, peer := newPair(t)
			a := newAddress(t, Config{Prefix: tt.vip})
			next := peer.agent(Config{Prefix: tt.vip}, agentUser)
			begin := time.Now()
			hold(t, a)
			nothingElsewhere(t, a, begin) // our own do not count

			heard := make(chan time.Time, 1)
			go func() {
				_, _ = a.AwaitElsewhere(context.Background(), begin)
				heard <- time.Now()
			}()
			asked := time.Now()
			next.do("hold")
			t.Logf("heard %s after Hold was asked for at the other host", (<-heard).Sub(asked).Round(10*time.Microsecond))
			if hw := elsewhere(t, a, begin); hw.String() != peer.hw().String() { // heard before it was asked
				t.Errorf("heard %v, want %v", hw, peer.hw())
			}
			next.do("drop")
			// What the other host had sent until then may not have been read yet; what comes after
			// it in the same queue has been when it is heard.
			peer.announce(hwB, tt.vip.Addr())
			dropped := time.Now()
			await(t, "the announcement after the last one", 5*time.Second, func() bool {
				return elsewhere(t, a, begin).String() == net.HardwareAddr(hwB[:]).String()
			})
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			for since := dropped; ; since = time.Now() {
				hw, err := a.AwaitElsewhere(ctx, since)
				if err != nil {
					break
				}
				if hw.String() == peer.hw().String() {
					t.Fatal("announced after it was dropped")
				}
			}
		})
	}
}

func TestHearUntilClosed(t *testing.T) {
	newLAN(t).home(own4)
	a, err := New(Config{Prefix: prefix("10.0.0.100/24")}, nothingLogged)
	must(t, err)
	done := make(chan error)
	go func() {
		_, err := a.AwaitElsewhere(context.Background(), time.Now())
		done <- err
	}()
	must(t, a.Close())
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

// The first frame that wakes the ear is the one it is for: the kernel kept the others back.
func TestEarIsWokenForTheVIPAlone(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me, peer := newPair(t)
			own := newLink("eth0", me.link().Attrs().Index, me.hw())
			e, err := newEar(own, tt.vip.Addr())
			must(t, err)
			defer e.Close()
			must(t, e.SetReadDeadline(time.Now().Add(5*time.Second)))
			peer.announce(hardware(peer.hw()), tt.vip.Addr().Next()) // not the VIP
			peer.announce(hardware(peer.hw()), tt.vip.Addr())
			if hw, err := e.next(); err != nil || hw.String() != peer.hw().String() {
				t.Errorf("woken for %v, %v; want %v", hw, err, peer.hw())
			}
		})
	}
}

func TestARPFilter(t *testing.T) {
	vm, err := bpf.NewVM(arpFilter(hwA, ip4))
	must(t, err)
	almost := hwA
	almost[5]++
	for _, tt := range []struct {
		name   string
		from   hardware
		packet arpPacket
		want   bool
	}{
		{"announcement", hwB, arpAnnouncement(hwB, ip4), true},
		{"reply", hwB, arpGratuitousReply(hwB, ip4), true},
		{"nearly our hardware address", almost, arpAnnouncement(almost, ip4), true},
		{"our own, sent back by a switch", hwA, arpAnnouncement(hwA, ip4), false},
		{"of another address", hwB, arpAnnouncement(hwB, ip4.Next()), false},
		{"somebody asks for the owner", hwB, arpPacket{Op: arpRequest, SenderIP: ip4.Next(), TargetIP: ip4}, false},
		{"somebody probes", hwB, arpProbe(hwB, ip4), false},
	} {
		frame := append(append(append([]byte(nil), everyone...), tt.from[:]...), 0x08, 0x06)
		n, err := vm.Run(append(frame, tt.packet.marshal()...))
		if err != nil || (n > 0) != tt.want {
			t.Errorf("%s: got %d, %v; want accepted: %v", tt.name, n, err, tt.want)
		}
	}
}

// announce sends the announcement that the address is at hw from the host, whoever has it.
func (n *node) announce(hw hardware, addr netip.Addr) {
	n.lan.t.Helper()
	must(n.lan.t, in(n.ns, func() error {
		v, err := newVoice(newLink("eth0", n.link().Attrs().Index, hw[:]), addr)
		if err != nil {
			return err
		}
		defer v.conn.Close()
		for _, frame := range v.frames {
			err = errors.Join(err, frame())
		}
		return err
	}))
}

// What this host says by another interface of its own on the same link is not another host.
func TestHearIgnoresOurOtherInterface(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me, peer := newPair(t)
			a := newAddress(t, Config{Prefix: tt.vip})
			second := &netlink.Veth{PeerName: "third",
				LinkAttrs: netlink.LinkAttrs{Name: "second", HardwareAddr: net.HardwareAddr(hwB[:])}}
			must(t, me.nl.LinkAdd(second)) // after New: the watch tells of it
			await(t, "the interface is known", 3*time.Second, func() bool { return a.isOwn(hwB) })
			begin := time.Now()
			peer.announce(hwB, tt.vip.Addr())
			nothingElsewhere(t, a, begin)
			must(t, me.nl.LinkDel(second))
			await(t, "the interface is forgotten", 3*time.Second, func() bool { return !a.isOwn(hwB) })
			peer.announce(hwB, tt.vip.Addr())
			elsewhere(t, a, begin)
		})
	}
}

func TestHearAfterTheLinkWasAway(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			l := newLAN(t)
			me, peer := l.home(own4, own6), l.host(peer4, peer6)
			a := newAddress(t, Config{Prefix: tt.vip})
			heardFrom := func() {
				t.Helper()
				begin := time.Now()
				await(t, "the peer is heard", 5*time.Second, func() bool {
					peer.announce(hardware(peer.hw()), tt.vip.Addr())
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
					defer cancel()
					_, err := a.AwaitElsewhere(ctx, begin)
					return err == nil
				})
			}
			heardFrom()
			must(t, me.nl.LinkSetDown(me.link()))
			must(t, me.nl.LinkSetUp(me.link()))
			me.connect(true)
			heardFrom()
			me.unplug()
			l.plug(me, []string{"10.0.0.1/24", "fd00::7/64"})
			heardFrom()
		})
	}
}

// Who holds an address that another host has announced says again where it is: the other one may
// have been paused, and have woken up with what it had.
func TestHoldAnswersAnotherHost(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			_, peer := newPair(t)
			a := newAddress(t, Config{Prefix: tt.vip})
			other := peer.agent(Config{Prefix: tt.vip}, agentUser)
			contested := func() bool {
				a.mu.Lock()
				defer a.mu.Unlock()
				return a.contested()
			}
			hold(t, a)
			if contested() {
				t.Error("contested by nobody")
			}
			begin := time.Now()
			other.do("hold")
			elsewhere(t, a, begin)
			if other.do("drop"); !contested() {
				t.Error("another host has announced it, and nothing is said to that")
			}
			hold(t, a)
			if contested() {
				t.Error("answered, and still contested")
			}
		})
	}
}
