package nodes

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// checker holds what must always be true.
type checker struct {
	w   *world
	err error
	// segments are the histories there are: one for each promotion.
	segments []history
	// maxTerm is the highest term under which writes were accepted.
	maxTerm     uint64
	allowedTerm uint64
	bootstraps  int
	// handed: the lease was given back by a handover, and nobody was promoted since. spoilt is how
	// many hosts had lost power, and redis-servers ended or stood still, when it began.
	handed bool
	spoilt int
	// votes is whom each voted for last: to be asked again changes nothing.
	votes    [most]vote
	forcedAt time.Duration // when an operator forced a claim last
	// epoch is the latest that somebody was let in in.
	epoch election.Term
}

// history is what was acknowledged in a segment.
type history struct {
	term         uint64
	start, acked int64
	// reached is as far as it was acknowledged before some of it was lost.
	reached int64
	// later are the terms under which its primary went on with it, and from where.
	later []segmentTerm
}

type segmentTerm struct {
	term uint64
	from int64
}

// termAt is the term that the last of so much of a history was written in.
func (s *history) termAt(pos int64) uint64 {
	for i := len(s.later) - 1; i >= 0; i-- {
		if pos > s.later[i].from {
			return s.later[i].term
		}
	}
	return s.term
}

type vote struct {
	term election.Term
	to   election.NodeID
}

type dataset struct {
	valid bool
	hist  []segment
	pos   int64
}

// kept is the data that somebody who gave the lease of a term back answers for when it votes: all
// of it, or after a crash what a replica had acknowledged, and until when.
type kept struct {
	term    uint64
	data    dataset
	drained bool // it needs no redis-server to know it
	gen     uint32
	from    time.Duration // on its own clock
	until   time.Duration
}

func (c *checker) failf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("at %v: "+format, append([]any{c.w.now}, args...)...)
		c.w.logf("FAILED: %v", c.err)
	}
}

func (c *checker) newSegment(term uint64, at int64) int32 {
	c.segments = append(c.segments, history{term: term, start: at, acked: at, reached: at})
	return int32(len(c.segments) - 1)
}

// last is the history that a dataset ends with; nil: it has none.
func (c *checker) last(r *server) *history {
	if len(r.hist) == 0 {
		return nil
	}
	return &c.segments[r.hist[len(r.hist)-1].id]
}

// acked: all that a primary has written so far is acknowledged.
func (c *checker) acked(r *server) {
	if r.exempt {
		return
	}
	s := &c.segments[r.hist[len(r.hist)-1].id]
	s.acked = max(s.acked, r.pos)
	s.reached = s.acked
}

// writers: S1. At most one redis-server would acknowledge a write, and none that was let in before
// the last one was.
func (c *checker) writers() {
	var one *host
	for _, h := range c.w.hosts {
		r := &h.redis
		if !r.accepts() {
			continue
		}
		c.exempt(h)
		if r.exempt {
			continue
		}
		if one != nil {
			c.failf("%s of term %d and %s of term %d both accept writes", one.id, one.redis.term, h.id, r.term)
		}
		one = h
		if r.term < c.maxTerm {
			c.failf("%s accepts writes of term %d after term %d did", h.id, r.term, c.maxTerm)
		}
		c.maxTerm = max(c.maxTerm, r.term)
	}
}

// exempt notes a redis-server whose agent was gone while voters could not reach it, or just had not
// been able to: no election can help there.
func (c *checker) exempt(h *host) {
	w, r := c.w, &h.redis
	if c.leftOut(h) {
		if !r.exempt && r.accepts() {
			w.logf("%s has been left out, and takes writes", h.id)
			w.res.LeftOut++
		}
		r.exempt = true
		return
	}
	if h.alive() && w.now > h.thawedAt+settling && !h.agent.raw {
		r.exempt = false // its agent has looked, and let go if it had to
		return
	}
	if h.resumed > 0 && h.thawedAt == h.resumed {
		r.exempt = h.mayNotKnow()
		return
	}
	if r.exempt || h.alive() && w.now > h.thawedAt+250*ms {
		return
	}
	r.exempt = w.now-h.cutAt < 1500*ms && h.cutAt > 0 || r.hung || w.now < r.busyUntil+1500*ms && r.busyUntil > 0 && !w.has(HungWriter) ||
		r.pausedUntil > 0 || w.blocked[h.i]
	r.exempt = r.exempt || h.cutOff()
}

