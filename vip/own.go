package vip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// WatchOwn watches an address that the host has by itself, and that this package never touches. It
// calls seen at first, and after every change: with the interface that has the address, empty when
// none has. It returns when ctx ends.
func WatchOwn(ctx context.Context, addr netip.Addr, seen func(iface string)) {
	look := func() {
		if iface, err := ownInterface(addr); err == nil {
			seen(iface)
		}
	}
	for ctx.Err() == nil {
		if events, err := subscribe(addr); err == nil {
			look()
			watchOwn(ctx, events, addr, look)
			if ctx.Err() == nil {
				look() // what a lost event would have said
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(resubscribe):
		}
	}
}

// watchOwn calls changed until the subscription fails, which the end of ctx makes it do.
func watchOwn(ctx context.Context, events *nl.NetlinkSocket, addr netip.Addr, changed func()) {
	stop := context.AfterFunc(ctx, events.Close)
	defer events.Close()
	defer stop()
	for {
		msgs, from, err := events.Receive()
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return
		case from.Pid == nl.PidKernel && concerns(msgs, addr):
			changed()
		}
	}
}

func concerns(msgs []syscall.NetlinkMessage, addr netip.Addr) bool {
	for _, m := range msgs {
		switch m.Header.Type {
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			if parseAddressEvent(m.Data) == addr {
				return true
			}
		}
	}
	return false
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
