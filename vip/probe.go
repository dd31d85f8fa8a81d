package vip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// probes is how often the question is asked within the wait. RFC 5227 asks three times, one to two
// seconds apart, before an address is taken for good; section 2.2 allows less where more is known,
// and here the election is what decides: the probe only finds those who did not take part in it.
const probes = 2

// Probe asks the link who has the address and waits that long for somebody else to say so; nil:
// nobody did. Answers of this host's own interfaces do not count. It may be called whether or not
// the address is held, and holds up neither Hold nor Drop. On an interface without neighbours it
// returns nil at once.
func (a *Address) Probe(ctx context.Context, wait time.Duration) (net.HardwareAddr, error) {
	a.mu.Lock()
	l := a.link
	a.mu.Unlock()
	owner, err := probe(ctx, l, a.addr, wait)
	if err != nil {
		return nil, fmt.Errorf("probe for VIP %s on %s: %w", a.addr, l.name, err)
	}
	return owner, nil
}

func probe(ctx context.Context, l link, vip netip.Addr, wait time.Duration) (net.HardwareAddr, error) {
	if !l.hasNeighbours() {
		return nil, ctx.Err()
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	q, err := newQuestion(l, vip)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	stop := context.AfterFunc(ctx, func() { q.Close() })
	defer stop()

	for range probes {
		owner, err := put(q, time.Now().Add(wait/probes), all)
		switch {
		case ctx.Err() != nil: // then the error is only that of the closed socket
			return nil, ctx.Err()
		case err != nil || owner != nil:
			return owner, err
		}
	}
	return nil, nil
}

// put asks once, and returns the first claim that is not our own, or nil when the time is over.
func put(q question, until time.Time, ours []net.Interface) (net.HardwareAddr, error) {
	if err := q.ask(); err != nil {
		return nil, err
	}
	for {
		owner, err := q.answer(until)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, nil
		case err != nil:
			return nil, err
		case owner != nil && !isOurs(owner, ours):
			return owner, nil
		}
	}
}

// isOurs reports whether the hardware address is one of this host's. With two interfaces on one
// link the other one answers as well (arp_ignore is 0 by default).
func isOurs(hw net.HardwareAddr, all []net.Interface) bool {
	for _, ifi := range all {
		if bytes.Equal(hw, ifi.HardwareAddr) {
			return true
		}
	}
	return false
}

// question is "who has the VIP?", in ARP or in neighbour discovery.
type question interface {
	ask() error
	// answer returns the next hardware address that claims the VIP; nil for some other packet.
	answer(until time.Time) (net.HardwareAddr, error)
	Close() error
}

func newQuestion(l link, vip netip.Addr) (question, error) {
	if vip.Is4() {
		return newARPQuestion(l, vip)
	}
	return newNDPQuestion(l, vip)
}

type arpQuestion struct {
	*packet.Conn
	hw  hardware
	vip netip.Addr
}

func newARPQuestion(l link, vip netip.Addr) (*arpQuestion, error) {
	conn, err := packet.Listen(&net.Interface{Index: l.index}, packet.Datagram, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, err
	}
	return &arpQuestion{Conn: conn, hw: l.hw, vip: vip}, nil
}

func (q *arpQuestion) ask() error { return sendARP(q.Conn, arpProbe(q.hw, q.vip)) }

func (q *arpQuestion) answer(until time.Time) (net.HardwareAddr, error) {
	if err := q.SetReadDeadline(until); err != nil {
		return nil, err
	}
	b := make([]byte, 128) // more than an ARP packet with its padding
	n, _, err := q.ReadFrom(b)
	if err != nil {
		return nil, err
	}
	p, err := parseARP(b[:n])
	if err != nil || !p.claims(q.vip) {
		return nil, nil
	}
	return p.SenderHW[:], nil
}

type ndpQuestion struct {
	*ndp.Conn
	link link
	vip  netip.Addr
	to   netip.Addr
}

func newNDPQuestion(l link, vip netip.Addr) (*ndpQuestion, error) {
	to, err := ndp.SolicitedNodeMulticast(vip)
	if err != nil {
		return nil, err
	}
	conn, err := listenNDP(l, ipv6.ICMPTypeNeighborAdvertisement)
	if err != nil {
		return nil, err
	}
	if err := conn.SetControlMessage(ipv6.FlagInterface, true); err != nil {
		conn.Close()
		return nil, err
	}
	return &ndpQuestion{Conn: conn, link: l, vip: vip, to: to}, nil
}

func (q *ndpQuestion) ask() error {
	return sendNDP(q.Conn, solicitation(q.link.hw, q.vip), q.to)
}

func (q *ndpQuestion) answer(until time.Time) (net.HardwareAddr, error) {
	if err := q.SetReadDeadline(until); err != nil {
		return nil, err
	}
	m, cm, _, err := q.ReadFrom()
	if err != nil {
		return nil, err
	}
	if cm != nil && cm.IfIndex != q.link.index {
		return nil, nil
	}
	return claimant(m, q.vip), nil
}
