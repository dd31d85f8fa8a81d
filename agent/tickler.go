package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/vip"
)

// tickler sees to it that the clients of a host that is lost are told so by the next one. The node
// that has an address tells those that may take it over who is connected there; who takes it sends
// the clients of the last one a packet that makes them notice (vip.Tickle). It decides nothing, and
// nothing waits for it.
type tickler struct {
	*site
	driver  *driver
	vips    *vipSet
	journal *journal
	// ask tells another node; taken is false when it needs the whole list.
	ask  func(ctx context.Context, node string, u clientsUpdate) (taken bool, err error)
	took chan string // addresses that were taken

	feeds map[feed]*clientsFeed // of the goroutine that looks

	mu    sync.Mutex
	known map[string]clientList // by address, of others
}

// feed is an address, and a node that is told of its clients.
type feed struct{ vip, node string }

const (
	// A look costs the kernel a walk over its table of connections, and us a list of them: 1 ms
	// with a few clients, 25 ms with 10 000. So that it takes a hundredth of a processor at most,
	// the next one comes the later the longer the last one took.
	lookFirst, lookLast = time.Second, 5 * time.Second
	lookShare           = 100
	// toldMost is how many nodes are told: those that take over first.
	toldMost = 8
	// feedTimeout bounds all that one node is told after a look.
	feedTimeout = 2 * time.Second

	// The first tickle is sent once the address has been announced, the second one when Linux
	// answers again, which may not have answered the first (tcp_invalid_ratelimit is 500 ms).
	tickleFirst  = 5 * time.Millisecond
	tickleSecond = 600 * time.Millisecond
)

func newTickler(s *site, d *driver, t *talk, v *vipSet, j *journal) *tickler {
	ask := func(ctx context.Context, node string, u clientsUpdate) (taken bool, err error) {
		to, ok := t.address(node)
		if !ok {
			return false, errors.New("its address is not known")
		}
		err = t.ask(ctx, to, opClients, u, &taken)
		return taken, err
	}
	return &tickler{
		site: s, driver: d, vips: v, journal: j, ask: ask, took: make(chan string, 4),
		feeds: map[feed]*clientsFeed{}, known: map[string]clientList{},
	}
}

// watch looks who is connected to the addresses that this node has, and tells the others.
func (t *tickler) watch(ctx context.Context) error {
	next := time.NewTimer(lookFirst)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
			next.Reset(t.look(ctx, t.driver.view()))
		}
	}
}

// look returns after what time the next one is due.
func (t *tickler) look(ctx context.Context, v election.View) time.Duration {
	t.forget(v)
	held := t.vips.heldHere()
	for key := range t.feeds {
		if !slices.ContainsFunc(held, func(f *floating) bool { return f.cfg.Address.String() == key.vip }) || !slices.Contains(mayTake(v, t.self), key.node) {
			delete(t.feeds, key)
		}
	}
	var cost time.Duration
	for _, f := range held {
		began := now()
		clients, err := vip.Connections(f.cfg.Address.Addr(), t.redisAddr.Port())
		if err != nil {
			t.log.Debug("clients not listed", "vip", f.cfg.Address, "error", err)
			continue
		}
		clients = sorted(clients)
		cost += now() - began
		t.tellAll(ctx, f.cfg.Address.String(), clients, mayTake(v, t.self))
	}
	return min(max(lookFirst, lookShare*cost), lookLast)
}

// tellAll brings what the others know up to date.
func (t *tickler) tellAll(ctx context.Context, address string, clients []netip.AddrPort, to []string) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, node := range to {
		f := t.feeds[feed{address, node}]
		if f == nil {
			f = new(clientsFeed)
			t.feeds[feed{address, node}] = f
		}
		wg.Go(func() {
			if err := t.tellOne(ctx, address, clients, node, f); err != nil {
				t.log.Debug("a node was not told of the clients", "vip", address, "to", node, "error", err)
			}
		})
	}
}

