package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
)

// A link is an interface as neighbours know it. Its hardware address is zero where there are no
// neighbours: on a loopback, and on tunnels. (InfiniBand's addresses of 20 bytes are not supported
// and count as none.)
type link struct {
	name  string
	index int
	hw    hardware
}

func newLink(name string, index int, hw []byte) link {
	l := link{name: name, index: index}
	if len(hw) == len(l.hw) {
		l.hw = hardware(hw)
	}
	return l
}

func (l link) hasNeighbours() bool { return l.hw != hardware{} }

// A place is a link with the addresses on it.
type place struct {
	link
	flags     net.Flags
	addresses []netlink.Addr
}

// A host is every interface of this host.
type host []place

// FindInterface names the interface that belongs to the VIP: the one whose own network contains it,
// or else the one with an address in the VIP's network (hosts whose own address is a /32). The
// narrowest network wins; a tie is an error, as is no match, and both say what there is and what to
// do.
func FindInterface(prefix netip.Prefix) (string, error) {
	prefix, err := checkPrefix(prefix)
	if err != nil {
		return "", err
	}
	h, err := readHost()
	if err != nil {
		return "", fmt.Errorf("find the interface of VIP %s: %w", prefix, err)
	}
	l, err := h.find(Config{Prefix: prefix})
	return l.name, err
}

// checkPrefix refuses what cannot be an address of one host.
func checkPrefix(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() {
		return p, errors.New("VIP: no address given (want an address in its network, such as 10.0.0.100/24)")
	}
	addr := p.Addr()
	if addr.Is4In6() || addr.Zone() != "" {
		return p, fmt.Errorf("VIP %s: write it as plain IPv4 or IPv6", p)
	}
	if addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return p, fmt.Errorf("VIP %s: not the address of one host", p)
	}
	// A /31 has neither (RFC 3021), and IPv6 has no broadcast address.
	if addr.Is4() && p.Bits() < 31 && (addr == p.Masked().Addr() || addr == lastOf(p)) {
		return p, fmt.Errorf("VIP %s: the first and the last address of a network belong to no host", p)
	}
	return p, nil
}

func lastOf(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	mask := net.CIDRMask(p.Bits(), 32)
	for i := range a {
		a[i] |= ^mask[i]
	}
	return netip.AddrFrom4(a)
}

// readHost asks the kernel for the interfaces and their addresses.
func readHost() (host, error) {
	ifis, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	all, err := addresses(&netlink.Handle{}, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	var h host
	for _, ifi := range ifis {
		p := place{link: newLink(ifi.Name, ifi.Index, ifi.HardwareAddr), flags: ifi.Flags}
		for _, a := range all {
			if a.LinkIndex == ifi.Index {
				p.addresses = append(p.addresses, a)
			}
		}
		h = append(h, p)
	}
	return h, nil
}

// hardware returns the hardware address of each interface that has one, by index.
func (h host) hardware() map[int]hardware {
	own := map[int]hardware{}
	for _, p := range h {
		if p.hasNeighbours() {
			own[p.index] = p.hw
		}
	}
	return own
}

// find returns the interface that cfg names, or the one its prefix belongs to.
func (h host) find(cfg Config) (link, error) {
	if cfg.Interface != "" {
		for _, p := range h {
			if p.name == cfg.Interface {
				return p.link, nil
			}
		}
		return link{}, fmt.Errorf("find the interface of VIP %s: there is no %s here (%s)", cfg.Prefix, cfg.Interface, h)
	}
	best, tied := -1, host(nil)
	for _, p := range h {
		switch s := p.suits(cfg.Prefix); {
		case s < 0 || s < best:
		case s == best:
			tied = append(tied, p)
		default:
			best, tied = s, host{p}
		}
	}
	switch len(tied) {
	case 0:
		return link{}, fmt.Errorf("find the interface of VIP %s: no interface is in its network (%s): choose an address in one of these networks, or name the interface under [[vip]]",
			cfg.Prefix, h)
	case 1:
		return tied[0].link, nil
	}
	return link{}, fmt.Errorf("find the interface of VIP %s: more than one is in its network (%s): name one of them under [[vip]] (interface = %q)",
		cfg.Prefix, tied, tied[0].name)
}

// suits rates the interface for the VIP; -1: not at all. Addresses equal to the VIP itself do not
// count: they may be left over on the wrong interface.
func (p place) suits(vip netip.Prefix) int {
	const contains = 129 // above every prefix length: the interface's own network decides first
	best := -1
	for _, a := range p.addresses {
		network := prefixOf(a)
		switch {
		case network.Addr() == vip.Addr():
		case network.Contains(vip.Addr()):
			best = max(best, contains+network.Bits())
		case vip.Contains(network.Addr()):
			best = max(best, network.Bits())
		}
	}
	return best
}

// foreign returns an error for each copy of the VIP that is part of an interface's own
// configuration and that Drop could therefore not remove.
func (h host) foreign(addr netip.Addr) []error {
	var errs []error
	for _, p := range h {
		for _, a := range p.addresses {
			if addrOf(a) == addr && !removable(a, p.addresses) {
				errs = append(errs, foreignError(a))
			}
		}
	}
	return errs
}

// String lists the interfaces with their addresses: "eth0: 10.0.0.1/24; lo: 127.0.0.1/8".
func (h host) String() string {
	var out []string
	for _, p := range h {
		var nets []string
		for _, a := range p.addresses {
			nets = append(nets, prefixOf(a).String())
		}
		if nets == nil {
			nets = []string{"no address"}
		}
		out = append(out, p.name+": "+strings.Join(nets, ", "))
	}
	if out == nil {
		return "there are no interfaces"
	}
	return strings.Join(out, "; ")
}
