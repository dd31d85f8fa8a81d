package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// connectionsMost bounds what Connections returns and Tickle takes.
const connectionsMost = 100_000

// ErrUnsupported is wrapped by errors of a kernel that cannot list (CONFIG_INET_DIAG) or cannot end
// connections (CONFIG_INET_DIAG_DESTROY).
var ErrUnsupported = errors.New("not supported by this kernel")

// Connections returns the peers of the established connections to the address and port at this
// host, in no order, 100 000 at most.
func Connections(addr netip.Addr, port uint16) ([]netip.AddrPort, error) {
	var peers []netip.AddrPort
	err := eachSocket(netip.AddrPortFrom(addr, port), 1<<netlink.TCP_ESTABLISHED, func(s socketID) bool {
		peers = append(peers, s.peer(addr))
		return len(peers) < connectionsMost
	})
	if err != nil {
		return nil, fmt.Errorf("list connections to %s: %w", addr, err)
	}
	return peers, nil
}

// Destroy ends the connections to the address and port at this host, whoever has them, and returns
// how many: each peer is sent a RST, for which the address must still be here. Listening sockets
// stay. Connections that come while it runs may be missed.
func Destroy(addr netip.Addr, port uint16) (n int, err error) {
	const connected = 1<<netlink.TCP_ESTABLISHED | 1<<netlink.TCP_SYN_RECV | 1<<netlink.TCP_CLOSE_WAIT |
		1<<netlink.TCP_FIN_WAIT1 | 1<<netlink.TCP_FIN_WAIT2 | 1<<netlink.TCP_CLOSING | 1<<netlink.TCP_LAST_ACK
	var found []socketID
	err = eachSocket(netip.AddrPortFrom(addr, port), connected, func(s socketID) bool {
		found = append(found, s)
		return true
	})
	if err == nil && len(found) > 0 {
		n, err = destroy(family(addr), found)
	}
	if err != nil {
		return n, fmt.Errorf("end connections to %s: %w", addr, err)
	}
	return n, nil
}

// Listening returns the addresses of this host at which something listens on the TCP port; an
// unspecified one stands for all of its family.
func Listening(port uint16) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, all := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		var id socketID
		binary.BigEndian.PutUint16(id[idLocalPort:], port)
		err := dump(diagRequest(family(all), 1<<netlink.TCP_LISTEN, id), func(s socketID) bool {
			addrs = append(addrs, s.local(all))
			return true
		})
		if err != nil && !(all.Is6() && errors.Is(err, ErrUnsupported)) {
			return nil, fmt.Errorf("list who listens on port %d: %w", port, err)
		}
	}
	return addrs, nil
}

// destroy asks the kernel for each socket by its number, so that none is met that has the same
// addresses by now.
func destroy(family int, found []socketID) (n int, err error) {
	conn, err := nl.Subscribe(unix.NETLINK_INET_DIAG)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	timeout := unix.NsecToTimeval(netlinkTimeout.Nanoseconds())
	if err := conn.SetReceiveTimeout(&timeout); err != nil {
		return 0, err
	}
	shared := map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: {Socket: conn}}
	for _, s := range found {
		req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
		req.Sockets = shared
		req.AddRawData(diagRequest(family, ^uint32(0), s))
		switch _, err := req.Execute(unix.NETLINK_INET_DIAG, 0); {
		case err == nil:
			n++
		case errors.Is(err, unix.ENOENT): // it ended by itself
		default:
			return n, unsupported(err)
		}
	}
	return n, nil
}

// socketID is struct inet_diag_sockid: the ports and addresses of a socket, in network order, its
// interface, and the kernel's number for it.
type socketID [48]byte

// Where things are in it.
const (
	idLocalPort, idPeerPort = 0, 2
	idLocal, idPeer         = 4, 20
)

// local is where the socket is; its family is that of addr.
func (s socketID) local(addr netip.Addr) netip.Addr {
	a, _ := netip.AddrFromSlice(s[idLocal : idLocal+len(addr.AsSlice())])
	return a
}

// peer is where the socket is connected to; its family is that of addr.
func (s socketID) peer(addr netip.Addr) netip.AddrPort {
	a, _ := netip.AddrFromSlice(s[idPeer : idPeer+len(addr.AsSlice())])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(s[idPeerPort:]))
}

// eachSocket calls found for the TCP sockets with this local address in these states, until it
// returns false. The kernel picks them out, and only these are copied. (A socket of IPv6 that
// accepts IPv4 as well is not met at an IPv4 address; redis-server has one for each.)
func eachSocket(local netip.AddrPort, states uint32, found func(socketID) bool) error {
	var id socketID
	binary.BigEndian.PutUint16(id[idLocalPort:], local.Port())
	const bytecode = 1 // INET_DIAG_REQ_BYTECODE
	return dump(append(diagRequest(family(local.Addr()), states, id),
		nl.NewRtAttr(bytecode, localIs(local.Addr())).Serialize()...), found)
}

// dump calls found for the sockets that the request asks for, until it returns false.
func dump(request []byte, found func(socketID) bool) error {
	var id socketID
	const header = 4 // of struct inet_diag_msg: family, state, timer, retransmissions
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddRawData(request)
	return unsupported(req.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(b []byte) bool {
		return len(b) < header+len(id) || found(socketID(b[header:]))
	}))
}

// diagRequest is struct inet_diag_req_v2.
func diagRequest(family int, states uint32, id socketID) []byte {
	b := []byte{byte(family), unix.IPPROTO_TCP, 0, 0}
	return append(binary.NativeEndian.AppendUint32(b, states), id[:]...)
}

// localIs is the program, in the kernel's own language for this (struct inet_diag_bc_op), that
// accepts sockets with the local address, of any port.
func localIs(addr netip.Addr) []byte {
	const (
		sourceCondition = 7 // INET_DIAG_BC_S_COND
		opLen, condLen  = 4, 8
		anyPort         = ^uint32(0)
	)
	ip := addr.AsSlice()
	size := opLen + condLen + len(ip)
	// To the next operation, which is the end and so "yes"; or 4 bytes past the end: "no".
	b := []byte{sourceCondition, byte(size)}
	b = binary.NativeEndian.AppendUint16(b, uint16(size+opLen))
	b = append(b, byte(family(addr)), byte(addr.BitLen()), 0, 0)
	b = binary.NativeEndian.AppendUint32(b, anyPort)
	return append(b, ip...)
}

// unsupported marks the refusals of a kernel that was built without. A kernel without inet_diag
// has no such kind of message, or no such protocol.
func unsupported(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}
