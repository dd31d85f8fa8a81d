// Package vip holds, drops and announces one floating address (VIP) on this host.
//
// The address is a dead man's switch: it is added with a kernel lifetime and exists only while
// somebody keeps calling [Address.Hold]. An agent that dies, hangs or is frozen loses it without
// running a line of code, because the kernel itself takes the address away.
//
// The package never decides who may hold the address, never holds it longer than it was told to,
// never touches another address of the host, and never announces an address that this host may have
// lost. It keeps no state on disk: what the kernel says is the truth.
//
// It also has the tools with which clients follow the address to another host at once:
// [Address.AwaitElsewhere], [Address.Park], [Connections], [Destroy], [Address.Tickle]. When they
// are used is the caller's to say.
//
// It is called by package agent (one Address for each VIP), by `redisd check` ([FindInterface]) and
// by ExecStopPost= ([Release]). It is the only code of redisd that needs CAP_NET_ADMIN (the
// address, the ends of connections) and CAP_NET_RAW (ARP and neighbour discovery, parked
// connections, tickles). DESIGN.md, beside this file, says why each choice was made.
package vip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/socket"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// DefaultLifetime outlives ten renewals at the agent's pace of 500 ms, so a busy host does not
	// lose its address, and still bounds how long a dead agent's host answers for it.
	DefaultLifetime = 5 * time.Second

	// MinLifetime is the kernel's own grain: valid_lft counts whole seconds, and zero is refused by
	// it.
	MinLifetime = time.Second

	// netlinkTimeout bounds the wait for an answer that never comes. The kernel answers while it
	// takes the request, so this is not a pace, only a stop.
	netlinkTimeout = time.Second
)

// ErrForeign is wrapped by errors about a copy of the VIP that somebody else put on this host and
// that cannot be removed without taking the host's own addresses along. Only the operator can cure
// it.
var ErrForeign = errors.New("configured by something other than redisd")

// Config says which address to hold, and where.
type Config struct {
	// Prefix is the address in its network, such as 10.0.0.100/24. The length serves to find the
	// interface; the address is held as /32 or /128.
	Prefix netip.Prefix

	// Interface to hold it on; empty: the one that [FindInterface] names.
	Interface string

	// Lifetime the kernel keeps the address for after the last Hold, rounded up to whole seconds;
	// zero: DefaultLifetime.
	Lifetime time.Duration

	// Ready is called when the host has the address, before each announcement of it: whoever comes
	// for it must find somebody listening. It must not take long; nil: nothing has to be done.
	Ready func() `json:"-"`
}

// Address is one VIP of this host. Its methods may be called from any goroutine.
type Address struct {
	cfg      Config
	addr     netip.Addr
	lifetime time.Duration
	log      *slog.Logger

	announcer *announcer
	heard     *hearsay
	changed   chan struct{}
	stop      context.CancelFunc
	ended     <-chan struct{} // closed by stop
	tasks     errgroup.Group

	// sending is held while frames go out. Drop passes through it last, so that no announcement of
	// ours can follow a completed Drop and undo the next holder's.
	sending sync.Mutex
	voice   voice // the announcer's own, like mute
	mute    bool  // the last announcement failed

	mu      sync.Mutex // guards what follows, and the order of kernel calls
	kernel  *netlink.Handle
	link    link
	own     map[int]hardware // of every interface of this host, by index
	running bool             // the link is up and has a carrier
	closed  bool
	holding bool          // Hold succeeded and no Drop came since
	lost    bool          // while holding, the address was found gone
	renewed time.Time     // just before the last successful Hold asked the kernel
	taken   time.Time     // the same of the first Hold since the last Drop
	said    chan struct{} // closed when the first announcement since then has been sent; nil: it has
	trap    *socket.Conn  // what Park will catch SYNs with
	parking *parking      // the Park under way
}

// New finds the interface, starts watching it and returns the Address, not holding anything: an
// address left by an earlier agent stays as it is until Hold renews it, Drop removes it or its
// lifetime ends.
func New(cfg Config, log *slog.Logger) (*Address, error) {
	cfg, err := cfg.normal()
	if err != nil {
		return nil, err
	}
	host, err := readHost()
	if err != nil {
		return nil, fmt.Errorf("prepare VIP %s: %w", cfg.Prefix, err)
	}
	l, err := host.find(cfg)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(host.foreign(cfg.Prefix.Addr())...); err != nil {
		return nil, fmt.Errorf("prepare VIP %s: %w", cfg.Prefix, err)
	}
	a := &Address{
		cfg:      cfg,
		addr:     cfg.Prefix.Addr(),
		lifetime: cfg.Lifetime,
		log:      log.With("vip", cfg.Prefix.Addr().String()),
		heard:    newHearsay(),
		changed:  make(chan struct{}, 1),
		link:     l,
		own:      host.hardware(),
	}
	a.announcer = newAnnouncer(a.announceOnce)
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("prepare VIP %s on %s: %w", cfg.Prefix, l.name, explain(err, l.name))
	}
	return a, nil
}

