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
