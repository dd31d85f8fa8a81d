package nodes

import (
	"fmt"
	"slices"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// guestGrace is how long a redis-server that stood still with its whole host may take writes before
// something else on that host has run: see docs/GUARANTEES.md.
const guestGrace = 250 * ms

// prepare draws what the classes of this schedule change in it from the start.
func (w *world) prepare() {
	p := &w.p
	w.limitVoters()
	for _, h := range w.hosts {
		w.equip(h)
		if w.has(FastClocks) {
			h.ppm = []int64{-50_000, 50_000, w.side.Int64N(100_001) - 50_000}[w.side.IntN(3)]
		}
	}
	longest := time.Duration(0)
	for _, x := range []struct {
		class Class
		lasts time.Duration
	}{
		{Everysec, 0}, {Blackout, 14 * time.Second}, {DiskCounts, 14 * time.Second}, {StaleAOF, 4 * time.Second}, {RDBOnly, 12 * time.Second}, {Flush, 3 * time.Second},
		{LongLoad, 4 * time.Second}, {LoginRefused, 3 * time.Second}, {ClientsFull, 3 * time.Second}, {PauseAll, 3 * time.Second},
		{PauseWrite, 4 * time.Second}, {Scripts, 30 * time.Second}, {HungWriter, 5 * time.Second}, {PausedGuest, 8 * time.Second}, {FastClocks, 3 * time.Second},
		{Joins, 4 * time.Second}, {Moves, 4 * time.Second}, {Forced, 25 * time.Second}, {LeaveOut, 25 * time.Second},
		{ReadOnly, 15 * time.Second}, {Deaf, 45 * time.Second}, {Parted, 25 * time.Second},
		{Learners, 15 * time.Second},
	} {
		if w.has(x.class) && x.lasts > 0 {
			w.after(p.begin+w.side.upTo(p.span), func() { w.trouble(x.class) })
			longest = max(longest, w.side.upTo(x.lasts))
		}
	}
	p.until += longest
}

// saysBusy: a script has run for so long that others are answered -BUSY.
func (r *server) saysBusy(now time.Duration) bool {
	return r.up && !r.hung && !r.dying && r.saysBusyAt > 0 && now >= r.saysBusyAt && now < r.busyUntil
}

// refuses: it answers this agent with an error, whatever it asks.
func (r *server) refuses(now time.Duration, gen uint32) bool {
	return now < r.loginUntil || now < r.fullUntil && gen >= r.fullFor || r.saysBusy(now)
}

// idle: its process does nothing that uses the processor.
func (r *server) idle(now time.Duration) bool {
	return r.hung || r.pausedUntil > 0 || r.unused && now >= r.busyUntil && (now < r.loginUntil || now < r.fullUntil)
}

// losesHold: the bootstrap node cannot go on.
func (h *host) losesHold() {
	w := h.w
	switch {
	case w.quiet || !h.power:
	case w.side.one(0.6):
		h.endRedis("crash")
	case w.side.one(0.5):
		h.killAgent("unserved", w.side.upTo(time.Second))
	default:
		h.powerOff()
		w.after(w.ends(w.side.upTo(2*time.Second)), h.boot)
	}
}

// ends brings what would happen after the faults to their end.
func (w *world) ends(d time.Duration) time.Duration {
	return max(0, min(d, w.p.until+w.side.upTo(100*ms)-w.now))
}

// target is a host with a redis-server that runs, more often than not the primary.
func (w *world) target(primary float64) *host {
	p, others := w.primary()
	if p != nil && w.side.one(primary) || len(others) == 0 {
		return p
	}
	return others[w.side.IntN(len(others))]
}

// trouble has happen what belongs to a class.
func (w *world) trouble(c Class) {
	if w.quiet {
		return
	}
	d := w.side.between(20*ms, 400*ms)
	if w.side.one(0.7) {
		d = w.side.between(400*ms, 4*time.Second)
	}
	switch c {
	case Blackout, DiskCounts:
		w.blackout()
		return
	case Moves:
		w.moves()
		return
	case Joins:
		w.join()
		return
	case Forced, LeaveOut:
		w.person()
		return
	case Parted:
		w.part()
		return
	case Learners:
		w.loseVoters()
		return
	case StaleAOF, RDBOnly:
		w.killAfterCopy()
		return
	case Flush:
		w.cutCopy()
		return
	case LongLoad:
		w.restartTwo()
		return
	}
	h := w.target(0.8)
	if c == Deaf {
		h = w.target(0.2)
	}
	if h == nil {
		return
	}
	switch c {
	case ReadOnly:
		h.spoilDisk(w.side.between(time.Second, 15*time.Second))
	case Deaf:
		h.deafen(w.side.between(5*time.Second, 45*time.Second))
	case LoginRefused:
		h.refuseLogins(d)
	case ClientsFull:
		h.fill(d)
	case PauseAll:
		h.pauseClients(d)
	case PauseWrite:
		h.pauseWrites(w.ends(d))
	case Scripts:
		h.script(w.side.between(time.Second, 30*time.Second))
	case HungWriter:
		h.script(w.side.between(time.Second, 4*time.Second))
		w.after(w.side.upTo(300*ms), func() { h.freeze(w.side.between(time.Second, 4*time.Second)) })
	case FastClocks:
		// At the end of its lease a redis-server that was cut off cannot be fenced at once.
		w.isolate(h, true, true, w.side.between(time.Second, 3*time.Second))
		w.after(w.side.between(500*ms, 620*ms), func() { h.script(w.side.between(40*ms, 200*ms)) })
	case PausedGuest:
		h.pauseGuest(w.side.between(300*ms, 8*time.Second))
	}
}

// blackout has all hosts lose power, and return in any order.
func (w *world) blackout() {
	w.logf("a blackout")
	for _, o := range w.hosts {
		w.after(w.ends(w.side.upTo(100*ms)), o.powerOff)
		back := 250*ms + w.side.upTo(2*time.Second)
		if w.side.one(0.4) {
			back += w.side.upTo(12 * time.Second)
		}
		w.after(w.ends(back), o.boot)
	}
}

// killAfterCopy has a replica copy everything and end soon after that, and then the primary end.
func (w *world) killAfterCopy() {
	p, others := w.primary()
	if p == nil || len(others) == 0 {
		return
	}
	r := others[w.side.IntN(len(others))]
	r.endRedis("killed")
	w.when(func() bool { return r.redis.link == linkUp }, func() {
		w.after(w.side.upTo(time.Second), func() {
			if w.quiet {
				return
			}
			if w.side.one(0.5) {
				r.endRedis("killed")
			} else {
				r.powerOff()
				w.after(w.ends(200*ms), r.boot)
			}
			if p, _ := w.primary(); p != nil && w.side.one(0.7) {
				w.after(w.side.upTo(100*ms), func() {
					p.powerOff()
					w.after(w.ends(w.side.between(time.Second, 4*time.Second)), p.boot)
				})
			}
		})
	})
}

// when does something as soon as a condition holds, or never.
func (w *world) when(is func() bool, do func()) {
	var look func()
	look = func() {
		switch {
		case w.quiet:
		case is():
			do()
		default:
			w.after(ms, look)
		}
	}
	look()
}

// cutCopy has replicas copy everything, and the primary end meanwhile.
func (w *world) cutCopy() {
	p, others := w.primary()
	if p == nil || len(others) == 0 {
		return
	}
	var copies []*host
	for i, o := range others {
		if i == 0 || w.side.one(0.8) {
			copies = append(copies, o)
		}
	}
	end := w.side.one(0.3)
	w.flow()
	for _, o := range copies {
		switch r := &o.redis; {
		case end:
			o.endRedis("killed")
		case r.up && !r.primary && !r.loading:
			w.logf("%s is cut off by its primary: it was too slow", o.id)
			w.unlink(o)
			r.tooSlow = true
			w.connect(o, w.side.upTo(20*ms))
		}
	}
	w.changed()
	all := func() bool {
		return !slices.ContainsFunc(copies, func(o *host) bool { return o.redis.link != linkSyncing || !o.redis.copying })
	}
	w.when(all, func() {
		w.after(w.side.upTo(60*ms), func() {
			if p, _ := w.primary(); p != nil && !w.quiet && w.side.one(0.8) {
				p.powerOff()
				w.after(w.ends(w.side.between(time.Second, 4*time.Second)), p.boot)
			}
		})
	})
}

// restartTwo ends a replica's redis-server, and a little later the primary's.
func (w *world) restartTwo() {
	p, others := w.primary()
	if p == nil || len(others) == 0 {
		return
	}
	others[w.side.IntN(len(others))].endRedis("killed")
	w.after(w.side.between(300*ms, 2*time.Second), func() {
		if p, _ := w.primary(); p != nil && !w.quiet {
			p.endRedis("killed")
		}
	})
}

// refuseLogins is a client that has changed the agents' password.
func (h *host) refuseLogins(d time.Duration) {
	w, r := h.w, &h.redis
	w.logf("%s redis-server refuses every login for %v", h.id, d)
	r.loginUntil, r.unused = w.now+w.ends(d), w.side.one(0.5)
}

// fill is maxclients: who has no connection yet gets none.
func (h *host) fill(d time.Duration) {
	w, r := h.w, &h.redis
	w.logf("%s redis-server takes no more clients for %v", h.id, d)
	r.fullUntil, r.fullFor, r.unused = w.now+w.ends(d), w.gens+1, w.side.one(0.5)
	if w.side.one(0.7) {
		w.after(w.side.upTo(d/2), func() { h.killAgent("killed", w.side.upTo(300*ms)) })
	}
}

// pauseClients is CLIENT PAUSE ALL by a client.
func (h *host) pauseClients(d time.Duration) {
	w, r := h.w, &h.redis
	if !r.up || r.hung || r.pausedUntil > 0 {
		return
	}
	d = w.ends(d)
	w.flow()
	w.logf("%s redis-server pauses all clients for %v (accepts %v)", h.id, d, r.accepts())
	r.pausedUntil = w.now + d
	run := r.run
	w.changed()
	w.after(d, func() {
		if r.run != run || r.pausedUntil == 0 {
			return
		}
		w.flow()
		r.pausedUntil = 0
		w.logf("%s redis-server pauses no more", h.id)
		w.changed()
		if r.responds(w.now) {
			w.carryOut(h)
		}
	})
}

// pauseWrites is CLIENT PAUSE WRITE, by a client or an agent.
func (h *host) pauseWrites(d time.Duration) {
	w, r := h.w, &h.redis
	w.flow()
	w.logf("%s redis-server pauses writes for %v", h.id, d)
	r.writesPaused = max(r.writesPaused, w.now+d)
	run := r.run
	w.changed()
	w.after(d, func() {
		if r.run == run && r.writesPaused > 0 && w.now >= r.writesPaused {
			w.flow()
			r.writesPaused = 0
			w.changed()
		}
	})
}

// busyAnswer is busy-reply-threshold, and scriptBytes what a script writes.
const (
	busyAnswer  = 5 * time.Second
	scriptBytes = 5000
)

// script runs for d: it cannot be broken off, and what it writes is acknowledged at its end. After
// busyAnswer others are told that it runs.
func (h *host) script(d time.Duration) {
	w, r := h.w, &h.redis
	if !r.responds(w.now) || r.loading {
		return
	}
	d = w.ends(d)
	w.flow()
	writes := r.rate == writeRate
	w.logf("%s redis-server runs a script for %v (writes %v)", h.id, d, writes)
	r.computes(w.now, d)
	r.saysBusyAt = w.now + busyAnswer
	w.res.Ends++
	run, until := r.run, r.busyUntil
	w.changed()
	w.after(busyAnswer, func() {
		if r.run != run || !r.saysBusy(w.now) {
			return
		}
		for len(r.pending) > 0 {
			c := r.pending[0]
			r.pending = r.pending[1:]
			if c.refused != nil {
				c.refused()
			}
		}
	})
	w.after(d, func() {
		if !r.up || r.run != run || r.dying || r.busyUntil != until {
			return
		}
		w.flow()
		if writes && r.primary {
			r.pos += scriptBytes
		}
		r.saysBusyAt = 0
		w.logf("%s the script has ended", h.id)
		w.changed()
		if r.responds(w.now) {
			w.carryOut(h)
		}
	})
}

// spoilDisk is a disk that nothing can be written to any more. A primary with such a one is to
// move, if nothing else happens and another can take over.
func (h *host) spoilDisk(d time.Duration) {
	w := h.w
	w.flow()
	w.logf("%s: its disk is read-only for %v", h.id, d)
	h.readOnly = true
	before := w.res.faults()
	w.changed()
	w.after(w.ends(d), func() {
		w.flow()
		w.logf("%s: its disk can be written", h.id)
		h.readOnly = false
		w.changed()
	})
	w.after(movesWithin, func() {
		successor := func(o *host) bool {
			return o != h && o.alive() && !o.stands && !o.redis.hung && o.redis.link == linkUp && w.follows(o, h) && w.linked(h, o) &&
				o.d.Priority != reconcile.PriorityNever && o.d.Redis
		}
		answer := !slices.ContainsFunc(w.hosts, func(o *host) bool {
			r := &o.redis
			return w.now < max(r.loginUntil, r.fullUntil, r.busyUntil, r.pausedUntil)+movesWithin && max(r.loginUntil, r.fullUntil, r.busyUntil, r.pausedUntil) > 0
		})
		if answer && h.readOnly && before == w.res.faults() && h.redis.accepts() && h.alive() && !h.agent.n.Paused().On && h.agent.n.View(h.local()).Lease && slices.ContainsFunc(w.hosts, successor) {
			w.check.failf("%s is the primary still, and nothing can be written to its disk", h.id)
		}
	})
}

// movesWithin is how long a primary whose disk cannot be written has to move.
const movesWithin = 3 * time.Second

// deafen filters the agents' port of a host.
func (h *host) deafen(d time.Duration) {
	w := h.w
	w.logf("%s is deaf for %v", h.id, d)
	h.deaf = true
	w.after(w.ends(d), func() {
		w.logf("%s hears again", h.id)
		h.deaf = false
	})
}

// pauseGuest has a whole host stand still, with its clock.
func (h *host) pauseGuest(d time.Duration) {
	w, r, s := h.w, &h.redis, &h.sentinel
	if !h.power || h.stands || h.agent == nil || h.agent.frozen || r.hung || s.hung {
		return
	}
	d = w.ends(d)
	w.flow()
	w.logf("%s stands still for %v (accepts %v)", h.id, d, r.accepts())
	h.stands, h.stoodAt = true, w.now
	h.agent.frozen = true
	run, boots, a, sentinel := r.run, h.boots, h.agent, s.run
	r.hung, s.hung = r.up, s.up
	w.changed()
	w.after(d, func() {
		if !h.stands {
			return
		}
		w.flow()
		h.lost += w.now - h.stoodAt
		h.stands = false
		for v := range h.vip {
			h.vip[v].until += d
		}
		if h.boots != boots || !h.power {
			return
		}
		w.logf("%s goes on", h.id)
		h.resumed, h.cutAt = w.now, w.now
		if s.run == sentinel {
			s.hung = false
		}
		if h.agent == a {
			a.thaw()
		} else {
			h.startAgent()
		}
		if r.up && r.run == run && !r.dying {
			r.hung = false
			w.changed()
			w.carryOut(h)
		}
		w.deliverLate()
	})
}

// join has a new host come to the cluster.
func (w *world) join() {
	h := w.hosts[len(w.hosts)-1]
	if !h.gone {
		return
	}
	w.logf("%s joins", h.id)
	h.gone = false
	h.boot()
}

// addresses are the host's: where it is since it moved last.
func (h *host) addresses() {
	ip := fmt.Sprintf("[%s::%d]", h.id, h.moved+1)
	h.place = place{ip + ":6379", ip + ":7946", ip + ":26379"}
	h.d.RedisAddr = h.redisAt
}

// moves has a host lose power and return with other addresses.
func (w *world) moves() {
	h := w.hosts[w.side.IntN(w.size())]
	h.powerOff()
	back := w.ends(w.side.between(100*ms, 3*time.Second))
	w.after(back-1, func() {
		if h.power {
			return
		}
		h.moved++
		h.addresses()
		w.logf("%s is at %s now", h.id, h.redisAt)
	})
	w.after(back, h.boot)
}

// person is somebody who finds a cluster that has lost most of its hosts, and forces a failover.
// Those that he leaves out are down, and stay down until the faults are over.
func (w *world) person() {
	var here []*host
	for _, h := range w.hosts {
		if h.d.Redis && !h.gone {
			here = append(here, h)
		}
	}
	keep := here[w.side.IntN(len(here))]
	leaveOut := w.side.one(0.6)
	down, gone := 0, time.Duration(0)
	if leaveOut && w.has(LeaveOut) && w.side.one(0.5) {
		// It has not heard of what the others did before they were gone.
		keep.powerOff()
		gone = w.side.between(time.Second, 4*time.Second)
		w.after(gone+w.side.between(100*ms, time.Second), keep.boot)
	}
	for _, o := range w.hosts {
		if o == keep || o.gone || !leaveOut && down > 0 && w.side.one(0.6) {
			continue
		}
		down++
		w.after(gone+w.side.upTo(50*ms), func() {
			if !w.quiet {
				o.away = leaveOut
				o.powerOff()
			}
		})
		if !leaveOut {
			w.after(w.ends(w.side.between(8*time.Second, 20*time.Second)), o.boot)
		}
	}
	w.after(gone+w.side.between(7*time.Second, 12*time.Second), func() {
		a := keep.agent
		if w.quiet || a == nil || a.frozen || a.sees() {
			return
		}
		if leaveOut && !w.has(LeaveOut) && w.knowsLater(keep) {
			return
		}
		w.logf("%s: an operator forces a failover, leaving out %v", keep.id, leaveOut)
		a.force(leaveOut)
	})
}

// knowsLater: some other node has voted or followed in a later term than this one.
func (w *world) knowsLater(h *host) bool {
	return slices.ContainsFunc(w.hosts, func(o *host) bool { return o.disk.state.Election.Term > h.disk.state.Election.Term })
}
