package nodes

import (
	"time"

	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// server is a redis-server process and the dataset that it left or has.
type server struct {
	up, hung    bool
	wentOn      time.Duration // it hung until then
	dying       bool          // SIGKILL was delivered: it does nothing more
	run         int           // counts the processes
	startedAt   time.Duration // of the world
	busyUntil   time.Duration // a script: it does nothing else, but uses the processor
	busyFrom    time.Duration
	cpu         time.Duration // used up before busyFrom
	loading     bool
	loadEnds    time.Duration
	primary     bool
	of          int // the host it replicates; -1: nobody
	ofAt        string
	min         int       // min-replicas-to-write
	pending     []command // what a hung process has received
	staleClosed uint32    // the agent that closed the connections of those before it

	// What clients and persons do to it; see trouble.go.
	pausedUntil, writesPaused time.Duration // CLIENT PAUSE ALL, and WRITE
	saysBusyAt                time.Duration // since when a script has had others be answered -BUSY; 0: never
	loginUntil, fullUntil     time.Duration // no login, no new client
	fullFor                   uint32        // agents younger than this have no connection yet
	unused                    bool          // no client has it do anything meanwhile

	store
	ownSync bool

	// The link to the primary.
	link    link
	linkRun int // the process it leads to
	linkGen int
	ackAt   time.Duration // when it last told the primary that it is there
	ackPos  int64         // how far it said it was, once a second; 0: not yet
	ackTick time.Duration

	// The dataset: which histories it is made of, and how far it goes. What INFO shows of that is
	// pos-shift; after a restart it begins anew.
	hist  []segment
	pos   int64
	shift int64
	// whole: the process knows which history it has, so that a partial resync will do.
	whole bool
	// safe is how much of it a power loss leaves.
	safe     int64
	safeHist []segment
	safeAt   time.Duration

	// A primary's pos grows from p0 since a time; before, it grew by lastRate.
	p0             int64
	since          time.Duration
	rate, lastRate int64

	// term is the term under which it was let in last; exempt: no election can help here, see
	// checker.
	term   uint64
	exempt bool
	// late: what is carried out now was asked for by an agent that has died.
	late bool
}

// command is one that was sent to a redis-server. closed tells its sender that the connection was
// closed before it was carried out.
type command struct {
	from       int
	gen        uint32
	do, closed func()
	refused    func() // its answer is an error, and it is not carried out
}

type link uint8

const (
	linkDown link = iota
	linkSyncing
	linkUp
)

// Rates, in bytes a millisecond: of acknowledged writes, and of what a primary adds to its history
// by itself (PING to its replicas, the Sentinels' greetings).
const (
	writeRate = 100
	noiseRate = 1

	noiseEvery = 150 * ms
	noiseBytes = 150
)

// grown is how much a history grows from a time to another at a rate. Noise comes in steps: between
// two of them the replicas are equal.
func grown(rate int64, from, to time.Duration) int64 {
	if rate == noiseRate {
		return noiseBytes * int64(to/noiseEvery-from/noiseEvery)
	}
	return rate * int64(to-from) / int64(ms)
}

// accepts: it would acknowledge a write, if there are replicas enough.
func (r *server) accepts() bool {
	return r.up && !r.hung && !r.dying && !r.loading && r.primary && r.min != reconcile.Fence && r.pausedUntil == 0 && r.writesPaused == 0
}

// replID is the replication id, 0 for one that nobody else has: that of a process which was started
// with a dataset, until it follows a primary or is promoted.
func (r *server) replID() int32 {
	if !r.whole || len(r.hist) == 0 {
		return 0
	}
	return r.hist[len(r.hist)-1].id + 1
}

// responds: it answers commands.
func (r *server) responds(now time.Duration) bool {
	return r.up && !r.hung && !r.dying && now >= r.busyUntil && r.pausedUntil == 0
}

// flow brings all datasets to the present. It must be called before anything changes on which
// writing and replicating depend.
func (w *world) flow() {
	for _, h := range w.hosts {
		r := &h.redis
		if r.up && r.primary {
			r.pos = max(r.pos, r.p0+grown(r.rate, r.since, w.now))
			if r.rate == writeRate {
				w.check.acked(r)
			}
		}
	}
	for _, h := range w.hosts {
		if r := &h.redis; r.up && !r.primary && r.link == linkUp {
			w.replicate(h)
		}
	}
}

func (w *world) replicate(h *host) {
	r := &h.redis
	p := w.hosts[r.of]
	s := &p.redis
	if r.hung || r.loading || !s.up || !s.primary || s.run != r.linkRun || !w.linked(h, p) {
		return
	}
	at := w.now - w.p.lag
	pos := s.p0 + grown(s.rate, s.since, at)
	if at < s.since {
		pos = s.p0 - grown(s.lastRate, at, s.since)
	}
	if !s.hung && w.now >= s.busyUntil && s.pausedUntil == 0 || pos < s.p0 {
		r.pos = max(r.pos, min(pos, s.pos))
	}
	r.ackAt = w.now
	if tick := (w.now + time.Duration(h.i)*237*ms) / time.Second; tick != r.ackTick {
		r.ackTick, r.ackPos = tick, r.pos
	}
}

// changed notes what the primaries do from now on; flow was called before.
func (w *world) changed() {
	for _, h := range w.hosts {
		r := &h.redis
		rate := int64(0)
		switch {
		case !r.responds(w.now) || !r.primary || r.loading:
		case h.readOnly:
			rate = noiseRate
		case r.writesPaused > 0: // nor does it ping its replicas
		case r.accepts() && (r.min == 0 || w.good(h) >= r.min):
			rate = writeRate
		default:
			rate = noiseRate
		}
		if rate != r.rate || !r.primary {
			r.lastRate, r.rate, r.p0, r.since = r.rate, rate, r.pos, w.now
		}
	}
	w.check.writers()
}

// good is how many replicas follow a primary.
func (w *world) good(h *host) int {
	n := 0
	for _, o := range w.hosts {
		if r := &o.redis; w.follows(o, h) && r.link == linkUp && w.now-r.ackAt < 2*time.Second {
			n++
		}
	}
	return n
}

// follows: o's process has a link to that of h.
func (w *world) follows(o, h *host) bool {
	r := &o.redis
	return r.up && !r.primary && r.link != linkDown && r.of == h.i && r.linkRun == h.redis.run
}

// start is redis-server started anew: a fenced replica that has what is on disk.
func (h *host) startRedis(of int, at string) {
	w, r := h.w, &h.redis
	w.flow()
	r.run++
	r.up, r.hung, r.dying, r.primary, r.of, r.loading = true, false, false, false, of, true
	r.min, r.whole, r.shift = reconcile.Fence, false, r.pos
	r.startedAt, r.cpu, r.busyFrom, r.busyUntil, r.pending, r.link, r.exempt = w.now, 0, 0, 0, nil, linkDown, false
	r.pausedUntil, r.writesPaused, r.saysBusyAt, r.loginUntil, r.fullUntil = 0, 0, 0, 0, 0
	r.loads()
	run := r.run
	takes := 5*ms + w.upTo(w.p.load)
	if w.has(LongLoad) && w.side.one(0.5) {
		takes = w.side.between(time.Second, 4*time.Minute)
	}
	r.loadEnds = w.now + takes
	r.ofAt = at
	w.logf("%s redis-server starts, of %d, at %d", h.id, of, r.pos)
	w.changed()
	w.after(takes, func() {
		if r.up && r.run == run {
			r.loading = false
			w.connect(h, 0)
		}
	})
}

// end is the end of the process, whatever it was doing. Its connections close, and its agent sees
// the exit.
func (h *host) endRedis(why string) {
	w, r := h.w, &h.redis
	if !r.up {
		return
	}
	w.flow()
	if why != "stopped" {
		w.res.Ends++
	}
	w.logf("%s redis-server ends: %s (accepts %v, at %d)", h.id, why, r.accepts(), r.pos)
	w.check.ended(h)
	for _, c := range r.pending {
		if c.closed != nil && w.reaches(w.hosts[c.from], h) {
			c.closed()
		}
	}
	r.up, r.hung, r.pending, r.loading = false, false, nil, false
	r.link = linkDown
	r.linkGen++
	r.leaves()
	for _, o := range w.hosts {
		if o != h && o.redis.of == h.i && w.linked(o, h) {
			w.unlink(o)
		}
	}
	w.changed()
	if a := h.agent; a != nil {
		run, ranFor := r.run, w.now-r.startedAt
		a.later(w.between(100*us, 500*us), func() { a.exited(node.Redis, run, why, ranFor) })
	}
}

func (r *server) powerOff(h *host) {
	r.up, r.hung, r.pending, r.loading, r.link = false, false, nil, false, linkDown
	r.linkGen++
	if r.rdb || r.apart {
		r.leaves()
		return
	}
	if r.safeHist != nil || r.safe == 0 {
		r.pos, r.hist = r.safe, cutHist(r.safeHist, r.safe)
	}
}

// fsync is appendfsync everysec.
func (r *server) fsync(now time.Duration) {
	if now >= r.safeAt+time.Second && !r.ownSync {
		r.safe, r.safeHist, r.safeAt = r.pos, r.hist, now
	}
}

// unlink ends a replica's link; it tries again within a second.
func (w *world) unlink(h *host) {
	r := &h.redis
	r.stopCopying()
	r.link = linkDown
	r.linkGen++
	w.connect(h, w.upTo(time.Second))
}

// connect has a replica connect to its primary, again and again.
func (w *world) connect(h *host, d time.Duration) {
	r := &h.redis
	r.linkGen++
	gen := r.linkGen
	w.after(d+w.between(200*us, 2*ms), func() { w.tryLink(h, gen) })
}

func (w *world) tryLink(h *host, gen int) {
	r := &h.redis
	if !r.up || r.primary || r.linkGen != gen || r.of < 0 || r.link != linkDown {
		return
	}
	p := w.hosts[r.of]
	s := &p.redis
	if r.hung || r.loading || p == h || r.ofAt != p.redisAt || !w.reaches(h, p) || !s.responds(w.now) || s.loading || !s.primary {
		w.connect(h, time.Second)
		return
	}
	w.flow()
	r.linkRun = s.run
	if r.whole && !r.tooSlow && r.shift == s.shift && common(r.hist, r.pos, s.hist, s.pos) == r.pos {
		w.synced(h, p)
		return
	}
	r.link = linkSyncing
	w.res.FullSyncs++
	w.logf("%s full sync from %s", h.id, p.id)
	if w.has(Flush) {
		w.copyFrom(h, p, gen)
		return
	}
	w.after(5*ms+w.upTo(w.p.sync), func() { w.fullSync(h, p, gen) })
}

func (w *world) fullSync(h, p *host, gen int) {
	r, s := &h.redis, &p.redis
	if !r.up || r.linkGen != gen || r.link != linkSyncing {
		return
	}
	if r.hung || !w.linked(h, p) || !s.up || !s.primary || s.run != r.linkRun {
		w.unlink(h)
		return
	}
	w.flow()
	if w.has(StaleAOF) {
		r.detach()
	}
	r.stopCopying()
	r.pos = s.pos
	w.synced(h, p)
	h.copied()
}

// synced: the replica has the history of its primary from now on.
func (w *world) synced(h, p *host) {
	r, s := &h.redis, &p.redis
	r.link, r.hist, r.shift, r.whole, r.ackAt, r.ackPos = linkUp, s.hist, s.shift, true, w.now, 0
	w.logf("%s in sync with %s at %d of %d", h.id, p.id, r.pos, s.pos)
	w.changed()
}

// lookAtLink: a link to a process that has gone is noticed when packets get through again.
func (w *world) lookAtLink(h *host) {
	r := &h.redis
	if r.up && !r.primary && r.link != linkDown && w.linked(h, w.hosts[r.of]) {
		if s := &w.hosts[r.of].redis; !s.up || s.run != r.linkRun || !s.primary {
			w.unlink(h)
			w.changed()
		}
	}
}

// promote is REPLICAOF NO ONE and CONFIG SET in one transaction.
func (h *host) promote(min int, term uint64) {
	w, r := h.w, &h.redis
	w.flow()
	if !r.primary {
		for _, o := range w.hosts {
			if w.follows(o, h) {
				w.unlink(o)
			}
		}
		r.stopCopying()
		r.primary, r.of, r.link = true, -1, linkDown
		r.linkGen++
		r.hist = append(cutHist(r.hist, r.pos), segment{w.check.newSegment(term, r.pos), r.pos})
		r.whole = true
		r.p0, r.since, r.rate, r.lastRate = r.pos, w.now, 0, 0
	}
	w.check.allowWrites(h, term)
	r.min, r.term, r.exempt = min, term, r.late
	w.logf("%s promoted in term %d, min %d, at %d", h.id, term, min, r.pos)
	w.changed()
}

// resumeWrites is CLIENT UNPAUSE.
func (h *host) resumeWrites(term uint64) {
	w, r := h.w, &h.redis
	w.flow()
	r.writesPaused = 0
	if r.primary && r.min != reconcile.Fence {
		w.check.allowWrites(h, term)
		r.term = term
	}
	r.exempt = r.late
	w.logf("%s resumes writes", h.id)
	w.changed()
}

// setMin is CONFIG SET min-replicas-to-write.
func (h *host) setMin(n int, term uint64) {
	w, r := h.w, &h.redis
	w.flow()
	r.min = n
	if n != reconcile.Fence {
		w.check.allowWrites(h, term)
		r.term = term
	}
	r.exempt = r.late
	w.logf("%s min-replicas %d", h.id, n)
	w.changed()
}

// follow is REPLICAOF with the fence.
func (h *host) follow(of int, at string) {
	w, r := h.w, &h.redis
	w.flow()
	r.min, r.exempt = reconcile.Fence, false
	if r.primary || r.of != of || r.ofAt != at {
		r.ofAt = at
		for _, o := range w.hosts {
			if w.follows(o, h) {
				w.unlink(o)
			}
		}
		r.stopCopying()
		r.primary, r.of, r.link, r.rate = false, of, linkDown, 0
		w.logf("%s follows %s", h.id, w.hosts[of].id)
		w.connect(h, 0)
	}
	w.changed()
}

// hang is SIGSTOP.
func (h *host) hang(d time.Duration) { h.stand(h.w.soon(d)) }

// stand is hang for exactly d.
func (h *host) stand(d time.Duration) {
	w, r := h.w, &h.redis
	if !r.up || r.hung {
		return
	}
	w.flow()
	w.logf("%s redis-server hangs for %v (accepts %v)", h.id, d, r.accepts())
	r.hung = true
	w.res.Ends++
	run := r.run
	w.changed()
	w.after(d, func() {
		if !r.up || r.run != run || r.dying {
			return
		}
		w.flow()
		r.hung, r.wentOn = false, w.now
		w.logf("%s redis-server goes on", h.id)
		w.changed()
		w.carryOut(h)
	})
}

// computes has it use the processor for d.
func (r *server) computes(now, d time.Duration) {
	r.cpu, r.busyFrom, r.busyUntil = r.used(now), now, now+d
}

// used is how much processor time it has used.
func (r *server) used(now time.Duration) time.Duration {
	return r.cpu + max(0, min(now, r.busyUntil)-r.busyFrom)
}

// busy is a script that runs for d.
func (h *host) busy(d time.Duration) {
	w, r := h.w, &h.redis
	if !r.up || r.hung {
		return
	}
	w.flow()
	w.logf("%s redis-server is busy for %v (accepts %v)", h.id, d, r.accepts())
	r.computes(w.now, w.soon(d))
	w.res.Ends++
	run := r.run
	w.changed()
	w.after(r.busyUntil-w.now, func() {
		if r.responds(w.now) && r.run == run {
			w.flow()
			w.changed()
			w.carryOut(h)
		}
	})
}

// carryOut does what has come in meanwhile.
func (w *world) carryOut(h *host) {
	r := &h.redis
	todo := r.pending
	w.rng.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] }) // each on a connection of its own
	for len(r.pending) > 0 && r.responds(w.now) {
		c := r.pending[0]
		r.pending = r.pending[1:] // it may close what is left
		if c.from != h.i || c.gen >= r.staleClosed {
			c.do()
		}
	}
}

