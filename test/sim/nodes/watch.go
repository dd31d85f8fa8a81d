package nodes

import (
	"time"

	"github.com/redisd/redisd/reconcile"
)

// redisWatch is agent.redisWatch: the newest answer of the local redis-server.
type redisWatch struct {
	polling     bool
	pid         int
	info        info
	known       bool
	silentSince time.Duration
	answers     time.Duration // since when
	stuck       bool
	adopted     bool
	rec         record
	acked       int64 // by a replica, at the end of the last process
	ackedUntil  reconcile.Time
	killed      int
	raw         bool // what the agent before this one asked for may yet be carried out
	notBefore   time.Duration
	askedAt     time.Duration
}

// info is what INFO and CONFIG GET say.
type info struct {
	run           int
	primary       bool
	of            int
	loading       bool
	linkUp        bool
	syncing       bool
	min, priority int
	offset, keys  int64
	replID        int32
	replicas      [most]replicaLink
	links         int
}

type replicaLink struct {
	host   int8
	online bool
	lag    time.Duration
	offset int64
}

// poll looks at the local redis-server, then goes on.
func (a *agent) poll(timeout time.Duration, then func()) {
	r, rw := &a.h.redis, &a.redisW
	pid := r.run
	if !r.up {
		if rw.known || rw.pid != 0 {
			a.wake()
			if rw.killed != rw.pid {
				rw.noteAcked(a.h.local())
			}
		}
		rw.known, rw.pid, rw.silentSince, rw.stuck = false, 0, 0, false
		if then != nil {
			then()
		}
		return
	}
	began := a.h.local()
	ticker := then == nil
	if ticker {
		rw.polling = true
	}
	if rw.raw {
		a.outlive(timeout, func(ok bool) {
			if ok {
				a.readInfo(max(0, timeout-(a.h.local()-began)), began, pid, ticker, then)
				return
			}
			a.looked(nil, began, pid, ticker, then)
		})
		return
	}
	a.readInfo(timeout, began, pid, ticker, then)
}

func (a *agent) readInfo(timeout, began time.Duration, pid int, ticker bool, then func()) {
	w, r := a.h.w, &a.h.redis
	d := w.between(100*us, 600*us)
	if !r.responds(w.now) {
		d = timeout
	}
	var answer *info // as of a moment between the question and its arrival here
	if d != timeout {
		w.after(d/2, func() {
			if r.responds(w.now) && r.run == pid {
				answer = a.h.info()
			}
		})
	}
	a.later(d, func() { a.looked(answer, began, pid, ticker, then) })
}

func (a *agent) looked(answer *info, began time.Duration, pid int, ticker bool, then func()) {
	rw := &a.redisW
	if ticker {
		rw.polling = false
	}
	switch r := &a.h.redis; {
	case !r.up || r.run != pid:
		a.wake()
	case began < rw.askedAt:
	case answer != nil && began < rw.notBefore:
		a.wake()
	case answer != nil:
		a.heard(answer, began, pid)
	default:
		a.silent(began, pid)
	}
	if then != nil {
		then()
	}
}

// noteAcked is agent.redisWatch.noteAcked.
func (rw *redisWatch) noteAcked(at reconcile.Time) {
	if rw.known && rw.info.primary {
		rw.acked, rw.ackedUntil = rw.info.acked(), at+ackedCounts
	}
}

// acked is the most that a replica has acknowledged.
func (i *info) acked() int64 {
	most := int64(0)
	for _, l := range i.replicas[:i.links] {
		if l.online {
			most = max(most, l.offset)
		}
	}
	return most
}

// silent is agent.redisWatch.silent.
func (a *agent) silent(began time.Duration, pid int) {
	w, r, rw := a.h.w, &a.h.redis, &a.redisW
	if rw.pid != pid {
		rw.pid, rw.known, rw.stuck, rw.silentSince = pid, false, false, 0
	}
	if !rw.known && w.now-r.startedAt < hangOnDisk {
		return
	}
	first := rw.silentSince == 0
	if first {
		rw.silentSince = began
	}
	was := rw.stuck
	rw.stuck = r.hung || a.h.local()-rw.silentSince > hangBusy
	if first || was != rw.stuck || rw.stuck {
		a.wake()
	}
}

