package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

const (
	// actTimeout bounds a command to a redis-server or redis-sentinel that is to
	// change it: a round must not outlast the lease.
	actTimeout = 200 * time.Millisecond
	// fenceTimeout: a redis-server that is busy is killed when it must not accept
	// writes. All of it, from when the guard finds the lease over, has to fit between the
	// end of a lease and the next one, election.Lapse - election.Lease.
	fenceTimeout = 60 * time.Millisecond
	// sentinelTimeout is longer: each of its settings is fsync'd to its file. With the
	// look that follows it leaves half of a lease.
	sentinelTimeout = 300 * time.Millisecond
	// stopGrace is how long a process may take to stop: redis-server saves its data,
	// and with many GiB that takes minutes.
	stopGrace = 5 * time.Minute
)

// apply carries out one action.
func (a *Agent) apply(ctx context.Context, o reconcile.Observed, action reconcile.Action) error {
	switch act := action.(type) {
	case reconcile.FenceRedis, reconcile.CloseClients, reconcile.Promote, reconcile.SetMinReplicas,
		reconcile.Follow, reconcile.SetPriority, reconcile.KillRedis:
		return a.applyRedis(ctx, action)
	case reconcile.StartRedis, reconcile.StopRedis, reconcile.StartSentinel, reconcile.StopSentinel:
		return a.applyProcess(ctx, action)
	case reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
		return a.applySentinel(ctx, action)
	case reconcile.Found, reconcile.Claim, reconcile.Release, reconcile.SetSuccessors, reconcile.SetRoster:
		return a.applyElection(ctx, o, action)
	case reconcile.DropVIP:
		if err := a.vips.drop(ctx, act.Address); err != nil {
			return err
		}
		a.log.Info("vip dropped", "vip", act.Address, "why", act.Why)
		return nil
	case reconcile.HoldVIP:
		first, err := a.holdVIP(ctx, act.Address)
		if err == nil && first {
			a.log.Info("vip held", "vip", act.Address)
			a.events.add("vip_held", act.Address)
			a.checkOwner(ctx, act.Address)
		}
		return err
	case reconcile.HandOver:
		return a.handOver(ctx, o, act.To)
	case reconcile.FenceRemote:
		return a.fenceRemote(ctx, act.Addr, o.Election.Term)
	}
	return fmt.Errorf("action %T is not known", action)
}

// holdVIP adds or renews an address. That of the primary only under a lease, at the
// time of the act: a round that was frozen in between must not take it.
func (a *Agent) holdVIP(ctx context.Context, address string) (first bool, err error) {
	if a.vips.replicas(address) {
		return a.vips.hold(ctx, address)
	}
	v := a.ballot.view()
	if !v.Lease {
		return false, errLeaseOver
	}
	ctx, cancel := context.WithTimeout(ctx, v.LeaseUntil-now())
	defer cancel()
	if first, err = a.vips.hold(ctx, address); err == nil && now() >= v.LeaseUntil && !a.ballot.view().Lease {
		return false, errors.Join(errLeaseOver, a.vips.drop(ctx, address))
	}
	return first, err
}

// checkOwner looks, beside the rounds, whether somebody else answers for an address
// that was just taken: taking it must not wait, but an operator must know.
func (a *Agent) checkOwner(ctx context.Context, address string) {
	a.sending.wg.Go(func() {
		other, err := a.vips.probe(ctx, address)
		if err != nil || other == nil {
			return
		}
		a.log.Warn("another host answers for the VIP", "vip", address, "hardware_address", other.String(), "cure", "find the host with that hardware address and take the VIP off it")
		a.events.add("vip_conflict", address+" is also at "+other.String())
	})
}

