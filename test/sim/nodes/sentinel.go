package nodes

import (
	"strconv"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// sentinel is a redis-sentinel whose user may not change any redis-server: it
// watches, votes with the others, and names a primary.
type sentinel struct {
	up, hung              bool
	run                   int
	configured, tuned     bool
	monitors              int // the host it names; -1: none
	epoch                 int
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
	at       time.Duration // 0: never
	primary  bool
	of       int
	linkUp   bool
	priority int
}

const (
	sentinelTick    = 500 * ms
	sentinelTimeout = 300 * ms
	// assumed is the priority of a server of which it has seen no INFO as a replica.
	assumed = 100
)

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
	s.up, s.hung, s.tuned, s.failover, s.infoAt, s.downSince = true, false, false, false, 0, 0
	s.forget()
	h.w.logf("%s sentinel starts", h.id)
	h.tickSentinel()
}

func (s *sentinel) forget() {
	for i := range s.seen {
		s.seen[i] = sighting{priority: assumed}
	}
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
		a.later(300*us, func() {
			a.sentStartAfter = h.local() + min(100*ms<<min(a.sentExits, 6), 5*time.Second)
			a.sentExits++
			a.wake()
		})
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
		if p.epoch > s.epoch {
			s.epoch = p.epoch
			h.sentinelSwitches(p.monitors)
		}
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
		if !r.primary {
			g.priority = r.priority
		}
	}
}

func (h *host) sentinelSwitches(to int) {
	s := &h.sentinel
	if s.monitors != to {
		h.w.logf("%s sentinel names %s", h.id, h.w.hosts[to].id)
		s.monitors = to
		s.forget()
		s.infoAt, s.downSince = 0, 0
	}
	s.failover = s.failover && s.choice == to
}

// sentinelJudges finds the primary down, or not.
func (h *host) sentinelJudges(period time.Duration) {
	w, s := h.w, &h.sentinel
	p := w.hosts[s.monitors]
	r := &p.redis
	g := &s.seen[s.monitors]
	bad := !w.reaches(h, p) || !r.responds(w.now) || r.loading
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
	return n >= s.quorum && n > len(w.hosts)/2
}

// chooses is the replica that it would promote; -1: nobody will do.
func (h *host) chooses() int {
	w, s := h.w, &h.sentinel
	best := -1
	for i := range w.hosts {
		g := &s.seen[i]
		if i == s.monitors || g.at == 0 || g.priority == 0 || w.now-g.at > 4*time.Second && s.downSince == 0 {
			continue
		}
		if r := &w.hosts[i].redis; !r.responds(w.now) || !w.reaches(h, w.hosts[i]) {
			continue // it has lost the link
		}
		if best < 0 || g.priority < s.seen[best].priority {
			best = i
		}
	}
	return best
}

func (h *host) beginFailover() bool {
	s := &h.sentinel
	c := h.chooses()
	if c < 0 {
		return false
	}
	s.failover, s.choice, s.done, s.failUntil = true, c, false, h.w.now+s.failoverTo
	h.w.logf("%s sentinel begins a failover to %s", h.id, h.w.hosts[c].id)
	return true
}

// sentinelFails carries a failover on. It may not promote: it waits until its
// choice is a primary.
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

// sentinelWatch is agent.sentinelWatch.
type sentinelWatch struct {
	pid, tunedPID                     int
	known, monitors                   bool
	view                              sentinel
	choice                            int
	wrongSince, publishedAt, failedAt time.Duration
}

const leaveAlone = 2 * time.Second

func (sw *sentinelWatch) acted(now time.Duration, failed bool) {
	sw.failedAt = 0
	if failed {
		sw.failedAt = now
	}
}

// pollSentinel is the loop of the looks.
func (a *agent) pollSentinel() {
	a.pollSentinelOnce()
	d := time.Second
	if a.sentW.wrongSince > 0 || !a.sentW.known {
		d = 100 * ms
	}
	a.later(d, a.pollSentinel)
}

