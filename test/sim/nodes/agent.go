package nodes

import (
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// The periods of package agent.
const (
	tick           = 50 * ms
	moreRounds     = 8
	pollEvery      = 100 * ms
	pollTimeout    = 150 * ms
	freshTimeout   = 50 * ms
	probeEvery     = 100 * ms
	probeTimeout   = 150 * ms
	probeCalm      = 250 * ms
	unreachable    = time.Second
	guardMargin    = 20 * ms
	firstRenewal   = 150 * ms
	actTimeout     = 200 * ms
	fenceTimeout   = 40 * ms
	claimJitter    = 150 * ms
	reliableAfter  = 300 * ms
	hangOnDisk     = 4 * time.Second
	hangBusy       = 15 * time.Second
	handOverWithin = 10 * time.Second
	ackedCounts    = time.Second
)

// agent is package agent in small: the same order of the same steps, on models.
type agent struct {
	h          *host
	gen        uint32
	e          *election.Elector
	self       election.NodeID
	frozen     bool
	held       []event // what happens while it is frozen
	started    time.Duration
	fenceAfter time.Duration
	stopping   bool
	meta       meta

	// The ballot: locked while its state is being saved.
	saving  bool
	waiters []func()

	inbox     []event
	receiving bool

	// The rounds.
	inRound, woken, waking            bool
	rounds                            int // one after the other
	o                                 reconcile.Observed
	again, sentineled                 bool
	failed                            bool
	wasLeased, wasSettled, afterFence bool          // as the round saw it
	actedAt                           time.Duration // when a round last planned more than a renewal
	roundAt                           time.Duration // when the last one began
	calm                              bool          // it saw nothing that becomes due soon
	guardUntil                        time.Duration
	guardArmed                        bool
	lapsedAt                          time.Duration
	jitterAt, jitter                  time.Duration
	noted                             note

	redisW  redisWatch
	sentW   sentinelWatch
	probe   probe
	vipHeld [2]bool
	renewed [2]time.Duration
	wish    wish
	drained drained
	said    int64 // the most that the holder of the term saidIn has said it had
	saidID  int32 // the history of the last primary that it named
	saidIn  election.Term
	whole   uint64 // the last term whose lease it gave back with all its data
	// unanswered is the process that may yet carry out an unfencing.
	unanswered int

	startAfter, exitedAt time.Duration
	quickExits           int
	stopOf               int
	sentStartAfter       time.Duration
	sentExits            int
	members              [most]reconcile.Member
	voters               [most]reconcile.Voter
	successors           [most]string
	learners             [most]election.NodeID
	links                [most]reconcile.Link
	vips                 [2]reconcile.VIP
}

type wish struct {
	active   bool
	to       string
	failures int
	triedAt  time.Duration
	until    time.Duration
}

func newAgent(h *host) *agent {
	w := h.w
	w.gens++
	a := &agent{h: h, gen: w.gens, self: election.NodeID(h.id), started: h.local()}
	h.agent = a
	h.thawedAt = w.now
	w.logf("%s agent starts (redis up %v)", h.id, h.redis.up)
	a.e = election.New(a.self, h.disk.election, a.started)
	a.redisW.rec = h.disk.record
	a.redisW.raw = h.redis.up
	if w.wrong != DrainUnsaved {
		a.drained = h.disk.drained
	}
	if w.wrong != WholeUnsaved {
		a.whole = h.disk.whole
	}
	if h.redis.up {
		a.fenceAfter = max(h.disk.lease, a.started+firstRenewal)
		if e := h.disk.election; w.wrong != GuardLate && e.Holder == a.self && !e.Released {
			a.guardUntil = a.fenceAfter
			a.armGuard()
		}
	}
	for v := range a.vipHeld {
		a.vipHeld[v] = h.holds(v)
	}
	a.observe() // so that there is a meta
	a.shareMeta(false)
	a.post(evRound, w.upTo(2*ms))
	a.post(evPoll, w.upTo(pollEvery))
	a.post(evProbe, w.upTo(probeEvery))
	a.later(ms, a.pollSentinel)
	return a
}

func (a *agent) post(k kind, d time.Duration) {
	a.h.w.queue.push(event{at: a.h.w.now + d, gen: a.gen, kind: k, host: uint8(a.h.i)})
}

// later does something unless the agent dies before; if it is frozen, afterwards. d is
// negative when what it is the rest of is over.
func (a *agent) later(d time.Duration, do func()) {
	a.h.w.queue.push(event{at: a.h.w.now + max(0, d), gen: a.gen, kind: evAgent, host: uint8(a.h.i), do: do})
}

func (a *agent) handle(e event) {
	switch e.kind {
	case evAgent:
		e.do()
	case evRound:
		a.post(evRound, tick)
		if a.calm && a.h.w.now < a.roundAt+tick*3/2 {
			return // each second one is left out
		}
		a.wake()
	case evWake:
		a.waking = false
		a.round()
	case evPoll:
		a.post(evPoll, pollEvery)
		if !a.redisW.polling {
			a.poll(pollTimeout, nil)
		}
	case evProbe:
		a.look()
	case evMessage:
		if len(a.inbox) < 200 {
			a.inbox = append(a.inbox, e)
		}
		a.receive()
	case evGuard:
		a.guard()
	}
}

func (a *agent) dead() bool { return a.h.agent != a }

func (a *agent) thaw() {
	if a.dead() || !a.frozen {
		return
	}
	a.frozen = false
	a.h.thawedAt = a.h.w.now
	a.h.w.logf("%s agent goes on", a.h.id)
	// What was due meanwhile is done now, in whatever order the goroutines get to run.
	held := a.held
	a.held = nil
	w := a.h.w
	for _, e := range held {
		e.at = w.now + w.upTo(300*us)
		w.queue.push(e)
	}
}

// step is a point at which the agent may be made to die, or to freeze, or its
// redis-server to end; it reports whether the agent goes on.
func (a *agent) step() bool {
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

// ballot runs do when the ballot is free.
func (a *agent) ballot(do func()) {
	if a.saving {
		a.waiters = append(a.waiters, do)
		return
	}
	do()
}

// save puts the ballot's state on disk, then sends what depends on it, then goes on.
func (a *agent) save(out []election.Envelope, overTCP bool, then func()) {
	w := a.h.w
	st, unsaved := a.e.Unsaved()
	if !unsaved {
		a.send(out, overTCP)
		then()
		return
	}
	a.saving = true
	var drained drained
	var whole uint64
	if st.Released && a.drained.term == uint64(st.HolderTerm) {
		drained = a.drained // with the release itself
	}
	if st.Released && a.whole == uint64(st.HolderTerm) {
		whole = a.whole
	}
	if !a.step() {
		return
	}
	a.later(a.h.diskTime(), func() {
		if w.wrong != VoteUnsaved {
			a.h.disk.election, a.h.disk.drained, a.h.disk.whole = st, drained, whole
		}
		a.e.Saved()
		a.saving = false
		if !a.step() {
			return
		}
		a.send(out, overTCP)
		then()
		for len(a.waiters) > 0 && !a.saving && !a.dead() {
			next := a.waiters[0]
			a.waiters = a.waiters[1:]
			next()
		}
	})
}

func (a *agent) send(out []election.Envelope, overTCP bool) {
	w := a.h.w
	for _, env := range out {
		silent := false
		if _, renew := env.Message.(election.Renew); renew {
			t, ok := a.e.AnsweredAt(env.To)
			silent = !ok || a.h.local()-t > reliableAfter
		}
		w.send(a.h, env, overTCP, silent)
	}
}

// receive handles the messages one by one.
func (a *agent) receive() {
	for !a.receiving && len(a.inbox) > 0 && !a.dead() {
		e := a.inbox[0]
		a.inbox = a.inbox[1:]
		a.receiving = true
		switch m := e.msg.(type) {
		case election.Claim:
			a.poll(freshTimeout, func() {
				a.ballot(func() {
					local := a.local()
					a.h.w.check.asked(a, m, local)
					a.onMessage(e, local)
				})
			})
		default:
			local := election.Local{Unreachable: a.probe.unreachable(a.h.local())}
			if a.saving {
				a.waiters = append(a.waiters, func() { a.onMessage(e, local) })
			} else {
				a.onMessage(e, local)
			}
		}
	}
}

func (a *agent) onMessage(e event, local election.Local) {
	now := a.h.local()
	w := a.h.w
	was := a.brief(now)
	out := a.e.Step(now, e.msg, local)
	if m, ok := e.msg.(election.Claim); ok {
		w.check.answered(a, m, out)
	}
	done := func() {
		a.receiving = false
		if a.brief(a.h.local()) != was {
			a.wake()
		}
	}
	if _, unsaved := a.e.Unsaved(); !unsaved {
		a.send(out, e.tcp)
		done()
		a.receive()
		return
	}
	a.save(out, e.tcp, func() {
		done()
		a.receive()
	})
}

// brief is of the ballot what makes a round worth while.
type brief struct {
	holder                                               election.NodeID
	term                                                 election.Term
	primary                                              string
	released, lease, nudged, claiming, overtaken, everHe bool
}

func (a *agent) brief(now time.Duration) brief {
	v := a.e.View(now)
	return brief{v.Holder, v.HolderTerm, v.Primary, v.Released, v.Lease, v.Nudged, v.Claiming, v.Overtaken, v.EverHeard}
}

// view is ballot.view: a lease that is not on disk is not shown.
func (a *agent) view() election.View {
	v := a.e.View(a.h.local())
	if _, unsaved := a.e.Unsaved(); unsaved {
		v.Lease = false
	}
	return v
}

// leased: the lease runs, and for how long.
func (a *agent) leased() (time.Duration, bool) {
	until, ok := a.e.LeaseUntil(a.h.local())
	if _, unsaved := a.e.Unsaved(); unsaved || !ok {
		return 0, false
	}
	return until, true
}

// guard is agent.watchLease: at the end of a lease it calls the rounds, and does itself
// what they have not done a moment later.
func (a *agent) guard() {
	a.guardArmed = false
	if a.guardUntil == 0 {
		return
	}
	switch now := a.h.local(); {
	case now < a.guardUntil:
		a.armGuard()
		return
	case now < a.guardUntil+guardMargin:
		a.wake()
		a.armGuard()
		return
	}
	a.guardUntil = 0
	if a.h.w.wrong == NoFenceAtLapse {
		return
	}
	a.h.w.logf("%s guard lets go", a.h.id)
	a.h.w.res.Guarded++
	a.fence(func(ok bool) {
		a.dropVIP(0)
	})
}

func (a *agent) armGuard() {
	if a.guardArmed {
		return
	}
	a.guardArmed = true
	at := a.guardUntil
	if a.h.local() >= at {
		at += guardMargin
	}
	a.post(evGuard, a.h.wait(at)+us+a.h.w.upTo(ms))
}
