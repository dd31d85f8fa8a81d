package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// maxStreams bounds the connections being served at a time. Whoever can reach the port can open
	// one; nothing is known of them before the first bytes are decrypted.
	maxStreams = 64

	// maxStreamBytes bounds what is read from one connection. memberlist itself would take 20 MiB
	// before it looks at the key. A state of a hundred nodes is 60 KiB, a reliable message at most
	// MaxReliable.
	maxStreamBytes = 2 * MaxReliable

	// packetBuffer is the largest UDP packet there is: one buffer, read into again and again.
	packetBuffer = 1 << 16

	// socketBuffer is asked of the kernel for received packets, and may be cut down by it: room for
	// a few hundred while this process is stalled.
	socketBuffer = 1 << 20
)

// transport carries memberlist's packets and streams over one address. memberlist's own would do,
// but allocates 64 KiB for each packet received, cannot be closed within bounds, sends without a
// deadline, and hides the causes of errors behind text.
type transport struct {
	advertise netip.AddrPort
	local     net.Addr // source of outgoing streams; nil: the kernel's choice
	udp       *net.UDPConn
	tcp       *net.TCPListener

	heard func(netip.AddrPort)  // called with each packet's source; must not block
	cut   func(netip.Addr) bool // tests: this address is cut off; nil: none is

	packets chan *memberlist.Packet
	streams chan net.Conn

	ctx    context.Context // ended by Shutdown
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	open   map[*stream]struct{}
	served int // of open, those that were accepted
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// listen opens both sockets. Nothing is read before start.
func listen(bind, advertise netip.AddrPort) (*transport, error) {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(bind))
	if err != nil {
		return nil, fmt.Errorf("listen for gossip streams: %w", err)
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(bind))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for gossip packets: %w", err), tcp.Close())
	}
	// A smaller buffer than asked for only loses packets sooner.
	_ = udp.SetReadBuffer(socketBuffer)

	t := &transport{
		advertise: advertise, udp: udp, tcp: tcp,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		open: make(map[*stream]struct{}),
	}
	if !bind.Addr().IsUnspecified() {
		// Bound to the node's own address: never speak from another one, such as a VIP held for the
		// moment.
		t.local = &net.TCPAddr{IP: bind.Addr().AsSlice()}
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

func (t *transport) start() {
	t.wg.Go(t.readPackets)
	t.wg.Go(t.acceptStreams)
}

// Shutdown closes everything and waits for the readers.
func (t *transport) Shutdown() error {
	t.cancel()
	err := errors.Join(ignoreClosed(t.udp.Close()), ignoreClosed(t.tcp.Close()))
	t.mu.Lock()
	open := make([]*stream, 0, len(t.open))
	for s := range t.open {
		open = append(open, s)
	}
	t.mu.Unlock()
	for _, s := range open {
		err = errors.Join(err, ignoreClosed(s.Close()))
	}
	t.wg.Wait()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (t *transport) readPackets() {
	buf := make([]byte, packetBuffer)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		at := time.Now()
		if err != nil {
			if t.ended(err) {
				return
			}
			continue
		}
		from = unmap(from)
		if n == 0 || t.isCut(from.Addr()) {
			continue
		}
		t.heard(from)
		p := &memberlist.Packet{
			Buf: append([]byte(nil), buf[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: at,
		}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *transport) acceptStreams() {
	for {
		conn, err := t.tcp.AcceptTCP()
		if err != nil {
			if t.ended(err) {
				return
			}
			continue
		}
		s := t.track(conn, true)
		if s == nil {
			continue
		}
		select {
		case t.streams <- s:
		case <-t.ctx.Done():
			_ = s.Close()
			return
		}
	}
}

// ended reports whether a reader shall stop. Other errors of a socket pass (no descriptors left, a
// peer's reset); the pause keeps them from spinning.
func (t *transport) ended(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	select {
	case <-t.ctx.Done():
		return true
	case <-time.After(20 * time.Millisecond):
		return false
	}
}

// track keeps conn for Shutdown; nil when there are too many, or no more may be opened.
func (t *transport) track(conn net.Conn, accepted bool) *stream {
	s := &stream{Conn: conn, t: t, accepted: accepted, budget: maxStreamBytes}
	peer, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil || accepted && t.served >= maxStreams || t.isCut(unmap(peer).Addr()) {
		_ = conn.Close()
		return nil
	}
	t.open[s] = struct{}{}
	if accepted {
		t.served++
	}
	return s
}

func (t *transport) isCut(a netip.Addr) bool { return t.cut != nil && t.cut(a) }

// stream is a connection that Shutdown can close and that reads so much and no more.
type stream struct {
	net.Conn // not *net.TCPConn: its WriteTo would go round the budget
	t        *transport
	accepted bool
	budget   int
	once     sync.Once
}

var (
	errStreamTooLong = errors.New("more came than a state or message may hold")
	// errNoWord is what other agents' looks at this port come to: whether the host is up.
	errNoWord = errors.New("closed before anything came")
)

func (s *stream) Read(p []byte) (int, error) {
	if s.budget <= 0 {
		return 0, errStreamTooLong
	}
	n, err := s.Conn.Read(p[:min(len(p), s.budget)])
	if s.budget -= n; err == io.EOF && s.budget == maxStreamBytes {
		err = errNoWord // memberlist takes the end for another cluster's label
	}
	return n, err
}

func (s *stream) Close() error {
	s.once.Do(func() {
		s.t.mu.Lock()
		defer s.t.mu.Unlock()
		delete(s.t.open, s)
		if s.accepted {
			s.t.served--
		}
	})
	return s.Conn.Close()
}

// PacketCh, StreamCh, FinalAdvertiseAddr and the four below are memberlist's.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertise.Addr().AsSlice(), int(t.advertise.Port()), nil
}

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// WriteToAddress returns the socket's error as it is: memberlist tells by its type whether the peer
// or this node is at fault.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	to, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("send a gossip packet: %w", err)
	}
	if t.isCut(unmap(to).Addr()) {
		return time.Now(), nil // lost on the way
	}
	_, err = t.udp.WriteToUDPAddrPort(b, to)
	return time.Now(), err
}

// DialAddressTimeout opens a stream that is dead after timeout, unless memberlist extends it; for
// reliable messages it never sets a deadline.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	deadline := time.Now().Add(timeout)
	dialer := net.Dialer{Deadline: deadline, LocalAddr: t.local}
	conn, err := dialer.DialContext(t.ctx, "tcp", a.Addr)
	if err != nil {
		return nil, err
	}
	s := t.track(conn, false)
	if s == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: conn.RemoteAddr(), Err: net.ErrClosed}
	}
	return s, s.SetDeadline(deadline)
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
