package vip

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// A sniffer records who claims an address on a host's link.
type sniffer struct {
	mu     sync.Mutex
	claims []claim
}

// claim is one ARP packet or neighbour advertisement.
type claim struct {
	at time.Time
	hw string
	op uint16 // of ARP
}

// sniff listens at the host until the test ends.
func (n *node) sniff(addr netip.Addr) *sniffer {
	t := n.lan.t
	t.Helper()
	var next func() (claim, error)
	var stop func() error
	must(t, in(n.ns, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if addr.Is4() {
			conn, err := packet.Listen(ifi, packet.Datagram, unix.ETH_P_ARP, nil)
			if err != nil {
				return err
			}
			next, stop = func() (claim, error) { return nextARP(conn, addr) }, conn.Close
			return nil
		}
		conn, _, err := ndp.Listen(ifi, ndp.Unspecified)
		if err != nil {
			return err
		}
		next, stop = func() (claim, error) { return nextNDP(conn, addr) }, conn.Close
		return nil
	}))
	s, done := &sniffer{}, make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := next()
			if err != nil {
				return
			}
			if c.hw != "" {
				s.mu.Lock()
				s.claims = append(s.claims, c)
				s.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { _ = stop(); <-done })
	return s
}

func nextARP(conn *packet.Conn, addr netip.Addr) (claim, error) {
	b := make([]byte, 128)
	n, _, err := conn.ReadFrom(b)
	if err != nil {
		return claim{}, err
	}
	p, err := parseARP(b[:n])
	if err != nil || !p.claims(addr) {
		return claim{}, nil
	}
	return claim{time.Now(), net.HardwareAddr(p.SenderHW[:]).String(), p.Op}, nil
}

func nextNDP(conn *ndp.Conn, addr netip.Addr) (claim, error) {
	m, _, _, err := conn.ReadFrom()
	if err != nil {
		return claim{}, err
	}
	return claim{at: time.Now(), hw: claimant(m, addr).String()}, nil
}

// by returns the claims of one hardware address so far.
func (s *sniffer) by(hw net.HardwareAddr) []claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.claims), func(c claim) bool { return c.hw != hw.String() })
}

// A pinger asks an address for echoes, every 2 ms, and records when they came back.
type pinger struct {
	mu      sync.Mutex
	replies []time.Time
}

const pingInterval = 2 * time.Millisecond

// ping runs at the host until the test ends.
func (n *node) ping(addr netip.Addr) *pinger {
	t := n.lan.t
	t.Helper()
	network, any, request, reply := "ip4:icmp", "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply)
	if addr.Is6() {
		network, any, request, reply = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	var conn *icmp.PacketConn
	must(t, in(n.ns, func() (err error) {
		conn, err = icmp.ListenPacket(network, any)
		return err
	}))
	p, stop := &pinger{}, make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() { p.receive(conn, addr, reply) })
	both.Go(func() {
		tick := time.NewTicker(pingInterval)
		defer tick.Stop()
		for seq := 0; ; seq++ {
			b, _ := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: seq & 0xffff}}).Marshal(nil)
			_, _ = conn.WriteTo(b, &net.IPAddr{IP: addr.AsSlice()}) // unreachable is an answer like none
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() { close(stop); _ = conn.Close(); both.Wait() })
	return p
}

func (p *pinger) receive(conn *icmp.PacketConn, addr netip.Addr, reply icmp.Type) {
	proto := 1
	if addr.Is6() {
		proto = 58
	}
	b := make([]byte, 256)
	for {
		n, from, err := conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		m, err := icmp.ParseMessage(proto, b[:n])
		if src, ok := netip.AddrFromSlice(from.(*net.IPAddr).IP); err == nil && ok && src.Unmap() == addr && m.Type == reply {
			p.mu.Lock()
			p.replies = append(p.replies, time.Now())
			p.mu.Unlock()
		}
	}
}

// since counts the echoes that came back after the time.
func (p *pinger) since(at time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.replies, at, time.Time.Compare)
	return len(p.replies) - i
}

// gap returns the longest time without an echo since the time, up to now.
func (p *pinger) gap(since time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest, last := time.Duration(0), since
	for _, at := range append(slices.Clone(p.replies), time.Now()) {
		if at.After(last) {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	return longest
}
