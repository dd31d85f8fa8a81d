package nodes

import (
	"fmt"
	"strconv"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/feature"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// agent drives the node.Node of a host: it tells it what happens, and carries out what it asks for
// on the models. It decides nothing.
type agent struct {
	h      *host
	gen    uint32
	n      *node.Node
	frozen bool
	held   []event // what happens while it is frozen

	due     node.Time     // on this host's clock: when Step(Tick) is due
	timerAt time.Duration // of the world: when the timer for that goes off; 0: there is none

	meta    node.Meta // what gossip says of it
	members []reconcile.Member
	vipHeld [2]bool // as the node was told

	// For the checker.
	stopping bool
	raw      bool          // it has asked redis-server for nothing yet: what the agent before asked for may be carried out
	exitedAt time.Duration // on its own clock: when it was told of the end of redis-server
	actedAt  time.Duration // when it last planned more than a renewal
	claims   [most]election.Claim
	// fenceFailed: the next kill is that of a redis-server that did not take its fence.
	fenceFailed bool
	drained     int64 // the offset at which it stopped writes last, to hand over
}

// inboxMost bounds what waits for an agent that is frozen, as a socket's buffer does.
const inboxMost = 200

func newAgent(h *host) *agent {
	w := h.w
	w.gens++
	a := &agent{h: h, gen: w.gens, raw: h.redis.up}
	h.agent = a
	h.thawedAt = w.now
	w.logf("%s agent starts (redis up %v)", h.id, h.redis.up)
	o := node.Options{
		Self: h.id, Now: h.local(), State: h.disk.state, Record: h.disk.record, SentinelConfigured: h.sentinel.configured,
		LeaseUntil: h.disk.lease, Redis: h.redisAt, Desired: h.d, Jitter: w.upTo, ClusterID: w.clusterID(h),
	}
	if h.redis.up {
		o.RedisPID = h.redis.run
	}
	if h.sentinel.up {
		o.SentinelPID = h.sentinel.run
	}
	a.n = node.New(o)
	h.told, h.toldAt = 0, 0
	a.meta = a.n.Meta()
	a.later(w.upTo(2*ms), func() {
		if h.d.Redis {
			vips := make([]reconcile.VIP, len(vipNames))
			for v, name := range vipNames {
				a.vipHeld[v] = h.holds(v)
				vips[v] = reconcile.VIP{Address: name, Replica: v == 1, Held: a.vipHeld[v]}
			}
			a.step(node.VIPsConfigured{VIPs: vips})
		}
		a.tick()
	})
	return a
}

// vipNames are the addresses of the primary and of the replicas.
var vipNames = [2]string{"primary", "replica"}

func (w *world) clusterID(h *host) func() string {
	return func() string {
		w.check.bootstraps++
		return h.id + strconv.Itoa(w.check.bootstraps%64)
	}
}

// later does something unless the agent dies before; if it is frozen, afterwards. d is negative
// when what it is the rest of is over.
func (a *agent) later(d time.Duration, do func()) {
	a.h.w.queue.push(event{at: a.h.w.now + max(0, d), gen: a.gen, kind: evAgent, host: uint8(a.h.i), do: do})
}

func (a *agent) handle(e event) {
	switch e.kind {
	case evAgent:
		e.do()
	case evTimer:
		if e.at != a.timerAt {
			return // another was set since that goes off before, or did
		}
		if a.timerAt = 0; a.h.local() >= a.due {
			a.tick()
		} else {
			a.setTimer()
		}
	case evMessage:
		if c, ok := e.msg.(election.Claim); ok {
			a.claims[a.h.w.host(string(c.Candidate)).i] = c
		}
		a.h.hears(e.epoch)
		a.step(node.Received{Message: e.msg, Features: feature.Own, TCP: e.tcp})
	}
}

func (a *agent) dead() bool { return a.h.agent != a }

func (a *agent) thaw() {
	if a.dead() || !a.frozen || a.h.stands {
		return
	}
	a.frozen = false
	a.h.thawedAt = a.h.w.now
	a.h.w.logf("%s agent goes on", a.h.id)
	// What was due meanwhile is done now, in whatever order it is read.
	held := a.held
	a.held = nil
	w := a.h.w
	for _, e := range held {
		e.at = w.now + w.upTo(300*us)
		if e.kind == evTimer {
			a.timerAt = e.at
		}
		w.queue.push(e)
	}
}

// trip is a point at which the agent may be made to die, or to freeze, or its redis-server to end;
// it reports whether the agent goes on.
func (a *agent) trip() bool {
	w := a.h.w
	t := &w.p.trip
	if t.what == tripNone || t.what == tripStuck || t.host != a.h.i {
		return true
	}
	if t.steps--; t.steps > 0 {
		return true
	}
	what := t.what
	t.what = tripNone
	switch what {
	case tripDie:
		a.h.killAgent("at a step", t.lasts)
		return false
	case tripFreeze:
		a.h.freeze(t.lasts)
	case tripRedis:
		w.after(0, func() { a.h.endRedis("at a step of its agent") })
	}
	return true
}

// tick tells the node that time has passed, and what gossip and the kernel have changed by
// themselves meanwhile.
func (a *agent) tick() {
	for v := range a.vipHeld {
		if held := a.h.holds(v); held != a.vipHeld[v] {
			a.vipHeld[v] = held
			a.step(node.VIPSeen{Address: vipNames[v], Held: held})
		}
	}
	if a.dead() || a.frozen {
		return
	}
	if list, changed := a.gossip(); changed {
		a.step(node.Members{List: list})
		return
	}
	a.step(node.Tick{})
}

// gossip is all members as gossip knows them, and whether anything has changed.
func (a *agent) gossip() (list []reconcile.Member, changed bool) {
	n := 0
	for _, o := range a.h.w.hosts {
		if m, known := a.member(o); known {
			changed = changed || n >= len(a.members) || a.members[n] != m
			n++
		}
	}
	if !changed && n == len(a.members) {
		return nil, false
	}
	a.members = make([]reconcile.Member, 0, n) // the node keeps the one that it has
	for _, o := range a.h.w.hosts {
		if m, known := a.member(o); known {
			a.members = append(a.members, m)
		}
	}
	return a.members, true
}

func (a *agent) member(o *host) (m reconcile.Member, known bool) {
	g := &a.h.gossip[o.i]
	meta, at, alive := &g.meta, &g.place, !g.left && a.h.w.now < g.heard+deadAfter
	switch {
	case o == a.h:
		meta, at, alive = &a.meta, &o.place, true
	case !g.known:
		return m, false
	}
	m = reconcile.Member{
		ID: o.id, Name: o.id, Gossip: at.gossipAt, Sentinel: at.sentinelAt, Alive: alive,
		ClusterID: meta.ClusterID, Ready: meta.Ready, Data: meta.Data, Priority: meta.Priority,
		Features: feature.Own,
	}
	if o.d.Redis {
		m.Redis = at.redisAt
	}
	return m, true
}

// tell is step for what has come in by itself: an agent that is frozen reads it afterwards.
func (a *agent) tell(in node.Input) {
	switch {
	case a.dead():
	case a.frozen:
		a.later(0, func() { a.tell(in) })
	default:
		a.step(in)
	}
}

// step has the node take in what happened, and carries out what it asks for.
func (a *agent) step(in node.Input) {
	if a.dead() {
		return
	}
	h, w := a.h, a.h.w
	w.res.Inputs++
	r := a.n.Step(h.local(), in)
	for _, e := range r.Events {
		a.event(e)
	}
	if r.Lease > 0 {
		h.disk.lease = r.Lease
	}
	if r.Share != nil {
		a.meta = *r.Share
	}
	a.due = r.Until
	a.setTimer()
	if r.Stopped {
		a.stopped()
		return
	}
	if r.Record != nil {
		a.record(*r.Record)
	}
	if r.Save != nil {
		a.save(*r.Save, r.Events)
	}
	for _, s := range r.Send {
		a.send(s)
	}
	for _, d := range r.Do {
		a.begin(d)
	}
}

// setTimer has Step(Tick) called when it is due, or a moment later, as timers do.
func (a *agent) setTimer() {
	w := a.h.w
	at := w.now + a.h.wait(a.due) + us
	if a.timerAt != 0 && a.timerAt <= at {
		return // it goes off before, and is set anew
	}
	a.timerAt = at
	w.queue.push(event{at: at, gen: a.gen, kind: evTimer, host: uint8(a.h.i)})
}

// save puts the node's state on disk.
func (a *agent) save(st node.State, events []node.Event) {
	h := a.h
	h.w.check.saving(a, &st, events)
	if !a.trip() {
		return
	}
	a.later(h.diskTime(), func() {
		if h.readOnly {
			a.tell(node.Saved{Err: errFailed})
			return
		}
		h.disk.state = st
		if a.trip() {
			a.tell(node.Saved{})
		}
	})
}

// record writes down the version of the dataset.
func (a *agent) record(r node.SaveRecord) {
	h := a.h
	a.later(h.diskTime(), func() {
		if h.readOnly {
			a.step(node.RecordSaved{Err: errFailed})
			return
		}
		h.disk.record = r.Record
		if r.Sync {
			h.disk.synced = r.Record
		}
		a.step(node.RecordSaved{})
	})
}

// send sends a message, or has it wait until an agent that froze just before goes on.
func (a *agent) send(s node.Send) {
	if c, ok := s.Message.(election.Claim); ok && c.Forced {
		a.h.w.check.forcedAt = a.h.w.now
	}
	switch {
	case a.dead():
	case a.frozen:
		a.later(0, func() { a.h.w.send(a.h, s) })
	default:
		a.h.w.send(a.h, s)
	}
	if r, ok := s.Message.(election.ClaimReply); ok && a.h.w.trace != nil {
		a.h.w.logf("%s answers %s in term %d: %v %s", a.h.id, s.To, r.Term, r.Granted, r.Denied)
	}
}

// begin carries out what is to be done, or has it wait.
func (a *agent) begin(d node.Do) {
	if a.dead() || d.Lane != node.Polls && !a.trip() {
		return
	}
	if a.frozen {
		a.later(0, func() { a.carryOut(d) })
		return
	}
	a.carryOut(d)
}

// event takes note of what the node says to people.
func (a *agent) event(e node.Event) {
	w := a.h.w
	switch e := e.(type) {
	case node.ActionPlanned:
		a.actedAt = w.now
		if w.trace != nil {
			w.logf("%s plans: %s", a.h.id, e.Action)
		}
		return
	case node.ActionFailed:
		if w.trace != nil {
			w.logf("%s failed: %s: %v", a.h.id, e.Action, e.Err)
		}
		return
	case node.Bootstrapping:
		if w.has(Unserved) && !w.quiet {
			w.after(w.side.upTo(25*ms), a.h.losesHold)
		}
	case node.LeaseClaimed:
		w.res.Claims++
	case node.Killed:
		a.fenceFailed = true // a kill for that follows
	case node.RosterChanged:
		w.res.Rosters++
	case node.GuardActs:
		w.res.Guarded++
	case node.HandoverEnded:
		if e.Err == nil {
			w.res.HandOvers++
		}
	}
	if w.trace != nil {
		w.logf("%s says: %s", a.h.id, fmt.Sprintf("%T%+v", e, e)[len("node."):])
	}
}

// exited: the supervisor has seen the end of a process.
func (a *agent) exited(p node.Process, run int, why string, ranFor time.Duration) {
	code := -9
	if why == "stopped" {
		code = 0
	}
	if p == node.Redis {
		a.raw, a.exitedAt = false, a.h.local()
	}
	a.step(node.Exited{Process: p, PID: run, Code: code, RanFor: ranFor})
}

// stopped: the node says farewell and its agent ends.
func (a *agent) stopped() {
	h, w := a.h, a.h.w
	w.logf("%s stopped in order", h.id)
	if !h.readOnly {
		h.disk.record, _ = a.n.Unrecorded(true)
		h.disk.synced = h.disk.record
	}
	for _, o := range w.hosts {
		if w.linked(h, o) {
			o.gossip[h.i].left = true
		}
	}
	h.agent = nil
	w.after(w.soon(w.between(100*ms, 2*time.Second)), h.startAgent)
}
