// Package gossip tells a redisd node who else belongs to its cluster and carries messages between
// the agents, over hashicorp/memberlist.
//
// It is called by package agent. It finds the other nodes (from a list, by name, on the local
// network, or from memory), keeps trying for ever, refuses those of another cluster, and notices
// within seconds when one is gone.
//
// It never decides anything: it has no quorum, is seconds late, and two nodes may see different
// members. Who is primary and who may vote is settled by others, with the messages that this
// package delivers. It knows nothing of what they say, and it starts no process and touches no
// file.
//
// DESIGN.md says why it is as it is.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// MaxPacket is the largest payload of Send. With label, encryption and headers it stays under
	// 1400 bytes, which passes VXLAN and WireGuard unfragmented.
	MaxPacket = 1200

	// MaxReliable is the largest payload of SendReliable. The receiver has two seconds for it, on a
	// host that may be short of everything.
	MaxReliable = 256 << 10

	// metaGap and metaDataGap are the least time between two announcements of changed metadata. Key
	// counts change with every write; announcing each would keep every node busy with them.
	metaGap     = 250 * time.Millisecond
	metaDataGap = 5 * time.Second

	// updateTimeout bounds one announcement; memberlist repeats it by itself.
	updateTimeout = 500 * time.Millisecond
)

// ErrClosed is returned by what is called after Close.
var ErrClosed = errors.New("gossip is closed")

// Gossip is this node's membership. Start makes one; Close ends it.
type Gossip struct {
	cfg       Config
	instance  uint64 // of this process, to tell a clone from a restart
	ml        *memberlist.Memberlist
	transport *transport
	roster    *roster
	inbox     *inbox
	journal   *journal
	rejoiner  *rejoiner
	claims    *claims
	strangers strangers

	remembering sync.Mutex                              // one remember at a time
	wanted      atomic.Pointer[map[netip.AddrPort]bool] // addresses of the dead

	encoded atomic.Pointer[[]byte] // metadata for memberlist
	dirty   chan struct{}          // capacity 1: metadata changed

	seek context.CancelFunc // ends what looks for others; Leave calls it
	stop context.CancelFunc // ends everything
	wg   sync.WaitGroup

	exit sync.Mutex // one Leave or Close at a time
	left bool

	mu     sync.Mutex
	meta   Meta
	closed bool
}

// Start listens, announces this node and begins to look for the others. It returns at once; that
// others were reached is seen in Members.
func Start(cfg Config, log *slog.Logger) (*Gossip, error) {
	seeds, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	encoded, err := cfg.Meta.encode()
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	t, err := listen(cfg.Bind, cfg.Advertise)
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	g := &Gossip{
		cfg: cfg, instance: rand.Uint64(), transport: t, meta: cfg.Meta,
		roster:  newRoster(Member{Meta: cfg.Meta, Addr: cfg.Advertise, State: Alive, Since: time.Now()}),
		inbox:   newInbox(inboxDepth),
		journal: newJournal(log),
		dirty:   make(chan struct{}, 1),
	}
	g.encoded.Store(&encoded)
	g.wanted.Store(&map[netip.AddrPort]bool{})
	g.claims = newClaims(g)
	g.rejoiner = g.newRejoiner(seeds)
	t.heard, t.cut = g.heard, cfg.cut
	t.start()
	if g.ml, err = memberlist.Create(g.memberlistConfig()); err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip: %w", err), t.Shutdown())
	}
	if err := g.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip: %w", err), g.Close())
	}
	return g, nil
}

// begin starts the goroutines; Close waits for them.
func (g *Gossip) begin() error {
	ctx, stop := context.WithCancel(context.Background())
	seeking, seek := context.WithCancel(ctx)
	g.stop, g.seek = stop, seek
	g.wg.Go(func() { g.run(ctx) })
	g.wg.Go(func() { g.claims.run(ctx) })
	g.wg.Go(func() { g.publish(seeking) })
	g.wg.Go(func() { g.rejoiner.run(seeking) })
	if !g.cfg.Discovery {
		return nil
	}
	d, err := newDiscovery(g.cfg, g.alone, g.found, g.sealed, g.journal)
	if err != nil {
		return err
	}
	g.wg.Go(func() { d.run(seeking) })
	return nil
}

// Members returns every node that was ever heard of, by ID: this one, those that are up, and those
// that are dead or left. Nodes that Accept refuses are not among them. It may be called from
// Accept.
func (g *Gossip) Members() []Member { return g.roster.members() }

// Changed signals that Members returns something else than before. Signals are coalesced: one may
// stand for many changes.
func (g *Gossip) Changed() <-chan struct{} { return g.roster.changed }

// Messages returns what other nodes sent to this one, in no particular order: memberlist serves the
// newest first when several wait. When the reader lags by more than about a thousand messages the
// oldest are dropped. The channel is closed by Close.
func (g *Gossip) Messages() <-chan Message { return g.inbox.ch }

// Stats are figures for monitoring.
type Stats struct {
	Dropped uint64 // messages lost because nobody read them
	Health  int    // memberlist's own: 0 is well, up to 7 the slower this node is
}

