package nodes

import (
	"time"

	"github.com/redisd/redisd/node"
)

// sentinel is a redis-sentinel whose user may not change any redis-server: it watches, votes with
// the others, and names a primary.
type sentinel struct {
	up, hung              bool
	run                   int
	startedAt             time.Duration
	configured, tuned     bool
	monitors              int // the host it names; -1: none
	epoch                 int64
	quorum                int
	downAfter, failoverTo time.Duration
	peers                 uint // bit set of the hosts whose sentinel it knows
	infoAt                time.Duration
	downSince             time.Duration // since when it takes the primary for down; 0: it does not
	seen                  [most]sighting

	failover   bool
	choice     int
	failUntil  time.Duration
	done       bool // published; the replicas are being counted
	notBefore  time.Duration
	generation int // of its ticker
}

// sighting is what a sentinel last learnt of a redis-server.
type sighting struct {
	at      time.Duration // 0: never
	primary bool
	of      int
	linkUp  bool
}

const sentinelTick = 500 * ms

func (h *host) startSentinel(primary *host) {
	s := &h.sentinel
	if !s.configured {
		*s = sentinel{monitors: -1, run: s.run, generation: s.generation}
		if primary != nil {
			s.monitors = primary.i
		}
		s.quorum = 1
		s.downAfter, s.failoverTo = h.d.DownAfter, h.d.FailoverTimeout
		s.configured = true
	}
	s.run++
	s.up, s.hung, s.tuned, s.failover, s.infoAt, s.downSince, s.startedAt = true, false, false, false, 0, 0, h.w.now
	s.forget()
	h.w.logf("%s sentinel starts", h.id)
	h.tickSentinel()
}

func (s *sentinel) forget() {
	s.seen = [most]sighting{}
}

func (h *host) tickSentinel() {
	s := &h.sentinel
	s.generation++
	gen := s.generation
	var next func()
	next = func() {
		if s.up && s.generation == gen {
			h.w.after(sentinelTick-20*ms+h.w.upTo(40*ms), next)
			if !s.hung {
				h.sentinelWorks()
			}
		}
	}
	h.w.after(h.w.upTo(sentinelTick), next)
}

func (h *host) endSentinel(why string) {
	s := &h.sentinel
	if !s.up {
		return
	}
	h.w.logf("%s sentinel ends: %s", h.id, why)
	s.up, s.hung = false, false
	if a := h.agent; a != nil {
		run, ranFor := s.run, h.w.now-s.startedAt
		a.later(300*us, func() { a.exited(node.Sentinel, run, why, ranFor) })
	}
}

// sentinelWorks is its timer: INFO, greetings, and what follows from them.
func (h *host) sentinelWorks() {
	w, s := h.w, &h.sentinel
	if s.monitors < 0 {
		return
	}
	period := 10 * time.Second
	if s.tuned || s.failover || s.downSince > 0 {
		period = time.Second
	}
	if w.now-s.infoAt >= period-50*ms || s.infoAt == 0 {
		s.infoAt = w.now
		h.sentinelLooks()
	}
	for _, o := range w.hosts {
		p := &o.sentinel
		if o == h || !p.up || p.hung || p.monitors < 0 || !w.linked(h, o) {
			continue
		}
		s.peers |= 1 << o.i
		h.sentinelHears(p.monitors, p.epoch)
	}
	h.sentinelJudges(period)
	h.sentinelFails()
}

func (h *host) sentinelLooks() {
	w, s := h.w, &h.sentinel
	for _, o := range w.hosts {
		r := &o.redis
		if !o.d.Redis || !w.reaches(h, o) || !r.responds(w.now) || r.loading {
			continue
		}
		g := &s.seen[o.i]
		g.at, g.primary, g.of, g.linkUp = w.now, r.primary, r.of, r.link == linkUp
	}
}

// sentinelHears is a greeting: the later configuration counts.
func (h *host) sentinelHears(primary int, epoch int64) {
	if s := &h.sentinel; epoch > s.epoch {
		s.epoch = epoch
		h.sentinelSwitches(primary)
	}
}

func (h *host) sentinelSwitches(to int) {
	s := &h.sentinel
	if s.monitors != to {
		h.w.logf("%s sentinel names %s", h.id, h.w.hosts[to].id)
		s.monitors = to
		s.forget()
		s.infoAt, s.downSince, s.failover, s.notBefore = 0, 0, false, 0
	}
}

// sentinelJudges finds the primary down, or not.
func (h *host) sentinelJudges(period time.Duration) {
	w, s := h.w, &h.sentinel
	p := w.hosts[s.monitors]
	r := &p.redis
	g := &s.seen[s.monitors]
	bad := !w.reaches(h, p) || !r.responds(w.now) || r.loading || r.writesPaused > 0 // its own PUBLISH waits, and PING behind it
	wait := s.downAfter
	if !bad && g.at > 0 && !g.primary {
		bad, wait = true, s.downAfter+2*period
	}
	switch {
	case !bad:
		s.downSince = 0
	case s.downSince == 0:
		s.downSince = w.now
	case w.now >= s.downSince+wait && !s.failover && w.now >= s.notBefore && h.agreed():
		s.notBefore = w.now + 2*s.failoverTo
		if w.one(0.5) { // else another leads
			s.notBefore = w.now + time.Second
			return
		}
		h.beginFailover()
	}
}

// agreed: a quorum of sentinels takes the primary for down.
func (h *host) agreed() bool {
	w, s := h.w, &h.sentinel
	n := 0
	for _, o := range w.hosts {
		p := &o.sentinel
		if o == h || p.up && !p.hung && w.linked(h, o) && p.monitors == s.monitors && p.downSince > 0 {
			n++
		}
	}
	return n >= s.quorum && n > w.size()/2
}

// chooses is the replica that it would promote; -1: nobody will do. One that goes by
// replica-priority finds nobody; this one does as if clients had set it.
func (h *host) chooses() int {
	w, s := h.w, &h.sentinel
	for i := range w.hosts {
		g := &s.seen[i]
		if i == s.monitors || g.at == 0 || w.now-g.at > 4*time.Second && s.downSince == 0 {
			continue
		}
		if r := &w.hosts[i].redis; !r.responds(w.now) || !w.reaches(h, w.hosts[i]) {
			continue // it has lost the link
		}
		return i
	}
	return -1
}

func (h *host) beginFailover() {
	s := &h.sentinel
	c := h.chooses()
	if c < 0 {
		return
	}
	s.failover, s.choice, s.done, s.failUntil = true, c, false, h.w.now+s.failoverTo
	h.w.logf("%s sentinel begins a failover to %s", h.id, h.w.hosts[c].id)
}

// sentinelFails carries a failover on. It may not promote: it waits until its choice is a primary.
func (h *host) sentinelFails() {
	w, s := h.w, &h.sentinel
	switch {
	case !s.failover:
	case s.done:
		s.failover = w.now < s.failUntil
	case w.now >= s.failUntil:
		s.failover = false
	default:
		if o := w.hosts[s.choice]; w.reaches(h, o) && o.redis.responds(w.now) && o.redis.primary {
			for _, p := range w.hosts {
				s.epoch = max(s.epoch, p.sentinel.epoch)
			}
			s.epoch++
			h.sentinelSwitches(s.choice)
			s.failover, s.done, s.failUntil = true, true, w.now+time.Second
		}
	}
}
