package vip

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// The fields of an ARP packet for IPv4 over Ethernet (RFC 826; numbers from IANA "ARP Parameters"
// and "EtherTypes").
const (
	arpLen          = 28
	arpHardwareEth  = 1
	arpProtocolIPv4 = 0x0800
	arpRequest      = 1
	arpReply        = 2
)

type hardware [6]byte

// everyone is the Ethernet broadcast address.
var everyone = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

var errNotARP = errors.New("not an ARP packet for IPv4 over Ethernet")

// arpPacket is what an ARP packet says; the Ethernet header around it is the kernel's.
type arpPacket struct {
	Op       uint16
	SenderHW hardware
	SenderIP netip.Addr
	TargetHW hardware
	TargetIP netip.Addr
}

// arpAnnouncement is RFC 5227 section 2.3: a request in which sender and target are the address
// itself, and the target's hardware address is not filled in.
func arpAnnouncement(hw hardware, vip netip.Addr) arpPacket {
	return arpPacket{Op: arpRequest, SenderHW: hw, SenderIP: vip, TargetIP: vip}
}

// arpGratuitousReply says the same as a reply, for the caches that learn from replies only. RFC
// 5944 section 4.6 wants our hardware address as the target's as well; only then does Linux
// override an entry that changed within the last second.
func arpGratuitousReply(hw hardware, vip netip.Addr) arpPacket {
	return arpPacket{Op: arpReply, SenderHW: hw, SenderIP: vip, TargetHW: hw, TargetIP: vip}
}

// arpProbe is RFC 5227 section 2.1.1: the sender's address is zero, so that nobody's cache learns
// anything from the question.
func arpProbe(hw hardware, vip netip.Addr) arpPacket {
	return arpPacket{Op: arpRequest, SenderHW: hw, SenderIP: netip.IPv4Unspecified(), TargetIP: vip}
}

// claims reports whether the packet says that its sender has the address. A probe does not: its
// sender's address is zero.
func (p arpPacket) claims(vip netip.Addr) bool { return p.SenderIP == vip }

func (p arpPacket) marshal() []byte {
	b := make([]byte, 0, arpLen)
	b = binary.BigEndian.AppendUint16(b, arpHardwareEth)
	b = binary.BigEndian.AppendUint16(b, arpProtocolIPv4)
	b = append(b, 6, 4) // lengths of a hardware and of a protocol address
	b = binary.BigEndian.AppendUint16(b, p.Op)
	b = append(b, p.SenderHW[:]...)
	b = append(b, p.SenderIP.AsSlice()...)
	b = append(b, p.TargetHW[:]...)
	return append(b, p.TargetIP.AsSlice()...)
}

// parseARP reads the packet at the start of b, which may be padded to the least length of a frame.
func parseARP(b []byte) (arpPacket, error) {
	if len(b) < arpLen ||
		binary.BigEndian.Uint16(b[0:]) != arpHardwareEth ||
		binary.BigEndian.Uint16(b[2:]) != arpProtocolIPv4 ||
		b[4] != 6 || b[5] != 4 {
		return arpPacket{}, errNotARP
	}
	return arpPacket{
		Op:       binary.BigEndian.Uint16(b[6:]),
		SenderHW: hardware(b[8:14]),
		SenderIP: netip.AddrFrom4([4]byte(b[14:18])),
		TargetHW: hardware(b[18:24]),
		TargetIP: netip.AddrFrom4([4]byte(b[24:28])),
	}, nil
}