// open opens the sockets, all that Hold, Drop and the first announcement need, and starts the
// tasks.
func (a *Address) open() (err error) {
	if a.voice, err = newVoice(a.link, a.addr); err != nil {
		return fmt.Errorf("open a socket for announcements: %w", err)
	}
	defer func() {
		if err != nil {
			a.voice.discard(&a.tasks)
			_ = a.tasks.Wait()
		}
	}()
	var e ear
	if a.link.hasNeighbours() {
		if e, err = newEar(a.link, a.addr); err != nil {
			return fmt.Errorf("open a socket to hear announcements: %w", err)
		}
		defer func() {
			if err != nil {
				e.Close()
			}
		}()
	}
	if a.trap, err = newTrap(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			a.trap.Close()
		}
	}()
	if a.kernel, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	_ = a.kernel.SetSocketTimeout(netlinkTimeout) // fails only for a timeout under 1 µs
	// Subscribed before New returns: whatever happens to the address from here on is seen.
	events, err := subscribe(a.addr)
	if err != nil {
		a.kernel.Close()
		return fmt.Errorf("watch addresses: %w", err)
	}
	a.running = a.linkRunning()
	ctx, stop := context.WithCancel(context.Background())
	a.stop, a.ended = stop, ctx.Done()
	if e != nil {
		a.tasks.Go(func() error { a.listen(ctx, e); return nil })
	}
	a.tasks.Go(func() error { a.announcer.run(ctx); a.voice.discard(&a.tasks); return nil })
	a.tasks.Go(func() error { a.watch(ctx, events); return nil })
	return nil
}

// normal checks cfg and fills in its defaults.
func (cfg Config) normal() (Config, error) {
	prefix, err := checkPrefix(cfg.Prefix)
	if err != nil {
		return Config{}, err
	}
	cfg.Prefix = prefix
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultLifetime
	}
	if cfg.Lifetime < MinLifetime {
		return Config{}, fmt.Errorf("VIP %s: lifetime %s is under %s, the kernel's grain", prefix, cfg.Lifetime, MinLifetime)
	}
	cfg.Lifetime = (cfg.Lifetime + time.Second - 1).Truncate(time.Second)
	return cfg, nil
}

// String returns the address and the interface it belongs on.
func (a *Address) String() string { return a.addr.String() + " on " + a.Interface() }

// Prefix returns the configured address in its network.
func (a *Address) Prefix() netip.Prefix { return a.cfg.Prefix }

// Interface returns the name of the interface that carries, or would carry, the address.
func (a *Address) Interface() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.link.name
}

// Hold adds the address, or renews its lifetime: one request to the kernel either way. The first
// Hold, and any Hold that finds the address was gone, starts the announcements in the background. A
// done ctx adds nothing: a decision that took too long is not carried out.
func (a *Address) Hold(ctx context.Context) error {
	first, again, iface, err := a.hold(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("hold VIP %s on %s: %w", a.addr, iface, explain(err, iface))
	case first:
		a.log.Info("address held", "interface", iface)
	case again:
		a.log.Warn("address was gone, held again", "interface", iface)
	}
	return nil
}

// hold is Hold without its words: nothing is logged under the lock, since a log that blocks would
// then block Drop.
func (a *Address) hold(ctx context.Context) (first, again bool, iface string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false, false, a.link.name, net.ErrClosed
	}
	if err := ctx.Err(); err != nil { // after the lock, which may have been waited for
		return false, false, a.link.name, err
	}
	// Taken before the request, so that we never believe in the address for longer than the kernel
	// does.
	asked := time.Now()
	if err := a.replace(); err != nil {
		return false, false, a.link.name, err
	}
	contested := a.contested()
	first = !a.holding
	again = !first && (a.lost || asked.Sub(a.renewed) >= a.lifetime)
	a.holding, a.lost, a.renewed = true, false, asked
	a.stopParking()
	if first {
		a.taken, a.said = asked, make(chan struct{})
	}
	if first || again || contested {
		a.announcer.start()
	}
	return first, again, a.link.name, nil
}

