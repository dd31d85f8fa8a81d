package vip

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const testPort = 6379

// parked counts the SYNs that wait.
func (a *Address) parked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.parking == nil {
		return 0
	}
	a.parking.lot.mu.Lock()
	defer a.parking.lot.mu.Unlock()
	return len(a.parking.lot.waiting)
}

// isParking reports whether a parking is under way.
func (a *Address) isParking() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.parking != nil
}

// listen accepts connections at any address of the host, until the test ends. Each goes to the
// channel; the test closes it.
func (n *node) listen(addr netip.Addr) <-chan net.Conn {
	t := n.lan.t
	t.Helper()
	network, all := "tcp4", "0.0.0.0"
	if addr.Is6() {
		network, all = "tcp6", "::"
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // as redis-server
	var l net.Listener
	must(t, in(n.ns, func() (err error) {
		l, err = lc.Listen(context.Background(), network, fmt.Sprintf("[%s]:%d", all, testPort))
		return err
	}))
	n.server = l
	accepted, done := make(chan net.Conn, 1000), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			accepted <- c
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return accepted
}

// dial connects from the host, within 5 s, and not after the test's end.
func (n *node) dial(addr netip.Addr) (c net.Conn, err error) {
	err = in(n.ns, func() (err error) {
		d := net.Dialer{Timeout: 5 * time.Second}
		d.SetMultipathTCP(false)
		c, err = d.DialContext(n.lan.t.Context(), "tcp", netip.AddrPortFrom(addr, testPort).String())
		return err
	})
	return c, err
}

// connected is dial, and the connection is closed when the test ends.
func (n *node) connected(addr netip.Addr) net.Conn {
	n.lan.t.Helper()
	c, err := n.dial(addr)
	must(n.lan.t, err)
	n.lan.t.Cleanup(func() { c.Close() })
	return c
}

// forward makes the host a router, or none.
func (n *node) forward(on bool) {
	n.lan.t.Helper()
	text := []byte("0")
	if on {
		text = []byte("1")
	}
	must(n.lan.t, in(n.ns, func() error {
		for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+f, text, 0); err != nil {
				return err
			}
		}
		return nil
	}))
}

// handover is a LAN with a client that has a connection to the VIP at the first of two hosts.
type handover struct {
	lan         *lan
	one, two    *node
	client      *node
	first, next *agent
	old, new    <-chan net.Conn // accepted by the hosts
	conn        net.Conn        // the client's
	vip         netip.Addr
}

func newHandover(t *testing.T, vip netip.Prefix) *handover {
	cfg := Config{Prefix: vip, Lifetime: time.Minute}
	l := newLAN(t)
	x := &handover{lan: l, vip: vip.Addr(), one: l.host(own4, own6), two: l.host(peer4, peer6)}
	x.client = l.host("10.0.0.3/24", "fd00::3/64")
	x.one.forward(false)
	x.old, x.new = x.one.listen(x.vip), x.two.listen(x.vip)
	x.first, x.next = x.one.agent(cfg, agentUser), x.two.agent(cfg, agentUser)
	x.first.do("hold")
	x.conn = x.client.connected(x.vip)
	return x
}

// dialled is a connection that was asked for.
type dialled struct {
	conn net.Conn
	err  error
	at   time.Time
}

// dialling starts a connection from the client, and returns when its SYN is on the wire.
func (x *handover) dialling(t *testing.T) <-chan dialled {
	t.Helper()
	sent := x.one.synsTo(netip.AddrPortFrom(x.vip, testPort))
	done := make(chan dialled, 1)
	go func() {
		c, err := x.client.dial(x.vip)
		done <- dialled{c, err, time.Now()}
	}()
	t.Cleanup(func() {
		if d := <-done; d.conn != nil {
			d.conn.Close()
		}
	})
	select {
	case <-sent:
	case <-time.After(5 * time.Second):
		t.Fatal("no SYN reached the host")
	}
	out := make(chan dialled, 1)
	go func() { d := <-done; done <- d; out <- d }()
	return out
}

