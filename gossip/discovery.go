package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// DiscoveryPort is the UDP port of the beacons, on the multicast groups below and nowhere else.
	// It is the same for every cluster: whom a beacon concerns is decided by who can open it.
	DiscoveryPort = 7947

	// beaconAlone and beaconJoined are how often a node calls out. A newcomer is heard at its first
	// call by everybody there; the slow calls are for two groups that do not know of each other.
	beaconAlone  = 500 * time.Millisecond
	beaconJoined = 5 * time.Second

	// rejoinGroup is how often the group is left and joined again. Switches that snoop on IGMP and
	// MLD without a querier in the network forget a listener after 260 s (RFC 2236 §8.4, RFC 3810
	// §9.4) and only hear of it again when it joins.
	rejoinGroup = 2 * time.Minute

	// beaconBudget is how many packets are looked at in a beaconWindow; a host that has more coming
	// leaves the rest to the kernel, which drops them at no cost. Forty nodes starting at once need
	// less.
	beaconBudget = 100
	beaconWindow = time.Second

	// noGroupPause is the wait when the group cannot be joined: the interface may be down yet.
	noGroupPause = 2 * time.Second
)

// The groups, neither of which a router forwards: RFC 2365's scope for one site with a hop limit of
// one, and RFC 4291's link-local scope, transient.
var (
	discoveryGroup4 = netip.MustParseAddr("239.255.79.47")
	discoveryGroup6 = netip.MustParseAddr("ff12::7265:6469:7364")
)

// discovery finds the other nodes on the local network. It sends beacons on a clock, never because
// of one that it received, so no packet can make it send another; what a beacon can bring about is
// a connection to the address that is sealed in it, and rejoiner bounds those.
type discovery struct {
	sealer  sealer
	me      beacon
	alone   func() bool
	found   func(beacon)     // called for each beacon of another node; must not block
	sealed  func(netip.Addr) // called with the sender of one that cannot be opened; must not block
	journal *journal

	group netip.Addr

	worked time.Time // when sending last worked; run's goroutine only
}

func newDiscovery(cfg Config, alone func() bool, found func(beacon), sealed func(netip.Addr), j *journal) (*discovery, error) {
	s, err := newSealer(cfg.Key)
	if err != nil {
		return nil, err
	}
	d := &discovery{
		sealer: s, me: beacon{Cluster: cfg.Cluster, ID: cfg.ID, Addr: cfg.Advertise},
		alone: alone, found: found, sealed: sealed, journal: j, group: discoveryGroup4,
	}
	if cfg.Advertise.Addr().Is6() {
		d.group = discoveryGroup6
	}
	return d, nil
}

// run calls and listens until ctx ends.
func (d *discovery) run(ctx context.Context) {
	d.worked = time.Now()
	for ctx.Err() == nil {
		err := d.session(ctx)
		if err == nil {
			continue
		}
		d.complain(err)
		select {
		case <-ctx.Done():
		case <-time.After(noGroupPause):
		}
	}
}

// complain tells the operator, once it has lasted: at boot the interface may still be on its way.
func (d *discovery) complain(err error) {
	if time.Since(d.worked) > aloneGrace {
		d.journal.complain("discovery", slog.LevelWarn, "cannot look for members on the local network",
			"error", err, "cure", "list them as cluster.join")
	}
}

// session is one membership of the group: until it is due for renewal, the interface changes, or
// something fails.
func (d *discovery) session(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rejoinGroup)
	defer cancel()
	ifi, err := interfaceWith(d.me.Addr.Addr())
	if err != nil {
		return err
	}
	conn, err := joinGroup(d.group, ifi)
	if err != nil {
		return fmt.Errorf("join %s on %s: %w", d.group, ifi.Name, err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { d.listen(ctx, conn) })
	err = d.call(ctx, conn, ifi)
	cancel()
	err = errors.Join(err, ignoreClosed(conn.Close()))
	wg.Wait()
	return err
}

// call sends beacons.
func (d *discovery) call(ctx context.Context, conn *net.UDPConn, ifi *net.Interface) error {
	to := netip.AddrPortFrom(d.group, DiscoveryPort)
	if d.group.Is6() {
		to = netip.AddrPortFrom(d.group.WithZone(ifi.Name), DiscoveryPort)
	}
	lastCheck := time.Now()
	for {
		if _, err := conn.WriteToUDPAddrPort(d.sealer.seal(d.me), to); err != nil {
			d.complain(fmt.Errorf("send a beacon on %s: %w", ifi.Name, err)) // no carrier, say
		} else {
			d.worked = time.Now()
		}
		pause := beaconJoined
		if d.alone() {
			pause = beaconAlone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(jitter(pause)):
		}
		if time.Since(lastCheck) > beaconJoined/2 {
			lastCheck = time.Now()
			if now, err := interfaceWith(d.me.Addr.Addr()); err != nil || now.Index != ifi.Index {
				return err // nil: it is another interface now, join there
			}
		}
	}
}

// listen hands on the beacons of others.
func (d *discovery) listen(ctx context.Context, conn *net.UDPConn) {
	buf := make([]byte, maxBeacon+1)
	window, seen := time.Now(), 0
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if seen++; seen > beaconBudget || err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(window.Add(beaconWindow))):
			}
		}
		if time.Since(window) >= beaconWindow {
			window, seen = time.Now(), 0
		}
		if err != nil {
			continue
		}
		b, err := d.sealer.open(buf[:n])
		if err != nil && bytes.HasPrefix(buf[:n], []byte(beaconMagic)) {
			d.sealed(from.Addr().Unmap().WithZone(""))
		}
		if err != nil || b.Cluster != d.me.Cluster || b == d.me {
			continue // not ours, or our own come back
		}
		d.found(b)
	}
}

// interfaceWith returns the interface that holds ip.
func interfaceWith(ip netip.Addr) (*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for i := range all {
		addrs, err := all[i].Addrs()
		if err != nil {
			continue // gone since the list was made
		}
		if slices.ContainsFunc(addrs, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			// All of 127.0.0.0/8 is lo's.
			return err == nil && (p.Addr().Unmap() == ip || ip.IsLoopback() && p.Contains(ip))
		}) {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("no interface holds %s", ip)
}

// joinGroup opens a socket that receives what is sent to the group on that interface and nothing
// else. System calls make it because package net binds such a socket to every address instead,
// where unicast from anywhere on the internet arrives too.
func joinGroup(group netip.Addr, ifi *net.Interface) (*net.UDPConn, error) {
	var addr unix.Sockaddr
	family := unix.AF_INET
	if group.Is4() {
		addr = &unix.SockaddrInet4{Port: DiscoveryPort, Addr: group.As4()}
	} else {
		family = unix.AF_INET6
		addr = &unix.SockaddrInet6{Port: DiscoveryPort, Addr: group.As16(), ZoneId: uint32(ifi.Index)}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "discovery")
	defer file.Close() // FilePacketConn works on a copy
	if err := setGroupOptions(fd, group, ifi.Index); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, addr); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

func setGroupOptions(fd int, group netip.Addr, index int) error {
	set := func(level, option, value int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, value))
	}
	if group.Is6() {
		return errors.Join(
			set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), // several nodes on one host
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 1),
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0),
			os.NewSyscallError("join", unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
				&unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)})),
		)
	}
	mreq := &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)}
	return errors.Join(
		set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		os.NewSyscallError("setsockopt", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, mreq)),
		set(unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 1),
		// Without this, what another process joined on another interface would be received here as
		// well.
		set(unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0),
		os.NewSyscallError("join", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, mreq)),
	)
}