func (t *tickler) tellOne(ctx context.Context, address string, clients []netip.AddrPort, node string, f *clientsFeed) error {
	for {
		u, told, due := f.next(now(), clients)
		if !due {
			return nil
		}
		u.Node, u.VIP, u.Port = t.self, address, t.redisAddr.Port()
		taken, err := t.ask(ctx, node, u)
		f.answered(now(), taken && err == nil, told)
		if err != nil || !taken {
			return err
		}
	}
}

// mayTake are the nodes that may have an address next.
func mayTake(v election.View, self string) []string {
	var out []string
	for _, id := range append([]election.NodeID{v.Holder}, v.Successors...) {
		if id := string(id); id != "" && id != self && !slices.Contains(out, id) && len(out) < toldMost {
			out = append(out, id)
		}
	}
	return out
}

// belongs is the node that has an address, as far as this node knows.
func belongs(v election.View, role string) string {
	if role == "replica" && len(v.Successors) > 0 {
		return string(v.Successors[0])
	}
	return string(v.Holder)
}

// forget drops what is known of a node that does not have the address any more, unless it is this
// one that takes it.
func (t *tickler) forget(v election.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for address, l := range t.known {
		f := t.vips.byAddress(address)
		if f == nil {
			delete(t.known, address)
			continue
		}
		if at := belongs(v, f.cfg.Role); at != l.node && at != t.self {
			delete(t.known, address)
		}
	}
}

// hear takes in what another node says of its clients; false asks for the whole list.
func (t *tickler) hear(u clientsUpdate, v election.View) (taken bool, err error) {
	f := t.vips.byAddress(u.VIP)
	if f == nil || u.Node == t.self || u.Node != belongs(v, f.cfg.Role) {
		return false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l, taken, err := t.known[u.VIP].take(u, f.cfg.Address.Addr())
	if taken && err == nil {
		t.known[u.VIP] = l
	}
	return taken, err
}

// taken says that an address has just been taken. It never waits.
func (t *tickler) taken(address string) {
	select {
	case t.took <- address:
	default:
	}
}

// serve tells the clients of the last holder of each address that is taken.
func (t *tickler) serve(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case address := <-t.took:
			wg.Go(func() { t.tell(ctx, address) })
		}
	}
}

// tell tells the clients of the last holder, twice. One that gave its lease back has seen to them
// itself, but for those that it could not reach: they are told once, when it is through. (A lease
// that lapsed was not given back within the time of that.)
func (t *tickler) tell(ctx context.Context, address string) {
	began := time.Now()
	t.mu.Lock()
	l := t.known[address]
	delete(t.known, address)
	t.mu.Unlock()
	f := t.vips.byAddress(address)
	if f == nil || len(l.peers) == 0 {
		return
	}
	rounds := []time.Duration{tickleFirst, tickleSecond}
	lost := now() >= t.driver.view().OpenedAt+election.Lapse
	if !lost {
		rounds = rounds[1:]
	}
	for i, at := range rounds {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(began.Add(at))):
		}
		t.awaitAnnounced(ctx, f)
		sent, err := t.tickle(ctx, f, l)
		if err != nil {
			t.log.Debug("not all clients of the last holder were told", "vip", address, "error", err)
		}
		if i == 0 && lost && sent > 0 {
			from := t.nameOf(l.node)
			t.journal.say(func(log *slog.Logger) {
				log.Info("clients of the lost host told", "vip", address, "host", from, "clients", sent)
			})
			t.events.add("clients_told", fmt.Sprintf("%d clients of %s, which had %s", sent, from, address))
		}
	}
}

// awaitAnnounced: what a client answers must find its way here, and not to the lost host.
func (t *tickler) awaitAnnounced(ctx context.Context, f *floating) {
	ctx, cancel := context.WithTimeout(ctx, tickleSecond)
	defer cancel()
	f.addr.AwaitAnnounced(ctx)
}

// tickle tells those that are not connected here already.
func (t *tickler) tickle(ctx context.Context, f *floating, l clientList) (sent int, err error) {
	here, err := vip.Connections(f.cfg.Address.Addr(), l.port)
	left, _ := difference(l.peers, sorted(here))
	sent, sendErr := f.addr.Tickle(ctx, l.port, left)
	return sent, errors.Join(err, sendErr)
}