// synsTo reports each SYN that reaches the host.
func (n *node) synsTo(to netip.AddrPort) <-chan []byte {
	t := n.lan.t
	t.Helper()
	protocol := unix.ETH_P_IP
	if to.Addr().Is6() {
		protocol = unix.ETH_P_IPV6
	}
	filter, err := bpf.Assemble(synFilter(to.Addr(), to.Port()))
	must(t, err)
	var conn *packet.Conn
	must(t, in(n.ns, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(ifi, packet.Raw, protocol, &packet.Config{Filter: filter})
		return err
	}))
	frames, done := make(chan []byte, 1<<15), make(chan struct{})
	go func() {
		defer close(done)
		for {
			b := make([]byte, parkFrame)
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			frames <- b[:n]
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return frames
}

func TestParkedConnectionIsServedByTheNextHolder(t *testing.T) {
	for _, tt := range families {
		for _, forward := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, forwarding %v", tt.name, forward), func(t *testing.T) {
				x := newHandover(t, tt.vip)
				x.one.forward(forward)
				took := x.first.do("park").Took
				x.first.do("drop")
				dialled := x.dialling(t)
				await(t, "it is parked", time.Second, func() bool { return x.first.do("parked").N == 1 })
				begin := time.Now()
				x.next.do("hold")
				d := <-dialled
				must(t, d.err)
				t.Logf("Park took %s; connected %s after Hold was asked for", took, d.at.Sub(begin).Round(10*time.Microsecond))
				if d.at.Sub(begin) > 500*time.Millisecond {
					t.Errorf("connected after %s", d.at.Sub(begin))
				}
				if c := <-x.new; c.RemoteAddr().String() != d.conn.LocalAddr().String() {
					t.Errorf("%v was accepted, not %v", c.RemoteAddr(), d.conn.LocalAddr())
				}
				time.Sleep(50 * time.Millisecond)
				if n := len(x.new); n > 0 {
					t.Errorf("accepted %d times more", n)
				}
			})
		}
	}
}

// What Park is for: without it, the client's SYN is lost and sent again after 1 s.
func TestConnectionThatIsNotParkedWaits(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			x := newHandover(t, tt.vip)
			x.first.do("drop")
			begin := time.Now()
			dialled := x.dialling(t)
			x.next.do("hold")
			d := <-dialled
			must(t, d.err)
			t.Logf("connected after %s", d.at.Sub(begin).Round(time.Millisecond))
			if d.at.Sub(begin) < 900*time.Millisecond {
				t.Errorf("connected after %s: the tests of Park show nothing", d.at.Sub(begin))
			}
		})
	}
}

// parked is a first host that has dropped the VIP, and parks one SYN, and the SYNs that reach the
// second.
func parked(t *testing.T, vip netip.Prefix) (x *handover, reached <-chan []byte) {
	x = newHandover(t, vip)
	x.first.do("park")
	x.first.do("drop")
	x.dialling(t)
	await(t, "it is parked", time.Second, func() bool { return x.first.do("parked").N == 1 })
	return x, x.two.synsTo(netip.AddrPortFrom(x.vip, testPort))
}

// nothingSentOn fails the test if the first host has sent a SYN on, or does so within 100 ms.
func (x *handover) nothingSentOn(t *testing.T, reached <-chan []byte) {
	t.Helper()
	time.Sleep(100 * time.Millisecond)
	for range len(reached) {
		if f := <-reached; hardware(f[ethSource:]) == hardware(x.one.hw()) {
			t.Error("a SYN was sent on")
		}
	}
}

