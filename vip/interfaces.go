package vip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Interface is one of this host's, with the addresses that can be listened on: in IPv6, those for
// which the kernel does not look for a duplicate any more.
type Interface struct {
	Name         string
	Up, Loopback bool
	Addresses    []netip.Prefix
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
			}
		}
		out = append(out, i)
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
