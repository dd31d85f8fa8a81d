package elections

import (
	"slices"
	"time"

	"github.com/redisd/redisd/election"
)

const (
	tickEvery  = 20 * ms
	probeEvery = 50 * ms
	// probeFails is how long a redis-server must not have answered before it is out of reach.
	probeFails = 200 * ms
)

// item is one thing the agent does at a time.
type item struct {
	msg election.Message
	do  func(now election.Time) []election.Envelope
}

// agent is the honest, simple agent that the election is made for: it claims when the lease lapsed,
// was released or it was nudged, claims again when it is overtaken, fences when its lease ends and
// lifts the fence while it runs.
type agent struct {
	h     *host
	e     *election.Elector
	began election.Time

	inbox       []item
	busy        bool // waits for the disk
	ticking     bool // a tick is in the inbox
	frozenUntil time.Duration
	resume      []func()

	nextClaim election.Time
	fencing   bool
	fenceArm  bool
	attempt   int

	probed       election.NodeID
	failingSince election.Time // 0: it answered
	failedAt     election.Time
}

func newAgent(h *host) *agent {
	now := h.local()
	a := &agent{h: h, e: election.New(h.id, h.disk, now), began: now}
	h.redis.lifted = false // the first thing an agent does
	h.redis.exempt = false
	if st := h.disk; st.Holder == h.id && !st.Released && h.redis.primaryOf != st.HolderTerm {
		a.receive(item{do: func(now election.Time) []election.Envelope { return a.release(now, "restarted") }})
	}
	h.w.after(0, func() {
		if a.alive() {
			a.tick()
			a.probe()
		}
	})
	return a
}

func (a *agent) alive() bool  { return a.h.agent == a }
func (a *agent) frozen() bool { return a.h.w.now < a.frozenUntil }

// whenAwake runs do unless the agent died, after it thawed.
func (a *agent) whenAwake(d time.Duration, do func()) {
	a.h.w.after(d, func() {
		switch {
		case !a.alive():
		case a.frozen():
			a.resume = append(a.resume, do)
		default:
			do()
		}
	})
}

func (a *agent) freeze(d time.Duration) {
	a.h.w.logf("%s agent freezes for %v (writable %v)", a.h.id, d, a.h.writable())
	a.frozenUntil = a.h.w.now + d
	a.h.w.after(d, a.thaw)
}

func (a *agent) thaw() {
	if !a.alive() || a.frozen() {
		return
	}
	a.fence()
	resume := a.resume
	a.resume = nil
	for _, do := range resume {
		if a.alive() {
			do()
		}
	}
	a.work()
}

func (a *agent) tick() {
	a.whenAwake(tickEvery+a.h.w.upTo(4*ms), a.tick)
	if !a.ticking {
		a.ticking = true
		a.receive(item{do: func(now election.Time) []election.Envelope {
			a.ticking = false
			return a.decide(now)
		}})
	}
}

// probe asks the holder's redis-server for a sign of life.
func (a *agent) probe() {
	a.whenAwake(probeEvery, a.probe)
	now := a.h.local()
	v := a.e.View(now)
	if v.Holder != a.probed {
		a.probed, a.failingSince = v.Holder, 0
	}
	t := a.h.w.host(v.Holder)
	if t == nil {
		return
	}
	if now-a.failedAt > 2*probeEvery {
		a.failingSince = 0 // asleep meanwhile: begin afresh
	}
	if t == a.h || a.h.w.linked(a.h, t) && t.redis.up {
		a.failingSince = 0
		return
	}
	if a.failingSince == 0 {
		a.failingSince = now
	}
	a.failedAt = now
}

func (a *agent) reachable(now election.Time) bool {
	return a.failingSince == 0 || now-a.failedAt > 2*probeEvery || now-a.failingSince < probeFails
}

func (a *agent) localNow(now election.Time) election.Local {
	r := a.h.redis
	return election.Local{
		Data: r.data, Candidate: true, Reachable: a.reachable(now), BootstrapNode: a.bootstrapNode(),
	}
}

func (a *agent) receive(it item) {
	if len(a.inbox) < 1000 {
		a.inbox = append(a.inbox, it)
	}
	a.work()
}

