package vip

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// takenOver is a client that waits for an answer, as BLPOP does, of a host that is cut off, while
// another one has the VIP already and was heard.
func takenOver(t *testing.T, vip netip.Prefix) *handover {
	x := newHandover(t, vip)
	x.one.connect(false)
	heard := x.client.sniff(x.vip)
	x.next.do("hold")
	await(t, "the new holder is heard", time.Second, func() bool { return len(heard.by(x.two.hw())) > 0 })
	return x
}

func TestTickleTellsAnIdleClient(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			x := takenOver(t, tt.vip)
			alive := x.client.connected(x.vip) // at the new holder
			quiet(t, x.conn, time.Second)      // nobody tells it
			begin := time.Now()
			if r := x.next.do("tickle:" + x.conn.LocalAddr().String()); r.N != 1 {
				t.Fatalf("%d were sent", r.N)
			}
			reset(t, x.conn, time.Second)
			t.Logf("told %s after Tickle was asked for", time.Since(begin).Round(10*time.Microsecond))
			// One that the holder has itself is not harmed.
			x.next.do("tickle:" + alive.LocalAddr().String())
			quiet(t, alive, 100*time.Millisecond)
			_, err := (<-x.new).Write([]byte("+"))
			must(t, err)
			must(t, alive.SetReadDeadline(time.Now().Add(time.Second)))
			if _, err := alive.Read(make([]byte, 1)); err != nil {
				t.Errorf("the connection to the new holder: %v", err)
			}
		})
	}
}

// A connection that came when the others had been ended already hears nothing of the drop: no RST
// can leave any more. The host that has lost the address sees to it that the next one tells it.
func TestSendAwayTellsWhoCameLate(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			x := newHandover(t, tt.vip)
			x.first.do("drop")
			if r := x.first.do("send away"); r.N != 1 {
				t.Fatalf("%d are connected, want 1", r.N)
			}
			quiet(t, x.conn, 100*time.Millisecond) // there is nobody to send it to
			asked := time.Now()
			x.next.do("hold")
			reset(t, x.conn, 2*time.Second)
			t.Logf("told %s after the next Hold was asked for", time.Since(asked).Round(10*time.Microsecond))
		})
	}
}

func TestSendAwayEndsWithHold(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			x := newHandover(t, tt.vip)
			x.first.do("drop")
			x.first.do("send away")
			x.first.do("hold") // it has come back, and so has the connection
			began := time.Now()
			for time.Since(began) < time.Second {
				_, err := x.conn.Write([]byte("x"))
				must(t, err)
				quiet(t, x.conn, 50*time.Millisecond)
			}
		})
	}
}

func TestTickleOnlyWhileHeld(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			home, _ := newPair(t)
			a := newAddress(t, Config{Prefix: tt.vip, Lifetime: time.Second})
			client := netip.AddrPortFrom(tt.vip.Addr().Prev(), 50_000)
			tickle := func(want int, wantErr error) {
				t.Helper()
				n, err := a.Tickle(context.Background(), testPort, []netip.AddrPort{client})
				if n != want || !errors.Is(err, wantErr) {
					t.Errorf("%d sent, %v; want %d, %v", n, err, want, wantErr)
				}
			}
			tickle(0, errNotHeld)
			hold(t, a)
			tickle(1, nil)
			drop(t, a)
			tickle(0, errNotHeld)
			home.add(tt.single) // somebody else's: not ours to speak for
			tickle(0, errNotHeld)
			home.del(tt.single)
			hold(t, a)
			time.Sleep(1100 * time.Millisecond) // as an agent that was frozen for its lifetime
			tickle(0, errNotHeld)
		})
	}
}

func TestTickleBounds(t *testing.T) {
	newPair(t)
	a := newAddress(t, Config{Prefix: prefix("10.0.0.100/24"), Lifetime: time.Minute})
	hold(t, a)
	peers := slices.Repeat([]netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:50000")}, connectionsMost+1)

	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	n, err := a.Tickle(ctx, testPort, peers)
	took := time.Since(begin)
	if most := tickleBatch * int(took/tickleEvery+1); n == 0 || n > most || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d sent in %s, %v; want %d at most", n, took, err, most)
	}

	begin = time.Now()
	n, err = a.Tickle(context.Background(), testPort, peers)
	t.Logf("%d sent in %s, %v", n, time.Since(begin), err)
	if n != connectionsMost || err != nil {
		t.Errorf("%d sent, %v; want %d", n, err, connectionsMost)
	}
}

func TestTickleSkipsWhoIsNoClient(t *testing.T) {
	newPair(t)
	a := newAddress(t, Config{Prefix: prefix("10.0.0.100/24")})
	hold(t, a)
	var peers []netip.AddrPort
	for _, s := range []string{
		"10.0.0.2:0", "[fd00::2]:1", "127.0.0.1:1", "224.0.0.1:1", "0.0.0.0:1", "255.255.255.255:1", "10.0.0.2:1", "[::ffff:10.0.0.2]:1",
	} {
		peers = append(peers, netip.MustParseAddrPort(s))
	}
	if n, err := a.Tickle(context.Background(), testPort, append(peers, netip.AddrPort{})); n != 2 || err == nil {
		t.Errorf("%d sent, %v; want 2, and an error", n, err)
	}
}

// The checksum of IPv4's header is zero: the kernel fills it in. The others were worked out by
// another program.
func TestTickleBytes(t *testing.T) {
	for _, tt := range []struct{ from, to, bytes string }{
		{
			"10.0.0.100:6379", "10.0.0.3:50000",
			"45 00 0028 | 0000 0000 | 40 06 0000 | 0a000064 | 0a000003 |" +
				"18eb c350 | 00000001 | 00000002 | 50 10 0000 | bf2f 0000",
		},
		{
			"[fd00::100]:6379", "[fd00::3]:50000",
			"60000000 | 0014 06 40 | fd000000000000000000000000000100 | fd000000000000000000000000000003 |" +
				"18eb c350 | 00000001 | 00000002 | 50 10 0000 | d891 0000",
		},
	} {
		got := bareTCP(netip.MustParseAddrPort(tt.from), netip.MustParseAddrPort(tt.to), 1, 2)
		if diff := cmp.Diff(unhex(t, tt.bytes), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.from, diff)
		}
	}
}
