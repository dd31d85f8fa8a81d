package gossip

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// rejoinFast is the pace while something is amiss, rejoinSlow the one at which islands find
	// each other again: a few connections in ten seconds.
	rejoinFast = time.Second
	rejoinSlow = 10 * time.Second

	// restless is how long after a death, or after another node had a wrong idea of this one, the
	// fast pace is kept.
	restless = 5 * time.Second

	// hintGap bounds how often hints (a beacon, a packet of a member held for dead) can make this
	// node connect to one address.
	hintGap = time.Second

	// lookupTimeout bounds one look-up; a dead name server must not hold more than its own seed.
	lookupTimeout = 2 * time.Second

	// maxContacts bounds the connections being tried at a time.
	maxContacts = 32

	// aloneGrace is how long nobody may answer before the operator is told.
	aloneGrace = 15 * time.Second
)

// rejoiner connects this node to everyone it should be with, for ever. memberlist joins once: two
// halves of a cluster that have given each other up never meet again by themselves, and a join that
// reached only this very node counts as a success there.
type rejoiner struct {
	self    func(netip.AddrPort) bool            // is it this node?
	join    func(netip.AddrPort) error           // memberlist's Join of one address
	others  func() (up, gone []Member)           // roster
	lookup  func(seed) ([]netip.AddrPort, error) // bounded
	journal *journal                             // for what the operator should know
	seeds   []seed

	hints chan netip.AddrPort // look at this address now
	stir  chan struct{}       // capacity 1: look at the pace anew

	wg sync.WaitGroup

	mu     sync.Mutex
	peers  []netip.AddrPort             // replaced, never changed
	busy   map[string]struct{}          // what is being tried
	tried  map[netip.AddrPort]time.Time // when a hint last led there
	wrong  time.Time                    // when another node last had a wrong idea of this one
	failed map[netip.AddrPort]error     // the last attempt's outcome
}

// run returns once ctx has ended and every attempt with it.
func (r *rejoiner) run(ctx context.Context) {
	defer r.wg.Wait()
	started := time.Now()
	delay := rejoinFast
	for {
		up, gone := r.others()
		for _, a := range r.round(up, gone) {
			r.contact(a)
		}
		r.resolve(up)
		if len(up) == 0 && time.Since(started) > aloneGrace {
			r.complain()
		} else if len(up) > 0 {
			started = time.Now()
		}
		delay = nextDelay(delay, len(up) == 0 || r.unsettled(gone, time.Now()))
		if !r.wait(ctx, jitter(delay)) {
			return
		}
	}
}

// wait follows hints until the next round is due; false when ctx ended.
func (r *rejoiner) wait(ctx context.Context, delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	due := time.Now().Add(delay)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case a := <-r.hints:
			if r.mayFollow(a, time.Now()) {
				r.contact(a)
			}
		case <-r.stir:
			// Only ever sooner: a stream of changes must not put it off.
			if soon := time.Now().Add(jitter(rejoinFast)); soon.Before(due) {
				due = soon
				timer.Reset(time.Until(soon))
			}
		}
	}
}

// nextDelay is the pace: fast while needed, then backing off.
func nextDelay(last time.Duration, needed bool) time.Duration {
	if needed {
		return rejoinFast
	}
	return min(2*last, rejoinSlow)
}

// jitter keeps nodes that started together from connecting together.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5)
}

// round returns the known addresses to try: of everybody who is missing, and while others have a
// wrong idea of this node, of everybody.
func (r *rejoiner) round(up, gone []Member) []netip.AddrPort {
	skip := r.present(up)
	for _, m := range gone {
		if m.State == Left {
			skip[m.Addr] = true // it comes to us, should it come back
		}
	}
	var list []netip.AddrPort
	add := func(a netip.AddrPort) {
		if !skip[a] && !r.self(a) {
			skip[a] = true
			list = append(list, a)
		}
	}
	for _, m := range gone {
		if m.State == Dead {
			add(m.Addr)
		}
	}
	for _, a := range r.oldPeers() {
		add(a)
	}
	if r.disputed(time.Now()) {
		for _, m := range up {
			add(m.Addr)
		}
	}
	return list
}

func (r *rejoiner) oldPeers() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers
}

