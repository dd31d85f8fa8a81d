package vip

import (
	"context"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// WatchOwn watches an address that the host has by itself, and that this package never touches. It
// calls seen at first, and whenever something may have changed: with the interface that has the
// address, empty when none has. It returns when ctx ends.
func WatchOwn(ctx context.Context, addr netip.Addr, seen func(iface string)) {
	WatchInterfaces(ctx, func() {
		if iface, err := ownInterface(addr); err == nil {
			seen(iface)
		}
	})
}

// ownInterface is the interface that has the address; empty: none.
func ownInterface(addr netip.Addr) (string, error) {
	all, err := addresses(&netlink.Handle{}, family(addr))
	if err != nil {
		return "", err
	}
	for _, a := range all {
		if has, _ := netip.AddrFromSlice(a.IP); has.Unmap() == addr {
			ifi, err := net.InterfaceByIndex(a.LinkIndex)
			if err != nil {
				return "", err
			}
			return ifi.Name, nil
		}
	}
	return "", nil
}
