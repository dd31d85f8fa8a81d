package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// AwaitElsewhere waits until another host announces the address, and returns the hardware address
// it gave. One that was heard after since, before the call, counts. The ear is open from New on, so
// nothing is opened here. It ends with ctx, or when the Address is closed; on an interface without
// neighbours nothing is ever heard.
//
// Anybody on the link can announce anything: what is heard says where frames for the address go
// now, not who may hold it.
func (a *Address) AwaitElsewhere(ctx context.Context, since time.Time) (net.HardwareAddr, error) {
	heard, err := a.heard.after(ctx, a.ended, since)
	if err != nil {
		return nil, err
	}
	return net.HardwareAddr(heard.hw[:]), nil
}

// HeardElsewhere reports whether another host has announced the address since then.
func (a *Address) HeardElsewhere(since time.Time) bool { return a.heard.since(since) }

// announcement is one that another host made.
type announcement struct {
	hw hardware
	at time.Time
}

// hearsay is the last announcement heard, for those who wait for one.
type hearsay struct {
	mu   sync.Mutex
	last announcement
	more chan struct{} // closed by the next announcement
}

func newHearsay() *hearsay { return &hearsay{more: make(chan struct{})} }

func (h *hearsay) add(n announcement) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = n
	close(h.more)
	h.more = make(chan struct{})
}

// since reports whether one was heard after that.
func (h *hearsay) since(t time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last.at.After(t)
}

// after returns the last announcement after since, and waits for one if there was none.
func (h *hearsay) after(ctx context.Context, ended <-chan struct{}, since time.Time) (announcement, error) {
	for {
		h.mu.Lock()
		last, more := h.last, h.more
		h.mu.Unlock()
		if last.at.After(since) {
			return last, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return announcement{}, ctx.Err()
		case <-ended:
			return announcement{}, net.ErrClosed
		}
	}
}

// listen hears until ctx is done. It closes e.
func (a *Address) listen(ctx context.Context, e ear) {
	for {
		err := a.hearOn(ctx, e)
		a.tasks.Go(e.Close) // closing a packet socket may take long
		for err != nil {
			if ctx.Err() != nil {
				return
			}
			a.log.Debug("listening for announcements failed", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(resubscribe):
			}
			e, err = a.newEar()
		}
	}
}

// newEar opens one on the interface of now: it may have been deleted and made again.
func (a *Address) newEar() (ear, error) {
	host, err := readHost()
	if err != nil {
		return nil, err
	}
	l, err := host.find(a.cfg)
	if err != nil {
		return nil, err
	}
	return newEar(l, a.addr)
}

// hearOn hears until the socket fails, which the end of ctx makes it do.
func (a *Address) hearOn(ctx context.Context, e ear) error {
	stop := context.AfterFunc(ctx, func() { _ = e.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		hw, err := e.next()
		switch {
		case err == nil && hw != nil && len(hw) == len(hardware{}) && !a.isOwn(hardware(hw)):
			a.heard.add(announcement{hardware(hw), time.Now()})
		case err == nil || e.survives(err) && ctx.Err() == nil:
		default:
			return err
		}
	}
}

// isOwn reports whether the hardware address is one of this host's: a second interface on the same
// link hears what the first one says.
func (a *Address) isOwn(hw hardware) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, own := range a.own {
		if own == hw {
			return true
		}
	}
	return false
}

// An ear is a socket that hears announcements of one address, and nothing else: filters in the
// kernel see to it that other frames wake nobody.
type ear interface {
	// next returns the hardware address of the next announcement; nil if it was none after all.
	next() (net.HardwareAddr, error)
	// survives reports whether the socket goes on hearing after the error.
	survives(error) bool
	SetReadDeadline(time.Time) error
	Close() error
}

func newEar(l link, vip netip.Addr) (ear, error) {
	if vip.Is4() {
		return newARPEar(l, vip)
	}
	return newNDPEar(l, vip)
}

type arpEar struct {
	*packet.Conn
	link link
	vip  netip.Addr
}

func newARPEar(l link, vip netip.Addr) (ear, error) {
	filter, err := bpf.Assemble(arpFilter(l.hw, vip))
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(&net.Interface{Index: l.index}, packet.Raw, unix.ETH_P_ARP,
		&packet.Config{Filter: filter})
	if err != nil {
		return nil, err
	}
	return arpEar{conn, l, vip}, nil
}

