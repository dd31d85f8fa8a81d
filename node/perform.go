package node

import (
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// begin carries out one action in a lane, and then says how it went. What concerns the
// election alone is done here; the rest is for the driver.
func (n *Node) begin(l Lane, action reconcile.Action, then func(error)) {
	switch a := action.(type) {
	case reconcile.FenceRedis:
		n.fence(l, a.Why, then)
	case reconcile.KillRedis:
		n.kill(l, a.Why, then)
	case reconcile.Promote, reconcile.SetMinReplicas:
		n.allowWrites(l, action, then)
	case reconcile.HoldVIP:
		n.holdVIP(l, a, then)
	case reconcile.DropVIP:
		n.dropVIP(l, a, then)
	case reconcile.StartRedis, reconcile.StopRedis, reconcile.StartSentinel, reconcile.StopSentinel:
		n.runProcess(l, action, then)
	case reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
		n.tellSentinel(l, action, then)
	case reconcile.CheckInSync, reconcile.CheckRecorded, reconcile.StopWrites, reconcile.AwaitOffset:
		n.stepHandover(l, action, then)
	case reconcile.Found, reconcile.Claim, reconcile.Release, reconcile.SetSuccessors, reconcile.SetRoster:
		n.changeElection(l, action, then)
	case reconcile.FenceRemote:
		term := n.round.o.Election.Term
		n.do(l, Do{Action: a, Until: n.at + ActTimeout}, func(d Done) {
			if d.Err == nil {
				n.probe.fenced, n.probe.fencedAt = term, n.at
			}
			then(d.Err)
		})
	default: // CloseClients, Follow, SetPriority
		n.do(l, Do{Action: action, Until: n.at + ActTimeout}, func(d Done) { then(d.Err) })
	}
}

// do has the driver do something, as the only thing under way in its lane.
func (n *Node) do(l Lane, d Do, then func(Done)) {
	n.lanes[l].busy = true
	if n.handover != nil && l == Rounds {
		d.Request = n.handover.request
	}
	n.call(l, d, func(in Input) {
		n.lanes[l].busy = false
		done, _ := in.(Done)
		then(done)
	})
}

// fence takes the right to write from redis-server, for certain: one that does not answer
// the command is killed, and so is one that may yet carry out a command that lets writes in.
func (n *Node) fence(l Lane, why string, then func(error)) {
	pid := n.procs[Redis].pid
	if pid == 0 {
		then(nil)
		return
	}
	refused := func(err error) {
		if n.procs[Redis].pid != pid {
			then(nil) // it has ended
			return
		}
		n.tell(Killed{Why: why, Err: err})
		n.kill(l, "could not be fenced: "+err.Error(), then)
	}
	if n.unanswered == pid {
		refused(errUnanswered)
		return
	}
	n.do(l, Do{Action: Fence{Why: why, CloseStale: n.redis.stale}, Until: n.at + FenceTimeout}, func(d Done) {
		if d.StaleClosed {
			n.redis.stale = false
		}
		if d.Err != nil {
			refused(d.Err)
			return
		}
		then(nil)
	})
}

// kill ends the process, whatever it does; it is not gone before its exit is seen.
func (n *Node) kill(l Lane, why string, then func(error)) {
	pid := n.procs[Redis].pid
	n.do(l, Do{Action: reconcile.KillRedis{Why: why}}, func(d Done) {
		if d.Err == nil && pid == n.procs[Redis].pid && pid != 0 {
			n.redis.killed = pid
			n.redis.noteAcked(n.at)
		}
		then(d.Err)
	})
}

// allowWrites has redis-server accept writes, as long as the lease runs and no longer. A
// command that was sent and not answered may still be carried out, after a fence even: until
// its connection is closed only killing the process is a fence.
func (n *Node) allowWrites(l Lane, action reconcile.Action, then func(error)) {
	until, ok := n.lease()
	if !ok {
		then(ErrLeaseOver)
		return
	}
	n.guard.until = until // whoever lets writes in is watched, also outside a round
	n.redis.allowing(n.at)
	pid := n.procs[Redis].pid
	n.do(l, Do{Action: action, Until: min(until, n.at+ActTimeout)}, func(d Done) {
		if d.Err != nil && !d.Answered {
			n.unanswered, n.unansweredAt = pid, n.at
		}
		if _, promoted := action.(reconcile.Promote); promoted && d.Err == nil {
			n.sentinel.poke(n.at)
		}
		then(d.Err)
	})
}

// holdVIP adds or renews an address. That of the primary only under a lease, at the time of
// the act: a round that was frozen in between must not take it.
func (n *Node) holdVIP(l Lane, a reconcile.HoldVIP, then func(error)) {
	v := n.vip(a.Address)
	var until Time
	if !v.Replica {
		var ok bool
		if until, ok = n.lease(); !ok {
			then(ErrLeaseOver)
			return
		}
	}
	n.do(l, Do{Action: a, Until: until}, func(d Done) {
		if d.Err != nil {
			then(d.Err)
			return
		}
		v := n.vip(a.Address)
		v.Held, v.RenewedAt = true, n.at
		n.setVIP(v)
		if _, ok := n.lease(); !v.Replica && !ok {
			n.dropVIP(l, reconcile.DropVIP{Address: a.Address, Why: ErrLeaseOver.Error()}, func(error) { then(ErrLeaseOver) })
			return
		}
		then(nil)
	})
}

func (n *Node) dropVIP(l Lane, a reconcile.DropVIP, then func(error)) {
	n.do(l, Do{Action: a}, func(d Done) {
		if d.Err == nil {
			v := n.vip(a.Address)
			v.Held, v.RenewedAt = false, 0
			n.setVIP(v)
		}
		then(d.Err)
	})
}

func (n *Node) runProcess(l Lane, action reconcile.Action, then func(error)) {
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
		n.do(l, do, func(d Done) { then(d.Err) })
		return
	case reconcile.StartRedis:
		do.SetAside = a.Primary != "" && p.failed >= brokenAfter
	}
	n.starting(which)
	n.do(l, do, func(d Done) {
		switch {
		case d.Err != nil:
			p.startAfter = n.at + p.pause(0) // as after a quick exit
		default:
			if do.SetAside {
				p.failed = 0
			}
			p.started(d.PID)
		}
		then(d.Err)
	})
}

