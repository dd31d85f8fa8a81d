package nodes

import (
	"strconv"
	"time"

	"github.com/redisd/redisd/node"
)

// profile is how bad a schedule is; each seed draws its own.
type profile struct {
	cold              bool // nothing on any disk
	until             time.Duration
	begin, span       time.Duration
	faults            int
	mend              time.Duration // how long a fault lasts at most
	delay, lag        time.Duration
	loss, double      float64
	lateness          float64
	drift             int64 // millionths
	load, sync, stall time.Duration
	trip              trip
	limit             int64 // max_lag_on_failover; 0: none
}

// trip makes something happen at the so-manieth step of an agent.
type trip struct {
	what  tripKind
	host  int
	steps int
	lasts time.Duration
}

type tripKind uint8

const (
	tripNone tripKind = iota
	tripDie
	tripFreeze
	tripRedis
	tripStuck // its redis-server stands still when it is let in, and the agent dies meanwhile
)

// draw chooses the profile and the hosts.
func (w *world) draw() {
	p := &w.p
	n := []int{3, 3, 3, 3, 3, 3, 3, 3, 2, 5}[w.rng.IntN(10)]
	p.delay = w.between(100*us, 2*ms)
	p.lag = w.between(200*us, 2*ms)
	if w.one(0.2) {
		p.lag = w.upTo(60 * ms)
	}
	if w.one(0.4) {
		p.loss = w.rng.Float64() * 0.3
	}
	if w.one(0.3) {
		p.double, p.lateness = w.rng.Float64()*0.2, w.rng.Float64()*0.1
	}
	p.drift = []int64{0, 200, 2000, 5000}[w.rng.IntN(4)]
	p.load, p.sync, p.stall = w.upTo(60*ms), w.upTo(200*ms), w.upTo(800*ms)
	if w.one(0.1) {
		p.load, p.sync, p.stall = w.upTo(time.Second), w.upTo(3*time.Second), w.upTo(3*time.Second)
	}
	p.begin, p.span = 250*ms+w.upTo(100*ms), w.upTo(900*ms)
	p.faults, p.mend = 1+w.rng.IntN(3), 1500*ms
	switch x := w.rng.IntN(100); {
	case x < 3: // long
		p.span, p.faults, p.mend = w.between(5*time.Second, 20*time.Second), 4+w.rng.IntN(8), 12*time.Second
	case x < 5:
		p.cold = true
		p.begin, p.span, p.faults = 0, 3*time.Second, w.rng.IntN(4)
	}
	if w.one(0.15) {
		p.limit = 1 + w.rng.Int64N(200*writeRate)
	}
	if w.has(Learners) {
		n = 4 + w.side.IntN(2)
	}
	w.newHosts(n, n == 3 && w.one(0.2))
	p.cold = p.cold || w.has(Unserved)
	if w.has(Joins) && n < most && !p.cold {
		w.newcomer()
	}
	p.until = p.begin + p.span + w.upTo(p.mend)
}

// schedule draws the faults.
func (w *world) schedule() {
	for range w.p.faults {
		w.after(w.p.begin+w.upTo(w.p.span), w.fault)
	}
}

// lasts is how long a fault lasts.
func (w *world) lasts() time.Duration {
	if w.one(0.3) {
		return w.between(20*ms, 300*ms)
	}
	return w.between(50*ms, w.p.mend)
}

// victim is a host, and half of the time the primary.
func (w *world) victim() *host {
	if w.one(0.5) {
		for _, h := range w.hosts {
			if h.redis.accepts() {
				return h
			}
		}
	}
	return w.hosts[w.rng.IntN(len(w.hosts))]
}