// Stats returns the present figures.
func (g *Gossip) Stats() Stats {
	return Stats{Dropped: g.inbox.dropped(), Health: g.ml.GetHealthScore()}
}

// SetMeta changes what this node says about itself. It returns at once; the others learn of it
// within a second, of a change in Data alone within some five. Members show it at once.
func (g *Gossip) SetMeta(m Meta) error {
	if m.ID != g.cfg.ID {
		return fmt.Errorf("set node metadata: id %q is not this node's, %q", m.ID, g.cfg.ID)
	}
	encoded, err := m.encode()
	if err != nil {
		return err
	}
	g.mu.Lock()
	old := g.meta
	g.meta = m
	g.encoded.Store(&encoded)
	g.mu.Unlock()
	if m == old {
		return nil
	}
	g.roster.setSelf(m)
	g.review()
	notify(g.dirty)
	return nil
}

// Send sends one packet to the gossip address of any node, whatever this one believes about it. It
// may be lost, and arrives within a fraction of a millisecond if not.
func (g *Gossip) Send(to netip.AddrPort, payload []byte) error {
	if len(payload) > MaxPacket {
		return fmt.Errorf("send to %s: %d bytes, at most %d fit in a packet", to, len(payload), MaxPacket)
	}
	return g.send(to, kindPayload, payload)
}

func (g *Gossip) send(to netip.AddrPort, k kind, payload []byte) error {
	if g.isClosed() {
		return fmt.Errorf("send to %s: %w", to, ErrClosed)
	}
	if err := checkReachable(to); err != nil {
		return fmt.Errorf("send to %s: %w", to, err)
	}
	a := memberlist.Address{Addr: unmap(to).String()}
	if err := g.ml.SendToAddress(a, frame(k, payload)); err != nil {
		return fmt.Errorf("send to %s: %w", to, err)
	}
	return nil
}

// SendReliable sends over a connection of its own, as much as MaxReliable. A nil error says that
// the other host took it, not that its agent has read it: an agent that gets no time for two
// seconds loses it. It gives up when ctx ends, or after two seconds. What must arrive needs an
// answer and a repeat.
func (g *Gossip) SendReliable(ctx context.Context, to netip.AddrPort, payload []byte) error {
	if len(payload) > MaxReliable {
		return fmt.Errorf("send to %s: %d bytes, at most %d are allowed", to, len(payload), MaxReliable)
	}
	return g.sendReliable(ctx, to, kindPayload, payload)
}

func (g *Gossip) sendReliable(ctx context.Context, to netip.AddrPort, k kind, payload []byte) error {
	if err := checkReachable(to); err != nil {
		return fmt.Errorf("send to %s: %w", to, err)
	}
	node := &memberlist.Node{Addr: unmap(to).Addr().AsSlice(), Port: to.Port()}
	sent := make(chan error, 1)
	// memberlist knows no context. Left behind, the attempt ends by its own time-out, or with
	// Close.
	if !g.spawn(func() { sent <- g.ml.SendReliable(node, frame(k, payload)) }) {
		return fmt.Errorf("send to %s: %w", to, ErrClosed)
	}
	select {
	case err := <-sent:
		if err != nil {
			return fmt.Errorf("send to %s: %w", to, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("send to %s: %w", to, context.Cause(ctx))
	}
}

// Forget drops a member that is dead or left from memory, so that it is no longer listed or looked
// for. One that is up cannot be forgotten. Nodes listed in Config.Join are still tried there.
func (g *Gossip) Forget(id string) error {
	var addr netip.AddrPort
	for _, m := range g.roster.members() {
		if m.ID == id {
			addr = m.Addr
		}
	}
	if !g.roster.forget(id) {
		return fmt.Errorf("forget member %s: it is up", id)
	}
	g.rejoiner.forget(addr)
	g.remember()
	return nil
}

// Leave tells the others that this node goes on purpose, waits until they had a chance to hear it,
// and stops looking for them. Messages still pass; Close ends that. There is no way back: to
// return, start anew.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.exit.Lock()
	defer g.exit.Unlock()
	if g.isClosed() {
		return fmt.Errorf("leave: %w", ErrClosed)
	}
	if g.left {
		return nil
	}
	g.left = true
	deadline := time.Now().Add(timeout)
	g.seek()
	g.notifyLeave(timeout / 2)
	g.roster.leaves(g.cfg.ID, time.Now())
	// memberlist takes zero for "wait for ever".
	if err := g.ml.Leave(max(time.Until(deadline), time.Millisecond)); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// notifyLeave tells each member that is up, by itself: memberlist's news of a departure does not
// say whether it was meant.
func (g *Gossip) notifyLeave(timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	up, _ := g.roster.others()
	var wg sync.WaitGroup
	for _, m := range up {
		wg.Go(func() {
			if err := g.sendReliable(ctx, m.Addr, kindLeaving, []byte(g.cfg.ID)); err != nil {
				g.journal.note(slog.LevelDebug, "leave notification not delivered", "id", m.ID, "error", err)
			}
		})
	}
	wg.Wait()
}

// Close ends everything at once. The others take this node for dead unless it has left. What
// remains are a few timers of memberlist's, for some seconds.
func (g *Gossip) Close() error {
	g.exit.Lock()
	defer g.exit.Unlock()
	g.mu.Lock()
	already := g.closed
	g.closed = true
	g.mu.Unlock()
	if already {
		return nil
	}
	g.stop()
	err := g.ml.Shutdown()
	g.wg.Wait()
	g.inbox.close()
	g.journal.flush()
	if err != nil {
		return fmt.Errorf("close gossip: %w", err)
	}
	return nil
}

func (g *Gossip) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// spawn runs f in a goroutine that Close waits for, unless it is too late.
func (g *Gossip) spawn(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.wg.Go(f)
	}
	return !g.closed
}

// run does what callbacks may not, and what is due now and then.
func (g *Gossip) run(ctx context.Context) {
	tick := time.NewTicker(conflictTTL / 12)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.journal.wake:
			g.journal.flush()
		case q := <-g.claims.asked:
			g.claims.answer(q)
		case now := <-tick.C:
			g.roster.expire(now)
		}
	}
}

