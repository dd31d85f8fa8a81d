package vip

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// changed waits for Changed.
func changed(t testing.TB, a *Address) {
	t.Helper()
	select {
	case <-a.Changed():
	case <-time.After(2 * time.Second):
		t.Fatal("Changed did not receive")
	}
}

// settle waits until the watch has handled everything that happened before, by a change that it
// takes note of without a word to Changed.
func settle(t testing.TB, a *Address, me *node, hw hardware) {
	t.Helper()
	must(t, me.nl.LinkSetHardwareAddr(me.link(), hw[:]))
	await(t, "the watch sees the hardware address change", 3*time.Second, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.link.hw == hw
	})
}

func wantUnchanged(t testing.TB, a *Address) {
	t.Helper()
	select {
	case <-a.Changed():
		t.Error("Changed received")
	default:
	}
}

func awaitRunning(t testing.TB, a *Address, want bool) {
	t.Helper()
	await(t, "the watch sees the link change", 3*time.Second, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.running == want
	})
}

func TestChanged(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me, peer := newPair(t)
			heard := peer.sniff(tt.vip.Addr())
			a := newAddress(t, Config{Prefix: tt.vip})

			hold(t, a)
			await(t, "announced", time.Second, func() bool { return len(heard.by(me.hw())) > 0 })
			me.del(tt.single) // somebody else removes it
			begin := time.Now()
			changed(t, a)
			t.Logf("Changed %s after the removal", time.Since(begin).Round(10*time.Microsecond))
			wantHeld(t, a, false)
			before := len(heard.by(me.hw()))
			hold(t, a)
			wantHeld(t, a, true)
			await(t, "announced again", time.Second, func() bool { return len(heard.by(me.hw())) > before })

			drop(t, a)
			me.add(tt.single) // somebody adds it while it is not ours to hold
			changed(t, a)
			wantHeld(t, a, true)
			drop(t, a)
			wantHeld(t, a, false)
		})
	}
}

// Our own calls, and what happens to other addresses, are no change.
func TestUnchanged(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me := newLAN(t).home(own4, own6)
			a := newAddress(t, Config{Prefix: tt.vip})
			for range 50 {
				hold(t, a)
				hold(t, a)
				drop(t, a)
			}
			settle(t, a, me, hwA)
			wantUnchanged(t, a)

			hold(t, a)
			me.add("10.0.0.77/32", "fd00::77/128")
			me.del("10.0.0.77/32")
			me.del("fd00::77/128")
			settle(t, a, me, hwB)
			wantUnchanged(t, a)
		})
	}
}

// An interface that leaves a bridge is reported much like one that is deleted.
func TestLeavingABridgeIsNoChange(t *testing.T) {
	me := newLAN(t).home(own4)
	a := newAddress(t, Config{Prefix: prefix("10.0.0.100/24")})
	hold(t, a)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br9"}}
	must(t, me.nl.LinkAdd(bridge))
	t.Cleanup(func() { must(t, me.nl.LinkDel(bridge)) })
	must(t, me.nl.LinkSetMaster(me.link(), bridge))
	must(t, me.nl.LinkSetNoMaster(me.link()))
	settle(t, a, me, hwA)
	wantUnchanged(t, a)
}

// awaitDense waits for three announcements in quick succession, which only a schedule that was
// begun anew has.
func awaitDense(t testing.TB, heard *sniffer, hw net.HardwareAddr, since time.Time) {
	t.Helper()
	await(t, "three announcements since the link is back", 900*time.Millisecond, func() bool {
		times := map[time.Duration]bool{} // ARP has two frames for each
		for _, c := range heard.by(hw) {
			if c.at.After(since) {
				times[c.at.Sub(since).Truncate(30*time.Millisecond)] = true
			}
		}
		return len(times) >= 3
	})
}