func (n *Node) tellSentinel(l Lane, action reconcile.Action, then func(error)) {
	w, pid := &n.sentinel, n.procs[Sentinel].pid
	if _, ok := action.(reconcile.Publish); ok {
		w.publishedAt = n.at
	}
	n.do(l, Do{Action: action, Until: n.at + SentinelTimeout}, func(d Done) {
		if _, ok := action.(reconcile.TuneSentinel); ok && d.Err == nil {
			w.tunedPID = pid
		}
		w.poke(n.at)
		then(d.Err)
	})
}

// changeElection does what concerns the lease and the voters. Whoever asks for votes polls
// its dataset first.
func (n *Node) changeElection(l Lane, action reconcile.Action, then func(error)) {
	switch a := action.(type) {
	case reconcile.Found:
		n.afterPoll(l, then, func(local election.Local) []election.Envelope {
			n.tell(Bootstrapping{Voters: len(a.Voters), Keys: n.redis.rec.Keys})
			return n.ballot.e.Found(n.at, local, n.clusterID(), voters(a.Voters))
		})
	case reconcile.Claim:
		n.afterPoll(l, then, func(local election.Local) []election.Envelope {
			n.tell(LeaseClaimed{Why: a.Why})
			return n.ballot.e.Claim(n.at, local, n.probe.fencedLately(n.at, election.FenceAge))
		})
	case reconcile.Release:
		n.release(a, then)
	case reconcile.SetSuccessors:
		n.elect(false, func(e *election.Elector) []election.Envelope {
			i := e.Announced()
			i.Successors = nodeIDs(a.IDs)
			return e.Announce(n.at, i, n.learners())
		}, then)
	case reconcile.SetRoster:
		var refused error
		n.elect(false, func(e *election.Elector) []election.Envelope {
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
func (n *Node) afterPoll(l Lane, then func(error), f func(election.Local) []election.Envelope) {
	n.lanes[l].busy = true
	n.freshPoll(Polls, func() {
		n.whenFree(func() {
			n.lanes[l].busy = false
			local := n.Local()
			n.elect(false, func(*election.Elector) []election.Envelope { return f(local) }, then)
		})
	})
}

// release gives the lease back: for good, or to a successor that has every byte.
func (n *Node) release(a reconcile.Release, then func(error)) {
	if a.Whole {
		n.whole = n.round.o.Election.Term
	}
	if a.To == "" {
		n.tell(LeaseReleased{Why: a.Why})
		n.elect(false, func(e *election.Elector) []election.Envelope { return e.Release(n.at, a.Why) }, then)
		return
	}
	next := []election.NodeID{election.NodeID(a.To)}
	for _, id := range n.round.o.Election.Successors {
		if id != a.To {
			next = append(next, election.NodeID(id))
		}
	}
	n.elect(false, func(e *election.Elector) []election.Envelope {
		return e.HandOver(n.at, next, n.drained.Offset, a.Why)
	}, func(err error) {
		if err == nil {
			n.tell(LeaseReleased{Why: a.Why, To: a.To, Request: n.handover.request})
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