// A parking ends by itself, with a Hold, and while the process is frozen.
func TestParkingEnds(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name+" after 1 s", func(t *testing.T) {
			x, reached := parked(t, tt.vip)
			await(t, "the parking is over", 3*time.Second, func() bool { return !x.first.do("parking").Held })
			x.two.announce(hardware(x.two.hw()), x.vip)
			x.nothingSentOn(t, reached)
		})
		t.Run(tt.name+" with Hold", func(t *testing.T) {
			x, reached := parked(t, tt.vip)
			x.first.do("hold")
			x.two.announce(hardware(x.two.hw()), x.vip)
			x.nothingSentOn(t, reached)
		})
		t.Run(tt.name+" while the process is frozen", func(t *testing.T) {
			x, reached := parked(t, tt.vip)
			x.first.freeze()
			x.two.announce(hardware(x.two.hw()), x.vip)
			time.Sleep(1100 * time.Millisecond)
			x.first.signal(unix.SIGCONT)
			x.first.do("ready")
			x.nothingSentOn(t, reached)
		})
	}
}

// syn is a frame with a SYN to the VIP.
func syn(from netip.AddrPort, vip netip.Addr, seq uint32, to, own hardware) []byte {
	f := append(append(append([]byte(nil), to[:]...), own[:]...), 0x08, 0x00)
	if vip.Is6() {
		f[12], f[13] = 0x86, 0xdd
	}
	ip := bareTCP(netip.AddrPortFrom(vip, testPort), from, seq, 0)
	s, _ := parseTCP(ip)
	// bareTCP is from the VIP to a peer; this is the other way round.
	copy(ip[len(ip)-tcpLen-2*len(vip.AsSlice()):], append(from.Addr().AsSlice(), vip.AsSlice()...))
	copy(s.tcp, []byte{byte(from.Port() >> 8), byte(from.Port()), testPort >> 8, testPort & 0xff})
	s.from, s.to = from.Addr(), vip
	s.tcp[tcpFlags] = flagSYN
	s.seal()
	if vip.Is4() {
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip[:ip4Len])))
	}
	return append(f, ip...)
}