func (a *Agent) applyRedis(ctx context.Context, action reconcile.Action) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	server := a.redisW.server
	switch act := action.(type) {
	case reconcile.FenceRedis:
		return a.fence(ctx, act.Why)
	case reconcile.CloseClients:
		n, err := server.CloseClients(ctx)
		a.log.Info("clients closed", "clients", n)
		return err
	case reconcile.SetMinReplicas:
		if err := a.letIn(ctx, func(ctx context.Context) error { return server.SetMinReplicas(ctx, act.N) }); err != nil {
			return err
		}
		a.log.Info("writes accepted", "min_replicas_to_write", act.N)
		return nil
	case reconcile.SetPriority:
		return server.SetPriority(ctx, act.N)
	case reconcile.KillRedis:
		a.log.Warn("redis-server hangs and is killed", "why", act.Why)
		a.events.add("redis_killed", act.Why)
		return a.redisW.kill()
	case reconcile.Promote:
		if err := a.letIn(ctx, func(ctx context.Context) error { return server.Promote(ctx, act.MinReplicas) }); err != nil {
			return err
		}
		a.log.Info("redis-server promoted", "min_replicas_to_write", act.MinReplicas)
		a.events.add("promoted", "this node's redis-server is primary")
		a.sentW.pokeNow()
		return nil
	case reconcile.Follow:
		addr, err := netip.ParseAddrPort(act.Primary)
		if err != nil {
			return err
		}
		a.log.Info("redis-server follows another primary", "primary", act.Primary)
		return server.Follow(ctx, addr, act.CloseClients)
	}
	return nil
}

// errLeaseOver: the lease lapsed between the plan and the act.
var errLeaseOver = errors.New("the lease is over")

// errUnanswered: a command that lets writes in was never answered.
var errUnanswered = errors.New("an earlier command that lets writes in was not answered, and may be carried out yet")

// letIn runs a command that lets redis-server accept writes, as long as the lease
// runs and no longer. One that was sent and not answered may still be carried out,
// after a fence even: from then on only killing the process is a fence.
func (a *Agent) letIn(ctx context.Context, command func(context.Context) error) error {
	v := a.ballot.view()
	if !v.Lease {
		return errLeaseOver
	}
	a.guard.lease(true, v.LeaseUntil) // whoever lets writes in is watched, also outside a round
	ctx, cancel := context.WithTimeout(ctx, v.LeaseUntil-now())
	defer cancel()
	a.redisW.unfencing()
	err := command(ctx)
	if err != nil && !redis.AnswerOf(err).Answered() {
		a.unanswered.Store(int64(a.redis.State().PID))
	}
	return err
}

// fence takes the right to write from redis-server, for certain: one that does
// not answer the command is killed.
func (a *Agent) fence(ctx context.Context, why string) error {
	runs := a.redis.State().Status == supervisor.Running
	refused, err := a.fenceSilently(ctx)
	switch {
	case refused != nil:
		a.log.Warn("redis-server does not answer and must not accept writes: killed", "error", refused, "why", why)
		a.events.add("redis_killed", "could not be fenced: "+refused.Error())
	case runs && err == nil:
		a.log.Info("redis-server fenced: no writes", "why", why)
	}
	return err
}

// fenceSilently is fence without a word: the guard calls it when the journal may be what
// the rounds are stuck in. refused is why the process was killed instead.
func (a *Agent) fenceSilently(ctx context.Context) (refused, err error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	refused = errUnanswered
	if a.unanswered.Load() != int64(a.redis.State().PID) {
		if refused = a.redisW.outlive(ctx); refused == nil {
			refused = a.redisW.server.SetFence(ctx)
		}
	}
	if refused == nil || a.redis.State().Status != supervisor.Running {
		return nil, nil
	}
	return refused, a.redisW.kill()
}

// fenceRemote fences the holder's redis-server, whose own agent is silent.
func (a *Agent) fenceRemote(ctx context.Context, addr string, term uint64) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	s := redis.NewServer(to, a.agentCredentials())
	defer s.Close()
	if err := s.SetFence(ctx); err != nil {
		return err
	}
	if _, err := s.CloseClients(ctx); err != nil {
		return err
	}
	a.log.Warn("fenced the primary from here: its agent is silent", "primary", addr)
	a.events.add("remote_fence", addr)
	a.probe.setFenced(term)
	return nil
}

