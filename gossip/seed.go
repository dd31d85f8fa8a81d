package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// seed is one entry of Config.Join: an address, a name, or a name of SRV records. Names are looked
// up anew each time they are used, because what they stand for is what changes when hosts are
// replaced.
type seed struct {
	text string         // as configured
	addr netip.AddrPort // if it is an address
	host string         // else the name to look up
	port uint16
	srv  bool
}

// resolver is the part of *net.Resolver that seeds need.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// parseSeed reads "192.0.2.1", "[2001:db8::1]:7946", "name", "name:port" and "srv:name".
func parseSeed(text string, port uint16) (seed, error) {
	s := seed{text: text, port: port}
	fail := func(why string) (seed, error) {
		return seed{}, fmt.Errorf("join entry %q: %s; want an address, a name, either with :port, or srv:name", text, why)
	}
	if name, ok := strings.CutPrefix(text, "srv:"); ok {
		s.host, s.srv = name, true
		if !isHostname(name) {
			return fail("not a name")
		}
		return s, nil
	}
	host := text
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		s.addr = netip.AddrPortFrom(addr.Unmap(), port)
	} else if h, p, err := net.SplitHostPort(text); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fail("no such port")
		}
		host, s.port = h, uint16(n)
		if addr, err := netip.ParseAddr(h); err == nil {
			s.addr = netip.AddrPortFrom(addr.Unmap(), s.port)
		}
	}
	if s.addr.IsValid() {
		if err := checkReachable(s.addr); err != nil {
			return fail(err.Error())
		}
		return s, nil
	}
	s.host = host
	if !isHostname(host) {
		return fail("neither an address nor a name")
	}
	return s, nil
}

// isHostname is lenient: what is not a name will not be found either. It refuses what was surely
// meant as something else.
func isHostname(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// checkReachable refuses addresses under which no single other node can be.
func checkReachable(a netip.AddrPort) error {
	ip := a.Addr()
	switch {
	case !a.IsValid() || a.Port() == 0:
		return errors.New("address or port missing")
	case ip.IsUnspecified(), ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("not the address of one host")
	case ip.Is6() && ip.IsLinkLocalUnicast(), ip.Zone() != "":
		// memberlist carries no zone, and without it nobody can dial these.
		return errors.New("link-local: only usable with a zone, which gossip cannot carry")
	}
	return nil
}

// lookup returns the addresses that s stands for now.
func (s seed) lookup(ctx context.Context, r resolver) ([]netip.AddrPort, error) {
	switch {
	case s.addr.IsValid():
		return []netip.AddrPort{s.addr}, nil
	case s.srv:
		return s.lookupSRV(ctx, r)
	}
	return lookupHost(ctx, r, s.host, s.port)
}

func (s seed) lookupSRV(ctx context.Context, r resolver) ([]netip.AddrPort, error) {
	// A malformed record makes LookupSRV return the good ones and an error.
	_, records, err := r.LookupSRV(ctx, "", "", s.host)
	if len(records) == 0 && err != nil {
		return nil, fmt.Errorf("look up %s: %w", s.text, err)
	}
	var addrs []netip.AddrPort
	for _, rec := range records {
		found, lookupErr := lookupHost(ctx, r, rec.Target, rec.Port)
		addrs = append(addrs, found...)
		err = errors.Join(err, lookupErr)
	}
	if len(addrs) > 0 {
		return addrs, nil // one dead target must not hide the others
	}
	return nil, err
}

func lookupHost(ctx context.Context, r resolver, host string, port uint16) ([]netip.AddrPort, error) {
	ips, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	var addrs []netip.AddrPort
	for _, ip := range ips {
		a := netip.AddrPortFrom(ip.Unmap(), port)
		if checkReachable(a) == nil {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}