// mayNotKnow: this host has stood still, clock and all, and nothing on it may know yet. Who cannot
// be told, or cannot answer, goes on until its lease ends by its own clock.
func (h *host) mayNotKnow() bool {
	since := h.w.now - h.resumed
	ends := election.Lease + election.Lease/election.Drift + node.GuardMargin + node.FenceTimeout
	return h.resumed > 0 && (since < guestGrace || since < ends && (h.cutOff() || h.cutAt > h.resumed))
}

// cutOff: some other host cannot be reached from here, or cannot reach this one.
func (h *host) cutOff() bool {
	return slices.ContainsFunc(h.w.hosts, func(o *host) bool { return !o.gone && !h.w.linked(h, o) })
}

// watch looks for those that are exempt between the events that show them.
func (c *checker) watch() {
	c.w.after(100*ms, c.watch)
	for _, h := range c.w.hosts {
		if h.redis.up && h.redis.primary {
			c.exempt(h)
		}
		c.believe(h)
	}
	c.inTouch()
	c.writers()
}

// believe takes back the doubt about a host's record once it was written anew, and is on disk,
// about a dataset that the host has led or followed since the power loss.
func (c *checker) believe(h *host) {
	r, rec := &h.redis, &h.disk.synced
	if !h.doubt || !r.up || r.loading || !r.whole || len(r.hist) == 0 || rec.RunID != strconv.Itoa(r.run) {
		return
	}
	if (r.link == linkUp || r.accepts()) && rec.Term == c.segments[r.hist[len(r.hist)-1].id].term {
		c.w.logf("%s has a record of its dataset again", h.id)
		h.doubt = false
	}
}

// killing is called before an agent kills a redis-server that it takes for hung: any answer is
// life, and so is a pause that a client asked for.
func (c *checker) killing(h *host) {
	w, r := c.w, &h.redis
	switch {
	case !r.up || r.hung || r.dying || r.wentOn > 0 && w.now < r.wentOn+200*ms: // it hung when the kill was planned
	case r.pausedUntil > 0:
		c.failf("%s kills a redis-server whose clients are paused", h.id)
	case r.saysBusyAt > 0 && w.now < r.busyUntil:
		c.failf("%s kills a redis-server that runs a script", h.id)
	case h.agent != nil && r.refuses(w.now, h.agent.gen):
		c.failf("%s kills a redis-server that answers with errors", h.id)
	}
}

// fencing is called when a node is about to fence another one's redis-server (that may be carried
// out late, and the holder's agent lifts it again): not where an agent has the
// lease, and has had it for so long that a majority hears it.
func (c *checker) fencing(by, h *host) {
	if c.leftOut(by) || c.leftOut(h) {
		return
	}
	if h.alive() && !h.stands && c.w.now > h.thawedAt+election.FencedLapse && h.agent.n.View(h.local()).Lease {
		c.failf("%s fences %s, whose agent has the lease", by.id, h.id)
	}
}

// settling is how long a new agent, or one that has just thawed, may take to let go: it waits for
// its first renewal (150 ms), and may be held up by its Sentinel (300 ms).
const settling = 600 * ms

// tookVIP: S4. Whoever takes the address may find it only at a host whose agent is dead, hung, or
// has just begun to run, or which has handed over and yields.
func (c *checker) tookVIP(h *host) {
	if h.mayNotKnow() {
		return // it renews what it had, and announces nothing
	}
	for _, o := range c.w.hosts {
		if o != h && o.power && o.holds(0) && o.alive() && !o.mayNotKnow() && c.w.now > o.unsettled()+settling && !c.leftOut(h) && !c.leftOut(o) {
			c.failf("%s has the VIP, and so has %s, whose agent lives", h.id, o.id)
		}
	}
}

