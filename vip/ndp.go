package vip

import (
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"
)

// allNodes is the multicast address of every IPv6 host on the link (RFC 4291 section 2.7.1).
var allNodes = netip.MustParseAddr("ff02::1")

// unsolicitedAdvertisement is RFC 4861 section 7.2.6: nobody asked, and Override makes every cache
// that has the address take the new hardware address at once.
func unsolicitedAdvertisement(hw hardware, vip netip.Addr) *ndp.NeighborAdvertisement {
	return &ndp.NeighborAdvertisement{
		Override:      true,
		TargetAddress: vip,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: hw[:]}},
	}
}

// solicitation is RFC 4861 section 7.2.2: who has the address? It carries our own hardware address,
// so that the owner can answer without asking back.
func solicitation(hw hardware, vip netip.Addr) *ndp.NeighborSolicitation {
	return &ndp.NeighborSolicitation{
		TargetAddress: vip,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: hw[:]}},
	}
}

// claimant returns the hardware address that m says has the VIP, or nil.
func claimant(m ndp.Message, vip netip.Addr) net.HardwareAddr {
	na, ok := m.(*ndp.NeighborAdvertisement)
	if !ok || na.TargetAddress != vip {
		return nil
	}
	for _, o := range na.Options {
		if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == ndp.Target {
			return lla.Addr
		}
	}
	return nil
}