// present returns the addresses that need no attempt.
func (r *rejoiner) present(up []Member) map[netip.AddrPort]bool {
	skip := make(map[netip.AddrPort]bool)
	if r.disputed(time.Now()) {
		return skip
	}
	for _, m := range up {
		skip[m.Addr] = true
	}
	return skip
}

// resolve looks the seeds up and tries what they stand for, each on its own: a slow name server
// delays nobody else.
func (r *rejoiner) resolve(up []Member) {
	skip := r.present(up)
	for _, s := range r.seeds {
		r.attempt("seed "+s.text, func() {
			addrs, err := r.lookup(s)
			if err != nil {
				r.journal.complain("lookup "+s.text, slog.LevelWarn, "join entry not found", "entry", s.text, "error", err)
			}
			for _, a := range addrs {
				if !skip[a] && !r.self(a) {
					r.contact(a)
				}
			}
		})
	}
}

// contact exchanges states with the node at a, unless that is under way.
func (r *rejoiner) contact(a netip.AddrPort) {
	r.attempt(a.String(), func() {
		err := r.join(a)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.failed, a)
		if err != nil {
			if len(r.failed) >= maxContacts {
				clear(r.failed)
			}
			r.failed[a] = err
		}
	})
}

func (r *rejoiner) attempt(key string, f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, under := r.busy[key]; under || len(r.busy) >= maxContacts+len(r.seeds) {
		return
	}
	r.busy[key] = struct{}{}
	r.wg.Go(func() {
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.busy, key)
		}()
		f()
	})
}

// hint asks for an attempt at a. It never blocks and may be ignored.
func (r *rejoiner) hint(a netip.AddrPort) {
	select {
	case r.hints <- a:
	default:
	}
}

func (r *rejoiner) mayFollow(a netip.AddrPort, now time.Time) bool {
	if r.self(a) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.tried[a]) < hintGap {
		return false
	}
	if len(r.tried) >= maxContacts {
		for old, at := range r.tried {
			if now.Sub(at) >= hintGap {
				delete(r.tried, old)
			}
		}
		if len(r.tried) >= maxContacts {
			return false
		}
	}
	r.tried[a] = now
	return true
}

// misjudged notes that another node holds this one for dead, or for another address: it must hear
// from us until it knows better.
func (r *rejoiner) misjudged(now time.Time) {
	r.mu.Lock()
	r.wrong = now
	r.mu.Unlock()
	r.hurry()
}

// hurry brings the next round forward.
func (r *rejoiner) hurry() {
	select {
	case r.stir <- struct{}{}:
	default:
	}
}

func (r *rejoiner) disputed(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.wrong.IsZero() && now.Sub(r.wrong) < restless
}

func (r *rejoiner) unsettled(gone []Member, now time.Time) bool {
	if r.disputed(now) {
		return true
	}
	for _, m := range gone {
		if m.State == Dead && now.Sub(m.Since) < restless {
			return true
		}
	}
	return false
}

// complain tells the operator that nobody answers, and what was tried.
func (r *rejoiner) complain() {
	r.mu.Lock()
	var tried []string
	var why error
	for a, err := range r.failed {
		tried = append(tried, a.String())
		why = err
	}
	r.mu.Unlock()
	if len(tried) > 0 {
		r.journal.complain("alone", slog.LevelWarn, "no other member reached", "tried", strings.Join(tried, " "), "error", why)
	}
}

// joinError takes the one cause out of memberlist's list of them: it was given one address.
func joinError(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

// selfCheck returns a test for addresses that lead back to this node. Joining oneself does no harm,
// but it is no company either.
func selfCheck(bind, advertise netip.AddrPort) func(netip.AddrPort) bool {
	return func(a netip.AddrPort) bool {
		if a == advertise || a == bind {
			return true
		}
		if a.Port() != bind.Port() || !bind.Addr().IsUnspecified() {
			return false
		}
		if a.Addr().IsLoopback() {
			return true
		}
		local, err := net.InterfaceAddrs()
		if err != nil {
			return false
		}
		for _, l := range local {
			if p, err := netip.ParsePrefix(l.String()); err == nil && p.Addr().Unmap() == a.Addr() {
				return true
			}
		}
		return false
	}
}

// forget stops looking for a peer of old.
func (r *rejoiner) forget(a netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.peers = slices.DeleteFunc(slices.Clone(r.peers), func(p netip.AddrPort) bool { return p == a })
	delete(r.failed, a)
}
