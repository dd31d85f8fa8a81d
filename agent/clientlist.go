package agent

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// The clients of an address are told to other nodes as a list that is kept up to date by what
// changed. One that is not taken is begun anew, so neither side need know what the other missed.

const (
	// clientsMost bounds a list, as package vip bounds what it lists and tickles.
	clientsMost = 100_000
	// pieceMost is how many clients an update adds and removes: 200 kB on the wire with IPv6, which
	// is less than gossip carries at once.
	pieceMost = 8192
	// signEvery is how often an update goes out although nothing changed, so that a receiver that
	// was started anew gets the list again.
	signEvery = 5 * time.Second
	// A receiver that takes nothing (an older build, one that knows another holder) is asked again
	// after pauses that grow from the first to the last.
	againFirst, againLast = time.Second, 30 * time.Second
)

// clientsUpdate is what changed since the update before it. The first of a list, of Number 1, says
// nothing but that it begins.
type clientsUpdate struct {
	Node    string `json:"node"` // that has the address
	VIP     string `json:"vip"`
	Port    uint16 `json:"port"`
	List    string `json:"list"`
	Number  uint64 `json:"number"`
	Added   []byte `json:"added,omitempty"`
	Removed []byte `json:"removed,omitempty"`
}

// clientsFeed is what one other node has been told of the clients of an address.
type clientsFeed struct {
	list   string // "": to be begun
	number uint64
	told   []netip.AddrPort // sorted
	saidAt time.Duration
	again  time.Duration // the last pause
}

// next returns the update that is due, if there is one, and what is told once it has been taken.
func (f *clientsFeed) next(at time.Duration, clients []netip.AddrPort) (u clientsUpdate, told []netip.AddrPort, due bool) {
	if f.list == "" {
		if at < f.saidAt+f.again {
			return u, nil, false
		}
		f.list, f.number, f.told = randomID(8), 0, nil
	}
	u = clientsUpdate{List: f.list, Number: f.number + 1}
	if u.Number == 1 {
		return u, nil, true
	}
	removed, added := difference(f.told, clients)
	if len(removed)+len(added) == 0 {
		return u, f.told, at >= f.saidAt+signEvery
	}
	told = clients
	if len(removed)+len(added) > pieceMost {
		removed = removed[:min(len(removed), pieceMost)]
		added = added[:min(len(added), pieceMost-len(removed))]
		told = changed(f.told, removed, added)
	}
	u.Removed, u.Added = packed(removed), packed(added)
	return u, told, true
}

// answered notes what the other node said to the last update.
func (f *clientsFeed) answered(at time.Duration, taken bool, told []netip.AddrPort) {
	f.saidAt = at
	if !taken {
		*f = clientsFeed{saidAt: at, again: min(max(againFirst, 2*f.again), againLast)}
		return
	}
	f.number++
	f.told = told
	if f.number > 1 {
		f.again = 0
	}
}

// clientList is what this node was told of the clients of an address.
type clientList struct {
	node   string
	port   uint16
	list   string
	number uint64
	peers  []netip.AddrPort // sorted
}

var errClientList = errors.New("not a list of clients")

// take returns the list after the update; ok is false if that needs one which is not here.
func (l clientList) take(u clientsUpdate, vip netip.Addr) (next clientList, ok bool, err error) {
	if u.Number == 1 {
		return clientList{node: u.Node, port: u.Port, list: u.List, number: 1}, true, nil
	}
	if u.Node != l.node || u.Port != l.port || u.List != l.list || u.Number != l.number+1 {
		return l, false, nil
	}
	added, errAdded := unpacked(u.Added, vip)
	removed, errRemoved := unpacked(u.Removed, vip)
	if err := errors.Join(errAdded, errRemoved); err != nil {
		return l, false, err
	}
	l.number = u.Number
	if len(added)+len(removed) > 0 {
		l.peers = changed(l.peers, removed, added)
	}
	return l, len(l.peers) <= clientsMost, nil
}

// difference returns what is in one sorted list alone, and what is in the other alone.
func difference(a, b []netip.AddrPort) (inA, inB []netip.AddrPort) {
	for len(a) > 0 && len(b) > 0 {
		switch c := a[0].Compare(b[0]); {
		case c < 0:
			inA, a = append(inA, a[0]), a[1:]
		case c > 0:
			inB, b = append(inB, b[0]), b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return append(inA, a...), append(inB, b...)
}

// changed is a new sorted list.
func changed(list, removed, added []netip.AddrPort) []netip.AddrPort {
	left, _ := difference(list, removed)
	return sorted(append(left, added...))
}

func sorted(list []netip.AddrPort) []netip.AddrPort {
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}

// packed is 6 bytes for each client, 18 with IPv6.
func packed(list []netip.AddrPort) []byte {
	var b []byte
	for _, p := range list {
		b = append(b, p.Addr().AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, p.Port())
	}
	return b
}

// unpacked reads clients of the family of the address, at most as many as an update may have.
func unpacked(b []byte, vip netip.Addr) ([]netip.AddrPort, error) {
	const portLen = 2
	addrLen := len(vip.AsSlice())
	size := addrLen + portLen
	if len(b)%size != 0 || len(b)/size > pieceMost {
		return nil, errClientList
	}
	list := make([]netip.AddrPort, 0, len(b)/size)
	for ; len(b) > 0; b = b[size:] {
		addr, _ := netip.AddrFromSlice(b[:addrLen])
		list = append(list, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[addrLen:])))
	}
	return sorted(list), nil
}
