package vip

import (
	"encoding/binary"
	"net/netip"
)

// bareTCP is a packet with an ACK and nothing else.
func bareTCP(from, to netip.AddrPort, seq, ack uint32) []byte {
	var b []byte
	if from.Addr().Is4() {
		b = append(b, versionAndLength4, 0)
		b = binary.BigEndian.AppendUint16(b, ip4Len+tcpLen)
		b = append(b, 0, 0, 0, 0, hopLimit, protocolTCP, 0, 0) // the kernel fills in what is zero
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

// hopLimit is what hosts send with (RFC 1700).
const hopLimit = 64
