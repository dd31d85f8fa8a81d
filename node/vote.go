package node

import (
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// Drained is how far the history of a term went when its holder handed over. It says nothing of a
// later term of the same holder.
type Drained struct {
	Term   uint64 `json:"term"`
	Offset int64  `json:"offset"`
}

// counts: the lease of that term is the last one there was.
func (d *Drained) counts(o reconcile.Observed) bool {
	return d != nil && d.Term == o.Election.Term && d.Term == o.Redis.Data.Term
}

// Local is what this node knows when it votes. The driver has just polled its dataset, since what
// came in after the last regular poll counts too.
func (n *Node) Local() election.Local {
	o, d := n.Observe(n.at), n.desired
	r := o.Redis
	released := o.Election.Holder == o.Self && o.Election.Released
	local := election.Local{
		Data:          election.Data{Term: election.Term(r.Data.Term), Offset: r.Data.Offset},
		Reachable:     o.HolderSeen == 0 || o.At < o.HolderSeen+reconcile.SilentRedis, // not asked is not unreachable
		Paused:        o.Paused,
		BootstrapNode: election.NodeID(reconcile.BootstrapNode(o, d)),
		FreshNode:     election.NodeID(reconcile.FreshNode(o)),
	}
	acked := int64(0)
	if o.Election.Holder == o.Self {
		acked = n.redis.ackedAtEnd(n.at)
	}
	local.Least = least(o, d, acked)
	if released && n.perform.drained.counts(o) {
		// It has handed over all that it had. Its offset creeps on with PINGs to its replicas and
		// the Sentinels' greetings, which are no data; what it had then is what a successor must
		// have.
		local.Candidate, local.Data.Offset = true, n.perform.drained.Offset
		return local
	}
	local.Candidate = d.Redis && d.Priority != reconcile.PriorityNever &&
		usable(o, n.perform.keeps(o), n.procs[Redis].justExited(n.at, reconcile.ColdStart))
	return local
}

// keeps: this node has given the lease back, and has all the data of that term for certain: nothing
// was wrong with its redis-server, or another process has loaded them since.
func (pf *performer) keeps(o reconcile.Observed) bool {
	r, pid := o.Redis, pf.n.procs[Redis].pid
	return pf.whole == o.Election.Term || pid != 0 && pid != pf.releasedBy && r.Known && !r.Loading
}

// usable: this node has data with which it could be primary, so that it denies whoever has less.
// One that loads has what its record says, or less. keeps: it has all data of the lease that it
// gave back.
//
// A replica that has just ended will be back with its data: whoever has less must not overtake it
// in these seconds. One that is busy has its data all the same. A primary that has ended, or has
// given the lease back, is to be overtaken, unless it was only alone: what it acknowledged in its
// last lease is nowhere else. That it is being stopped changes nothing then: once it is gone the
// others may do without it, but not with its own vote.
func usable(o reconcile.Observed, keeps, justExited bool) bool {
	r, released := o.Redis, o.Election.Holder == o.Self && o.Election.Released
	switch {
	case released && !keeps:
		return false
	case o.Stopping:
		return released
	case r.Running && !r.Syncing && (r.SilentSince == 0 || o.Election.Holder != o.Self):
		return true
	}
	return returns(o, keeps, justExited)
}

// returns: this node's redis-server has just ended, or this agent has just begun and has not
// started it yet; it was no primary, or this agent never saw it run, and it will be there with its
// data soon.
func returns(o reconcile.Observed, keeps, justExited bool) bool {
	if o.Election.Holder == o.Self && !keeps {
		return false
	}
	return justExited && o.Election.Holder != o.Self || !o.Redis.Running && o.At < o.Started+reconcile.ColdStart
}

// least is what a candidate must have: what a replica had acknowledged, and all that the last
// primary said it had but the operator's limit. The last primary knows that itself, and when it is
// back with less than this node has, what it once said is of no use.
func least(o reconcile.Observed, d reconcile.Desired, acked int64) election.Data {
	had := o.Election.HolderOffset
	if o.Election.Holder == o.Self && o.Redis.Data.Term == o.Election.Term {
		had = o.Redis.Data.Offset
	}
	offset := acked
	if d.FailoverLag > 0 && !o.Election.ByHolder {
		offset = max(acked, had-d.FailoverLag)
	}
	if offset <= 0 {
		return election.Data{}
	}
	return election.Data{Term: election.Term(o.Election.Term), Offset: offset}
}
