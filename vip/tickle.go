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

// errNotHeld ends a Tickle for an address that this host does not have, or may not have any more.
var errNotHeld = errors.New("the address is not held here")

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
	if len(peers) > connectionsMost {
		peers = peers[:connectionsMost]
	}
	conn, err := newTickler(a.addr)
	if err == nil {
		sent, err = a.tickle(ctx, conn, port, peers)
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		return sent, fmt.Errorf("tickle the clients of VIP %s: %w", a.addr, err)
	}
	return sent, nil
}

func (a *Address) tickle(ctx context.Context, conn *socket.Conn, port uint16, peers []netip.AddrPort) (sent int, first error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	from := netip.AddrPortFrom(a.addr, port)
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
		if _, ours := a.announceable(); !ours {
			return sent, errNotHeld
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
// the kernel refuses that if the address is not here, and routes by it. Opening and closing wait
// for nothing.
func newTickler(vip netip.Addr) (*socket.Conn, error) {
	domain := unix.AF_INET6
	var own unix.Sockaddr = &unix.SockaddrInet6{Addr: vip.As16()}
	if vip.Is4() {
		domain = unix.AF_INET
		own = &unix.SockaddrInet4{Addr: vip.As4()}
	}
	conn, err := socket.Socket(domain, unix.SOCK_RAW, unix.IPPROTO_RAW, "raw", nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(conn.Bind(own), conn.SetWriteBuffer(tickleBuffer)); err != nil {
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