// unsettled is until when it may not know better: since its agent runs, or until it has let go of
// what it handed over.
func (h *host) unsettled() time.Duration {
	if h.handedAt == 0 {
		return h.thawedAt
	}
	return max(h.thawedAt, h.handedAt+reconcile.YieldFor)
}

// saving is called when a node has decided something and is about to put it on disk: that it gives
// the lease back, or whom it votes for.
func (c *checker) saving(a *agent, st *node.State, events []node.Event) {
	e := &st.Election
	if string(e.Holder) == a.h.id && e.Released && !a.released(e.HolderTerm) {
		for _, said := range events {
			if p, ok := said.(node.ActionPlanned); ok {
				if r, ok := p.Action.(reconcile.Release); ok {
					c.released(a, uint64(e.HolderTerm), r)
				}
			}
		}
	}
	if t := c.w.host(string(e.Vote)); t != nil && t != a.h && e.Term > e.HolderTerm {
		if m := a.claims[t.i]; m.Term == e.Term {
			if m.Roster.Term.Epoch() < a.h.knows() {
				c.failf("%s votes for %s by a roster of an epoch that it knows to be over", a.h.id, t.id)
			}
			c.voted(a, t, m)
		}
	}
}

// released: this node had given the lease of that term back before.
func (a *agent) released(term election.Term) bool {
	e := &a.h.disk.state.Election
	return string(e.Holder) == a.h.id && e.HolderTerm == term && e.Released
}

// released is called before the lease is given back.
func (c *checker) released(a *agent, term uint64, act reconcile.Release) {
	h, r := a.h, &a.h.redis
	c.handed = false
	switch {
	case act.To != "":
		h.handedAt = c.w.now
		h.keeps = kept{term: term, data: dataset{true, r.hist, a.drained + r.shift}, drained: true}
		// A successor whose agent has not seen the link yet cannot show what it has.
		if t := c.w.host(act.To); t.agent != nil {
			rec, _ := t.agent.n.Unrecorded(false)
			c.handed = rec.Term == term
		}
	case act.Whole && r.up && r.whole: // of a process that was started anew it knows the record
		h.keeps = kept{term: term, data: dataset{true, r.hist, r.pos}}
	}
	if r.accepts() {
		c.failf("%s gives the lease back and accepts writes", h.id)
	}
}

// ended is called when a redis-server is about to end: for a second its agent answers for what it
// saw a replica acknowledge.
func (c *checker) ended(h *host) {
	r, a := &h.redis, h.agent
	if !h.alive() || !r.primary {
		return
	}
	o, acked := a.n.Observe(h.local()), int64(0)
	for _, l := range o.Redis.Replicas {
		if l.Online {
			acked = max(acked, l.Offset)
		}
	}
	term := o.Election.Term
	if !o.Redis.Known || acked == 0 || h.keeps.drained && h.keeps.term == term || o.Redis.Data.Term != term {
		return
	}
	h.keeps = kept{
		term: term, data: dataset{true, r.hist, acked + r.shift}, gen: a.gen, from: h.local(), until: c.w.now + node.AckedCounts*99/100,
	}
}

// answersFor is what a host answers for, having given the lease back.
func (c *checker) answersFor(h *host, o reconcile.Observed) dataset {
	k, a := &h.keeps, h.agent
	switch {
	case h.redis.rdb && h.redis.pos < k.data.pos: // its RDB file had less
	case h.doubt, k.term == 0, !a.released(election.Term(k.term)), o.Election.Term != k.term, o.Redis.Data.Term != k.term:
	case k.until > 0 && (c.w.now > k.until || k.gen != a.gen || a.exitedAt < k.from): // or it does not know yet
	case !k.drained && k.until == 0 && (!h.redis.up || h.redis.loading || !o.Redis.Known || o.Redis.SilentSince > 0 || h.redis.link == linkSyncing):
	default:
		return k.data
	}
	return dataset{}
}