// info is what redis-server answers now.
func (h *host) info() *info {
	w, r := h.w, &h.redis
	w.lookAtLink(h)
	w.flow()
	i := &info{
		run: r.run, primary: r.primary, of: r.of, loading: r.loading, linkUp: r.link == linkUp, syncing: r.link == linkSyncing,
		min: r.min, priority: r.priority, offset: r.pos - r.shift, keys: r.pos, replID: r.replID(),
	}
	if r.primary {
		for _, o := range w.hosts {
			if w.follows(o, h) {
				i.replicas[i.links] = replicaLink{int8(o.i), o.redis.link == linkUp, (w.now - o.redis.ackAt).Truncate(time.Second), max(0, o.redis.ackPos-r.shift)}
				i.links++
			}
		}
	}
	return i
}

// heard takes down an answer.
func (a *agent) heard(i *info, began time.Duration, pid int) {
	h, rw := a.h, &a.redisW
	old := &rw.info
	changed := !rw.known || rw.pid != pid || rw.silentSince > 0 || i.min != old.min || i.priority != old.priority || i.primary != old.primary ||
		i.loading != old.loading || i.linkUp != old.linkUp || i.replID != old.replID || i.of != old.of || i.syncing != old.syncing || i.links != old.links
	for k := 0; k < i.links && !changed; k++ {
		changed = i.replicas[k].host != old.replicas[k].host || i.replicas[k].online != old.replicas[k].online
	}
	if !rw.known || rw.pid != pid || rw.silentSince > 0 {
		rw.answers = h.local()
	}
	rw.pid, rw.info, rw.known, rw.silentSince, rw.stuck, rw.askedAt = pid, *i, true, 0, false, began
	rw.meet()
	a.record()
	if changed {
		a.wake()
	}
}

// meet is agent.redisWatch.meet.
func (rw *redisWatch) meet() {
	if rw.info.loading || rw.adopted && rw.rec.run == rw.info.run {
		return
	}
	if rw.rec.run != rw.info.run {
		if rw.rec.keys > 0 && rw.info.keys == 0 {
			rw.rec = record{}
		}
		rw.rec.run, rw.rec.primary = rw.info.run, false
	}
	rw.adopted = true
}

// lead is agent.lead.
type lead struct {
	term    uint64
	leased  bool
	primary string
	holder  *host
	replID  int32
}

// worth is agent.redisWatch.worth.
func (rw *redisWatch) worth(l lead, wrong Mutant) {
	i := &rw.info
	if !rw.known || i.loading || i.syncing {
		return
	}
	of := i.of >= 0 && l.primary != "" && int(l.primary[0])-'a' == i.of
	follows := !i.primary && (l.replID == 0 || i.replID == l.replID || wrong == AnyHistory)
	switch {
	case l.leased && i.primary:
		rw.rec.term, rw.rec.offset, rw.rec.keys, rw.rec.primary = l.term, i.offset, i.keys, true
	case i.primary && rw.rec.primary && rw.rec.run == i.run:
		rw.rec.offset, rw.rec.keys = i.offset, i.keys
	case follows && i.linkUp && of:
		rw.rec.term, rw.rec.offset, rw.rec.keys, rw.rec.primary = l.term, i.offset, i.keys, false
	case follows && l.holder != nil && (of || wrong != StaleRecord) && l.holder.i == i.of && rw.rec.term == l.term && i.offset > rw.rec.offset:
		rw.rec.offset = i.offset
	}
}

// record is the recorder: the disk has what was known at the last look.
func (a *agent) record() {
	h := a.h
	if h.w.now < h.slowUntil {
		return
	}
	h.disk.record = a.redisW.rec
	if h.w.now >= h.disk.syncedAt+time.Second {
		h.disk.synced, h.disk.syncedAt = h.disk.record, h.w.now
	}
	h.redis.fsync(h.w.now)
}

