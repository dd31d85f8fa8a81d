package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// reset waits until the connection is told that it is over, by a RST, and returns how long that
// took.
func reset(t *testing.T, c net.Conn, within time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	must(t, c.SetReadDeadline(begin.Add(within)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("after %s: %v, want %v", time.Since(begin), err, syscall.ECONNRESET)
	}
	return time.Since(begin)
}

// quiet fails the test if the connection is told anything within the time.
func quiet(t *testing.T, c net.Conn, within time.Duration) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(within)))
	var late net.Error
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &late) || !late.Timeout() {
		t.Fatalf("got %v, want nothing", err)
	}
}

func TestDestroyEndsConnectionsToTheVIPAlone(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			x := newHandover(t, tt.vip)
			own := netip.MustParsePrefix(map[bool]string{true: own4, false: own6}[x.vip.Is4()]).Addr()
			another := x.client.connected(x.vip)
			elsewhere := x.client.connected(own) // the same host and port, not the VIP
			if n := x.first.do("connections").N; n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
			r := x.first.do("destroy")
			t.Logf("%d ended in %s", r.N, r.Took)
			if r.N != 2 {
				t.Errorf("%d connections were ended, want 2", r.N)
			}
			reset(t, x.conn, time.Second)
			reset(t, another, time.Second)
			quiet(t, elsewhere, 50*time.Millisecond)
			if n := x.first.do("connections").N; n != 0 {
				t.Errorf("%d connections, want none", n)
			}
			quiet(t, x.client.connected(x.vip), 10*time.Millisecond) // the listener is as it was
			if r := x.first.do("destroy"); r.N != 1 {
				t.Errorf("%d connections were ended, want 1", r.N)
			}
		})
	}
}

func TestConnectionsArePeers(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			home := newLAN(t).home(own4, own6)
			a := newAddress(t, Config{Prefix: tt.vip})
			hold(t, a)
			await(t, "the kernel takes it", time.Second, func() bool { return isLocal(a.addr) })
			home.listen(a.addr)
			var want []netip.AddrPort
			for range 300 { // more than one message of the kernel has room for
				want = append(want, home.connected(a.addr).LocalAddr().(*net.TCPAddr).AddrPort())
			}
			got, err := Connections(a.addr, testPort)
			must(t, err)
			slices.SortFunc(got, netip.AddrPort.Compare)
			slices.SortFunc(want, netip.AddrPort.Compare)
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
			n, err := Destroy(a.addr, testPort)
			if n != len(want) || err != nil {
				t.Errorf("%d ended, %v; want %d", n, err, len(want))
			}
		})
	}
}

func TestUnsupported(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.ENOENT, unix.EPROTONOSUPPORT} {
		if err := unsupported(errno); !errors.Is(err, ErrUnsupported) || !errors.Is(err, errno) {
			t.Errorf("%v became %v", errno, err)
		}
	}
	if err := unsupported(unix.EPERM); errors.Is(err, ErrUnsupported) || !errors.Is(err, unix.EPERM) {
		t.Errorf("EPERM became %v", err)
	}
	if err := unsupported(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
}

func BenchmarkConnections(b *testing.B) {
	for _, tt := range families {
		for _, count := range []int{10, 9500} { // both ends are in this process, which may have 20 000 files
			b.Run(fmt.Sprintf("%s %d", tt.name, count), func(b *testing.B) {
				home := newLAN(b).home(own4, own6)
				a := newAddress(b, Config{Prefix: tt.vip})
				hold(b, a)
				await(b, "the kernel takes it", time.Second, func() bool { return isLocal(a.addr) })
				accepted := home.listen(a.addr)
				for range count {
					home.connected(a.addr)
					<-accepted
				}
				for b.Loop() {
					if got, err := Connections(a.addr, testPort); err != nil || len(got) != count {
						b.Fatalf("%d connections, %v; want %d", len(got), err, count)
					}
				}
				begin := time.Now()
				n, err := Destroy(a.addr, testPort)
				b.Logf("%d ended in %s, %v", n, time.Since(begin), err)
			})
		}
	}
}