// voted: S2. A voter that knows its data votes for nobody who lacks some of it. It is called when a
// vote has been decided on, after a poll of the dataset, and before it is on disk.
func (c *checker) voted(a *agent, t *host, m election.Claim) {
	w, v := c.w, vote{m.Term, m.Candidate}
	again := c.votes[a.h.i] == v
	c.votes[a.h.i] = v
	mine, slack := c.known(a, m)
	if again || !mine.valid || t.doubt && !w.has(Blackout|DiskCounts) {
		return
	}
	if r := &t.redis; !r.up || t.at(r.startedAt) > m.Sent {
		return // it has claimed with what was in memory, has lost that, and gives the lease back
	}
	if t.agent == nil {
		return
	}
	if v := t.agent.n.View(t.local()); !v.Claiming || v.Term != m.Term {
		return // it has given that claim up
	}
	if t.doubt {
		slack = recordAge
	}
	w.flow()
	for _, s := range mine.hist {
		need := min(has(mine.hist, mine.pos, s.id), c.segments[s.id].acked) - slack
		if need > s.start && has(t.redis.hist, t.redis.pos, s.id) < need {
			c.failf("%s votes for %s, which lacks %d bytes of segment %d", a.h.id, t.id, need-max(s.start, has(t.redis.hist, t.redis.pos, s.id)), s.id)
		}
	}
}

// known is the data that a voter knows it has, and how much of that a candidate may lack: after a
// power loss the voter's record is as old as its last sync.
func (c *checker) known(a *agent, m election.Claim) (d dataset, slack int64) {
	h, r := a.h, &a.h.redis
	o := a.n.Observe(h.local())
	info, _ := a.n.RedisInfo()
	if c.w.trace != nil {
		c.w.logf("%s votes for %s with %v, has %+v (at %d of %d)", h.id, m.Candidate, m.Data, a.n.Local(), info.Offset+r.shift, r.pos)
	}
	if m.Holding || m.Bootstrapping || m.Forced {
		return dataset{}, 0
	}
	if d := c.answersFor(h, o); d.valid {
		return d, 0
	}
	// Could it be primary itself, whatever the node makes of that? The vote has given the lease of
	// a holder back, so that does not count.
	var candidate bool
	switch {
	case o.Election.Holder == h.id && a.released(election.Term(o.Election.Term)):
		candidate = a.n.Local().Candidate
	case o.Election.Holder == h.id:
		candidate = h.d.Redis && !a.stopping && o.Redis.SilentSince == 0
	default:
		candidate = h.d.Redis && !a.stopping
	}
	term := o.Redis.Data.Term
	last := c.last(r)
	records := last != nil && term >= last.termAt(r.pos)
	if h.doubt && (candidate && records && c.w.has(Blackout) || c.w.has(DiskCounts)) {
		// It does not know all that its disk has kept, but most of it.
		return dataset{true, r.hist, r.pos}, recordAge
	}
	if !candidate || h.doubt || !r.up || r.loading || r.link == linkSyncing || !o.Redis.Known {
		return dataset{}, 0
	}
	if !r.whole || !records || term < o.Election.Term {
		return dataset{}, 0 // it does not know all that it has: see doc.go
	}
	return dataset{true, r.hist, info.Offset + r.shift}, 0
}

// healthy says what is wrong; "" when nothing is.
func (c *checker) healthy() string {
	w := c.w
	w.flow()
	var p *host
	for _, h := range w.hosts {
		switch {
		case h.gone:
		case h.agent == nil:
			return "no agent on " + h.id
		case h.redis.accepts() && p != nil:
			return "two primaries"
		case h.redis.accepts():
			p = h
		}
	}
	if p == nil {
		return "no primary"
	}
	if w.trace != nil {
		w.flow()
	}
	if !p.agent.n.View(p.local()).Lease {
		return "the primary has no lease"
	}
	for _, h := range w.hosts {
		if h.gone {
			continue
		}
		r, s := &h.redis, &h.sentinel
		switch {
		case h.holds(0) != (h == p):
			return "the VIP is not where it should be"
		case h.d.Redis && !r.up:
			return "no redis-server on " + h.id
		case h.redis.loading && w.has(LongLoad): // it will be in sync when it has loaded
		case h.d.Redis && h != p && (r.link != linkUp || r.of != p.i || r.pos < p.redis.p0):
			return h.id + " is not in sync"
		case !s.up || s.monitors != p.i:
			return "the sentinel on " + h.id + " does not name the primary"
		case w.now < h.agent.actedAt+3*node.TickEvery:
			return h.id + " still has plans"
		}
	}
	if why := w.electorate(p); why != "" {
		return why
	}
	readers := 0
	for _, h := range w.hosts {
		if h.holds(1) {
			readers++
		}
	}
	if readers != 1 {
		return fmt.Sprintf("the replicas' VIP is on %d hosts", readers)
	}
	return ""
}

