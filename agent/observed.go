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
	o.Election.LapsedAt = time.Duration(a.lapsedAt.Load())
	o.Handover, o.HandoverTo, o.HandoverFailures, o.HandoverAt = a.wish.observed()
	a.redisW.worth(v.Lease, uint64(v.HolderTerm), v.Primary)
	o.Redis = a.redisW.observed()
	o.Redis.StartAfter = a.redis.nextStart()
	if o.Redis.Known && !o.Redis.Loading {
		a.redis.hasAnswered(a.redis.State().PID)
	}
	o.Sentinel = a.sentW.observed()
	o.Sentinel.StartAfter = a.sentinel.nextStart()
	o.Sentinel.Configured = o.Sentinel.Running || a.sentinelConfigured()
	if addr := a.holderAddr(); addr.IsValid() {
		o.HolderSeen = a.probe.lastSeen(addr.String())
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
		Nudged: v.Nudged, Overtaken: v.Overtaken, Unreachable: len(v.Unreachable),
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
	if n := cfg.Redis.MinReplicasToWrite; n != nil {
		d.MinReplicas = *n
	}
	return d
}

// local is what this node knows when it votes: a fresh look at its dataset,
// since what came in after the last poll counts too.
func (a *Agent) local(ctx context.Context) election.Local {
	ctx, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	a.redisW.poll(ctx)
	o, d := a.observe(), a.desired()
	r := o.Redis
	// A replica that has just ended will be back with its data: whoever has less must
	// not overtake it in these seconds. A primary that has ended, or
	// has given the lease back, is to be overtaken.
	usable := r.Running && !r.Syncing && r.SilentSince == 0
	released := o.Election.Holder == o.Self && o.Election.Released
	local := election.Local{
		Data:      election.Data{Term: election.Term(r.Data.Term), Offset: r.Data.Offset},
		Known:     !r.Running || r.Known && !r.Loading,
		Reachable: o.HolderSeen == 0 || o.At < o.HolderSeen+reconcile.SilentRedis, // not asked is not unreachable
		Paused:    o.Paused,
		Founder:   election.NodeID(reconcile.Founder(o, d)),
	}
	if drained := a.drained.Load(); released && drained > 0 && r.Data.Term == o.Election.Term {
		// It has handed over all that it had. Its offset creeps on with signs of life to
		// its replicas, which are no data; what it had then is what a successor must have.
		local.Known, local.Candidate, local.Data.Offset = true, true, drained
		return local
	}
	returns := o.Election.Holder != o.Self && a.redis.justExited(reconcile.ColdStart)
	local.Candidate = d.Redis && d.Priority != reconcile.PriorityNever && !o.Stopping && (usable && !released || returns)
	return local
}