// work handles the inbox until the disk, a freeze or a crash stops it.
func (a *agent) work() {
	for a.alive() && !a.busy && !a.frozen() && len(a.inbox) > 0 {
		it := a.inbox[0]
		a.inbox = a.inbox[1:]
		now := a.h.local()
		a.fence()
		var out []election.Envelope
		if it.msg != nil {
			out = a.step(now, it.msg)
		} else {
			out = it.do(now)
		}
		a.h.w.check.after(a, now)
		a.saveAndSend(out)
	}
}

func (a *agent) step(now election.Time, m election.Message) []election.Envelope {
	local := a.localNow(now)
	out := a.e.Step(now, m, local)
	for _, env := range out {
		if r, ok := env.Message.(election.ClaimReply); ok {
			if r.Granted {
				a.nextClaim = max(a.nextClaim, now+50*ms+a.h.w.upTo(250*ms))
			}
			a.h.w.check.voted(a, m.(election.Claim), r, local)
		}
	}
	return out
}

// saveAndSend keeps the promise: disk first, then the messages; a crash in between loses both, or
// only the messages.
func (a *agent) saveAndSend(out []election.Envelope) {
	st, unsaved := a.e.Unsaved()
	if !unsaved {
		a.send(out, a.h.w.now)
		return
	}
	w := a.h.w
	said := w.now
	d := 100*time.Microsecond + w.upTo(3*ms)
	if w.f.slowDisk && w.one(0.1) {
		d += w.upTo(400 * ms)
	}
	a.busy = true
	crash := w.one(w.f.crashSaving)
	if crash && w.one(0.5) {
		w.res.Unsaved++
		w.after(w.upTo(d), func() {
			if a.alive() {
				a.h.crash("before its state is on disk")
			}
		})
		return
	}
	a.whenAwake(d, func() {
		a.h.disk = st
		a.e.Saved()
		a.busy = false
		if crash {
			a.send(out[:w.rng.IntN(len(out)+1)], said)
			a.h.crash("after its state is on disk")
			return
		}
		a.send(out, said)
		a.work()
	})
}

// send sends what the elector said at a moment that may be past.
func (a *agent) send(out []election.Envelope, said time.Duration) {
	for _, env := range out {
		a.h.w.check.sent(a, env, said)
		a.h.w.send(a.h, env)
	}
}

// fence takes the right to write from the own redis when the lease is over.
func (a *agent) fence() {
	if _, ok := a.e.LeaseUntil(a.h.local()); !ok {
		a.h.redis.lifted = false
		a.h.redis.exempt = false
	}
}

// watch fences in time even while the agent waits for its disk.
func (a *agent) watch() {
	if a.fenceArm {
		return
	}
	until, ok := a.e.LeaseUntil(a.h.local())
	if !ok {
		a.fence()
		return
	}
	a.fenceArm = true
	a.whenAwake(a.h.real(until)+a.h.w.upTo(20*ms), func() {
		a.fenceArm = false
		a.watch()
	})
}

func (a *agent) release(now election.Time, why string) []election.Envelope {
	a.h.redis.lifted = false
	a.h.redis.primaryOf = 0
	a.h.w.logf("%s releases: %s", a.h.id, why)
	return a.e.Release(now, why)
}

// bootstrap node is whom this node would have bootstrap the cluster, or nobody.
func (a *agent) bootstrapNode() election.NodeID {
	seen := a.seen()
	if len(seen) < a.h.w.f.expect {
		return ""
	}
	return slices.MinFunc(seen, func(x, y *host) int { return x.i - y.i }).id
}

// seen are the nodes that a bootstrap node would take; the view differs from node to node while
// there are faults.
func (a *agent) seen() []*host {
	var seen []*host
	w := a.h.w
	for _, o := range w.hosts {
		if o == a.h || w.linked(a.h, o) && o.agent != nil && (w.quiet || !w.f.blurred || w.one(0.9)) {
			seen = append(seen, o)
		}
	}
	if len(seen) > w.f.expect {
		at := slices.Index(seen, a.h)
		seen = slices.Delete(seen, w.f.expect, len(seen))
		if at >= w.f.expect {
			seen[len(seen)-1] = a.h
		}
	}
	return seen
}