func (a *Agent) applyProcess(ctx context.Context, action reconcile.Action) error {
	switch act := action.(type) {
	case reconcile.StartRedis:
		if err := a.startRedis(ctx, act.Primary); err != nil {
			a.redis.startFailed()
			return err
		}
	case reconcile.StartSentinel:
		if err := a.startSentinel(ctx, act.Primary); err != nil {
			a.sentinel.startFailed()
			return err
		}
	case reconcile.StopRedis:
		a.redis.stop(ctx, stopGrace, a.stopFailed("redis-server"))
	case reconcile.StopSentinel:
		a.sentinel.stop(ctx, stopGrace, a.stopFailed("redis-sentinel"))
	}
	return nil
}

func (a *Agent) stopFailed(name string) func(error) {
	return func(err error) { a.log.Warn("process not stopped", "process", name, "error", err) }
}

func (a *Agent) applySentinel(ctx context.Context, action reconcile.Action) error {
	ctx, cancel := context.WithTimeout(ctx, sentinelTimeout)
	defer cancel()
	defer a.sentW.pokeNow()
	s, name := a.sentW.sentinel, a.cfg.Load().Cluster.Name
	switch act := action.(type) {
	case reconcile.Monitor:
		return a.monitor(ctx, act)
	case reconcile.TuneSentinel:
		pid := a.sentinel.State().PID
		switch err := s.Tune(ctx, sentinelTimers); {
		case errors.Is(err, redis.ErrUnsupported):
			a.log.Info("this redis-sentinel's timers cannot be set; it learns of changes more slowly")
		case err != nil:
			return err
		}
		a.sentW.tuned(pid)
	case reconcile.SetSentinel:
		if err := s.Set(ctx, name, redis.Directive{Name: act.Option, Value: act.Value}); err != nil {
			return err
		}
		a.log.Info("sentinel option set", "option", act.Option, "value", act.Value)
	case reconcile.Publish:
		a.sentW.published()
		if err := s.Failover(ctx, name); err != nil {
			return err
		}
		a.log.Info("sentinels asked to publish this primary")
	}
	return nil
}

func (a *Agent) applyElection(ctx context.Context, o reconcile.Observed, action reconcile.Action) error {
	switch act := action.(type) {
	case reconcile.Found:
		local := a.local(ctx)
		voters := make([]election.Voter, len(act.Voters))
		for i, v := range act.Voters {
			voters[i] = election.Voter{ID: election.NodeID(v.ID), Addr: v.Addr}
		}
		a.log.Info("founding the cluster", "voters", len(voters), "keys", o.Redis.Data.Keys)
		return a.ballot.do(func(e *election.Elector) []election.Envelope {
			return e.Found(now(), local, randomID(8), voters)
		})
	case reconcile.Claim:
		local := a.local(ctx)
		fenced := election.Term(a.probe.fencedLately(election.FenceAge))
		a.log.Info("claiming the lease", "why", act.Why)
		return a.ballot.do(func(e *election.Elector) []election.Envelope { return e.Claim(now(), local, fenced) })
	case reconcile.Release:
		a.log.Warn("releasing the lease", "why", act.Why)
		a.events.add("lease_released", act.Why)
		if act.Whole {
			a.whole.Store(o.Election.Term)
		}
		return a.ballot.do(func(e *election.Elector) []election.Envelope { return e.Release(now(), act.Why) })
	case reconcile.SetSuccessors:
		return a.ballot.do(func(e *election.Elector) []election.Envelope {
			i := e.Announced()
			i.Successors = nodeIDs(act.IDs)
			return e.Announce(now(), i, learnersOf(o))
		})
	case reconcile.SetRoster:
		voters := make([]election.Voter, len(act.Voters))
		for i, v := range act.Voters {
			voters[i] = election.Voter{ID: election.NodeID(v.ID), Addr: v.Addr}
		}
		var err error
		if e := a.ballot.do(func(e *election.Elector) []election.Envelope {
			err = e.Propose(now(), voters)
			return nil
		}); e != nil {
			return e
		}
		if err == nil {
			a.log.Info("voters changed", "why", act.Why, "voters", len(voters))
			a.events.add("roster", act.Why)
		}
		return err
	}
	return nil
}

func nodeIDs(ids []string) []election.NodeID {
	out := make([]election.NodeID, len(ids))
	for i, id := range ids {
		out[i] = election.NodeID(id)
	}
	return out
}
