package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"time"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

// Tickles go out in batches, 20 000 a second: 1 MB/s, and no burst that a switch or the kernel's
// queues would drop.
const (
	tickleBatch = 100
	tickleEvery = 5 * time.Millisecond

	// tickleBuffer has room for those that wait until the kernel has found a client's hardware
	// address. What finds none is not sent.
	tickleBuffer = 4 << 20
)

// sendAwayAt is when late clients are tickled, counted from when the next holder is heard: as soon
// as they have heard it, too, and when Linux answers again. sendAwayFor bounds the whole.
var sendAwayAt = []time.Duration{5 * time.Millisecond, 600 * time.Millisecond}

const sendAwayFor = 2 * time.Second

var (
	// errNotHeld ends a Tickle for an address that this host does not have, or may not have any
	// more.
	errNotHeld = errors.New("the address is not held here")
	// errHeld ends a SendAway from an address that has come back.
	errHeld = errors.New("the address is held here again")
)

// Tickle tells clients that the host which they are connected to has lost the address: each peer is
// sent a bare ACK from the address and port, with numbers that are wrong. Its kernel answers with
// the right ones; this host's kernel knows no such connection and says so with a RST. A connection
// that this host does have is not harmed: its own numbers are in the answer.
//
// Call it after the address was announced, for the answers must come here; and once more 600 ms
// later, for one that was lost. Linux answers a wrong number twice a second at most. It returns how
// many were sent, of 100 000 peers at most, and the first error; a peer that cannot be reached does
// not keep the others from being told. It stops when ctx is done or the address is not ours to
// announce.
func (a *Address) Tickle(ctx context.Context, port uint16, peers []netip.AddrPort) (sent int, err error) {
	sent, err = a.tickleAll(ctx, port, peers, false)
	if err != nil {
		return sent, fmt.Errorf("tickle the clients of VIP %s: %w", a.addr, err)
	}
	return sent, nil
}

// SendAway tells clients whose connections this host took in while it was losing the address, too
// late for a RST to leave: they would wait for ever. It tickles them in the name of the address
// once the next holder is heard, who gets their answers, and once more 600 ms later. All that is
// done in the background, for 2 s at most. A Hold ends it.
//
// Call it right after Drop, with what Connections says then: whoever is connected to an address
// that is not here any more.
func (a *Address) SendAway(port uint16, peers []netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.holding || len(peers) == 0 || !a.link.hasNeighbours() {
		return
	}
	since := a.heardSince()
	a.tasks.Go(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), sendAwayFor)
		defer cancel()
		if _, err := a.heard.after(ctx, a.ended, since); err != nil {
			return nil // nobody to send them to
		}
		begin, told := time.Now(), 0
		for _, at := range sendAwayAt {
			select {
			case <-a.ended:
				return nil
			case <-time.After(time.Until(begin.Add(at))):
			}
			sent, err := a.tickleAll(ctx, port, peers, true)
			if err != nil {
				a.log.Debug("not all late clients were sent away", "error", err)
			}
			told = max(told, sent)
		}
		a.log.Info("clients taken in late were sent away", "count", told)
		return nil
	})
}

// isHere is an error unless the address is ours to announce, isElsewhere while it is held, or may
// be soon.
func (a *Address) isHere() error {
	if _, ours := a.announceable(); !ours {
		return errNotHeld
	}
	return nil
}

func (a *Address) isElsewhere() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.holding || a.closed {
		return errHeld
	}
	return nil
}

// tickleAll sends tickles for an address that is here, or away, for as long as it is.
func (a *Address) tickleAll(ctx context.Context, port uint16, peers []netip.AddrPort, away bool) (sent int, err error) {
	if len(peers) > connectionsMost {
		peers = peers[:connectionsMost]
	}
	may := a.isHere
	if away {
		may = a.isElsewhere
	}
	if err := may(); err != nil {
		return 0, err
	}
	conn, err := newTickler(a.addr, away)
	if err == nil {
		sent, err = tickle(ctx, conn, netip.AddrPortFrom(a.addr, port), peers, may)
		err = errors.Join(err, conn.Close())
	}
	return sent, err
}

func tickle(ctx context.Context, conn *socket.Conn, from netip.AddrPort, peers []netip.AddrPort, may func() error) (sent int, first error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	next := time.NewTicker(tickleEvery)
	defer next.Stop()
	for i, p := range peers {
		if i > 0 && i%tickleBatch == 0 {
			select {
			case <-next.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return sent, ctx.Err()
		}
		if err := may(); err != nil {
			return sent, err
		}
		switch err := sendTickle(raw, from, p); {
		case err == nil:
			sent++
		case first == nil:
			first = fmt.Errorf("%s: %w", p, err)
		}
	}
	return sent, first
}

// sendTickle has numbers at random: with fixed ones, a connection whose own happen to be near them
// would be missed both times. It does not wait for room.
func sendTickle(raw syscall.RawConn, from, to netip.AddrPort) error {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	ip := to.Addr()
	if ip.Is4() != from.Addr().Is4() || to.Port() == 0 || !ip.IsGlobalUnicast() || ip.Zone() != "" {
		return errors.New("not a client of this address")
	}
	var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: ip.As16()}
	if ip.Is4() {
		sa = &unix.SockaddrInet4{Addr: ip.As4()}
	}
	b := bareTCP(from, to, rand.Uint32(), rand.Uint32())
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.Sendto(int(fd), b, 0, sa) }); err != nil {
		return err
	}
	return sent
}

// newTickler opens a raw socket for whole packets, which hears nothing. It is bound to the address:
// the kernel routes by it, and refuses that if the address is not here, unless it is away. Opening
// and closing wait for nothing.
func newTickler(vip netip.Addr, away bool) (*socket.Conn, error) {
	domain, level, free := unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_FREEBIND
	var own unix.Sockaddr = &unix.SockaddrInet6{Addr: vip.As16()}
	if vip.Is4() {
		domain, level, free = unix.AF_INET, unix.SOL_IP, unix.IP_FREEBIND
		own = &unix.SockaddrInet4{Addr: vip.As4()}
	}
	conn, err := socket.Socket(domain, unix.SOCK_RAW, unix.IPPROTO_RAW, "raw", nil)
	if err != nil {
		return nil, err
	}
	if away {
		err = conn.SetsockoptInt(level, free, 1)
	}
	if err := errors.Join(err, conn.Bind(own), conn.SetWriteBuffer(tickleBuffer)); err != nil {
		conn.Close()
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, errNotHeld
		}
		return nil, err
	}
	return conn, nil
}

// bareTCP is a packet with an ACK and nothing else.
func bareTCP(from, to netip.AddrPort, seq, ack uint32) []byte {
	const hopLimit = 64
	var b []byte
	if from.Addr().Is4() {
		b = append(b, versionAndLength4, 0)
		b = binary.BigEndian.AppendUint16(b, ip4Len+tcpLen)
		b = append(b, 0, 0, 0, 0, hopLimit, protocolTCP, 0, 0) // the kernel fills in the checksum
	} else {
		b = append(b, version6, 0, 0, 0, 0, tcpLen, protocolTCP, hopLimit)
	}
	b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, tcpLen/4<<4, flagACK, 0, 0, 0, 0, 0, 0) // no window, no data
	s, _ := parseTCP(b)
	s.seal()
	return b
}
