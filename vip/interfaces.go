package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Interface is one of this host's, with the addresses that can be listened on: in IPv6, those for
// which the kernel does not look for a duplicate any more.
type Interface struct {
	Name         string
	Up, Loopback bool
	Addresses    []netip.Prefix
	// Lasting are those of them that the host itself goes by: not those that it changes every day
	// for the sake of privacy (RFC 8981), nor what it is about to give up.
	Lasting []netip.Prefix
}

// Interfaces asks the kernel for all of this host.
func Interfaces() ([]Interface, error) {
	h, err := readHost()
	if err != nil {
		return nil, err
	}
	var out []Interface
	for _, p := range h {
		i := Interface{Name: p.name, Up: p.flags&net.FlagUp != 0, Loopback: p.flags&net.FlagLoopback != 0}
		for _, a := range p.addresses {
			if a.Flags&unix.IFA_F_TENTATIVE == 0 || a.Flags&unix.IFA_F_OPTIMISTIC != 0 {
				i.Addresses = append(i.Addresses, prefixOf(a))
				// In IPv4 the first of these means another thing: a second address of a network.
				if !(addrOf(a).Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0) && a.Flags&unix.IFA_F_DEPRECATED == 0 {
					i.Lasting = append(i.Lasting, prefixOf(a))
				}
			}
		}
		out = append(out, i)
	}
	return out, nil
}

// DefaultRoutes are the names of the interfaces that the default route of a family leads out of. It
// reads all routes.
func DefaultRoutes() ([]string, error) {
	var out []string
	for _, all := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		network := &net.IPNet{IP: all.Addr().AsSlice(), Mask: net.CIDRMask(0, all.Addr().BitLen())}
		routes, err := netlink.RouteListFiltered(family(all.Addr()), &netlink.Route{Dst: network}, netlink.RT_FILTER_DST)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			for _, hop := range append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: r.LinkIndex}) {
				if ifi, err := net.InterfaceByIndex(hop.LinkIndex); err == nil {
					out = append(out, ifi.Name)
				}
			}
		}
	}
	return out, nil
}

// WatchInterfaces calls changed at first, and whenever an address or an interface of this host may
// have changed. It returns when ctx ends.
func WatchInterfaces(ctx context.Context, changed func()) {
	for ctx.Err() == nil {
		if events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR); err == nil {
			changed()
			drain(ctx, events, changed)
			if ctx.Err() == nil {
				changed() // what a lost event would have said
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(resubscribe):
		}
	}
}

// drain calls changed for each event until the subscription fails, as the end of ctx makes it do.
func drain(ctx context.Context, events *nl.NetlinkSocket, changed func()) {
	stop := context.AfterFunc(ctx, events.Close)
	defer events.Close()
	defer stop()
	for {
		switch _, from, err := events.Receive(); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return
		case from.Pid == nl.PidKernel: // any process may send to this socket
			changed()
		}
	}
}
