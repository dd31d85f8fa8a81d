package vip

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestWatchOwn takes an address away, moves it, and adds others beside it.
func TestWatchOwn(t *testing.T) {
	needRoot(t)
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "own0"}, PeerName: "own1"}
	must(t, netlink.LinkAdd(pair))
	t.Cleanup(func() { must(t, netlink.LinkDel(pair)) })
	change := func(how func(netlink.Link, *netlink.Addr) error, iface, prefix string) {
		t.Helper()
		link, err := netlink.LinkByName(iface)
		must(t, err)
		addr, err := netlink.ParseAddr(prefix)
		must(t, err)
		must(t, how(link, addr))
	}
	for _, own := range []string{"10.7.0.1/24", "fd00:7::1/64"} {
		change(netlink.AddrAdd, "own0", own)
		ctx, cancel := context.WithCancel(t.Context())
		seen, done := make(chan string, 100), make(chan struct{})
		go func() {
			defer close(done)
			WatchOwn(ctx, netip.MustParsePrefix(own).Addr(), func(iface string) { seen <- iface })
		}()
		expect := func(want string) {
			t.Helper()
			for limit := time.After(10 * time.Second); ; {
				select {
				case got := <-seen:
					if got == want {
						return
					}
				case <-limit:
					t.Fatalf("%s: %q was not seen", own, want)
				}
			}
		}
		expect("own0")
		change(netlink.AddrAdd, "own1", "10.7.1.1/24")
		change(netlink.AddrDel, "own0", own)
		expect("")
		change(netlink.AddrAdd, "own1", own)
		expect("own1")
		change(netlink.AddrDel, "own1", own)
		expect("")
		change(netlink.AddrDel, "own1", "10.7.1.1/24")
		cancel()
		<-done
	}
}