// publish announces changed metadata, not too often.
func (g *Gossip) publish(ctx context.Context) {
	published, last := g.cfg.Meta, time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.dirty:
		case <-timer.C:
		}
		g.mu.Lock()
		now := g.meta
		g.mu.Unlock()
		if now == published {
			continue
		}
		if wait := metaWait(published, now) - time.Since(last); wait > 0 {
			timer.Reset(wait)
			continue
		}
		published, last = now, time.Now()
		// On a time-out memberlist has queued it and goes on telling.
		if err := g.ml.UpdateNode(updateTimeout); err != nil {
			g.journal.note(slog.LevelDebug, "metadata still being announced", "error", err)
		}
	}
}

// metaWait returns how long after the last announcement a change may follow.
func metaWait(old, now Meta) time.Duration {
	old.Data, now.Data = Data{}, Data{}
	if old == now {
		return metaDataGap
	}
	return metaGap
}

// review applies Accept anew to everybody: this node may just have come to belong to a cluster, and
// thereby not to that of some it has met.
func (g *Gossip) review() {
	for _, m := range g.roster.members() {
		if m.ID == g.cfg.ID {
			continue
		}
		if err := g.accept(m.Meta); err != nil && g.roster.refuse(m.ID) {
			g.refused(m.ID, m.Meta, m.Addr, err)
		}
	}
}

func (g *Gossip) alone() bool {
	up, _ := g.roster.others()
	return len(up) == 0
}

// found follows up on a beacon. Discovery calls it.
func (g *Gossip) found(b beacon) {
	if b.ID == g.cfg.ID {
		g.claims.dispute(b.ID, g.cfg.Advertise, b.Addr)
		return
	}
	known := slices.ContainsFunc(g.roster.members(), func(m Member) bool {
		return m.ID == b.ID && m.Addr == b.Addr && m.State.Up()
	})
	if !known {
		g.rejoiner.hint(b.Addr)
	}
}

// sealed is told of the host of a beacon that cannot be opened.
func (g *Gossip) sealed(from netip.Addr) {
	g.strangers.met(Stranger{Addr: from, Kind: Sealed}, time.Now())
}

// heard is told of every packet's source. One from a member that is held for dead is a reason to
// ask it at once instead of at the next round.
func (g *Gossip) heard(from netip.AddrPort) {
	if (*g.wanted.Load())[from] {
		g.rejoiner.hint(from)
	}
}

// remember keeps the addresses that heard looks for.
func (g *Gossip) remember() {
	g.remembering.Lock()
	defer g.remembering.Unlock()
	_, gone := g.roster.others()
	wanted := make(map[netip.AddrPort]bool, len(gone))
	for _, m := range gone {
		if m.State == Dead {
			wanted[m.Addr] = true
		}
	}
	g.wanted.Store(&wanted)
}

func (g *Gossip) newRejoiner(seeds []seed) *rejoiner {
	return &rejoiner{
		self: selfCheck(g.cfg.Bind, g.cfg.Advertise),
		join: func(a netip.AddrPort) error {
			_, err := g.ml.Join([]string{a.String()})
			return joinError(err)
		},
		others:  g.roster.others,
		journal: g.journal,
		lookup: func(s seed) ([]netip.AddrPort, error) {
			ctx, cancel := context.WithTimeout(g.transport.ctx, lookupTimeout)
			defer cancel()
			return s.lookup(ctx, net.DefaultResolver)
		},
		seeds: seeds, peers: slices.Clone(g.cfg.Peers),
		hints: make(chan netip.AddrPort, maxContacts), stir: make(chan struct{}, 1),
		busy: make(map[string]struct{}), tried: make(map[netip.AddrPort]time.Time),
		failed: make(map[netip.AddrPort]error),
	}
}

// notify wakes the reader of a channel of capacity one.
func notify(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