// fault breaks something, or has an operator do something.
func (w *world) fault() {
	if w.quiet {
		return
	}
	h, d := w.victim(), w.lasts()
	switch w.rng.IntN(21) {
	case 0, 1:
		o := w.hosts[w.rng.IntN(len(w.hosts))]
		both := w.one(0.5)
		w.setCut(h, o, true)
		if both {
			w.setCut(o, h, true)
		}
		w.after(w.soon(d), func() { w.setCut(h, o, false); w.setCut(o, h, false) })
	case 2, 3, 4:
		in := w.one(0.8)
		w.isolate(h, in, !in || w.one(0.8), d)
	case 5, 6:
		again := w.between(100*ms, 2*time.Second)
		if w.one(0.2) {
			again = d * 2
		}
		h.killAgent("killed", again)
	case 7:
		h.freeze(d * 2)
	case 8, 9:
		what := []tripKind{tripDie, tripDie, tripFreeze, tripRedis}[w.rng.IntN(4)]
		w.p.trip = trip{what, h.i, 1 + w.rng.IntN(15), d}
	case 10:
		h.powerOff()
		w.after(w.soon(d), h.boot)
	case 11, 12:
		h.endRedis("killed")
	case 13:
		h.hang(d)
	case 14:
		h.busy(d)
	case 15:
		w.sentinelFault(h, d)
	case 16, 17:
		w.switchover()
	case 18:
		w.stop(h)
	case 19:
		w.logf("%s disk is slow for %v", h.id, d)
		h.slowUntil = w.now + w.soon(d)
	case 20:
		w.rareFault(h, d)
	}
}

func (w *world) rareFault(h *host, d time.Duration) {
	switch w.rng.IntN(6) {
	case 4:
		w.lateAllow(d)
	case 5:
		w.handOverAndDie(d)
	case 0: // all hosts lose power
		late := w.upTo(d)
		for _, o := range w.hosts {
			w.after(w.soon(w.upTo(100*ms)), o.powerOff)
			back := 250*ms + w.upTo(d)
			if o == h {
				back += late
			}
			w.after(w.soon(back), o.boot)
		}
	case 1:
		w.pause(h, true)
		w.after(w.soon(d), func() { w.pause(h, false) })
	case 2:
		w.logf("%s redis port is blocked for %v", h.id, d)
		w.flow()
		w.blocked[h.i] = true
		w.after(w.soon(d+time.Second), func() { w.unblock(h) })
	case 3: // a burst of losses
		was := w.p.loss
		w.p.loss = 0.7
		w.after(w.soon(d), func() { w.p.loss = was })
	}
}

// primary is the host that accepts writes, and the others that have a redis-server; nil when there
// is none.
func (w *world) primary() (p *host, others []*host) {
	for _, h := range w.hosts {
		switch {
		case h.redis.accepts():
			p = h
		case h.d.Redis:
			others = append(others, h)
		}
	}
	return p, others
}

// lateAllow has the next primary stand still when it is promoted, and its agent die before that is
// answered. It goes on when the next agent has just asked for a fence.
func (w *world) lateAllow(d time.Duration) {
	p, others := w.primary()
	if p == nil || len(others) == 0 {
		return
	}
	w.p.trip = trip{tripStuck, others[w.rng.IntN(len(others))].i, 1, 500*ms + d}
	p.endRedis("killed")
}

func (a *agent) stuckPromotion() {
	h, w, t := a.h, a.h.w, &a.h.w.p.trip
	if t.what != tripStuck || t.host != h.i || !h.redis.responds(w.now) {
		return
	}
	t.what = tripNone
	back := w.soon(t.lasts)
	h.stand(back + node.FirstRenewal + w.upTo(node.FenceTimeout+5*ms))
	w.after(w.upTo(ms), func() {
		if h.agent == a {
			h.killAgent("while its redis-server stands still", back)
		}
	})
}

// handOverAndDie has a replica lag, and then the primary handed over to another one, which is lost,
// and the old primary's agent replaced.
func (w *world) handOverAndDie(d time.Duration) {
	p, others := w.primary()
	if p == nil || p.agent == nil || len(others) < 2 {
		return
	}
	w.rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	to, lags := others[0], others[1]
	w.isolate(lags, true, true, 150*ms+w.upTo(300*ms))
	w.after(w.upTo(200*ms), func() {
		a := p.agent
		if w.quiet || a == nil || a.frozen || a.requested() {
			return
		}
		was := w.res.HandOvers
		a.request(to.id)
		var look func()
		look = func() {
			switch {
			case w.quiet || p.agent != a:
			case w.res.HandOvers > was:
				p.killAgent("after a handover", w.upTo(100*ms))
				to.powerOff()
				w.after(w.soon(d+500*ms), to.boot)
			default:
				w.after(200*us, look)
			}
		}
		look()
	})
}

