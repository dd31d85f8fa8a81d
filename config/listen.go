package config

import (
	"net/netip"
	"slices"
	"strings"
)

// Everywhere is the entry of a listen list that stands for every address.
const Everywhere = "*"

// MostListen is how many addresses redis-server's bind takes.
const MostListen = 16

const allowedListen = `"*" for every address, an address, a network ("10.0.0.0/24") or an interface`

// Listening is where a server of this node listens, as this host's interfaces are now.
type Listening struct {
	// Addrs are the addresses; an unspecified one stands for all of its family. A VIP is among them
	// also while it is on another host.
	Addrs []netip.Addr
	Over  []netip.Addr // asked for, and more than a server takes
}

// RedisListens says where redis-server listens: at the node's own address and the VIPs, by which
// the other nodes and the clients come, and at those of redis.listen; without that, on loopback.
func (c Config) RedisListens(host []HostInterface) Listening {
	return c.listening(c.Redis.Listen, c.vipAddrs(), host)
}

// SentinelListens says where Sentinel listens: at the node's own address, and those of
// sentinel.listen; without that, on loopback. It cannot be told of another address while it runs,
// so a VIP, which comes and goes, is never among them.
func (c Config) SentinelListens(host []HostInterface) Listening {
	l := c.listening(c.Sentinel.Listen, nil, host)
	vips := c.vipAddrs()
	l.Addrs = slices.DeleteFunc(l.Addrs, func(a netip.Addr) bool { return slices.Contains(vips, a) })
	return l
}

func (c Config) vipAddrs() []netip.Addr {
	var out []netip.Addr
	for _, v := range c.VIPs {
		out = append(out, v.Address.Addr())
	}
	return out
}

func (c Config) listening(list []string, vips []netip.Addr, host []HostInterface) Listening {
	addrs := append([]netip.Addr{c.Node.Address}, vips...)
	// A node with a loopback address is one of several on this machine: it keeps to its own.
	byDefault := len(list) == 0 && !c.Node.Address.IsLoopback()
	for _, x := range anything(HostFacts{Interfaces: host}) {
		a := x.address.Addr()
		listed := slices.ContainsFunc(list, func(entry string) bool { return meansAddress(entry, x) })
		if listed || byDefault && a.IsLoopback() {
			addrs = append(addrs, a)
		}
	}
	for _, entry := range list {
		switch a, err := netip.ParseAddr(entry); {
		case entry == Everywhere:
			addrs = append(addrs, netip.IPv4Unspecified(), netip.IPv6Unspecified())
		case err == nil:
			addrs = append(addrs, a.Unmap()) // also where it is yet to come
		}
	}
	return cut(addrs)
}

// meansAddress: the entry is about an address of this host, by its network or its interface.
// A server cannot listen at a link-local address without the name of an interface in it.
func meansAddress(entry string, x candidate) bool {
	if x.address.Addr().IsLinkLocalUnicast() {
		return false
	}
	if network, err := netip.ParsePrefix(entry); err == nil {
		return network.Contains(x.address.Addr())
	}
	return entry == x.on.Name
}

// cut leaves every address once, those out that an unspecified one covers, and keeps the first ones
// if they are too many.
func cut(addrs []netip.Addr) (l Listening) {
	covered := func(a netip.Addr) bool {
		return !a.IsUnspecified() && slices.ContainsFunc(addrs, func(all netip.Addr) bool { return all.IsUnspecified() && all.Is4() == a.Is4() })
	}
	for _, a := range addrs {
		switch {
		case covered(a), slices.Contains(l.Addrs, a), slices.Contains(l.Over, a):
		case len(l.Addrs) < MostListen:
			l.Addrs = append(l.Addrs, a)
		default:
			l.Over = append(l.Over, a)
		}
	}
	return l
}

// Without is l for the time in which a server is not to listen at some addresses: it names each
// other one of this host.
func (l Listening) Without(gone []netip.Addr, host []HostInterface) Listening {
	var addrs []netip.Addr
	for _, a := range l.Addrs {
		if !a.IsUnspecified() {
			addrs = append(addrs, a)
			continue
		}
		for _, x := range anything(HostFacts{Interfaces: host}) {
			if h := x.address.Addr(); h.Is4() == a.Is4() && !(h.Is6() && h.IsLinkLocalUnicast()) {
				addrs = append(addrs, h)
			}
		}
	}
	return cut(slices.DeleteFunc(addrs, func(a netip.Addr) bool { return slices.Contains(gone, a) }))
}

// Misses returns what a server that listens at have lacks of l, and what it has beyond that. What
// this host does not have now it cannot lack (it has all of 127.0.0.0/8); and a socket of an
// address that has gone hurts nobody, and serves again when that comes back.
func (l Listening) Misses(have []netip.Addr, host []HostInterface) (lacks, beyond []netip.Addr) {
	all := anything(HostFacts{Interfaces: host})
	here := func(a netip.Addr) bool {
		return a.Is4() && a.IsLoopback() || slices.ContainsFunc(all, func(x candidate) bool {
			return x.address.Addr() == a || a.IsUnspecified() && x.address.Addr().Is4() == a.Is4()
		})
	}
	differ := func(a, b []netip.Addr) (out []netip.Addr) {
		for _, x := range a {
			if !slices.Contains(b, x) && here(x) {
				out = append(out, x)
			}
		}
		return out
	}
	return differ(l.Addrs, have), differ(have, l.Addrs)
}

// Closed are the addresses of this host by which other hosts may reach it, and at which a server
// that listens at l does not answer.
func (l Listening) Closed(host []HostInterface) []string {
	var out []string
	for _, x := range anything(HostFacts{Interfaces: host}) {
		a := x.address.Addr()
		open := slices.ContainsFunc(l.Addrs, func(b netip.Addr) bool { return a == b || b.IsUnspecified() && a.Is4() == b.Is4() })
		if !open && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !x.on.Loopback {
			out = append(out, a.String()+" on "+x.on.Name)
		}
	}
	return out
}

// Idle are the entries of a listen list that mean no address of this host as it is now.
func Idle(list []string, host []HostInterface) []string {
	all := anything(HostFacts{Interfaces: host})
	return slices.DeleteFunc(slices.Clone(list), func(entry string) bool {
		a, err := netip.ParseAddr(entry)
		return entry == Everywhere || err == nil && a.IsUnspecified() ||
			slices.ContainsFunc(all, func(x candidate) bool { return x.address.Addr() == a || meansAddress(entry, x) })
	})
}

// isListen knows what can be listened on. What looks like an address that it is not was meant to be
// one, and is no interface.
func isListen(entry string) bool {
	if entry == Everywhere {
		return true
	}
	if a, err := netip.ParseAddr(entry); err == nil {
		return a.Zone() == "" && !a.IsMulticast() && !a.IsLinkLocalUnicast()
	}
	if _, err := netip.ParsePrefix(entry); err == nil {
		return true
	}
	return isInterface(entry) && strings.Trim(entry, "0123456789.") != ""
}
