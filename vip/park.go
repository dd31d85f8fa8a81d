package vip

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/socket"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// parkFor bounds one parking. After 1 s the client's own system sends its SYN again (RFC 6298
	// section 2), and needs ours no more.
	parkFor = time.Second

	// parkMost is how many SYNs one parking takes, and sends on; parkFrame how long each may be,
	// with its headers. What is more goes the way of before: to nobody.
	parkMost  = 4096
	parkFrame = 256

	// parkBuffer has room for a burst of parkMost in the kernel, which counts about 1 kB for each.
	parkBuffer = parkMost << 10
)

// Park catches the SYNs for the address and port that still reach this host, which has just lost
// the address or is about to drop it, and sends them on to the next holder when that is heard:
// those that come before and those that come after. It starts in the background, is armed when it
// has returned, and ends by itself after 1 s, or with ctx, or with a Hold; what is parked then is
// forgotten. While one parking is under way another call changes nothing.
//
// Call it right before Drop: the filter lets SYNs alone through, and only to a host that announced
// the address after this one last took it.
func (a *Address) Park(ctx context.Context, port uint16) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return net.ErrClosed
	case a.parking != nil || !a.link.hasNeighbours():
		return nil
	}
	p, err := a.arm(ctx, port)
	if err != nil {
		return fmt.Errorf("park connections to VIP %s: %w", a.addr, err)
	}
	a.parking = p
	a.tasks.Go(func() error { a.park(p); return nil })
	return nil
}

// arm makes the trap hear. No step waits for other work on the host's network.
func (a *Address) arm(ctx context.Context, port uint16) (*parking, error) {
	if a.trap == nil { // the one before is being closed
		t, err := newTrap()
		if err != nil {
			return nil, err
		}
		a.trap = t
	}
	to := unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IP), Ifindex: a.link.index}
	if a.addr.Is6() {
		to.Protocol = networkOrder(unix.ETH_P_IPV6)
	}
	filter, err := bpf.Assemble(append(toUs(), synFilter(a.addr, port)...))
	if err != nil {
		return nil, err
	}
	if err := a.trap.SetBPF(filter); err != nil {
		return nil, err
	}
	if err := a.trap.Bind(&to); err != nil {
		return nil, err
	}
	p := &parking{trap: a.trap, to: &to, own: a.link.hw, since: a.heardSince(), until: time.Now().Add(parkFor)}
	p.ctx, p.end = context.WithDeadline(ctx, p.until)
	a.trap = nil
	return p, nil
}

// heardSince is from when on an announcement tells of the next holder: after this host took the
// address, and not long ago. The caller has a.mu.
func (a *Address) heardSince() time.Time {
	if earliest := time.Now().Add(-parkFor); a.taken.Before(earliest) {
		return earliest
	}
	return a.taken
}

// park carries out one parking, and prepares for the next.
func (a *Address) park(p *parking) {
	stop := context.AfterFunc(p.ctx, func() { _ = p.trap.SetReadDeadline(time.Unix(1, 0)) })
	closing := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() { defer close(closing); p.receive() })
	both.Go(func() {
		for since := p.since; ; {
			next, err := a.heard.after(p.ctx, closing, since)
			if err != nil {
				return
			}
			since = next.at
			p.send(p.lot.release(next.hw))
		}
	})
	both.Wait()
	p.end()
	stop()

	next, err := newTrap()
	a.mu.Lock()
	if a.parking == p {
		a.parking = nil
	}
	if err == nil && a.trap == nil && !a.closed {
		a.trap, next = next, nil
	}
	a.mu.Unlock()
	if err == nil && next != nil {
		next.Close()
	}
	p.trap.Close() // last, it may take long
	if sent := p.lot.count(); sent > 0 {
		a.log.Info("connections under way sent on", "count", sent)
	}
}

// stopParking ends a parking that is under way. The caller has a.mu.
func (a *Address) stopParking() {
	if a.parking != nil {
		a.parking.end()
		a.parking = nil
	}
}

// newTrap opens a packet socket that is not in the way of any frame: one without a protocol is not
// hooked into the network. With a hook, even one whose filter refuses everything, the host would
// copy the head of each packet that it receives.
func newTrap() (*socket.Conn, error) {
	t, err := socket.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0, "packet", nil)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := t.SetReadBuffer(parkBuffer); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func networkOrder(p uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, p))
}