// contested: another host has announced the address since the last renewal; one that was paused,
// and still has it, does so when it wakes up. Who calls Hold is sure that the address belongs here,
// and says so again. The caller has a.mu.
func (a *Address) contested() bool { return a.holding && a.heard.since(a.renewed) }

// replace asks the kernel for the address. An interface that was deleted and made again (networkd
// does so with VLANs and bridges) has another index: it is looked for once more.
func (a *Address) replace() error {
	err := replaceAddress(a.kernel, a.link.index, a.addr, a.lifetime)
	if !errors.Is(err, unix.ENODEV) {
		return err
	}
	host, err := readHost()
	if err != nil {
		return err
	}
	l, err := host.find(a.cfg)
	if err != nil {
		return err
	}
	a.link = l
	return replaceAddress(a.kernel, l.index, a.addr, a.lifetime)
}

// Drop removes the address from this host, wherever it is, and ends the announcements; when it has
// returned, none will follow. It is idempotent, does not depend on who added the address, and is
// carried out even when ctx is done or the Address is closed: letting go is never called off.
// Connections to the address are the caller's to close first, while it still exists.
func (a *Address) Drop(context.Context) error {
	a.mu.Lock()
	was := a.holding
	a.holding, a.lost = false, false
	// The usual place first, at the cost of one request; then look whether there are others.
	err := removeAddress(a.kernel, ownAddress(a.link.index, a.addr))
	if err == nil {
		err = removeCopies(a.kernel, a.addr)
	}
	name := a.link.name
	a.mu.Unlock()

	a.finishSending()
	if err != nil {
		return fmt.Errorf("drop VIP %s: %w", a.addr, explain(err, name))
	}
	if was {
		a.log.Info("address dropped", "interface", name)
	}
	return nil
}

// finishSending waits for a frame that is on its way.
func (a *Address) finishSending() {
	a.sending.Lock()
	defer a.sending.Unlock()
}

// Held asks the kernel whether this host has the address, on any interface and with any prefix
// length: what matters is whether it answers for it.
func (a *Address) Held() (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	held, err := present(a.kernel, a.addr)
	if err != nil {
		return false, fmt.Errorf("look for VIP %s: %w", a.addr, err)
	}
	return held, nil
}

// AwaitAnnounced returns when the address has been announced since it was taken, or ctx is done.
func (a *Address) AwaitAnnounced(ctx context.Context) {
	a.mu.Lock()
	said := a.said
	a.mu.Unlock()
	if said == nil {
		return
	}
	select {
	case <-said:
	case <-ctx.Done():
	}
}

// Announce runs the announcements again from the start, if the address is held: for a caller that
// saw a second owner. (After a link came back they run by themselves.)
func (a *Address) Announce() { a.announcer.start() }

// Changed receives when the address or its interface changed by another hand: the address was
// removed (or its lifetime ended) while held, appeared while not held, or the interface went up or
// down. Several changes may be one receive; it only means "look again". It is never closed.
func (a *Address) Changed() <-chan struct{} { return a.changed }

// Close stops the announcements and the watching. It does not drop the address, which stays until
// its lifetime ends: Drop first to be rid of it at once.
func (a *Address) Close() error {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		// The handle's calls keep working without its sockets (each opens its own), so Held and
		// Drop remain usable.
		a.kernel.Close()
		a.stopParking()
		if a.trap != nil {
			a.tasks.Go(a.trap.Close)
			a.trap = nil
		}
	}
	a.mu.Unlock()
	a.stop()
	return a.tasks.Wait()
}

// Release removes the address from every interface. It needs no state and no Address: it is what
// ExecStopPost= runs when the agent has died.
func Release(prefix netip.Prefix) error {
	prefix, err := checkPrefix(prefix)
	if err != nil {
		return err
	}
	if err := removeCopies(&netlink.Handle{}, prefix.Addr()); err != nil {
		return fmt.Errorf("release VIP %s: %w", prefix.Addr(), explain(err, ""))
	}
	return nil
}

// explain adds the cure to the kernel's terse refusals.
func explain(err error, iface string) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: CAP_NET_ADMIN and CAP_NET_RAW are needed (AmbientCapabilities= of redisd.service)", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: IPv6 is switched off there (sysctl net.ipv6.conf.%s.disable_ipv6)", err, iface)
	}
	return err
}
