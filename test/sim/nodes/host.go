package nodes

import (
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// host is a machine: its clock, its disk, and what runs on it.
type host struct {
	w  *world
	i  int
	id string
	place
	// ppm is by how much its clock runs fast, in millionths; base what it showed when the world
	// began.
	ppm   int64
	base  time.Duration
	power bool
	gone  bool // for good
	d     reconcile.Desired

	disk     disk
	agent    *agent
	redis    server
	sentinel sentinel
	vip      [2]kernelVIP // of the primary, of the replicas
	gossip   [most]member // what gossip knows of the others

	slowUntil time.Duration // its disk is slow
	cutAt     time.Duration // when one of its links changed last
	handedAt  time.Duration // when it last handed the lease over
	thawedAt  time.Duration // when its agent last began to run, or to run again
	// doubt: after a power loss the record may say more than the dataset has.
	doubt bool
	boots int
	// stands: the whole host does, since stoodAt; lost is how much time it does not know of.
	stands                 bool
	stoodAt, lost, resumed time.Duration
	moved                  int  // how often its addresses changed
	readOnly               bool // nothing can be written to its disk
	deaf                   bool // the agents' port is filtered
	away                   bool // an operator has left it out: it is down until the faults are over
	// told is the latest epoch that its agent was shown, at toldAt. touchAt is when it was last not
	// in touch with who accepts writes in a later epoch, or did not do so itself.
	told            election.Term
	toldAt, touchAt time.Duration
	// keeps is the data that it had when it gave a lease back whole, or as a primary that crashed:
	// see checker.asked.
	keeps kept
}

// place is the addresses of a host.
type place struct{ redisAt, gossipAt, sentinelAt string }

// disk is what survives the agent; lease does not survive a power loss, and of record only what was
// synced.
type disk struct {
	state          node.State
	record, synced node.Record
	lease          time.Duration
}

// member is what a host knows of another through gossip.
type member struct {
	known, left bool
	heard       time.Duration
	meta        node.Meta
	place
}

const (
	gossipEvery = 200 * ms
	// deadAfter: gossip calls a host dead that was silent for so long.
	deadAfter = 6 * time.Second
)

func (h *host) local() time.Duration {
	if h.stands {
		return h.at(h.stoodAt - h.lost)
	}
	return h.at(h.w.now - h.lost)
}

func (h *host) at(t time.Duration) time.Duration {
	return h.base + t + time.Duration(int64(t)/1000*h.ppm/1000)
}

// wait is how long until the host's clock shows t.
func (h *host) wait(t time.Duration) time.Duration {
	d := t - h.local()
	if h.ppm > 5000 || h.ppm < -5000 {
		shown := 1_000_000 + h.ppm // in 1_000_000
		return max(0, d/time.Duration(shown)*1_000_000+d%time.Duration(shown)*1_000_000/time.Duration(shown))
	}
	return max(0, d-time.Duration(int64(d)/1000*h.ppm/1000))
}

// alive: an agent runs here that does something.
func (h *host) alive() bool { return h.agent != nil && !h.agent.frozen }

// hear is gossip: every agent hears those that it is linked to.
func (w *world) hear() {
	w.after(gossipEvery, w.hear)
	for _, h := range w.hosts {
		if !h.alive() {
			continue
		}
		for _, o := range w.hosts {
			if o != h && o.alive() && w.linked(h, o) && !h.deaf && !o.deaf && !w.one(w.p.loss) {
				h.gossip[o.i] = member{known: true, heard: w.now, meta: o.agent.meta, place: o.place}
			}
		}
	}
}

// boot starts the host: systemd starts the agent.
func (h *host) boot() {
	if h.power || h.gone || h.away {
		return
	}
	h.power = true
	h.boots++
	h.w.logf("%s boots", h.id)
	h.startAgent()
}

func (h *host) startAgent() {
	if h.power && h.agent == nil && !h.gone && !h.stands {
		h.agent = newAgent(h)
	}
}

// killAgent ends the agent; systemd starts the next one after d.
func (h *host) killAgent(why string, d time.Duration) {
	if h.agent == nil {
		return
	}
	h.w.logf("%s agent dies: %s", h.id, why)
	h.w.res.Crashes++
	h.agent = nil
	h.thawedAt = h.w.now
	h.w.after(h.w.soon(d), h.startAgent)
}

// soon brings what would happen after the faults to their end.
func (w *world) soon(d time.Duration) time.Duration {
	return max(0, min(d, w.p.until+w.upTo(100*ms)-w.now))
}

// freeze stops the agent; the watchdog kills it when that lasts.
func (h *host) freeze(d time.Duration) {
	a := h.agent
	if a == nil || a.frozen {
		return
	}
	h.w.logf("%s agent freezes for %v", h.id, d)
	a.frozen = true
	h.w.res.Freezes++
	h.w.after(h.w.soon(min(d, watchdog)), func() {
		switch {
		case h.agent != a || !a.frozen:
		case d > watchdog && !h.w.quiet:
			h.killByWatchdog()
		default:
			a.thaw()
		}
	})
}

// watchdog is WatchdogSec of the unit.
const watchdog = 2 * time.Second

// killByWatchdog: systemd runs `redisd release` before it starts the next agent.
func (h *host) killByWatchdog() {
	w := h.w
	w.logf("%s agent dies: watchdog", h.id)
	w.res.Crashes++
	h.agent = nil
	h.thawedAt = w.now
	boots := h.boots
	next := func() {
		w.after(w.soon(100*ms), func() {
			if h.boots == boots {
				h.startAgent()
			}
		})
	}
	w.after(w.soon(w.between(10*ms, 60*ms)), func() {
		if h.power && h.boots == boots && h.agent == nil {
			h.release(next)
		}
	})
}

// releaseFence is that of cmd/redisd.
const releaseFence = 500 * ms

// release is what cmd/redisd does after the watchdog has killed an agent: it fences unless a
// majority has just acknowledged to this redis-server.
func (h *host) release(then func()) {
	w, r := h.w, &h.redis
	switch {
	case r.responds(w.now) && (!r.primary || w.mayGoOn(h)):
		then()
		return
	case r.responds(w.now):
		h.w.logf("%s release fences", h.id)
		h.setMin(reconcile.Fence, 0)
	case r.up: // it may be carried out later, like any command
		r.pending = append(r.pending, command{from: h.i, gen: w.gens, do: func() { h.setMin(reconcile.Fence, 0) }})
		w.after(w.soon(2*releaseFence), then)
		h.vip = [2]kernelVIP{}
		return
	}
	h.vip = [2]kernelVIP{}
	then()
}

// mayGoOn: so many replicas have just acknowledged that no majority is left for another primary.
func (w *world) mayGoOn(h *host) bool {
	w.flow()
	n, voters := 1, len(h.disk.state.Election.Roster.Voters)
	for _, o := range w.hosts {
		if r := &o.redis; w.follows(o, h) && r.link == linkUp && w.now-r.ackAt < 2*time.Second {
			n++
		}
	}
	return voters > 0 && n > voters/2
}

// powerOff: what was not on disk is gone.
func (h *host) powerOff() {
	if !h.power || h.w.quiet {
		return
	}
	w := h.w
	w.flow()
	w.logf("%s loses power", h.id)
	w.res.PowerLosses++
	h.agent = nil
	h.redis.powerOff(h)
	h.sentinel.up, h.sentinel.hung = false, false
	h.power = false
	h.disk.record, h.disk.lease = h.disk.synced, 0
	h.vip = [2]kernelVIP{}
	h.stands = false
	h.doubt = true
	h.cutAt = w.now
	w.changed()
}

// diskTime is how long the host takes to save something.
func (h *host) diskTime() time.Duration {
	d := h.w.between(100*us, 3*ms)
	if h.w.now < h.slowUntil {
		d += h.w.upTo(min(h.w.p.stall, h.slowUntil-h.w.now+50*ms))
	}
	return d
}

// kernelVIP is an address as the kernel has it.
type kernelVIP struct {
	held  bool
	until time.Duration
}

func (h *host) holds(vip int) bool {
	v := &h.vip[vip]
	if v.held && h.w.now >= v.until {
		v.held = false
		h.w.logf("%s kernel removes vip %d", h.id, vip)
	}
	return v.held
}
