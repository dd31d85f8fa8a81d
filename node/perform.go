package node

import (
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// performer has actions carried out, each in a lane, and knows what they leave behind.
type performer struct {
	n     *Node
	lanes [2]lane // Rounds, Guard

	request  request
	handover *handover
	drained  *Drained
	// whole is the last term whose lease this node gave back with all its data.
	whole uint64
	// releasedBy is the redis-server process that ran when the lease was given back; 0: none did.
	releasedBy int
	// letsIn is a command that lets writes in, holds one that has them wait, which was not
	// answered.
	letsIn, holds late
	// allowing is the process to which a command that lets writes in is under way; allowed counts
	// these commands.
	allowing, allowed int
	fenced            fenced
	// held is the one whose clients' writes may be waiting for the end of a handover, yieldUntil
	// when that is at the latest, once the lease is handed over.
	held       int
	yieldUntil Time
	yielding   string // the request for which it was
}

// late is a command that a process has not answered, and may carry out yet: since when.
type late struct {
	pid int
	at  Time
}

// closed: the connections that the process had when this poll began are closed.
func (l *late) closed(in RedisPolled) {
	if in.PID == l.pid && in.Began >= l.at {
		*l = late{}
	}
}

// fenced is a redis-server that has confirmed its fence, when, and after how many commands that let
// writes in.
type fenced struct {
	pid     int
	at      Time
	allowed int
}

// lane is what is under way in a lane, and what is left.
type lane struct {
	busy  bool
	queue []reconcile.Action
}

// begin carries out one action in a lane, and then says how it went. What concerns the election
// alone is done here; the rest is for the driver.
func (pf *performer) begin(l Lane, action reconcile.Action, then func(error)) {
	n := pf.n
	switch a := action.(type) {
	case reconcile.FenceRedis:
		pf.fence(l, a.Why, then)
	case reconcile.KillRedis:
		pf.kill(l, a.Why, then)
	case reconcile.Promote, reconcile.SetMinReplicas:
		pf.allowWrites(l, action, then)
	case reconcile.ResumeWrites:
		pf.resumeWrites(l, then)
	case reconcile.CloseClients:
		pf.yieldUntil = 0 // the fence comes first from now on, whatever becomes of this
		pf.do(l, Do{Action: action, Until: n.at + ActTimeout}, func(d Done) { then(d.Err) })
	case reconcile.HoldVIP:
		pf.holdVIP(l, a, then)
	case reconcile.DropVIP:
		pf.dropVIP(l, a, then)
	case reconcile.StartRedis, reconcile.StopRedis, reconcile.StartSentinel, reconcile.StopSentinel:
		pf.runProcess(l, action, then)
	case reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
		pf.tellSentinel(l, action, then)
	case reconcile.CheckInSync, reconcile.CheckRecorded, reconcile.StopWrites, reconcile.AwaitOffset:
		pf.stepHandover(l, action, then)
	case reconcile.Bootstrap, reconcile.Serve, reconcile.PreVote, reconcile.Claim, reconcile.Release, reconcile.SetSuccessors, reconcile.SetRoster:
		pf.changeElection(l, action, then)
	case reconcile.FenceRemote:
		// Its age counts from when it was asked for: when it was carried out nobody knows better.
		term, began := n.rounds.cur.o.Election.Term, n.at
		pf.do(l, Do{Action: a, Until: n.at + ActTimeout}, func(d Done) {
			if d.Err == nil {
				n.probe.fenced, n.probe.fencedAt = term, began
			}
			then(d.Err)
		})
	default: // Follow
		pf.do(l, Do{Action: action, Until: n.at + ActTimeout}, func(d Done) {
			if f, ok := action.(reconcile.Follow); ok && f.CloseClients && d.Err == nil {
				pf.held = 0
			}
			then(d.Err)
		})
	}
}

// do has the driver do something, as the only thing under way in its lane.
func (pf *performer) do(l Lane, d Do, then func(Done)) {
	n := pf.n
	pf.lanes[l].busy = true
	switch {
	case l != Rounds:
	case pf.handover != nil:
		d.Request = pf.handover.request
	default:
		d.Request = pf.yielding
	}
	n.call(l, d, func(in Input) {
		pf.lanes[l].busy = false
		done, _ := in.(Done)
		then(done)
	})
}

// fence takes the right to write from redis-server, for certain: one that does not answer the
// command is killed, and so is one that may yet carry out a command that lets writes in. It is not
// for what befell this agent: one that stood still meanwhile asks once more, and what redis-server
// has just confirmed in the other lane needs no second answer.
func (pf *performer) fence(l Lane, why string, then func(error)) { pf.tryFence(l, why, false, then) }

func (pf *performer) tryFence(l Lane, why string, again bool, then func(error)) {
	n := pf.n
	pid, began, allowed := n.procs[Redis].pid, n.at, pf.allowed
	if pid == 0 {
		then(nil)
		return
	}
	refused := func(err error) {
		if f := pf.fenced; n.procs[Redis].pid != pid || f.pid == pid && f.allowed == pf.allowed && f.at+FenceTimeout >= began {
			then(nil) // it has ended, or is fenced
			return
		}
		n.tell(Killed{Why: why, Err: err})
		pf.kill(l, "could not be fenced: "+err.Error(), then)
	}
	if pf.letsIn.pid == pid || l == Guard && pf.allowing == pid {
		refused(errUnanswered)
		return
	}
	pf.do(l, Do{Action: Fence{Why: why, CloseStale: n.redis.stale}, Until: n.at + FenceTimeout}, func(d Done) {
		if d.StaleClosed {
			n.redis.stale = false
		}
		stoodStill := d.NotBegun || !d.Answered && n.at >= began+2*FenceTimeout
		switch {
		case d.Err == nil:
			if pf.allowed == allowed {
				pf.fenced = fenced{pid, n.at, allowed}
			}
			then(nil)
		case stoodStill && !again:
			pf.tryFence(l, why, true, then)
		default:
			refused(d.Err)
		}
	})
}

// kill ends the process, whatever it does; it is not gone before its exit is seen.
func (pf *performer) kill(l Lane, why string, then func(error)) {
	n := pf.n
	pid := n.procs[Redis].pid
	pf.do(l, Do{Action: reconcile.KillRedis{Why: why}}, func(d Done) {
		if d.Err == nil && pid == n.procs[Redis].pid && pid != 0 {
			n.redis.killed = pid
			n.redis.noteAcked(n.at)
		}
		then(d.Err)
	})
}

// allowWrites has redis-server accept writes, as long as the lease runs and no longer. A command
// that was sent and not answered may still be carried out, after a fence even: until its connection
// is closed only killing the process is a fence.
func (pf *performer) allowWrites(l Lane, action reconcile.Action, then func(error)) {
	n := pf.n
	until, ok := n.lease()
	if !ok {
		then(ErrLeaseOver)
		return
	}
	n.guard.until = until // whoever lets writes in is watched, also outside a round
	n.redis.allowing(n.at)
	pid := n.procs[Redis].pid
	pf.allowing = pid
	pf.allowed++
	pf.do(l, Do{Action: action, Until: min(until, n.at+ActTimeout)}, func(d Done) {
		pf.allowing = 0
		if d.Err != nil && !d.Answered && !d.NotBegun {
			pf.letsIn = late{pid, n.at}
		}
		then(d.Err)
	})
}

// holdVIP adds or renews an address. That of the primary only under a lease, at the time of the
// act: a round that was frozen in between must not take it.
func (pf *performer) holdVIP(l Lane, a reconcile.HoldVIP, then func(error)) {
	n := pf.n
	v := n.vip(a.Address)
	var until Time
	if !v.Replica {
		var ok bool
		if until, ok = n.lease(); !ok {
			then(ErrLeaseOver)
			return
		}
	}
	pf.do(l, Do{Action: a, Until: until}, func(d Done) {
		if d.Err != nil {
			then(d.Err)
			return
		}
		v := n.vip(a.Address)
		v.Held, v.RenewedAt = true, n.at
		n.setVIP(v)
		if _, ok := n.lease(); !v.Replica && !ok {
			pf.dropVIP(l, reconcile.DropVIP{Address: a.Address, Why: ErrLeaseOver.Error()}, func(error) { then(ErrLeaseOver) })
			return
		}
		then(nil)
	})
}

func (pf *performer) dropVIP(l Lane, a reconcile.DropVIP, then func(error)) {
	n := pf.n
	pf.do(l, Do{Action: a}, func(d Done) {
		if d.Err == nil {
			v := n.vip(a.Address)
			v.Held, v.RenewedAt = false, 0
			n.setVIP(v)
		}
		then(d.Err)
	})
}

func (pf *performer) runProcess(l Lane, action reconcile.Action, then func(error)) {
	n := pf.n
	which := Redis
	switch action.(type) {
	case reconcile.StartSentinel, reconcile.StopSentinel:
		which = Sentinel
	}
	p, do := &n.procs[which], Do{Action: action}
	switch a := action.(type) {
	case reconcile.StopRedis, reconcile.StopSentinel:
		if p.stopOf == p.pid {
			then(nil) // it is on its way
			return
		}
		p.stopOf = p.pid
		pf.do(l, do, func(d Done) { then(d.Err) })
		return
	case reconcile.StartRedis:
		do.SetAside = a.Primary != "" && p.failed >= brokenAfter
	}
	pf.starting(which)
	pf.do(l, do, func(d Done) {
		switch {
		case d.Err != nil:
			p.startAfter = n.at + p.pause(0) // as after a quick exit
		default:
			if do.SetAside {
				p.failed = 0
			}
			if d.RDB != nil {
				pf.loads(*d.RDB)
			}
			p.started(d.PID)
			if which == Sentinel {
				n.sentinel.poke(n.at)
			}
		}
		then(d.Err)
	})
}

// loads: the process that was started has what this file says, and no more.
func (pf *performer) loads(f RDB) {
	r := &pf.n.redis.rec
	r.loads(f)
	if d := pf.drained; d != nil && (r.Term != d.Term || r.Offset < d.Offset) {
		pf.drained = nil // what it handed over it has no more
	}
}

func (pf *performer) tellSentinel(l Lane, action reconcile.Action, then func(error)) {
	n := pf.n
	w, pid := &n.sentinel, n.procs[Sentinel].pid
	if p, ok := action.(reconcile.Publish); ok {
		w.published, w.publishedAt = p.Epoch, n.at
	}
	pf.do(l, Do{Action: action, Until: n.at + SentinelTimeout}, func(d Done) {
		if _, ok := action.(reconcile.TuneSentinel); ok && d.Err == nil {
			w.tunedPID = pid
		}
		w.poke(n.at)
		then(d.Err)
	})
}

// changeElection does what concerns the lease and the voters. Whoever asks for votes polls its
// dataset first.
func (pf *performer) changeElection(l Lane, action reconcile.Action, then func(error)) {
	n := pf.n
	switch a := action.(type) {
	case reconcile.Bootstrap:
		pf.afterPoll(l, then, func(local election.Local) []election.Envelope {
			n.tell(Bootstrapping{Voters: len(a.Voters), Keys: n.redis.rec.Keys})
			return n.ballot.e.Bootstrap(n.at, local, n.clusterID(), voters(a.Voters))
		})
	case reconcile.Serve:
		n.ballot.elect(false, func(e *election.Elector) []election.Envelope { e.Serve(); return nil }, then)
	case reconcile.Claim:
		pf.afterPoll(l, then, func(local election.Local) []election.Envelope {
			n.tell(LeaseClaimed{Why: a.Why})
			return n.ballot.e.Claim(n.at, local, n.probe.fencedLately(n.at, election.FenceAge))
		})
	case reconcile.PreVote:
		pf.afterPoll(l, then, func(local election.Local) []election.Envelope { return n.ballot.e.PreVote(n.at, local) })
	case reconcile.Release:
		pf.release(a, then)
	case reconcile.SetSuccessors:
		n.ballot.elect(false, func(e *election.Elector) []election.Envelope {
			i := e.Announced()
			i.Successors = nodeIDs(a.IDs)
			return e.Announce(n.at, i, n.ballot.learners())
		}, then)
	case reconcile.SetRoster:
		var refused error
		n.ballot.elect(false, func(e *election.Elector) []election.Envelope {
			refused = e.Propose(n.at, voters(a.Voters))
			return nil
		}, func(err error) {
			if err == nil {
				err = refused
			}
			if err == nil {
				n.tell(RosterChanged{Why: a.Why, Voters: len(a.Voters)})
			}
			then(err)
		})
	}
}

// afterPoll polls the local dataset, and then does f on the elector, once that is free.
func (pf *performer) afterPoll(l Lane, then func(error), f func(election.Local) []election.Envelope) {
	n := pf.n
	pf.lanes[l].busy = true
	n.watch.freshPoll(Polls, func() {
		n.ballot.whenFree(func() {
			pf.lanes[l].busy = false
			local := n.Local()
			n.ballot.elect(false, func(*election.Elector) []election.Envelope { return f(local) }, then)
		})
	})
}

// release gives the lease back: for good, or to a successor that has every byte.
func (pf *performer) release(a reconcile.Release, then func(error)) {
	n := pf.n
	pf.releasedBy = n.procs[Redis].pid
	if a.Whole {
		pf.whole = n.rounds.cur.o.Election.Term
	}
	if a.To == "" {
		n.tell(LeaseReleased{Why: a.Why})
		n.ballot.elect(false, func(e *election.Elector) []election.Envelope { return e.Release(n.at, a.Why) }, then)
		return
	}
	next := []election.NodeID{election.NodeID(a.To)}
	for _, id := range n.rounds.cur.o.Election.Successors {
		if id != a.To {
			next = append(next, election.NodeID(id))
		}
	}
	pf.yield()
	n.ballot.elect(false, func(e *election.Elector) []election.Envelope {
		return e.HandOver(n.at, next, pf.drained.Offset, a.Why)
	}, func(err error) {
		if err == nil {
			n.tell(LeaseReleased{Why: a.Why, To: a.To, Request: pf.handover.request})
		}
		then(err)
	})
}

func voters(list []reconcile.Voter) []election.Voter {
	out := make([]election.Voter, len(list))
	for i, v := range list {
		out[i] = election.Voter{ID: election.NodeID(v.ID), Addr: v.Addr}
	}
	return out
}

func nodeIDs(ids []string) []election.NodeID {
	out := make([]election.NodeID, len(ids))
	for i, id := range ids {
		out[i] = election.NodeID(id)
	}
	return out
}
