package vip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestListening(t *testing.T) {
	needRoot(t)
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	own4, own6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	a, err := net.Listen("tcp4", netip.AddrPortFrom(own4, 0).String())
	must(t, err)
	defer a.Close()
	port := a.Addr().(*net.TCPAddr).AddrPort().Port()
	expect := func(want ...netip.Addr) {
		t.Helper()
		got, err := Listening(port)
		must(t, err)
		slices.SortFunc(got, netip.Addr.Compare)
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	expect(own4)
	c, err := net.Dial("tcp4", a.Addr().String())
	must(t, err)
	defer c.Close()
	expect(own4) // a connection is no listener
	b, err := net.Listen("tcp6", netip.AddrPortFrom(own6, port).String())
	must(t, err)
	expect(own4, own6)
	must(t, b.Close())
	b, err = net.Listen("tcp6", fmt.Sprintf("[::]:%d", port))
	must(t, err)
	expect(own4, netip.IPv6Unspecified())
	must(t, b.Close())
}

// Nobody hears of an address before the caller is ready for whoever comes.
func TestReadyBeforeItIsAnnounced(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			newLAN(t).home(own4, own6)
			asked, ready := make(chan struct{}), make(chan struct{})
			first := true
			a := newAddress(t, Config{Prefix: tt.vip, Ready: func() {
				if first {
					first = false
					close(asked)
					<-ready
				}
			}})
			announced := func(within time.Duration) bool {
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				a.AwaitAnnounced(ctx)
				return ctx.Err() == nil
			}
			if !announced(time.Second) {
				t.Error("it is not held, and waited for")
			}
			hold(t, a)
			<-asked
			if announced(50 * time.Millisecond) {
				t.Error("announced before the caller was ready")
			}
			close(ready)
			if !announced(10 * time.Second) {
				t.Error("not announced")
			}
		})
	}
}

func TestInterfaces(t *testing.T) {
	needRoot(t)
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "own0"}, PeerName: "own1"}
	must(t, netlink.LinkAdd(pair))
	t.Cleanup(func() { must(t, netlink.LinkDel(pair)) })
	for _, name := range []string{"own0", "own1"} {
		link, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetUp(link))
	}
	link, err := netlink.LinkByName("own0")
	must(t, err)
	for address, how := range map[string]func(*netlink.Addr){
		"10.7.0.1/24": func(*netlink.Addr) {}, "10.7.0.2/24": func(*netlink.Addr) {}, // the second is "secondary"
		"fd00:7::1/64": func(a *netlink.Addr) { a.Flags = unix.IFA_F_NODAD },
		"fd00:7::2/64": func(a *netlink.Addr) { a.Flags, a.ValidLft = unix.IFA_F_NODAD, 100 }, // deprecated, as a VIP is
	} {
		a, err := netlink.ParseAddr(address)
		must(t, err)
		how(a)
		must(t, netlink.AddrAdd(link, a))
	}
	find := func() Interface {
		t.Helper()
		list, err := Interfaces()
		must(t, err)
		i := slices.IndexFunc(list, func(i Interface) bool { return i.Name == "own0" })
		if i < 0 {
			t.Fatalf("own0 is not among %+v", list)
		}
		return list[i]
	}
	text := func(list []netip.Prefix) string {
		var out []string
		for _, p := range list {
			if !p.Addr().IsLinkLocalUnicast() {
				out = append(out, p.String())
			}
		}
		slices.Sort(out)
		return fmt.Sprint(out)
	}
	i := find()
	if got, want := text(i.Addresses), "[10.7.0.1/24 10.7.0.2/24 fd00:7::1/64 fd00:7::2/64]"; got != want || !i.Up || i.Loopback {
		t.Errorf("%+v, want %s", i, want)
	}
	if got, want := text(i.Lasting), "[10.7.0.1/24 10.7.0.2/24 fd00:7::1/64]"; got != want {
		t.Errorf("lasting: %s, want %s", got, want)
	}
	_, everything, _ := net.ParseCIDR("::/0")
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: everything, Gw: net.ParseIP("fd00:7::9")}))
	if got, err := DefaultRoutes(); !slices.Equal(got, []string{"own0"}) || err != nil {
		t.Errorf("default routes lead out of %q (%v), want own0", got, err)
	}
}