func TestLinkFlap(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me, peer := newPair(t)
			heard := peer.sniff(tt.vip.Addr())
			a := newAddress(t, Config{Prefix: tt.vip, Lifetime: time.Minute})
			hold(t, a)
			await(t, "the first second of the schedule is over", 3*time.Second, func() bool {
				c := heard.by(me.hw())
				return len(c) > 0 && c[len(c)-1].at.Sub(c[0].at) > 900*time.Millisecond
			})

			me.connect(false) // the cable, as a switch sees it
			changed(t, a)
			wantHeld(t, a, true)
			up := time.Now()
			me.connect(true)
			changed(t, a)
			awaitDense(t, heard, me.hw(), up)
		})
	}
}

// `ip link set eth0 down` takes IPv6 addresses away. A Hold meanwhile succeeds, and works once the
// link is up.
func TestHoldWhileTheInterfaceIsDown(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me, peer := newPair(t)
			a := newAddress(t, Config{Prefix: tt.vip, Lifetime: time.Minute})
			hold(t, a)
			must(t, me.nl.LinkSetDown(me.link()))
			awaitRunning(t, a, false)
			hold(t, a)
			wantHeld(t, a, true)
			must(t, me.nl.LinkSetUp(me.link()))
			if tt.vip.Addr().Is6() {
				me.add(own6) // for the way back; the kernel took it away
			}
			begin, pings := time.Now(), peer.ping(tt.vip.Addr())
			await(t, "the peer reaches the VIP", 5*time.Second, func() bool { return pings.since(begin) > 10 })
		})
	}
}

// networkd deletes and makes virtual interfaces again when its configuration changes.
func TestInterfaceMadeAgain(t *testing.T) {
	l := newLAN(t)
	me, peer := l.home(own4), l.host(peer4)
	a := newAddress(t, Config{Prefix: prefix("10.0.0.100/24"), Lifetime: time.Minute})
	hold(t, a)
	me.unplug()
	changed(t, a)
	if err := a.Hold(context.Background()); err == nil {
		t.Fatal("held an address on no interface")
	}
	wantHeld(t, a, false)
	l.plug(me, []string{own4})
	heard := peer.sniff(ip4)
	hold(t, a)
	wantHeld(t, a, true)
	await(t, "announced with the new hardware address", time.Second, func() bool { return len(heard.by(me.hw())) > 0 })
}

// A bond takes another member's hardware address.
func TestHardwareAddressChanges(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			me, peer := newPair(t)
			heard := peer.sniff(tt.vip.Addr())
			a := newAddress(t, Config{Prefix: tt.vip, Lifetime: time.Minute})
			hold(t, a)
			await(t, "announced", time.Second, func() bool { return len(heard.by(me.hw())) > 0 })
			must(t, me.nl.LinkSetHardwareAddr(me.link(), hwB[:]))
			await(t, "announced with the new one", time.Second, func() bool { return len(heard.by(hwB[:])) > 0 })
			owner, err := a.Probe(context.Background(), 50*time.Millisecond)
			if owner != nil || err != nil {
				t.Errorf("probe: got %v, %v", owner, err)
			}
		})
	}
}

// When more happens than the kernel keeps for us, the watch looks instead.
func TestLostEvents(t *testing.T) {
	me := newLAN(t).home(own4)
	a := newAddress(t, Config{Prefix: prefix("10.0.0.100/24"), Lifetime: time.Minute})
	hold(t, a)
	a.mu.Lock() // stops the watch at the first event that is about the VIP
	me.del("10.0.0.100/32")
	for range 3000 {
		me.add("10.0.0.99/24")
		me.del("10.0.0.99/24")
	}
	a.mu.Unlock()
	await(t, "the loss is known", resubscribe*3/4, func() bool { // no pause as after a failure
		_, ok := a.announceable()
		return !ok
	})
	changed(t, a)
	wantHeld(t, a, false)
	hold(t, a)
	me.del("10.0.0.100/32") // and it goes on watching
	await(t, "the next loss is known", time.Second, func() bool {
		_, ok := a.announceable()
		return !ok
	})
}
