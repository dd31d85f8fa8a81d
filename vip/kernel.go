package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumpTries bounds the repeats of an interrupted dump: each is interrupted only by another change
// within some 50 µs, so five in a row mean that something is very wrong, and saying so is better
// than spinning.
const dumpTries = 5

// ownAddress is the address in the form in which redisd adds it.
//
// Full length and no prefix route: it then is nobody's subnet, so it does not vanish with the
// host's own address, and is not what the kernel picks as the source of the host's own connections.
func ownAddress(index int, addr netip.Addr) netlink.Addr {
	return netlink.Addr{
		IPNet:     &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())},
		LinkIndex: index,
		Flags:     unix.IFA_F_NOPREFIXROUTE,
		Scope:     unix.RT_SCOPE_UNIVERSE,
	}
}

// replaceAddress adds the address or renews its lifetime.
func replaceAddress(h *netlink.Handle, index int, addr netip.Addr, lifetime time.Duration) error {
	own := ownAddress(index, addr)
	own.ValidLft = int(lifetime / time.Second)
	own.PreferedLft = own.ValidLft
	if addr.Is6() {
		// Without nodad the address is tentative, that is unusable, for one to two seconds (RFC
		// 4862 section 5.4). A preferred lifetime of zero makes it deprecated: it accepts
		// connections but is no candidate source (RFC 6724 rule 3), which full length alone does
		// not ensure in IPv6.
		own.Flags |= unix.IFA_F_NODAD
		own.PreferedLft = 0
	}
	return h.AddrReplace(nil, &own)
}

// removeAddress deletes exactly this address; one that is not there is as good.
func removeAddress(h *netlink.Handle, addr netlink.Addr) error {
	err := h.AddrDel(nil, &addr)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// removeCopies deletes the address wherever it is, except where that would harm the host: those are
// named in the error.
func removeCopies(h *netlink.Handle, addr netip.Addr) error {
	all, err := addresses(h, family(addr))
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		if addrOf(c) != addr {
			continue
		}
		if !removable(c, all) {
			errs = append(errs, foreignError(c))
			continue
		}
		if err := removeAddress(h, c); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", c.IPNet, err))
		}
	}
	return errors.Join(errs...)
}

// removable reports whether deleting copy c of the VIP leaves the host's own addresses alone. Full
// length is ours (or keepalived's, by the same habit). With a shorter prefix, somebody configured
// it: it may go if the host has another address in that network (else it is probably the host's
// only one there) and if it is not the first of its network, with which the kernel would delete the
// others (promote_secondaries is 0 by default).
func removable(c netlink.Addr, all []netlink.Addr) bool {
	ones, bits := c.Mask.Size()
	if ones == bits || c.Flags&unix.IFA_F_SECONDARY != 0 {
		return true
	}
	sibling := false
	for _, o := range all {
		if o.LinkIndex != c.LinkIndex || addrOf(o) == addrOf(c) || !prefixOf(c).Contains(addrOf(o)) {
			continue
		}
		// In IPv6 this bit means "temporary" (RFC 8981) and ties it to nothing.
		if addrOf(o).Is4() && o.Flags&unix.IFA_F_SECONDARY != 0 {
			return false
		}
		sibling = true
	}
	return sibling
}

func foreignError(c netlink.Addr) error {
	return fmt.Errorf("%s on %s: %w: take it out of that interface's configuration; a VIP is an address beside the host's own",
		c.IPNet, linkName(c.LinkIndex), ErrForeign)
}

// present reports whether the host has the address.
func present(h *netlink.Handle, addr netip.Addr) (bool, error) {
	all, err := addresses(h, family(addr))
	if err != nil {
		return false, err
	}
	for _, c := range all {
		if addrOf(c) == addr {
			return true, nil
		}
	}
	return false, nil
}

// isLocal reports whether the host takes packets to the address for its own.
func isLocal(addr netip.Addr) bool {
	routes, err := (&netlink.Handle{}).RouteGet(addr.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}

// addresses lists the host's addresses of a family.
func addresses(h *netlink.Handle, family int) ([]netlink.Addr, error) {
	return settled(func() ([]netlink.Addr, error) { return h.AddrList(nil, family) })
}

// settled repeats a dump that the kernel says was interrupted by a change: such a list may lack an
// address that exists, and acting on it would drop or add the VIP for no reason.
func settled(dump func() ([]netlink.Addr, error)) ([]netlink.Addr, error) {
	var err error
	for range dumpTries {
		var all []netlink.Addr
		all, err = dump()
		if err == nil {
			return all, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return nil, fmt.Errorf("list addresses: %w", err)
}

func family(addr netip.Addr) int {
	if addr.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

func addrOf(a netlink.Addr) netip.Addr { return prefixOf(a).Addr() }

// prefixOf returns the address with its length; the zero Prefix for what is neither IPv4 nor IPv6.
func prefixOf(a netlink.Addr) netip.Prefix {
	if a.IPNet == nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(a.IP)
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}

func linkName(index int) string {
	ifi, err := net.InterfaceByIndex(index)
	if err != nil {
		return fmt.Sprintf("interface %d", index)
	}
	return ifi.Name
}
