package nodes

import (
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// apply carries out one action; then is told whether it failed.
func (a *agent) apply(action reconcile.Action, then func(failed bool)) {
	h := a.h
	w := h.w
	switch act := action.(type) {
	case reconcile.FenceRedis:
		a.fence(func(ok bool) { then(!ok) })
	case reconcile.CloseClients:
		a.call(h, actTimeout, func(*server) bool { return true }, func(ok, _ bool) { then(!ok) })
	case reconcile.SetMinReplicas:
		a.letIn(func(term uint64) { h.setMin(act.N, term) }, then)
	case reconcile.Promote:
		a.letIn(func(term uint64) { h.promote(act.MinReplicas, term) }, func(failed bool) {
			if !failed {
				a.later(ms, a.pollSentinelOnce)
			}
			then(failed)
		})
	case reconcile.SetPriority:
		a.call(h, actTimeout, func(r *server) bool { r.priority = act.N; return true }, func(ok, _ bool) { then(!ok) })
	case reconcile.KillRedis:
		a.kill()
		then(false)
	case reconcile.Follow:
		of := w.host(act.Primary)
		a.call(h, actTimeout, func(r *server) bool {
			if r.loading {
				return false
			}
			h.follow(of.i)
			return true
		}, func(ok, _ bool) { then(!ok) })
	case reconcile.StartRedis, reconcile.StopRedis, reconcile.StartSentinel, reconcile.StopSentinel:
		a.applyProcess(action, then)
	case reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
		a.applySentinel(action, then)
	case reconcile.DropVIP:
		if act.Address == vipNames[0] {
			a.dropVIP(0)
		} else {
			a.dropVIP(1)
		}
		a.later(100*us, func() { then(false) })
	case reconcile.HoldVIP:
		a.holdVIP(act.Address)
		a.later(100*us, func() { then(false) })
	case reconcile.HandOver:
		a.handOver(act.To, then)
	case reconcile.FenceRemote:
		a.fenceRemote(w.host(act.Addr), a.o.Election.Term, then)
	default:
		a.applyElection(action, then)
	}
}

// letIn is agent.letIn: under a running lease alone, and an answer that does not
// come makes the process one that only a kill can fence.
func (a *agent) letIn(do func(term uint64), then func(failed bool)) {
	h := a.h
	if a.saving {
		a.waiters = append(a.waiters, func() { a.letIn(do, then) })
		return
	}
	until, ok := a.leased()
	term := uint64(a.e.View(h.local()).HolderTerm)
	if !ok && h.w.wrong != PromoteUnleased {
		then(true)
		return
	}
	timeout := min(actTimeout, h.wait(until))
	if !ok {
		timeout = actTimeout
	}
	a.stuckPromotion()
	if ok {
		a.guardUntil = until
		a.armGuard()
	}
	a.redisW.unfencing(h.local())
	a.call(h, timeout, func(r *server) bool {
		if r.loading {
			return false
		}
		// Its agent may have died or frozen while it stood still: then nobody knows of
		// this before the next one has made sure that no more such comes.
		r.late = a.frozen || a.dead() && (!h.alive() || h.agent.redisW.raw)
		do(term)
		r.late = false
		return true
	}, func(ok, answered bool) {
		if !ok && !answered {
			a.unanswered = h.redis.run
		}
		then(!ok)
	})
}

// fence is agent.fence: it kills what does not answer.
func (a *agent) fence(then func(ok bool)) {
	h := a.h
	if h.w.wrong == NoFence {
		then(true)
		return
	}
	kill := func() {
		if h.redis.up {
			a.kill()
		}
		then(true)
	}
	if a.unanswered == h.redis.run {
		kill()
		return
	}
	limit := h.local() + fenceTimeout
	a.outlive(fenceTimeout, func(ok bool) {
		if !ok {
			kill()
			return
		}
		a.call(h, limit-h.local(), func(*server) bool { h.setMin(reconcile.Fence, 0); return true }, func(ok, _ bool) {
			if ok {
				then(true)
				return
			}
			kill()
		})
	})
}

// outlive is agent.redisWatch.outlive: nothing that the agent before this one asked for
// is carried out any more.
func (a *agent) outlive(timeout time.Duration, then func(ok bool)) {
	h := a.h
	if !a.redisW.raw || h.w.wrong == NoCloseOthers {
		a.redisW.raw = false
		then(true)
		return
	}
	a.call(h, timeout, func(r *server) bool {
		r.outlived = a.gen
		for _, c := range r.pending {
			if c.closed != nil {
				c.closed()
			}
		}
		r.pending = nil
		return true
	}, func(ok, _ bool) {
		if ok {
			a.redisW.raw = false
		}
		then(ok)
	})
}

// kill sends SIGKILL.
func (a *agent) kill() {
	h := a.h
	a.redisW.killed = h.redis.run
	a.redisW.noteAcked(h.local())
	h.w.res.Kills++
	run := h.redis.run
	h.w.flow()
	h.redis.dying = true
	h.w.changed()
	h.w.after(h.w.upTo(ms), func() {
		if h.redis.run == run {
			h.endRedis("killed by its agent")
		}
	})
}

func (a *agent) fenceRemote(to *host, term uint64, then func(failed bool)) {
	if to == nil {
		then(true)
		return
	}
	a.call(to, actTimeout, func(*server) bool { to.setMin(reconcile.Fence, 0); return true }, func(ok, _ bool) {
		if ok {
			a.h.w.res.RemoteFences++
			a.probe.fenced, a.probe.fencedAt = term, a.h.local()
		}
		then(!ok)
	})
}

func (a *agent) dropVIP(v int) {
	if a.h.w.wrong == KeepVIP && v == 0 {
		return
	}
	if a.h.holds(v) {
		a.h.w.logf("%s drops vip %d", a.h.id, v)
	}
	a.h.vip[v] = kernelVIP{}
	a.vipHeld[v], a.renewed[v] = false, 0
}

// holdVIP is agent.holdVIP: that of the primary only under a lease.
func (a *agent) holdVIP(address string) {
	h, v := a.h, 0
	if address == vipNames[1] {
		v = 1
	} else if _, ok := a.leased(); !ok {
		return
	}
	if !h.holds(v) {
		h.w.logf("%s holds vip %d", h.id, v)
	}
	h.vip[v] = kernelVIP{held: true, until: h.w.now + vipLifetime}
	a.vipHeld[v], a.renewed[v] = true, h.local()
	if v == 0 {
		h.w.check.tookVIP(h)
	}
}

func (a *agent) applyProcess(action reconcile.Action, then func(failed bool)) {
	h := a.h
	w := h.w
	switch act := action.(type) {
	case reconcile.StartRedis:
		of := -1
		if t := w.host(act.Primary); t != nil {
			of = t.i
		}
		a.later(h.diskTime()+5*ms, func() {
			if !h.redis.up {
				h.startRedis(of)
			}
			then(false)
		})
	case reconcile.StopRedis:
		if run := h.redis.run; a.stopOf != run {
			a.stopOf = run
			w.after(10*ms+w.upTo(w.p.load), func() {
				if h.redis.up && h.redis.run == run && !h.redis.hung {
					h.endRedis("stopped")
				} else {
					a.stopOf = 0
				}
			})
		}
		then(false)
	case reconcile.StartSentinel:
		a.later(h.diskTime()+5*ms, func() {
			if !h.sentinel.up {
				h.startSentinel(w.host(act.Primary))
			}
			then(false)
		})
	case reconcile.StopSentinel:
		w.after(5*ms, func() { h.endSentinel("stopped") })
		then(false)
	}
}

func (a *agent) applyElection(action reconcile.Action, then func(failed bool)) {
	h := a.h
	w := h.w
	do := func(f func(now election.Time) []election.Envelope) {
		a.ballot(func() { a.save(f(h.local()), false, func() { then(false) }) })
	}
	switch act := action.(type) {
	case reconcile.Found:
		a.poll(freshTimeout, func() {
			a.ballot(func() {
				local := a.local()
				voters := make([]election.Voter, len(act.Voters))
				for i, v := range act.Voters {
					voters[i] = election.Voter{ID: election.NodeID(v.ID), Addr: v.Addr}
				}
				w.check.foundings++
				id := h.id + string(rune('0'+w.check.foundings%64))
				do(func(now election.Time) []election.Envelope { return a.e.Found(now, local, id, voters) })
			})
		})
	case reconcile.Claim:
		a.poll(freshTimeout, func() {
			a.ballot(func() {
				local := a.local()
				fenced := election.Term(a.probe.fencedLately(h.local(), election.FenceAge))
				w.res.Claims++
				w.check.claimed(a)
				do(func(now election.Time) []election.Envelope { return a.e.Claim(now, local, fenced) })
			})
		})
	case reconcile.Release:
		a.ballot(func() {
			w.check.released(h, false, act.Whole)
			if act.Whole && w.wrong != WholeIgnored {
				a.whole = a.o.Election.Term
			}
			do(func(now election.Time) []election.Envelope { return a.e.Release(now, act.Why) })
		})
	case reconcile.SetSuccessors:
		learners := a.learnersOf()
		do(func(now election.Time) []election.Envelope {
			i := a.e.Announced()
			i.Successors = nodeIDs(act.IDs)
			return a.e.Announce(now, i, learners)
		})
	case reconcile.SetRoster:
		voters := make([]election.Voter, len(act.Voters))
		for i, v := range act.Voters {
			voters[i] = election.Voter{ID: election.NodeID(v.ID), Addr: v.Addr}
		}
		a.ballot(func() {
			err := a.e.Propose(h.local(), voters)
			a.save(nil, false, func() { then(err != nil) })
		})
	}
}

func nodeIDs(ids []string) []election.NodeID {
	out := make([]election.NodeID, len(ids))
	for i, id := range ids {
		out[i] = election.NodeID(id)
	}
	return out
}

// Handing over, as agent.handOver does it.
const (
	catchUp     = 300 * ms
	catchUpPoll = 2 * ms
)

func (a *agent) handOver(to string, then func(failed bool)) {
	h := a.h
	w := h.w
	target := w.host(to)
	min := a.o.Redis.MinReplicas
	next := []string{to}
	for _, id := range a.o.Election.Successors {
		if id != to {
			next = append(next, id)
		}
	}
	done := func(failed bool) {
		a.wish.triedAt = h.local()
		a.wish.failures++
		if !failed {
			a.wish.failures = 0
			w.res.HandOvers++
		}
		a.wish.active = false
		then(failed)
	}
	ready, term := false, a.o.Election.Term
	a.call(target, actTimeout, func(r *server) bool {
		ready = !r.primary && r.of == h.i && r.link == linkUp && !r.loading && target.noted(term)
		return true
	}, func(ok, _ bool) {
		if !ok || !ready {
			done(true)
			return
		}
		a.drain(target, min, next, done)
	})
}

// noted: the agent there has noted on disk that its data is of the term, or does not answer.
func (h *host) noted(term uint64) bool {
	return !h.alive() || h.disk.record.term == term
}

// drain fences, and waits until the successor has everything.
func (a *agent) drain(target *host, min int, next []string, done func(bool)) {
	h := a.h
	w := h.w
	limit := h.local() + catchUp
	w.check.spoilt = w.res.PowerLosses + w.res.Ends
	var own int64
	term := a.o.Election.Term
	a.call(h, catchUp, func(r *server) bool {
		h.setMin(reconcile.Fence, 0)
		return true
	}, func(ok, _ bool) {
		if !a.step() {
			return
		}
		if !ok {
			a.undrain(min, func() { done(true) })
			return
		}
		a.call(h, limit-h.local(), func(r *server) bool {
			w.flow()
			own = r.pos - r.shift
			return true
		}, func(ok, _ bool) {
			if !ok {
				a.undrain(min, func() { done(true) })
				return
			}
			a.drained = drained{term, own}
			a.awaitCatchUp(target, own, limit, func(ok bool) {
				if !ok {
					a.undrain(min, func() { done(true) })
					return
				}
				a.handedOver(target, next, done)
			})
		})
	})
}

func (a *agent) awaitCatchUp(target *host, own int64, limit time.Duration, then func(ok bool)) {
	h := a.h
	w := h.w
	if w.wrong == HandOverHasty {
		then(true)
		return
	}
	var offset int64
	var up bool
	a.call(target, max(us, limit-h.local()), func(r *server) bool {
		w.flow()
		offset, up = r.pos-r.shift, r.link == linkUp
		return true
	}, func(ok, _ bool) {
		switch {
		case ok && offset >= own && up:
			then(true)
		case h.local() >= limit:
			then(false)
		default:
			a.later(catchUpPoll, func() { a.awaitCatchUp(target, own, limit, then) })
		}
	})
}

// handedOver lets go: clients, address, lease.
func (a *agent) handedOver(target *host, next []string, done func(bool)) {
	h := a.h
	w := h.w
	a.call(h, actTimeout, func(*server) bool { return true }, func(bool, bool) {
		if !a.step() {
			return
		}
		a.dropVIP(0)
		a.ballot(func() {
			// A successor whose agent has not seen the link yet cannot show what it has.
			t := target.agent
			w.check.released(h, t != nil && t.redisW.rec.term == a.drained.term, true)
			a.save(a.e.HandOver(h.local(), nodeIDs(next), a.drained.offset, "handed over"), false, func() { done(false) })
		})
	})
}

// undrain lets the writes go on.
func (a *agent) undrain(min int, then func()) {
	a.drained = drained{}
	a.ballot(func() {
		if _, ok := a.leased(); !ok {
			then()
			return
		}
		a.letIn(func(term uint64) { a.h.setMin(min, term) }, func(bool) {
			a.poll(pollTimeout, then)
		})
	})
}