// parking is one Park.
type parking struct {
	ctx   context.Context
	end   context.CancelFunc
	trap  *socket.Conn
	to    unix.Sockaddr
	own   hardware
	since time.Time // what was announced before says nothing of the next holder
	until time.Time
	lot   lot
}

// receive takes frames until the parking ends, or the link goes down.
func (p *parking) receive() {
	b := make([]byte, parkFrame)
	for {
		n, _, err := p.trap.Recvfrom(context.Background(), b, 0)
		if err != nil {
			return
		}
		p.send(p.lot.take(b[:n]))
	}
}

// send sends frames on; one that does not go is lost, as it would have been. The clock is asked
// before each: a process that was frozen finds its timers fired late.
func (p *parking) send(frames [][]byte, to hardware) {
	for _, f := range frames {
		if p.ctx.Err() != nil || !time.Now().Before(p.until) {
			return
		}
		copy(f, to[:])
		copy(f[ethSource:], p.own[:])
		if p.trap.Sendto(p.ctx, f, 0, p.to) == nil {
			p.lot.sent()
		}
	}
}

// A lot keeps SYNs until it is known where they go. Each leaves it once at most: one frame in, one
// out.
type lot struct {
	mu      sync.Mutex
	seen    map[attempt]bool
	waiting [][]byte
	to      hardware // zero: not known yet
	gone    int
}

// An attempt is one SYN; the client's system may send it more than once.
type attempt struct {
	peer netip.AddrPort
	seq  uint32
}

// take returns what is to be sent on at once, and keeps what is not.
func (l *lot) take(frame []byte) (now [][]byte, to hardware) {
	if len(frame) < ethLen {
		return nil, to
	}
	frame = bytes.Clone(frame)
	s, ok := parseTCP(frame[ethLen:])
	if !ok || !s.complete() {
		return nil, to
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id := attempt{s.peer(), s.seq()}
	if l.seen[id] || len(l.seen) >= parkMost {
		return nil, to
	}
	if l.seen == nil {
		l.seen = map[attempt]bool{}
	}
	l.seen[id] = true
	if l.to == (hardware{}) {
		l.waiting = append(l.waiting, frame)
		return nil, to
	}
	return [][]byte{frame}, l.to
}

// release says where the SYNs go from now on, and returns those that waited for it.
func (l *lot) release(to hardware) ([][]byte, hardware) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.waiting
	l.to, l.waiting = to, nil
	return waiting, to
}

func (l *lot) sent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone++
}

// count returns how many SYNs were sent on.
func (l *lot) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

// toUs lets through what was sent to this host's own hardware address, and is not too long. (An
// interface may be listening to all.)
func toUs() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		refuseUnless(unix.PACKET_HOST),
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: parkFrame, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// synFilter accepts frames with a SYN, and no ACK, for the address and port. (A fragment has no
// business being a SYN; IPv6 with extension headers is left alone.)
func synFilter(vip netip.Addr, port uint16) []bpf.Instruction {
	var f []bpf.Instruction
	want := func(load bpf.Instruction, mask, v uint32) {
		f = append(f, load, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask}, refuseUnless(v), bpf.RetConstant{Val: 0})
	}
	at := func(off uint32, size int) bpf.Instruction {
		return bpf.LoadAbsolute{Off: ethLen + off, Size: size}
	}
	target, protocol := uint32(ip6Target), uint32(ip6Next)
	if vip.Is4() {
		target, protocol = ip4Target, ip4Protocol
	}
	for ip := vip.AsSlice(); len(ip) > 0; ip = ip[4:] {
		want(at(target, 4), 0xffffffff, binary.BigEndian.Uint32(ip))
		target += 4
	}
	want(at(protocol, 1), 0xff, protocolTCP)
	if vip.Is4() {
		const moreOrOffset = 0x3fff
		want(at(ip4Fragment, 2), moreOrOffset, 0)
		f = append(f, bpf.LoadMemShift{Off: ethLen}) // X: the length of the IP header
	} else {
		f = append(f, bpf.LoadConstant{Dst: bpf.RegX, Val: ip6Len})
	}
	in := func(off uint32, size int) bpf.Instruction {
		return bpf.LoadIndirect{Off: ethLen + off, Size: size}
	}
	want(in(tcpTargetPort, 2), 0xffff, uint32(port))
	want(in(tcpFlags, 1), flagFIN|flagSYN|flagRST|flagACK, flagSYN)
	return append(f, bpf.RetConstant{Val: acceptWhole})
}
