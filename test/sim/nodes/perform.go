package nodes

import (
	"errors"
	"math/bits"
	"strconv"
	"time"

	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

var (
	errFailed  = errors.New("it did not work")
	errTooLate = errors.New("there is no time left for it")
)

// errOf says that something failed when it did.
func errOf(ok bool) error {
	if ok {
		return nil
	}
	return errFailed
}

// left is how long there is until a time of this host's clock.
func (a *agent) left(until node.Time) time.Duration { return a.h.wait(until) }

// done answers an action after d.
func (a *agent) done(d time.Duration, answer node.Done) {
	a.later(d, func() { a.finish(answer) })
}

// finish answers an action now.
func (a *agent) finish(answer node.Done) {
	if a.trip() {
		a.tell(answer)
	}
}

// command is an action that is one command to a redis-server.
func (a *agent) command(d node.Do, to *host, do func(*server) bool) {
	a.call(to, a.left(d.Until), do, func(ok, answered bool) {
		a.finish(node.Done{ID: d.ID, Err: errOf(ok), Answered: answered})
	})
}

// carryOut does one thing on the models, and has the node told what came of it.
func (a *agent) carryOut(d node.Do) {
	switch act := d.Action.(type) {
	case node.PollRedis:
		a.pollRedis(d, act)
		return
	case node.PollSentinel:
		a.pollSentinel(d)
		return
	case node.Probe:
		a.probe(d, act)
		return
	case node.FenceLast:
		a.fenceLast(d, act)
		return
	}
	if d.Until != 0 && a.h.local() >= d.Until {
		a.done(0, node.Done{ID: d.ID, Err: errTooLate, NotBegun: true})
		return
	}
	switch act := d.Action.(type) {
	case reconcile.StartRedis, reconcile.StopRedis, reconcile.StartSentinel, reconcile.StopSentinel:
		a.process(d)
	case reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
		a.sentinel(d)
	case reconcile.DropVIP:
		a.dropVIP(vipOf(act.Address))
		a.done(100*us, node.Done{ID: d.ID})
	case reconcile.HoldVIP:
		a.holdVIP(vipOf(act.Address))
		a.done(100*us, node.Done{ID: d.ID})
	default:
		a.onRedis(d)
	}
}

// onRedis carries out what is asked of a redis-server.
func (a *agent) onRedis(d node.Do) {
	h, w := a.h, a.h.w
	switch act := d.Action.(type) {
	case node.Fence:
		a.fence(d, act)
	case reconcile.CloseClients:
		a.command(d, h, func(*server) bool { h.setMin(reconcile.Fence, 0); return true })
	case reconcile.ResumeWrites:
		a.allowWrites(d, func() { h.resumeWrites(d.Term) })
	case reconcile.SetMinReplicas:
		a.allowWrites(d, func() { h.setMin(act.N, d.Term) })
	case reconcile.Promote:
		a.allowWrites(d, func() { h.promote(act.MinReplicas, d.Term) })
	case reconcile.Follow:
		of := w.host(act.Primary)
		a.command(d, h, func(r *server) bool {
			if r.loading {
				return false
			}
			h.follow(of.i, act.Primary)
			if act.CloseClients {
				h.resumeWrites(0)
			}
			return true
		})
	case reconcile.FenceRemote:
		to := w.host(act.Addr)
		if to.redisAt != act.Addr { // nobody is there any more
			a.done(a.left(d.Until), node.Done{ID: d.ID, Err: errFailed})
			return
		}
		w.check.fencing(a.h, to)
		a.command(d, to, func(*server) bool {
			w.res.RemoteFences++
			to.setMin(reconcile.Fence, 0)
			return true
		})
	case reconcile.KillRedis:
		if !a.fenceFailed {
			w.check.killing(h)
		}
		a.fenceFailed = false
		a.kill()
		a.done(0, node.Done{ID: d.ID})
	case reconcile.CheckInSync:
		a.command(d, w.host(act.To), func(r *server) bool {
			return !r.primary && r.of == h.i && r.link == linkUp && !r.loading
		})
	case reconcile.CheckRecorded:
		a.checkRecorded(d, w.host(act.To), false)
	case reconcile.StopWrites:
		a.stopWrites(d)
	case reconcile.AwaitOffset:
		a.awaitOffset(d, w.host(act.To), act.Offset)
	default:
		panic("unknown action: " + d.Action.String())
	}
}

// fenceLast fences the redis-server of the holder before this one.
func (a *agent) fenceLast(d node.Do, act node.FenceLast) {
	w := a.h.w
	to := w.host(act.Addr)
	if to.redisAt != act.Addr {
		a.later(a.left(d.Until), func() { a.tell(node.Done{ID: d.ID, Err: errFailed}) })
		return
	}
	a.call(to, a.left(d.Until), func(*server) bool { to.setMin(reconcile.Fence, 0); return true }, func(ok, answered bool) {
		a.tell(node.Done{ID: d.ID, Err: errOf(ok), Answered: answered})
	})
}

// pollRedis looks at the local redis-server.
func (a *agent) pollRedis(d node.Do, act node.PollRedis) {
	h, r := a.h, &a.h.redis
	answer := node.RedisPolled{ID: d.ID, Began: h.local()}
	if !r.up {
		a.later(us, func() { a.step(answer) })
		return
	}
	answer.PID = r.run
	if !act.CloseStale {
		a.readInfo(answer, a.left(d.Until))
		return
	}
	a.closeStale(a.left(d.Until), func(ok, answered bool) {
		if answer.StaleClosed = ok; ok {
			a.readInfo(answer, a.left(d.Until))
			return
		}
		if answered {
			answer.Refused = "an error"
		}
		a.unread(answer)
	})
}

// unread is a poll that got no state: what does not answer because clients are paused is alive.
func (a *agent) unread(answer node.RedisPolled) {
	if r := &a.h.redis; r.up && !r.hung && !r.dying && r.pausedUntil > 0 && r.run == answer.PID {
		answer.Refused = "its clients are paused" // it takes connections all the same
	}
	a.polled(answer)
}

func (a *agent) readInfo(answer node.RedisPolled, timeout time.Duration) {
	w, r := a.h.w, &a.h.redis
	a.raw = false // what the agent before it left is closed, or it did not care to
	d := w.between(100*us, 600*us)
	if !r.responds(w.now) && !r.saysBusy(w.now) || d > timeout {
		a.later(timeout, func() { a.unread(answer) })
		return
	}
	// As of a moment between the question and its arrival here.
	w.after(d/2, func() {
		switch {
		case r.run != answer.PID:
		case r.refuses(w.now, a.gen):
			answer.Refused = "an error"
		case r.responds(w.now):
			answer.Info = a.h.info()
		}
	})
	a.later(d, func() { a.polled(answer) })
}

// polled has the node told of a poll, and of the process when that did not answer.
func (a *agent) polled(answer node.RedisPolled) {
	h, r := a.h, &a.h.redis
	if answer.Info == nil {
		state := byte('R')
		switch {
		case r.hung:
			state = 'T'
		case r.idle(h.w.now):
			state = 'S'
		}
		answer.Silent = node.Silence{Known: r.up, State: state, CPU: r.used(h.w.now), RanFor: h.w.now - r.startedAt}
	} else if h.syncs() {
		r.fsync(h.w.now)
	}
	a.step(answer)
}

// info is what INFO and CONFIG GET say now.
func (h *host) info() *node.RedisInfo {
	w, r := h.w, &h.redis
	w.lookAtLink(h)
	w.flow()
	i := &node.RedisInfo{
		RunID: strconv.Itoa(r.run), Role: reconcile.Replica, Loading: r.loading, LinkUp: r.link == linkUp, Syncing: r.link == linkSyncing,
		ReplID: strconv.Itoa(int(r.replID())), Offset: r.pos - r.shift, Keys: r.pos,
		MinReplicas: r.min, MaxLag: reconcile.MaxLag,
		WriteError: h.readOnly,
		AOF:        !r.rdb, AOFOn: !r.rdb, OldAOF: r.apart, Rewriting: r.apart, RewriteOK: r.rewriteOK,
	}
	if r.of >= 0 {
		i.PrimaryAddr = r.ofAt
	}
	if r.primary {
		i.Role = reconcile.Primary
		for _, o := range w.hosts {
			if w.follows(o, h) {
				i.Replicas = append(i.Replicas, reconcile.Link{
					Addr: o.redisAt, Online: o.redis.link == linkUp, Lag: (w.now - o.redis.ackAt).Truncate(time.Second),
					Offset: max(0, o.redis.ackPos-r.shift),
				})
			}
		}
	}
	return i
}

// closeStale: nothing that the agent before this one asked for is carried out any more.
func (a *agent) closeStale(timeout time.Duration, then func(ok, answered bool)) {
	a.call(a.h, timeout, func(r *server) bool {
		r.staleClosed = a.gen
		for _, c := range r.pending {
			if c.closed != nil {
				c.closed()
			}
		}
		r.pending = nil
		return true
	}, then)
}

// fence takes the right to write.
func (a *agent) fence(d node.Do, act node.Fence) {
	set := func(closed bool) {
		a.raw = false
		a.call(a.h, a.left(d.Until), func(*server) bool { a.h.setMin(reconcile.Fence, 0); return true }, func(ok, answered bool) {
			a.finish(node.Done{ID: d.ID, Err: errOf(ok), Answered: answered, StaleClosed: closed})
		})
	}
	if !act.CloseStale {
		set(false)
		return
	}
	a.closeStale(a.left(d.Until), func(ok, _ bool) {
		if ok {
			set(true)
			return
		}
		a.finish(node.Done{ID: d.ID, Err: errFailed})
	})
}

// allowWrites has redis-server accept writes.
func (a *agent) allowWrites(d node.Do, do func()) {
	h := a.h
	a.stuckPromotion()
	a.command(d, h, func(r *server) bool {
		if r.loading {
			return false
		}
		// Its agent may have died or frozen while it stood still: then nobody knows of this before
		// the next one has made sure that no more such comes.
		r.late = a.frozen || a.dead() && (!h.alive() || h.agent.raw)
		do()
		r.late = false
		return true
	})
}

// kill sends SIGKILL.
func (a *agent) kill() {
	h := a.h
	if !h.redis.up {
		return
	}
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

// process starts or stops one.
func (a *agent) process(d node.Do) {
	h, w := a.h, a.h.w
	switch act := d.Action.(type) {
	case reconcile.StartRedis:
		of := -1
		if t := w.host(act.Primary); t != nil {
			of = t.i
		}
		a.later(h.diskTime()+5*ms, func() {
			done := node.Done{ID: d.ID}
			if !h.redis.up {
				if h.redis.rdb {
					says := h.redis.fileSays
					done.RDB = &says
				}
				h.startRedis(of, act.Primary)
			}
			done.PID = h.redis.run
			a.finish(done)
		})
	case reconcile.StopRedis:
		run := h.redis.run
		w.after(10*ms+w.upTo(w.p.load), func() {
			switch {
			case h.redis.run != run || !h.redis.up || h.shutdown():
			case !a.dead():
				a.later(0, func() { a.step(node.StopFailed{Process: node.Redis}) })
			}
		})
		a.done(0, node.Done{ID: d.ID})
	case reconcile.StartSentinel:
		a.later(h.diskTime()+5*ms, func() {
			if !h.sentinel.up {
				h.startSentinel(w.host(act.Primary))
			}
			a.finish(node.Done{ID: d.ID, PID: h.sentinel.run})
		})
	case reconcile.StopSentinel:
		w.after(5*ms, func() { h.endSentinel("stopped") })
		a.done(0, node.Done{ID: d.ID})
	}
}

func vipOf(address string) int {
	if address == vipNames[1] {
		return 1
	}
	return 0
}

func (a *agent) dropVIP(v int) {
	if a.h.holds(v) {
		a.h.w.logf("%s drops vip %d", a.h.id, v)
	}
	a.h.vip[v] = kernelVIP{}
	a.vipHeld[v] = false
}

func (a *agent) holdVIP(v int) {
	h := a.h
	if !h.holds(v) {
		h.w.logf("%s holds vip %d", h.id, v)
	}
	h.vip[v] = kernelVIP{held: true, until: h.w.now + node.VIPLifetime}
	a.vipHeld[v] = true
	if v == 0 {
		h.w.check.tookVIP(h)
	}
}

// checkRecorded asks the successor's agent what its disk says of its data, again and again. One
// that does not answer at all is given the benefit of the doubt.
func (a *agent) checkRecorded(d node.Do, to *host, asked bool) {
	w := a.h.w
	switch left := a.left(d.Until); {
	case left == 0:
		a.finish(node.Done{ID: d.ID, Err: errFailed})
	case !to.alive() || !w.linked(a.h, to):
		a.done(left, node.Done{ID: d.ID, Err: errOf(!asked)})
	default:
		a.later(min(left, w.p.delay), func() {
			if to.agent != nil && to.agent.n.Recorded().Term == d.Term {
				a.finish(node.Done{ID: d.ID})
				return
			}
			a.later(min(a.left(d.Until), node.RecordedPoll), func() { a.checkRecorded(d, to, true) })
		})
	}
}

// stopWrites has writes wait, and reads how far the history went.
func (a *agent) stopWrites(d node.Do) {
	h, w := a.h, a.h.w
	w.check.spoilt = w.res.PowerLosses + w.res.Ends
	failed := node.Done{ID: d.ID, Err: errFailed}
	a.call(h, a.left(d.Until), func(*server) bool { h.pauseWrites(node.HoldFor); return true }, func(ok, _ bool) {
		if !a.trip() {
			return
		}
		if !ok {
			a.tell(failed)
			return
		}
		answer := node.Done{ID: d.ID, Answered: true}
		a.call(h, a.left(d.Until), func(r *server) bool {
			w.flow()
			a.drained = r.pos - r.shift
			answer.ReplID, answer.Offset = strconv.Itoa(int(r.replID())), a.drained
			return true
		}, func(ok, _ bool) {
			if !ok {
				answer = failed
			}
			a.finish(answer)
		})
	})
}

// awaitOffset asks the successor again and again how far it is.
func (a *agent) awaitOffset(d node.Do, to *host, want int64) {
	w := a.h.w
	var offset int64
	var up bool
	a.call(to, max(us, a.left(d.Until)), func(r *server) bool {
		w.flow()
		offset, up = r.pos-r.shift, r.link == linkUp
		return true
	}, func(ok, _ bool) {
		switch {
		case ok && offset >= want && up:
			a.finish(node.Done{ID: d.ID})
		case a.h.local() >= d.Until, !ok && !to.redis.up && w.reaches(a.h, to):
			a.finish(node.Done{ID: d.ID, Err: errFailed})
		default:
			a.later(node.CatchUpPoll, func() { a.awaitOffset(d, to, want) })
		}
	})
}

// probe asks the holder's redis-server for a sign of life.
func (a *agent) probe(d node.Do, act node.Probe) {
	w := a.h.w
	to := w.host(act.Addr)
	if to == nil {
		return
	}
	took, answer := w.p.delay+300*us, node.Probed{ID: d.ID, Addr: act.Addr, Answered: true, Connected: true}
	switch r := &to.redis; {
	case !to.d.Redis || w.reaches(a.h, to) && !r.up && to.redisAt == act.Addr:
		answer.Answered, answer.Connected, answer.Refused = false, false, act.Connect
	case !w.reaches(a.h, to), to.redisAt != act.Addr:
		took, answer.Answered, answer.Connected = a.left(d.Until), false, false
		answer.HostUp = act.Connect && to.redisAt == act.Addr && w.linked(a.h, to)
	case !r.responds(w.now) && !r.saysBusy(w.now): // any answer will do
		took, answer.Answered, answer.Connected = a.left(d.Until), false, act.Connect
		answer.HostUp = act.Connect
	default:
		answer.Fenced = act.Look && r.min == reconcile.Fence
	}
	a.later(took, func() { a.step(answer) })
}

// pollSentinel asks the local redis-sentinel for its view.
func (a *agent) pollSentinel(d node.Do) {
	h, w, s := a.h, a.h.w, &a.h.sentinel
	answer := node.SentinelPolled{ID: d.ID}
	took := a.left(d.Until)
	if s.up {
		answer.PID = s.run
	}
	if !s.up || !s.hung {
		took = min(took, w.between(100*us, 600*us))
	}
	a.later(took, func() {
		if s.up && !s.hung && s.run == answer.PID {
			answer.View = h.sentinelView()
		}
		a.step(answer)
	})
}

func (h *host) sentinelView() *node.SentinelView {
	w, s := h.w, &h.sentinel
	v := &node.SentinelView{
		Quorum: s.quorum, Peers: bits.OnesCount(s.peers), DownAfter: s.downAfter, FailoverTimeout: s.failoverTo,
	}
	if s.monitors < 0 {
		return v
	}
	v.Monitors, v.Epoch = w.hosts[s.monitors].redisAt, s.epoch
	return v
}

// sentinel tells the local redis-sentinel something.
func (a *agent) sentinel(d node.Do) {
	h, w, s := a.h, a.h.w, &a.h.sentinel
	run, left := s.run, a.left(d.Until)
	took := h.diskTime()
	if !s.up || s.hung || took > left {
		a.done(left, node.Done{ID: d.ID, Err: errFailed})
		return
	}
	a.later(took, func() {
		if !s.up || s.run != run {
			a.finish(node.Done{ID: d.ID, Err: errFailed})
			return
		}
		switch act := d.Action.(type) {
		case reconcile.Monitor:
			s.monitors, s.epoch, s.quorum, s.peers, s.failover, s.downSince = w.host(act.Primary).i, 0, act.Quorum, 0, false, 0
			s.downAfter, s.failoverTo, s.infoAt, s.notBefore = h.d.DownAfter, h.d.FailoverTimeout, 0, 0
			s.forget()
			w.logf("%s sentinel is set up anew for %s", h.id, act.Primary)
		case reconcile.TuneSentinel:
			s.tuned = true
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
			if s.monitors >= 0 {
				h.sentinelHears(w.host(act.Primary).i, act.Epoch)
			}
		}
		a.finish(node.Done{ID: d.ID, Answered: true})
	})
}