// call sends a command to a redis-server. do is carried out when the process gets to it, be it
// after the caller has given up or died; then is told how it went.
func (a *agent) call(to *host, timeout time.Duration, do func(*server) bool, then func(ok, answered bool)) {
	w, r := a.h.w, &to.redis
	done := false
	finish := func(ok, answered bool) {
		if !done {
			done = true
			then(ok, answered)
		}
	}
	d := w.between(50*us, 300*us)
	if to != a.h {
		d += w.p.delay
	}
	switch {
	case !w.reaches(a.h, to):
		if w.one(0.3) {
			w.late = append(w.late, lateCommand{a.h, to, r.run, do})
		}
		a.later(timeout, func() { finish(false, false) })
		return
	case !r.up:
		a.later(d, func() { finish(false, false) })
		return
	}
	run, gen := r.run, a.gen
	reply := func(ok, answered bool) {
		if a.h.agent == a && a.gen == gen {
			a.later(d/2+us, func() { finish(ok, answered) })
		}
	}
	a.later(timeout, func() { finish(false, false) })
	w.after(d/2, func() {
		if !r.up || r.run != run {
			reply(false, false)
			return
		}
		w.arrive(to, do, reply, a.h.i, gen)
	})
}

// arrive is a command that has come to a running process.
func (w *world) arrive(to *host, do func(*server) bool, reply func(ok, answered bool), from int, gen uint32) {
	r := &to.redis
	if from == to.i && gen < r.staleClosed {
		return // its connection is closed
	}
	refuse := func() {
		if reply != nil {
			reply(false, true)
		}
	}
	if r.refuses(w.now, gen) && (from != to.i || gen > 0) {
		refuse()
		return
	}
	carryOut := func() {
		ok := do(r)
		if reply != nil {
			reply(ok, true)
		}
	}
	if !r.responds(w.now) {
		c := command{from: from, gen: gen, do: carryOut, refused: refuse}
		if reply != nil {
			c.closed = func() { reply(false, false) }
		}
		r.pending = append(r.pending, c)
		return
	}
	carryOut()
}