func (w *world) unblock(h *host) {
	w.blocked[h.i] = false
	h.cutAt = w.now
	w.deliverLate()
}

// isolate cuts a host off from all others, in one direction or both.
func (w *world) isolate(h *host, in, out bool, d time.Duration) {
	w.logf("%s is cut off, in %v, out %v, for %v", h.id, in, out, d)
	for _, o := range w.hosts {
		if out {
			w.setCut(h, o, true)
		}
		if in {
			w.setCut(o, h, true)
		}
	}
	w.after(w.soon(d), func() {
		for _, o := range w.hosts {
			w.setCut(h, o, false)
			w.setCut(o, h, false)
		}
	})
}

func (w *world) sentinelFault(h *host, d time.Duration) {
	s := &h.sentinel
	if w.one(0.5) {
		h.endSentinel("killed")
		return
	}
	w.logf("%s sentinel hangs for %v", h.id, d)
	s.hung = true
	w.after(w.soon(d), func() { s.hung = false })
}

// switchover is an operator's wish, at whichever agent thinks it holds the lease.
func (w *world) switchover() {
	for _, h := range w.hosts {
		a := h.agent
		if a == nil || a.frozen || h.disk.state.Pause.On || a.requested() {
			continue
		}
		v := a.n.View(h.local())
		if !v.Lease || len(v.Successors) == 0 {
			continue
		}
		to := v.Successors[0]
		if w.one(0.5) {
			to = v.Successors[w.rng.IntN(len(v.Successors))]
		}
		a.request(string(to))
		return
	}
}

// handOverWithin is how long an operator's request holds.
const handOverWithin = 10 * time.Second

// requested: an operator's request to move the primary waits here.
func (a *agent) requested() bool { return a.n.Observe(a.h.local()).Handover }

// request asks for the primary to move, for a while.
func (a *agent) request(to string) {
	w := a.h.w
	w.requests++
	id := strconv.Itoa(w.requests)
	w.logf("%s is asked to hand over to %q", a.h.id, to)
	a.later(handOverWithin, func() { a.n.CancelSwitchover(id) })
	a.step(node.RequestSwitchover{ID: id, To: to})
}

// stop is systemctl stop; the node is started again some time after it stopped.
func (w *world) stop(h *host) {
	a := h.agent
	if a == nil || a.frozen {
		return
	}
	w.logf("%s is to stop", h.id)
	a.stopping = true
	a.step(node.Stop{})
}

// pause is an operator's, made at one agent, which tells the others, also when it knows the wish
// already.
func (w *world) pause(h *host, on bool) {
	if !h.alive() {
		return
	}
	p := h.agent.n.Paused()
	if p.On != on {
		p = node.Pause{Version: p.Version + 1, On: on}
	}
	for _, o := range w.hosts {
		if w.linked(h, o) && o.alive() {
			o.agent.step(node.SetPause{Pause: p})
		}
	}
}

// resume is an operator who repeats it until nobody is paused.
func (w *world) resume() {
	for _, h := range w.hosts {
		if h.disk.state.Pause.On {
			w.pause(h, false)
			w.after(200*ms, w.resume)
			return
		}
	}
}

// heal ends the faults.
func (w *world) heal() {
	w.quiet = true
	w.logf("faults end: %s", w)
	p := &w.p
	p.trip.what = tripNone
	p.loss, p.double, p.lateness, p.stall = min(p.loss, 0.01), min(p.double, 0.01), 0, 0
	for _, h := range w.hosts {
		w.blocked[h.i] = false
		h.slowUntil = 0
		for _, o := range w.hosts {
			w.setCut(h, o, false)
		}
	}
	if w.has(Joins) {
		w.join()
	}
	for _, h := range w.hosts {
		h.redis.loginUntil, h.redis.fullUntil = 0, 0
		h.sentinel.hung = h.stands
		if h.away { // one after the other: each hears of the primary before most of them are there
			w.after(time.Duration(h.i)*3*time.Second, func() {
				h.away = false
				h.boot()
			})
			continue
		}
		h.boot()
		if h.agent != nil {
			h.agent.thaw()
		}
	}
	w.deliverLate()
	w.resume()
}
