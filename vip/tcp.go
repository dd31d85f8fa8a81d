package vip

import (
	"encoding/binary"
	"net/netip"
)

// Where things are in an IP packet (RFC 791, RFC 8200) and in a TCP segment (RFC 9293), from the
// start of each.
const (
	ip4Len, ip6Len            = 20, 40
	ip4Protocol, ip6Next      = 9, 6
	ip4Fragment               = 6
	ip4Source, ip4Target      = 12, 16
	ip6Source, ip6Target      = 8, 24
	ip4Total, ip6Payload      = 2, 4
	tcpTargetPort             = 2
	tcpSeq, tcpAck            = 4, 8
	tcpOffset, tcpFlags       = 12, 13
	tcpWindow, tcpSum         = 14, 16
	tcpLen                    = 20
	flagFIN, flagSYN          = 1, 2
	flagRST, flagACK          = 4, 16
	protocolTCP               = 6
	versionAndLength4         = 0x45
	version6             byte = 0x60
)

// segment is a TCP segment with the addresses around it.
type segment struct {
	from, to netip.Addr
	tcp      []byte // shares the memory of the packet
}

// parseTCP finds the segment in an IP packet, which may have padding after it.
func parseTCP(ip []byte) (s segment, ok bool) {
	if len(ip) < ip4Len {
		return s, false
	}
	head, end := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[ip4Total:]))
	switch v := ip[0] >> 4; {
	case v == 4 && head >= ip4Len:
		s.from = netip.AddrFrom4([4]byte(ip[ip4Source:]))
		s.to = netip.AddrFrom4([4]byte(ip[ip4Target:]))
	case v == 6 && len(ip) >= ip6Len:
		head, end = ip6Len, ip6Len+int(binary.BigEndian.Uint16(ip[ip6Payload:]))
		s.from = netip.AddrFrom16([16]byte(ip[ip6Source:]))
		s.to = netip.AddrFrom16([16]byte(ip[ip6Target:]))
	default:
		return s, false
	}
	if end > len(ip) || end < head+tcpLen {
		return s, false
	}
	s.tcp = ip[head:end]
	return s, true
}

// peer is where the segment comes from.
func (s segment) peer() netip.AddrPort {
	return netip.AddrPortFrom(s.from, binary.BigEndian.Uint16(s.tcp))
}

func (s segment) seq() uint32 { return binary.BigEndian.Uint32(s.tcp[tcpSeq:]) }

// pseudo is the sum of the pseudo header (RFC 9293 section 3.1; RFC 8200 section 8.1).
func (s segment) pseudo() uint32 {
	return sum(protocolTCP+uint32(len(s.tcp)), s.from.AsSlice(), s.to.AsSlice())
}

// seal fills in the checksum.
func (s segment) seal() {
	binary.BigEndian.PutUint16(s.tcp[tcpSum:], 0)
	binary.BigEndian.PutUint16(s.tcp[tcpSum:], ^fold(sum(s.pseudo(), s.tcp)))
}

// complete reports whether the checksum is right, and fills in one that the sending kernel left to
// a network card that never was: between virtual machines of one host a segment has only the sum of
// its pseudo header.
func (s segment) complete() bool {
	if fold(sum(s.pseudo(), s.tcp)) == 0xffff {
		return true
	}
	if binary.BigEndian.Uint16(s.tcp[tcpSum:]) != fold(s.pseudo()) {
		return false
	}
	s.seal()
	return true
}

// sum adds up 16-bit words (RFC 1071), of packets far too short to overflow.
func sum(s uint32, parts ...[]byte) uint32 {
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			s += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			s += uint32(b[0]) << 8
		}
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
