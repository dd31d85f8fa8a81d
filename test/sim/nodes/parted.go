package nodes

import (
	"slices"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
)

// part has the network part the hosts, an operator force a failover on the smaller side without
// those of the other one, who live and may elect somebody, and sometimes another operator do the
// same over there. Then the sides meet.
func (w *world) part() {
	var sides [2][]*host
	keep := w.side.IntN(w.size())
	for i, h := range w.hosts[:w.size()] {
		side := 1
		if i == keep || w.side.one(0.2) {
			side = 0
		}
		sides[side] = append(sides[side], h)
	}
	cut := func(cut bool) {
		for _, a := range sides[0] {
			for _, b := range sides[1] {
				w.setCut(a, b, cut)
				w.setCut(b, a, cut)
			}
		}
	}
	// After the other faults, whose end would mend it.
	begins := w.side.between(time.Second, 3*time.Second)
	w.after(begins, func() {
		if !w.quiet {
			cut(true)
		}
	})
	forced := begins + w.side.between(7*time.Second, 12*time.Second)
	w.after(forced, func() { w.forceOn(w.hosts[keep]) })
	if len(sides[1]) > 0 && w.side.one(0.3) {
		other := sides[1][w.side.IntN(len(sides[1]))]
		w.after(forced+w.side.upTo(2*time.Second), func() { w.forceOn(other) })
	}
	w.after(w.ends(forced+w.side.upTo(8*time.Second)), func() { cut(false) })
}

// forceOn is an operator who finds no primary here and leaves out who is away.
func (w *world) forceOn(h *host) {
	if a := h.agent; !w.quiet && h.d.Redis && a != nil && !a.frozen && !a.sees() {
		w.logf("%s: an operator forces a failover without those that are away", h.id)
		a.force(true)
	}
}

// letsGo is how long a redis-server may take writes after its agent was shown the roster of a later
// epoch: until the lease ends by itself, if the agent cannot look, and is seen to.
const letsGo = election.Lease + election.Lease/election.Drift + node.GuardMargin + node.FenceTimeout

// meets is how long two that accept writes may be in touch until one of them has shown the other
// the later epoch: packets are lost, and the kernel sends again.
const meets = 2 * time.Second

func epochOf(term uint64) election.Term { return election.Term(term).Epoch() }

// knows is the epoch that a host goes by.
func (h *host) knows() election.Term { return h.disk.state.Election.Roster.Term.Epoch() }

// shows is the epoch that its receiver learns from a message of this host: the message itself, or
// the answer to its own, has the roster.
func (h *host) shows(m election.Message) election.Term {
	switch m := m.(type) {
	case election.Release, election.StandDown:
		return 0
	case election.Claim:
		if m.Forced {
			return 0 // it holds for who votes for it
		}
	}
	return h.knows()
}

// hears: its agent was shown an epoch.
func (h *host) hears(epoch election.Term) {
	if own := epochOf(h.redis.term); epoch > own && max(h.told, h.knows()) <= own {
		h.toldAt = h.w.now
	}
	h.told = max(h.told, epoch)
}

// leftOut: S1 does not hold for this host. It was let in in an earlier epoch than another one was,
// and nobody has told its agent, or just now.
func (c *checker) leftOut(h *host) bool {
	own := epochOf(h.redis.term)
	return own < c.epoch && (max(h.told, h.knows()) <= own || h.toldAt > 0 && c.w.now < h.toldAt+letsGo)
}

// inTouch: two accept writes, and can talk to one another: not for long.
func (c *checker) inTouch() {
	for _, h := range c.w.hosts {
		touch := h.redis.accepts() && h.alive() && c.leftOut(h) && slices.ContainsFunc(c.w.hosts, func(o *host) bool {
			return o.redis.accepts() && o.alive() && o.knows() > epochOf(h.redis.term) && c.w.linked(h, o) && !h.deaf && !o.deaf
		})
		switch {
		case !touch:
			h.touchAt = c.w.now
		case c.w.now > h.touchAt+meets:
			c.failf("%s accepts writes of term %d, and is in touch with who does in a later epoch, for %v", h.id, h.redis.term, meets)
		default:
			c.w.res.Touch = max(c.w.res.Touch, c.w.now-h.touchAt)
		}
	}
}
