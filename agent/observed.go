package agent

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// observe gathers what the watchers know. It asks nobody, so a redis-server that
// hangs cannot hold up a round.
func (a *Agent) observe() reconcile.Observed {
	v, members := a.ballot.view(), a.gossip.Members()
	o := reconcile.Observed{
		At: now(), Self: a.self, Started: a.started, FenceAfter: a.fenceAfter,
		Stopping: a.stopping.Load(), Paused: a.paused.Load() || hasRival(a.self, members),
		Election:     electionObserved(v),
		RemoteFenced: a.probe.fencedIn(),
		VIPs:         a.vips.observed(),
		Members:      a.observedMembers(members),
	}
	o.Election.ClaimedAt = a.backoff(v)
	l := lead{term: uint64(v.HolderTerm), leased: v.Lease, primary: v.Primary, holder: a.addrOfHolder(v)}
	o.Election.HolderOffset, l.replID = a.said.hear(v)
	o.Election.LapsedAt = time.Duration(a.lapsedAt.Load())
	o.Handover, o.HandoverTo, o.HandoverFailures, o.HandoverAt = a.wishes.observed()
	a.redisW.worth(l)
	o.Redis = a.redisW.observed()
	o.Redis.StartAfter = a.redis.nextStart()
	if o.Redis.Known && !o.Redis.Loading {
		a.redis.hasAnswered(a.redis.State().PID)
	}
	o.Sentinel = a.sentW.observed()
	o.Sentinel.StartAfter = a.sentinel.nextStart()
	o.Sentinel.Configured = o.Sentinel.Running || a.sentinelConfigured()
	if l.holder.IsValid() {
		o.HolderSeen = a.probe.lastSeen(l.holder.String())
	}
	return o
}

// claimJitter is the longest that chance adds to the pause after a claim, or after a
// vote for somebody else. Without it three equal candidates could go round for ever.
const claimJitter = 150 * time.Millisecond

// backoff is when the last claim ended, or this node last voted for another, and a
// little more, by chance.
func (a *Agent) backoff(v election.View) time.Duration {
	at := max(v.ClaimedAt, v.VotedAt)
	a.jitterMu.Lock()
	defer a.jitterMu.Unlock()
	if at != a.jitterAt {
		a.jitterAt, a.jitter = at, rand.N(claimJitter)
	}
	return at + a.jitter
}

func electionObserved(v election.View) reconcile.Election {
	e := reconcile.Election{
		ClusterID: v.ClusterID, Settled: v.Settled, Holder: string(v.Holder), Term: uint64(v.HolderTerm),
		Released: v.Released, OpenedAt: v.OpenedAt, HeardAt: v.HeardAt, EverHeard: v.EverHeard, Primary: v.Primary,
		Lease: v.Lease, LeaseUntil: v.LeaseUntil, Claiming: v.Claiming, ClaimedAt: v.ClaimedAt,
		Nudged: v.Nudged, ByHolder: v.ByHolder, Overtaken: v.Overtaken, Unreachable: len(v.Unreachable),
	}
	for _, id := range v.Successors {
		e.Successors = append(e.Successors, string(id))
	}
	for _, voter := range v.Roster.Voters {
		e.Voters = append(e.Voters, reconcile.Voter{ID: string(voter.ID), Addr: voter.Addr})
	}
	return e
}

// desired is what the configuration asks of this node.
func (a *Agent) desired() reconcile.Desired {
	cfg := a.cfg.Load()
	d := reconcile.Desired{
		Redis: cfg.HasRole("redis"), Sentinel: cfg.HasRole("sentinel"), RedisAddr: a.redisAddr.String(),
		Expect: cfg.Cluster.Expect, Priority: cfg.Node.Priority, MinReplicas: reconcile.Unknown,
		DownAfter: time.Duration(cfg.Sentinel.DownAfter), FailoverTimeout: time.Duration(cfg.Sentinel.FailoverTimeout),
	}
	d.FailoverLag = cfg.Redis.FailoverLag()
	if n := cfg.Redis.MinReplicasToWrite; n != nil {
		d.MinReplicas = *n
	}
	return d
}

// ackedCounts is how long after the end of its redis-server a primary's agent refuses
// those who have less than a replica had acknowledged: that one may need a moment to
// claim, and may be gone itself.
const ackedCounts = time.Second

// local is what this node knows when it votes: a fresh look at its dataset,
// since what came in after the last poll counts too.
func (a *Agent) local(ctx context.Context) election.Local {
	ctx, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	a.redisW.poll(ctx)
	o, d := a.observe(), a.desired()
	r := o.Redis
	released := o.Election.Holder == o.Self && o.Election.Released
	local := election.Local{
		Data:      election.Data{Term: election.Term(r.Data.Term), Offset: r.Data.Offset},
		Known:     !r.Running || r.Known && !r.Loading,
		Reachable: o.HolderSeen == 0 || o.At < o.HolderSeen+reconcile.SilentRedis, // not asked is not unreachable
		Paused:    o.Paused,
		Founder:   election.NodeID(reconcile.Founder(o, d)),
	}
	if released {
		local.Least = least(o, d, a.redisW.ackedAtEnd())
	} else {
		local.Least = least(o, d, 0)
	}
	if d := a.drained.Load(); released && d.counts(o) {
		// It has handed over all that it had. Its offset creeps on with signs of life to
		// its replicas, which are no data; what it had then is what a successor must have.
		local.Known, local.Candidate, local.Data.Offset = true, true, d.Offset
		return local
	}
	local.Candidate = d.Redis && d.Priority != reconcile.PriorityNever &&
		usable(o, a.whole.Load(), a.redis.justExited(reconcile.ColdStart))
	return local
}

// usable: this node has data with which it could be primary, so that it denies whoever has
// less. whole is the last term whose lease it gave back only because it was alone.
//
// A replica that has just ended will be back with its data: whoever has less must
// not overtake it in these seconds. One that is busy has its data all the same. A
// primary that has ended, or has given the lease back, is to be overtaken, unless it
// was only alone: what it acknowledged in its last lease is nowhere else. That it is being
// stopped changes nothing then: once it is gone the others may do without it, but not with
// its own vote.
func usable(o reconcile.Observed, whole uint64, justExited bool) bool {
	r, released := o.Redis, o.Election.Holder == o.Self && o.Election.Released
	switch {
	case released && whole != o.Election.Term:
		return false
	case o.Stopping:
		return released
	case r.Running && !r.Syncing && (r.SilentSince == 0 || o.Election.Holder != o.Self):
		return true
	}
	return returns(o, justExited)
}

// least is what a candidate must have: what a replica had acknowledged, and all that the
// last primary said it had but the operator's limit. The last primary knows that itself,
// and when it is back with less than this node has, what it once said is of no use.
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

// returns: this node's redis-server has just ended, or this agent has just begun and
// has not started it yet; it was no primary, and will be there with its data soon.
func returns(o reconcile.Observed, justExited bool) bool {
	return o.Election.Holder != o.Self && (justExited || !o.Redis.Running && o.At < o.Started+reconcile.ColdStart)
}