// packets is a socket that sends frames from the host, until the test ends.
func (n *node) packets() *packet.Conn {
	t := n.lan.t
	t.Helper()
	var conn *packet.Conn
	must(t, in(n.ns, func() (err error) {
		conn, err = packet.Listen(&net.Interface{Index: n.link().Attrs().Index}, packet.Raw, 0, nil)
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A flood of SYNs: a bounded number is sent on, and each that comes out came in, once. (How many
// that are is the machine's affair, for all of it takes place within 1 s; TestLot has the bound.)
func TestParkedFlood(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			x := newHandover(t, tt.vip)
			source, _ := netip.ParseAddr("10.0.0.3")
			if x.vip.Is6() {
				source = netip.MustParseAddr("fd00::3")
			}
			reached := x.two.synsTo(netip.AddrPortFrom(x.vip, testPort))
			to, own := x.one.hw(), x.client.hw()
			var frames [][]byte
			for i := range uint16(10_000) { // each twice
				from := netip.AddrPortFrom(source, 10_000+i/2)
				frames = append(frames, syn(from, x.vip, uint32(i/2), hardware(to), hardware(own)))
			}
			client := x.client.packets()
			x.first.do("park")
			x.first.do("drop")
			for _, f := range frames {
				_, err := client.WriteTo(f, &packet.Addr{HardwareAddr: to})
				must(t, err)
			}
			waiting := x.first.do("parked").N
			x.two.announce(hardware(x.two.hw()), x.vip)
			await(t, "the parking is over", 3*time.Second, func() bool { return !x.first.do("parking").Held })
			n := len(reached)
			t.Logf("of 10000 frames, %d waited, %d were sent on", waiting, n)
			if n == 0 || n > parkMost {
				t.Errorf("%d SYNs were sent on, want some, and %d at most", n, parkMost)
			}
			seen := map[attempt]bool{}
			for range n {
				s, ok := parseTCP((<-reached)[ethLen:])
				if id := (attempt{s.peer(), s.seq()}); !ok || seen[id] || uint32(s.peer().Port()) != 10_000+s.seq() {
					t.Fatalf("%v was sent on twice, or was never sent", id)
				} else {
					seen[id] = true
				}
			}
		})
	}
}

func TestSYNFilter(t *testing.T) {
	for _, tt := range families {
		vip := tt.vip.Addr()
		vm, err := bpf.NewVM(synFilter(vip, testPort))
		must(t, err)
		from := netip.AddrPortFrom(vip.Prev(), 50_000)
		good := syn(from, vip, 1, hwA, hwB)
		tcp := len(good) - tcpLen
		for _, c := range []struct {
			name string
			at   int // this byte is made v
			v    byte
			want bool
		}{
			{"SYN", tcp + tcpFlags, flagSYN, true},
			{"SYN with ECN", tcp + tcpFlags, flagSYN | 0xc0, true},
			{"SYN and ACK", tcp + tcpFlags, flagSYN | flagACK, false},
			{"ACK", tcp + tcpFlags, flagACK, false},
			{"RST", tcp + tcpFlags, flagRST, false},
			{"nonsense", tcp + tcpFlags, flagSYN | flagFIN, false},
			{"another port", tcp + tcpTargetPort, 0, false},
			{"another address", tcp - 1, 1, false},
			{"UDP", ethLen + map[bool]int{true: ip4Protocol, false: ip6Next}[vip.Is4()], 17, false},
		} {
			b := append([]byte(nil), good...)
			b[c.at] = c.v
			n, err := vm.Run(b)
			if err != nil || (n > 0) != c.want {
				t.Errorf("%s: %s: got %d, %v; want accepted: %v", tt.name, c.name, n, err, c.want)
			}
		}
	}
}

func TestLot(t *testing.T) {
	from := func(port uint16, seq uint32) []byte {
		return syn(netip.AddrPortFrom(ip4.Prev(), port), ip4, seq, hwA, hwB)
	}
	var l lot
	take := func(what string, frame []byte, want int) {
		t.Helper()
		if got, _ := l.take(frame); len(got) != want {
			t.Errorf("%s: %d frames go out, want %d", what, len(got), want)
		}
	}
	take("not known where to", from(1, 1), 0)
	take("the same again", from(1, 1), 0)
	take("too short", from(1, 2)[:40], 0)
	broken := from(1, 3)
	broken[len(broken)-1] ^= 1
	take("wrong checksum", broken, 0)
	if got, to := l.release(hwB); len(got) != 1 || to != hwB {
		t.Errorf("released %d to %v", len(got), to)
	}
	take("sent again, and sent on already", from(1, 1), 0)
	take("the next attempt", from(1, 4), 1)
	for i := range uint16(2 * parkMost) {
		l.take(from(i, 5))
	}
	if len(l.seen) != parkMost {
		t.Errorf("%d were taken, want %d", len(l.seen), parkMost)
	}
	if got, _ := l.release(hwA); len(got) != 0 {
		t.Errorf("released %d twice", len(got))
	}
}

// A segment between two virtual machines of one host has no checksum yet.
func TestChecksumLeftToTheCard(t *testing.T) {
	for _, tt := range families {
		vip := tt.vip.Addr()
		f := syn(netip.AddrPortFrom(vip.Prev(), 1), vip, 7, hwA, hwB)
		s, ok := parseTCP(f[ethLen:])
		if !ok || !s.complete() {
			t.Fatalf("%s: a good segment is refused", tt.name)
		}
		sum := [2]byte(s.tcp[tcpSum:])
		partial := fold(s.pseudo())
		s.tcp[tcpSum], s.tcp[tcpSum+1] = byte(partial>>8), byte(partial)
		if !s.complete() || [2]byte(s.tcp[tcpSum:]) != sum {
			t.Errorf("%s: checksum is %x, want %x", tt.name, s.tcp[tcpSum:tcpSum+2], sum)
		}
		s.tcp[tcpSum] ^= 1
		if s.complete() {
			t.Errorf("%s: a wrong checksum is accepted", tt.name)
		}
	}
}