func (a *agent) observeRedis() {
	w, rw := a.h.w, &a.redisW
	s := &a.h.redis
	r := &a.o.Redis
	*r = reconcile.Redis{Running: s.up, MinReplicas: reconcile.Unknown, Priority: reconcile.Unknown, StartAfter: a.startAfter}
	r.Data = reconcile.Data{Term: rw.rec.term, Offset: rw.rec.offset, Keys: rw.rec.keys}
	r.Dying = r.Running && rw.killed == s.run
	if !r.Running || rw.pid != 0 && rw.pid != s.run {
		return
	}
	r.SilentSince, r.Stuck, r.AnswersSince = rw.silentSince, rw.stuck, rw.answers
	if !rw.known {
		return
	}
	i := &rw.info
	r.Known, r.Loading, r.LinkUp, r.Syncing = true, i.loading, i.linkUp, i.syncing
	r.MinReplicas, r.Priority = i.min, i.priority
	r.Role = reconcile.Replica
	if i.primary {
		r.Role = reconcile.Primary
	}
	if i.of >= 0 {
		r.PrimaryAddr = w.hosts[i.of].redisAt
	}
	r.Replicas = a.links[:0]
	for _, l := range i.replicas[:i.links] {
		r.Replicas = append(r.Replicas, reconcile.Link{Addr: w.hosts[l.host].redisAt, Online: l.online, Lag: l.lag, Offset: l.offset})
		if l.online && l.lag <= 2*time.Second {
			r.Good++
		}
	}
}

// unfencing is agent.redisWatch.unfencing.
func (rw *redisWatch) unfencing(now time.Duration) {
	rw.notBefore, rw.info.min = now, reconcile.Unknown
}

// exited: the supervisor has seen the end of redis-server.
func (a *agent) exited() {
	r := &a.h.redis
	now := a.h.local()
	if !r.up {
		if a.h.w.now-r.startedAt >= 10*time.Second {
			a.quickExits = 0
		}
		a.exitedAt = now
		a.startAfter = now + min(100*ms<<min(a.quickExits, 6), 5*time.Second)
		a.quickExits++
	}
	a.poll(pollTimeout, func() {})
	a.wake()
}

// probe is agent.probe: it asks the holder's redis-server for a sign of life.
type probe struct {
	of                     *host
	seen, tried, connected time.Duration
	fenced                 uint64
	fencedAt               time.Duration
}

func (a *agent) look() {
	w, p := a.h.w, &a.probe
	now := a.h.local()
	if a.saving {
		a.waiters = append(a.waiters, a.look)
		return
	}
	v := a.e.View(now)
	t := a.holderHost(v)
	if t != p.of {
		*p = probe{of: t, fenced: p.fenced, fencedAt: p.fencedAt, tried: p.tried, seen: now, connected: now}
	}
	heard := v.EverHeard && !v.Released && now < v.HeardAt+reconcile.Quiet
	if t == nil || !t.d.Redis || heard && p.seen == p.tried && now < p.tried+probeCalm {
		a.post(evProbe, probeEvery)
		return
	}
	d, answered, connected := w.p.delay+300*us, true, true
	switch r := &t.redis; {
	case !w.reaches(a.h, t):
		d, answered, connected = 2*probeTimeout, false, false
	case !r.up:
		answered, connected = false, false
	case !r.responds(w.now):
		d, answered = probeTimeout, false
	}
	a.later(d, func() {
		now := a.h.local()
		if p.of == t {
			p.tried = now
			if answered {
				p.seen = now
			}
			if connected {
				p.connected = now
			}
		}
		a.post(evProbe, max(0, probeEvery-d))
	})
}

func (p *probe) lastSeen(t *host, now time.Duration) time.Duration {
	if p.of != t || now > p.tried+reconcile.SilentRedis {
		return 0
	}
	return p.seen
}

func (p *probe) unreachable(now time.Duration) bool {
	return p.of != nil && now > p.connected+unreachable
}

func (p *probe) fencedLately(now, age time.Duration) uint64 {
	if now > p.fencedAt+age {
		return 0
	}
	return p.fenced
}
