package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	bridgeName = "br0"
	upLimit    = 5 * time.Second // the kernel needs milliseconds
)

// network is the lab's namespace and the bridge in it, whose address is the client end.
type network struct {
	log    *slog.Logger
	ns     *os.File
	nl     *netlink.Handle // speaks to the kernel inside ns
	bridge netlink.Link
	filter *filter
}

func makeNetwork(ctx context.Context, n number, log *slog.Logger) (*network, error) {
	// `ip netns` rather than a call of our own: the mount that keeps a namespace must be seen by
	// the whole machine.
	if err := command(ctx, "", "ip", "netns", "add", n.namespace()); err != nil {
		return nil, fmt.Errorf("make the lab's network: %w", err)
	}
	ns, err := os.Open("/run/netns/" + n.namespace())
	if err != nil {
		return nil, fmt.Errorf("open the lab's network: %w", err)
	}
	w := &network{log: log, ns: ns, filter: newFilter(ns.Name())}
	w.nl, err = netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		return w, fmt.Errorf("open the lab's network: %w", err)
	}
	if err := w.makeBridge(n); err != nil {
		return w, fmt.Errorf("make the lab's bridge: %w", err)
	}
	return w, nil
}

func (w *network) makeBridge(n number) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	// A fixed address: a bridge without one takes that of a port, and changes it when that host
	// goes away.
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0x77, 0, 0, byte(n), clientHost}
	// Without a querier, snooping would drop multicast to everyone after some minutes.
	snooping := false
	w.bridge = &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := w.nl.LinkAdd(w.bridge); err != nil {
		return err
	}
	for _, name := range []string{"lo", bridgeName} {
		link, err := w.nl.LinkByName(name)
		if err != nil {
			return err
		}
		if err := w.nl.LinkSetUp(link); err != nil {
			return err
		}
		w.bridge = link
	}
	for _, prefix := range []string{n.ip(clientHost).String() + "/24", n.ip6(clientHost).String() + "/64"} {
		addr, err := netlink.ParseAddr(prefix)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := w.nl.AddrAdd(w.bridge, addr); err != nil {
			return fmt.Errorf("add %s: %w", prefix, err)
		}
	}
	return nil
}

func (w *network) close() error {
	if w.nl != nil {
		w.nl.Close()
	}
	return w.ns.Close()
}

// setLink takes a port of the bridge up or down. A port that is gone is down.
func (w *network) setLink(name string, up bool) error {
	link, err := w.nl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) && !up {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	set := w.nl.LinkSetDown
	if up {
		set = w.nl.LinkSetUp
	}
	if err := set(link); err != nil {
		return fmt.Errorf("set %s up=%t: %w", name, up, err)
	}
	return nil
}

// awaitUp waits until an interface carries frames, which is a moment after it was set up: only then
// does the bridge take it for a port.
func (w *network) awaitUp(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), upLimit)
	defer cancel()
	return Await(ctx, time.Millisecond, func() error {
		link, err := w.nl.LinkByName(name)
		if err == nil && link.Attrs().OperState != netlink.OperUp {
			err = fmt.Errorf("%s is %s", name, link.Attrs().OperState)
		}
		return err
	})
}

// inside calls f on a thread that is in the namespace for the duration: sockets that f itself makes
// belong to it.
func (w *network) inside(f func() error) error {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the lab's network: %w", err)
	}
	defer own.Close()
	if err := unix.Setns(int(w.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the lab's network: %w", err)
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		// Still locked: the runtime ends this thread with the goroutine rather than use it for
		// others.
		return errors.Join(err, fmt.Errorf("leave the lab's network: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// InNetwork calls f on a thread that is inside the lab's network, at its client end. Only what f
// does on its own goroutine happens there; sockets that it opens stay there.
func (l *Lab) InNetwork(f func() error) error { return l.net.inside(f) }

// DialContext connects from the client end, like net.Dialer.DialContext. The host part may be the
// name of a host of the lab. The connection is an ordinary one, used from any goroutine.
func (l *Lab) DialContext(ctx context.Context, networkName, address string) (net.Conn, error) {
	address, err := l.resolve(address)
	if err != nil {
		return nil, err
	}
	type dialled struct {
		conn net.Conn
		err  error
	}
	// On a goroutine of its own: should the way back out of the namespace ever fail, the caller's
	// thread is not lost.
	done := make(chan dialled, 1)
	go func() {
		var d dialled
		err := l.net.inside(func() error {
			// An address needs no look-up and no second attempt, so the dialler makes its socket
			// right here.
			d.conn, d.err = new(net.Dialer).DialContext(ctx, networkName, address)
			return nil
		})
		if err != nil && d.err == nil {
			d.err = err
		}
		done <- d
	}()
	d := <-done
	return d.conn, d.err
}

func (l *Lab) resolve(address string) (string, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if net.ParseIP(name) != nil {
		return address, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		if h.name == name {
			return net.JoinHostPort(h.Addr().String(), port), nil
		}
	}
	return "", fmt.Errorf("the lab has no host %q", name)
}

// Command is a program of this machine (redis-cli, tcpdump) that runs at the lab's client end.
func (l *Lab) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + l.net.ns.Name(), "--", name}, args...)...)
}
