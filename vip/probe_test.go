package vip

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestAnnouncementsOnTheWire(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me, peer := newPair(t)
			heard := peer.sniff(tt.vip.Addr())
			a := newAddress(t, Config{Prefix: tt.vip})
			each := 1 // frames an announcement
			if tt.vip.Addr().Is4() {
				each = 2
			}
			begin := time.Now()
			hold(t, a)
			await(t, "four announcements", 10*time.Second, func() bool { return len(heard.by(me.hw())) >= 4*each })
			drop(t, a)
			dropped := time.Now()
			got := heard.by(me.hw())
			t.Logf("first announcement heard %s after Hold was called", got[0].at.Sub(begin).Round(10*time.Microsecond))
			for i, at := range seconds(0, 0.1, 0.3, 1) {
				for j := range each {
					// How late is the machine's affair; TestSchedule has the times.
					c := got[i*each+j]
					if off := c.at.Sub(begin); off < at {
						t.Errorf("announcement %d came at %s, want %s", i, off, at)
					}
					if want := uint16(j + 1); tt.vip.Addr().Is4() && c.op != want {
						t.Errorf("frame %d of announcement %d is operation %d, want %d", j, i, c.op, want)
					}
				}
			}
			time.Sleep(1200 * time.Millisecond) // the next one would be 1 s after the fourth
			if last := heard.by(me.hw()); last[len(last)-1].at.After(dropped.Add(time.Millisecond)) {
				t.Errorf("announced %s after Drop had returned", last[len(last)-1].at.Sub(dropped))
			}
		})
	}
}

// An agent that was frozen for longer than the lifetime must not speak for an address that the
// kernel took away, and another host may have taken.
func TestNoAnnouncementAfterTheLifetime(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me, peer := newPair(t)
			a := newAddress(t, Config{Prefix: tt.vip, Lifetime: time.Second})
			hold(t, a)
			await(t, "the address is gone", 3*time.Second, func() bool { return !me.has(tt.vip.Addr().String()) })
			heard := peer.sniff(tt.vip.Addr())
			a.Announce()
			time.Sleep(300 * time.Millisecond)
			if got := heard.by(me.hw()); len(got) > 0 {
				t.Errorf("announced %d times an address that is gone", len(got))
			}
		})
	}
}

func TestProbe(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			_, peer := newPair(t)
			a := newAddress(t, Config{Prefix: tt.vip})
			const wait = 100 * time.Millisecond
			probe := func() (net.HardwareAddr, time.Duration) {
				t.Helper()
				begin := time.Now()
				owner, err := a.Probe(context.Background(), wait)
				must(t, err)
				return owner, time.Since(begin)
			}
			owner, took := probe()
			if owner != nil || took < wait || took > wait+100*time.Millisecond {
				t.Errorf("nobody has it: got %v after %s", owner, took)
			}
			hold(t, a)
			if owner, _ := probe(); owner != nil {
				t.Errorf("only we have it: got %v", owner)
			}
			peer.add(tt.single)
			owner, took = probe()
			if owner.String() != peer.hw().String() || took > wait {
				t.Errorf("the peer has it too: got %v after %s, want %v", owner, took, peer.hw())
			}
			t.Logf("second owner found in %s", took.Round(10*time.Microsecond))
			drop(t, a)
			if owner, _ := probe(); owner.String() != peer.hw().String() {
				t.Errorf("only the peer has it: got %v, want %v", owner, peer.hw())
			}

			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(20*time.Millisecond, cancel)
			begin := time.Now()
			peer.del(tt.single)
			if _, err := a.Probe(ctx, time.Minute); !errors.Is(err, context.Canceled) || time.Since(begin) > time.Second {
				t.Errorf("cancelled: got %v after %s", err, time.Since(begin))
			}
		})
	}
}

// Another interface of this host on the same link answers for the VIP as well.
func TestProbeIgnoresOurOtherInterface(t *testing.T) {
	l := newLAN(t)
	me := l.host("10.0.0.1/24")
	second := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "second"}, PeerName: "eth1", PeerNamespace: netlink.NsFd(me.ns)}
	bridge, err := l.nl.LinkByName("br0")
	must(t, err)
	second.MasterIndex = bridge.Attrs().Index
	must(t, l.nl.LinkAdd(second))
	must(t, l.nl.LinkSetUp(second))
	eth1, err := me.nl.LinkByName("eth1")
	must(t, err)
	must(t, me.nl.LinkSetUp(eth1))

	await(t, "eth1 carries", 3*time.Second, func() bool {
		eth1, err = me.nl.LinkByName("eth1")
		must(t, err)
		return eth1.Attrs().OperState == netlink.OperUp
	})

	listener := me.sniff(ip4)
	ag := me.agent(Config{Prefix: prefix("10.0.0.100/24")}, nil)
	ag.do("hold")
	if r := ag.do("probe"); r.Owner != "" {
		t.Errorf("got %s for an owner, which is our own eth1", r.Owner)
	}
	if len(listener.by(eth1.Attrs().HardwareAddr)) == 0 {
		t.Error("eth1 did not answer: the test shows nothing")
	}
}

func TestLoopbackIsHeldInSilence(t *testing.T) {
	newLAN(t).home(own4)
	a := newAddress(t, Config{Prefix: prefix("127.77.0.100/8")})
	if a.Interface() != "lo" {
		t.Fatalf("interface is %q", a.Interface())
	}
	hold(t, a)
	wantHeld(t, a, true)
	owner, err := a.Probe(context.Background(), time.Minute) // returns at once
	if owner != nil || err != nil {
		t.Errorf("probe: got %v, %v", owner, err)
	}
	drop(t, a)
	wantHeld(t, a, false)
}