func (e arpEar) next() (net.HardwareAddr, error) {
	b := make([]byte, 128) // more than an ARP packet with its padding
	n, _, err := e.ReadFrom(b)
	if err != nil {
		return nil, err
	}
	if n < ethLen {
		return nil, nil
	}
	p, err := parseARP(b[ethLen:n])
	if err != nil || !p.claims(e.vip) {
		return nil, nil
	}
	return p.SenderHW[:], nil
}

// A link that went down says so once, and is heard again when it is up; one that was deleted is
// not.
func (e arpEar) survives(err error) bool {
	if !errors.Is(err, unix.ENETDOWN) {
		return false
	}
	_, err = net.InterfaceByIndex(e.link.index)
	return err == nil
}

// Where things are in an Ethernet frame.
const (
	ethSource    = 6
	ethLen       = 14
	arpSenderIP  = ethLen + 14
	acceptWhole  = 0x40000
	icmpNATarget = 8 // RFC 4861 section 4.4, from the start of the ICMPv6 message
)

// arpFilter accepts what says that the VIP is somewhere else: its sender has the VIP, and not our
// hardware address.
func arpFilter(own hardware, vip netip.Addr) []bpf.Instruction {
	ip := vip.As4()
	f := []bpf.Instruction{
		bpf.LoadAbsolute{Off: arpSenderIP, Size: 4},
		refuseUnless(binary.BigEndian.Uint32(ip[:])),
		bpf.RetConstant{Val: 0},
	}
	return append(f, notFrom(ethSource, own)...)
}

// ndpFilter is the same for neighbour advertisements, as a raw ICMPv6 socket sees them. A hop limit
// of 255 says that no router forwarded it (RFC 4861 section 7.1.2).
func ndpFilter(own hardware, vip netip.Addr) []bpf.Instruction {
	const (
		network  = 0xfff00000 // SKF_NET_OFF: from the start of the IPv6 header
		linkBase = 0xffe00000 // SKF_LL_OFF: from the start of the frame
		hopLimit = 7
	)
	f := []bpf.Instruction{
		bpf.LoadAbsolute{Off: network + hopLimit, Size: 1},
		refuseUnless(255),
		bpf.RetConstant{Val: 0},
	}
	ip := vip.As16()
	for i := uint32(0); i < 16; i += 4 {
		f = append(f,
			bpf.LoadAbsolute{Off: icmpNATarget + i, Size: 4},
			refuseUnless(binary.BigEndian.Uint32(ip[i:])),
			bpf.RetConstant{Val: 0})
	}
	return append(f, notFrom(linkBase+ethSource, own)...)
}

// refuseUnless steps over the refusal that follows if what was loaded is v.
func refuseUnless(v uint32) bpf.Instruction {
	return bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: 1}
}

// notFrom ends a filter: everything is accepted, but what comes from this hardware address.
func notFrom(source uint32, own hardware) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: source, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(own[:]), SkipTrue: 3},
		bpf.LoadAbsolute{Off: source + 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(own[4:])), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: acceptWhole},
	}
}

// ndpEar is a raw ICMPv6 socket: a packet socket for IPv6 would cost every packet that the host
// receives a copy.
type ndpEar struct {
	*ipv6.PacketConn
	link link
	vip  netip.Addr
}

func newNDPEar(l link, vip netip.Addr) (_ ear, err error) {
	filter, err := bpf.Assemble(ndpFilter(l.hw, vip))
	if err != nil {
		return nil, err
	}
	raw, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, err
	}
	conn := ipv6.NewPacketConn(raw)
	var kinds ipv6.ICMPFilter
	kinds.SetAll(true)
	kinds.Accept(ipv6.ICMPTypeNeighborAdvertisement)
	err = errors.Join(conn.SetICMPFilter(&kinds), conn.SetBPF(filter), conn.SetControlMessage(ipv6.FlagInterface, true))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return ndpEar{conn, l, vip}, nil
}

func (e ndpEar) next() (net.HardwareAddr, error) {
	b := make([]byte, 256) // an advertisement has 24 bytes, and 8 for the one option it needs
	n, cm, _, err := e.ReadFrom(b)
	if err != nil {
		return nil, err
	}
	m, err := ndp.ParseMessage(b[:n])
	if err != nil || cm == nil || !e.link.is(cm.IfIndex) {
		return nil, nil
	}
	return claimant(m, e.vip), nil
}

// is also knows an interface that was made again under its name.
func (l link) is(index int) bool { return index == l.index || linkName(index) == l.name }

func (e ndpEar) survives(error) bool { return false }