// settle plays until all is well.
func (w *world) settle() {
	c := &w.check
	limit := w.now + Bound
	for c.err == nil {
		why := c.healthy()
		if why == "" {
			w.res.Settled = w.now - w.p.until
			return
		}
		if w.now >= w.p.until+5*time.Second && w.barren() {
			w.res.Barren = true
			return
		}
		if w.now >= w.p.until+5*time.Second && w.waits() {
			w.res.Waits = 1
			return
		}
		if w.loadsYet() {
			limit = w.now + Bound // nobody can be primary yet
		}
		if w.now >= limit {
			c.failf("%v after the last fault: %s", Bound, why)
			return
		}
		w.run(w.now + node.TickEvery)
	}
}

// loadsYet: a redis-server loads that nobody can do without: none has loaded, or a new cluster
// waits to see who has most, or it has more on its disk than those that have loaded.
func (w *world) loadsYet() bool {
	var loads, loaded *node.Version
	founded := false
	for _, h := range w.hosts {
		founded = founded || h.disk.state.Election.ClusterID != ""
		if h.redis.up && h.redis.loading && h.d.FailoverLag > 0 {
			return true // an operator lets less go without being asked than those that have loaded may lack
		}
		have, of := h.disk.record.Version, &loads
		if d := h.disk.state.Drained; d != nil && d.Term == have.Term {
			have.Offset = max(have.Offset, d.Offset)
		}
		if !h.redis.loading {
			of = &loaded
		}
		if h.redis.up && (*of == nil || have.Compare(**of) > 0) {
			*of = &have
		}
	}
	return w.has(LongLoad) && loads != nil && (loaded == nil || !founded || loads.Compare(*loaded) > 0)
}

// waits: an operator lets no more go than so much without being asked, and nobody here has that, or
// the last primary any data.
func (w *world) waits() bool {
	for _, h := range w.hosts {
		if h.d.FailoverLag == 0 || !h.alive() || h.redis.accepts() {
			return false
		}
		if o := h.agent.n.Observe(h.local()); h.d.Redis && o.Redis.Data.Term > 0 && !reconcile.TooFarBehind(o, h.d) {
			return false
		}
	}
	return true
}

// barren: the cluster was founded, nobody has data of it, and whether it ever had any is not known
// to all of its voters: one is gone for good, or knows of a primary, or was about to be it. With
// all of them a cluster that never had a primary comes to one by itself.
func (w *world) barren() bool {
	founded, unknown := false, false
	for _, h := range w.hosts {
		e := h.disk.state.Election
		founded = founded || e.HolderTerm > 0 && e.Released
		if h.disk.record.Term > 0 {
			return false
		}
		for _, v := range e.Roster.Voters {
			unknown = unknown || slices.ContainsFunc(w.hosts, func(o *host) bool { return o.id == string(v.ID) && (o.gone || !o.disk.state.Election.Fresh) })
		}
	}
	return founded && unknown
}

// String lists who is what, for traces.
func (w *world) String() string {
	var b strings.Builder
	for _, h := range w.hosts {
		fmt.Fprintf(&b, "%s up=%v primary=%v min=%d pos=%d; ", h.id, h.redis.up, h.redis.primary, h.redis.min, h.redis.pos)
	}
	return b.String()
}