func (a *agent) pollSentinelOnce() {
	h, sw, s := a.h, &a.sentW, &a.h.sentinel
	if !s.up {
		if sw.known {
			a.wake()
		}
		sw.known, sw.pid, sw.wrongSince = false, 0, 0
		return
	}
	if s.hung || a.saving {
		return // no answer; or the look waits for the ballot
	}
	now := h.local()
	monitors := s.monitors >= 0
	want := a.wanted(now)
	wrong := monitors && want != "" && h.w.hosts[s.monitors].redisAt != want
	choice := -1
	if wrong {
		choice = h.chooses()
	}
	v := &sw.view
	changed := !sw.known || sw.pid != s.run || monitors != sw.monitors || s.monitors != v.monitors || s.quorum != v.quorum ||
		s.peers != v.peers || wrong || choice != sw.choice
	sw.pid, sw.known, sw.monitors, sw.choice = s.run, true, monitors, choice
	v.monitors, v.quorum, v.peers, v.failover, v.downAfter, v.failoverTo = s.monitors, s.quorum, s.peers, s.failover, s.downAfter, s.failoverTo
	switch {
	case !wrong:
		sw.wrongSince = 0
	case sw.wrongSince == 0:
		sw.wrongSince = now
	}
	if changed {
		a.wake()
	}
}

// wanted is agent.primaryAddr.
func (a *agent) wanted(now time.Duration) string {
	if _, ok := a.leased(); ok {
		return a.h.redisAt
	}
	v := a.e.View(now)
	if v.Holder != "" && v.Holder != a.self && !v.Released && v.EverHeard && now < v.HeardAt+reconcile.Lapse {
		return v.Primary
	}
	return ""
}

func (a *agent) observeSentinel() {
	w, sw := a.h.w, &a.sentW
	real := &a.h.sentinel
	s := &a.o.Sentinel
	*s = reconcile.Sentinel{
		Running: real.up, PublishedAt: sw.publishedAt, StartAfter: a.sentStartAfter, Configured: real.up || real.configured,
	}
	if !s.Running || !sw.known || sw.pid != real.run || sw.failedAt > 0 && a.o.At < sw.failedAt+leaveAlone {
		return
	}
	s.Known, s.Tuned, s.WrongSince = true, sw.tunedPID == real.run, sw.wrongSince
	for i := range w.hosts {
		s.Peers += int(sw.view.peers >> i & 1)
	}
	if sw.monitors {
		s.Monitors, s.Failover = w.hosts[sw.view.monitors].redisAt, sw.view.failover
		s.Quorum, s.DownAfter, s.FailoverTimeout = sw.view.quorum, sw.view.downAfter, sw.view.failoverTo
	}
	if sw.choice >= 0 {
		s.Choice = w.hosts[sw.choice].redisAt
	}
}

func (a *agent) applySentinel(action reconcile.Action, then func(failed bool)) {
	h := a.h
	w, s, sw := h.w, &h.sentinel, &a.sentW
	run := s.run
	if _, publish := action.(reconcile.Publish); publish {
		sw.publishedAt = h.local()
	}
	if !s.up || s.hung {
		a.later(sentinelTimeout, func() { then(true) })
		return
	}
	d := h.diskTime()
	a.later(min(d, sentinelTimeout), func() {
		if !s.up || s.run != run || d > sentinelTimeout {
			then(true)
			return
		}
		ok := true
		switch act := action.(type) {
		case reconcile.Monitor:
			s.monitors, s.epoch, s.quorum, s.peers, s.failover, s.downSince = w.host(act.Primary).i, 0, act.Quorum, 0, false, 0
			s.downAfter, s.failoverTo, s.infoAt, s.notBefore = h.d.DownAfter, h.d.FailoverTimeout, 0, 0
			s.forget()
			w.logf("%s sentinel is set up anew for %s", h.id, act.Primary)
		case reconcile.TuneSentinel:
			s.tuned, sw.tunedPID = true, run
		case reconcile.SetSentinel:
			n, _ := strconv.Atoi(act.Value)
			switch act.Option {
			case "quorum":
				s.quorum = n
			case "down-after-milliseconds":
				s.downAfter = time.Duration(n) * ms
			case "failover-timeout":
				s.failoverTo = time.Duration(n) * ms
			}
		case reconcile.Publish:
			ok = !s.failover && s.monitors >= 0 && h.beginFailover()
		}
		a.pollSentinelOnce()
		then(!ok)
	})
}
