package vip

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// resubscribe is the pause before another try when the subscription itself failed (no file
// descriptors, say). Meanwhile the caller's own rounds see what it would have reported.
const resubscribe = time.Second

// subscribe asks the kernel to report changes of links and of the family's addresses.
func subscribe(addr netip.Addr) (*nl.NetlinkSocket, error) {
	group := uint(unix.RTNLGRP_IPV4_IFADDR)
	if addr.Is6() {
		group = unix.RTNLGRP_IPV6_IFADDR
	}
	return nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, group)
}

// watch reports changes until ctx is done. It closes events.
func (a *Address) watch(ctx context.Context, events *nl.NetlinkSocket) {
	for {
		err := a.receive(ctx, events)
		events.Close()
		// ENOBUFS: more happened than the kernel keeps for us. It says so once, and then loses
		// events silently until the socket has been read empty; so only a new socket, and a look
		// after it was opened, miss nothing.
		if errors.Is(err, unix.ENOBUFS) {
			events, err = subscribe(a.addr)
		}
		for err != nil {
			if ctx.Err() != nil {
				return
			}
			a.log.Warn("watching addresses failed", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(resubscribe):
			}
			events, err = subscribe(a.addr)
		}
		a.resync()
	}
}

// receive handles events until the socket fails, which the end of ctx makes it do.
func (a *Address) receive(ctx context.Context, events *nl.NetlinkSocket) error {
	stop := context.AfterFunc(ctx, events.Close)
	defer stop()
	for {
		msgs, from, err := events.Receive()
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case from.Pid == nl.PidKernel: // any process may send to this socket
			for _, m := range msgs {
				a.handle(m)
			}
		}
	}
}

// handle looks at one event. Most are of no interest: our own renewals, and whatever else happens
// on the host.
func (a *Address) handle(m syscall.NetlinkMessage) {
	switch m.Header.Type {
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if parseAddressEvent(m.Data) == a.addr {
			a.addressChanged(m.Header.Type == unix.RTM_NEWADDR)
		}
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if l, running, ok := parseLinkEvent(m.Data); ok {
			there := m.Header.Type == unix.RTM_NEWLINK
			a.learnHardware(l, there)
			a.linkChanged(l, running && there)
		}
	}
}

// addressChanged handles the coming (or renewing) and the going of the VIP. What we want anyway is
// of no interest, and whether the event is older than our last call is told by the kernel.
func (a *Address) addressChanged(added bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if added == a.holding {
		return
	}
	held, err := present(a.kernel, a.addr)
	if err == nil && held == a.holding {
		return
	}
	if err == nil && !held {
		a.lost = true
	}
	a.notify()
}

// linkChanged handles a change of an interface. One that was made again under its name only counts
// as a change: Hold looks for it.
func (a *Address) linkChanged(l link, running bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ours := l.index == a.link.index
	if !ours && l.name != a.link.name {
		return
	}
	// Not every event has the hardware address in it.
	moved := ours && l.hasNeighbours() && l.hw != a.link.hw
	if moved {
		a.link.hw = l.hw
	}
	if running != a.running {
		a.running = running
		a.notify()
		moved = moved || running // what neighbours and switches knew may be gone or wrong
	}
	if moved {
		a.announcer.start()
	}
}

// learnHardware keeps the list of this host's own hardware addresses.
func (a *Address) learnHardware(l link, there bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !there:
		delete(a.own, l.index)
	case l.hasNeighbours(): // not every event has it
		a.own[l.index] = l.hw
	}
}

// resync looks at what lost events would have said.
func (a *Address) resync() {
	host, err := readHost() // not under the lock: it may take long
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.own = host.hardware()
	}
	if held, err := present(a.kernel, a.addr); a.holding && err == nil && !held {
		a.lost = true
	}
	running := a.linkRunning()
	if running && !a.running {
		a.announcer.start()
	}
	a.running = running
	a.notify()
}

// notify wakes the receiver of Changed; one wake-up is enough for many changes.
func (a *Address) notify() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// linkRunning asks the kernel whether the interface is up and has a carrier.
func (a *Address) linkRunning() bool {
	l, err := a.kernel.LinkByIndex(a.link.index)
	return err == nil && isRunning(l.Attrs().RawFlags)
}

func isRunning(flags uint32) bool {
	const both = unix.IFF_UP | unix.IFF_RUNNING
	return flags&both == both
}

// parseAddressEvent returns the address of an RTM_NEWADDR or RTM_DELADDR; IFA_LOCAL is the host's
// own where the peer's is given too.
func parseAddressEvent(b []byte) (addr netip.Addr) {
	if len(b) < unix.SizeofIfAddrmsg {
		return addr
	}
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return addr
	}
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.IFA_LOCAL:
			addr, _ = netip.AddrFromSlice(attr.Value)
			return addr
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(attr.Value)
		}
	}
	return addr
}

// parseLinkEvent returns the interface of an RTM_NEWLINK or RTM_DELLINK. Those of the bridge family
// are not about the interface but about its place in a bridge: leaving one looks like RTM_DELLINK.
func parseLinkEvent(b []byte) (l link, running, ok bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return link{}, false, false
	}
	msg := nl.DeserializeIfInfomsg(b)
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofIfInfomsg:])
	if err != nil || msg.Family != unix.AF_UNSPEC {
		return link{}, false, false
	}
	var name string
	var hw []byte
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.IFLA_IFNAME:
			name = unix.ByteSliceToString(attr.Value)
		case unix.IFLA_ADDRESS:
			hw = attr.Value
		}
	}
	return newLink(name, int(msg.Index), hw), isRunning(msg.Flags), true
}
