package vip

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// schedule is when to announce, counted from the moment the address was taken. The first one moves
// every cache that hears it (about 0.1 ms); the rest are for those that did not: a lost frame, a
// switch port that is still learning, a neighbour that ignores a second change within its lock time
// of 1 s.
var schedule = []time.Duration{
	0, 100 * time.Millisecond, 300 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

const (
	// refresh keeps the tables of switches filled, which forget a silent port after 300 s, and
	// repairs whatever a false announcement did meanwhile.
	refresh = 30 * time.Second

	// localWithin bounds the wait until the kernel takes the address for its own: 0.02 to 7 ms in
	// IPv6, once more than 20. Longer than this, and an announcement that is early is better than
	// none.
	localWithin = 200 * time.Millisecond

	// sendTimeout bounds the wait for room in a socket's buffer, and so what an announcement on its
	// way can add to Drop.
	sendTimeout = 20 * time.Millisecond
)

// pause returns the time between announcement n and the next, n from 0.
func pause(n int) time.Duration {
	if n+1 < len(schedule) {
		return schedule[n+1] - schedule[n]
	}
	return refresh
}

// announcer calls announce at the times of the schedule, from each start on until announce returns
// false.
type announcer struct {
	announce func() bool
	begin    chan struct{}
}

func newAnnouncer(announce func() bool) *announcer {
	return &announcer{announce: announce, begin: make(chan struct{}, 1)}
}

// start begins the schedule, from its start if it is running. It never blocks.
func (n *announcer) start() {
	select {
	case n.begin <- struct{}{}:
	default: // a start is already asked for
	}
}

func (n *announcer) run(ctx context.Context) {
	timer := time.NewTimer(refresh)
	timer.Stop()
	defer timer.Stop()
	step := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.begin:
			step = 0
		case <-timer.C:
		}
		if !n.announce() {
			timer.Stop()
			continue
		}
		timer.Reset(pause(step))
		step++
	}
}

// announceOnce sends one announcement if this host is known to have the address, and reports
// whether to go on. A failure does not end the schedule: the link may be down for a moment, and the
// next announcement comes anyway.
func (a *Address) announceOnce() bool {
	if _, ours := a.announceable(); ours && a.cfg.Ready != nil {
		a.cfg.Ready()
	}
	a.awaitLocal()
	l, ours := a.announceable()
	if !ours {
		return false
	}
	err := a.speak(l)
	if _, ours = a.announceable(); !ours {
		return false // an error then only says that the address went
	}
	a.announced()
	if err != nil {
		level := slog.LevelWarn
		if a.mute {
			level = slog.LevelDebug // said once until it works again
		}
		a.log.Log(context.Background(), level, "announcement failed", "interface", l.name, "error", err)
	}
	a.mute = err != nil
	return true
}

// announced ends the wait of whoever builds upon it.
func (a *Address) announced() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.said != nil {
		close(a.said)
		a.said = nil
	}
}

// announceable reports whether the address is ours beyond doubt, and where. Past its lifetime it is
// not, whatever the watch has seen so far: the agent may have been frozen, and the kernel gave the
// address up.
func (a *Address) announceable() (l link, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.link, a.holding && !a.lost && !a.closed && time.Since(a.renewed) < a.lifetime
}

// awaitLocal waits until the kernel accepts what is sent to the address. In IPv6 it adds the route
// for that in the background, after the address: a client that heard of the address before would
// lose its first packet, and a second until it sends the next.
func (a *Address) awaitLocal() {
	for begin := time.Now(); a.addr.Is6() && time.Since(begin) < localWithin; time.Sleep(200 * time.Microsecond) {
		if _, ours := a.announceable(); !ours || isLocal(a.addr) {
			return
		}
	}
}

// speak sends the announcement from the socket at hand, or from a new one if the interface is
// another by now or the socket fails: one whose interface went down keeps that error until it is
// asked.
func (a *Address) speak(l link) error {
	if a.voice.link == l {
		if err := a.send(); err == nil {
			return nil
		}
	}
	v, err := newVoice(l, a.addr)
	if err != nil {
		return fmt.Errorf("open a socket for announcements: %w", err)
	}
	a.voice.discard(&a.tasks)
	a.voice = v
	return a.send()
}

// send asks once more, right before each frame, whether the address is ours: a process can be
// frozen between any two steps, and thawed when another host has the address.
func (a *Address) send() error {
	a.sending.Lock()
	defer a.sending.Unlock()
	for _, frame := range a.voice.frames {
		if _, ours := a.announceable(); !ours {
			return nil
		}
		if err := frame(); err != nil {
			return err
		}
	}
	return nil
}

// voice is a socket that only sends, and what it has to say. It is opened before it is needed:
// looking up an interface, and closing a packet socket, may have to wait for other work on the
// host's network (the kernel's RTNL lock, RCU), which was seen to take 10 to 700 ms. Sending does
// not wait.
type voice struct {
	link   link
	frames []func() error
	conn   io.Closer // nil: the interface has no neighbours to be told
}

func newVoice(l link, vip netip.Addr) (voice, error) {
	switch {
	case !l.hasNeighbours():
		return voice{link: l}, nil
	case vip.Is4():
		return newARPVoice(l, vip)
	}
	return newNDPVoice(l, vip)
}

// discard closes the socket without waiting for it; tasks does.
func (v voice) discard(tasks *errgroup.Group) {
	if v.conn != nil {
		tasks.Go(v.conn.Close)
	}
}

func newARPVoice(l link, vip netip.Addr) (voice, error) {
	// The filter accepts nothing.
	deaf := &packet.Config{Filter: []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: 0}}}
	conn, err := packet.Listen(&net.Interface{Index: l.index}, packet.Datagram, unix.ETH_P_ARP, deaf)
	if err != nil {
		return voice{}, err
	}
	frame := func(p arpPacket) func() error {
		return func() error { return sendARP(conn, p) }
	}
	return voice{l, []func() error{
		frame(arpAnnouncement(l.hw, vip)),
		frame(arpGratuitousReply(l.hw, vip)),
	}, conn}, nil
}

// sendARP broadcasts a packet; the kernel puts the Ethernet header before it.
func sendARP(conn *packet.Conn, p arpPacket) error {
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err := conn.WriteTo(p.marshal(), &packet.Addr{HardwareAddr: everyone})
	return err
}

func newNDPVoice(l link, vip netip.Addr) (voice, error) {
	conn, err := listenNDP(l)
	if err != nil {
		return voice{}, err
	}
	na := unsolicitedAdvertisement(l.hw, vip)
	return voice{l, []func() error{
		func() error { return sendNDP(conn, na, allNodes) },
	}, conn}, nil
}

func sendNDP(conn *ndp.Conn, m ndp.Message, to netip.Addr) error {
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	return conn.WriteTo(m, nil, to)
}

// listenNDP opens a socket that sends from the interface, and hears only the listed kinds of
// message, on any interface. The kernel chooses the source, the link-local address if there is one.
// The interface has no name here: package net would look its index up, slowly, and for up to 60 s
// wrongly if an interface was made again under an old name; the index is in the packet's control
// message.
func listenNDP(l link, kinds ...ipv6.ICMPType) (*ndp.Conn, error) {
	const leastMTU = 1280 // of IPv6, RFC 8200 section 5: the size of the buffer for reading
	conn, _, err := ndp.Listen(&net.Interface{Index: l.index, MTU: leastMTU}, ndp.Unspecified)
	if err != nil {
		return nil, err
	}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	for _, k := range kinds {
		filter.Accept(k)
	}
	if err := conn.SetICMPFilter(&filter); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
