package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

// actor carries actions out: on redis-server, redis-sentinel, their processes, and the floating
// addresses. It decides nothing, and tells what it did through the journal: a write to a log that
// hangs must keep nobody from acting.
type actor struct {
	*site
	files    *files
	talk     *talk
	requests *requests
	journal  *journal
	server   *redis.Server
	sentinel *redis.Sentinel
	procs    [2]*supervised
	vips     *vipSet
	tickler  *tickler
	listener *listener
	quorum   func() int // of the voters
}

// stopGrace is how long a process may take to stop: redis-server saves its data, and with many GiB
// that takes minutes.
const stopGrace = 5 * time.Minute

// perform carries out one action, and says how that went.
func (a *actor) perform(parent context.Context, do node.Do) node.Done {
	ctx, cancel := bounded(parent, do.Until)
	defer cancel()
	done := node.Done{ID: do.ID}
	if do.Until != 0 && now() >= do.Until {
		done.Err, done.NotBegun = context.DeadlineExceeded, true // this agent stood still in between
		return done
	}
	switch act := do.Action.(type) {
	case node.Fence:
		a.fence(ctx, act, &done)
	case reconcile.StopWrites:
		a.stopWrites(ctx, do, &done)
	case reconcile.StartRedis:
		done.PID, done.RDB, done.Err = a.startRedis(ctx, act.Primary, do.SetAside)
	case reconcile.StartSentinel:
		done.PID, done.Err = a.startSentinel(ctx, act.Primary)
	case reconcile.CheckInSync, reconcile.CheckRecorded, reconcile.AwaitOffset:
		done.Err = a.withSuccessor(ctx, do)
	case reconcile.HoldVIP, reconcile.DropVIP:
		done.Err = a.moveVIP(ctx, do)
	case reconcile.StopRedis, reconcile.StopSentinel, reconcile.KillRedis:
		done.Err = a.endProcess(parent, do.Action)
	case reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
		done.Err = a.tellSentinel(ctx, do.Action)
	case reconcile.FenceRemote:
		done.Err = a.fenceRemote(ctx, act.Addr)
	default:
		done.Err = a.tellRedis(ctx, do)
	}
	done.Answered = redis.AnswerOf(done.Err).Answered()
	return done
}

// fence takes the right to write from redis-server. What the agent before this one asked for must
// not lift it again.
func (a *actor) fence(ctx context.Context, act node.Fence, done *node.Done) {
	if act.CloseStale {
		done.Err = a.server.CloseOthers(ctx)
		if redis.AnswerOf(done.Err) == redis.Closed { // the agent before this one closed ours
			done.Err = a.server.CloseOthers(ctx)
		}
		if done.Err != nil {
			return
		}
		done.StaleClosed = true
	}
	if done.Err = a.server.SetFence(ctx); done.Err == nil {
		a.journal.say(func(log *slog.Logger) { log.Info("redis-server fenced: no writes", "why", act.Why) })
	}
}

func (a *actor) tellRedis(ctx context.Context, do node.Do) error {
	switch act := do.Action.(type) {
	case reconcile.CloseClients:
		return a.closeClients(ctx, do)
	case reconcile.SetMinReplicas:
		if err := a.server.SetMinReplicas(ctx, act.N); err != nil {
			return err
		}
		a.journal.say(func(log *slog.Logger) { log.Info("writes accepted", "min_replicas_to_write", act.N) })
		return nil
	case reconcile.ResumeWrites:
		if err := a.server.ResumeWrites(ctx); err != nil {
			return err
		}
		a.journal.say(func(log *slog.Logger) { log.Info("writes go on") })
		return nil
	case reconcile.Promote:
		if err := a.server.Promote(ctx, act.MinReplicas); err != nil {
			return err
		}
		a.journal.say(func(log *slog.Logger) { log.Info("redis-server promoted", "min_replicas_to_write", act.MinReplicas) })
		a.events.add("promoted", "this node's redis-server is primary")
		return nil
	case reconcile.Follow:
		addr, err := netip.ParseAddrPort(act.Primary)
		if err != nil {
			return err
		}
		a.journal.say(func(log *slog.Logger) { log.Info("redis-server follows another primary", "primary", act.Primary) })
		return a.server.Follow(ctx, addr, act.CloseClients)
	}
	return fmt.Errorf("action %T is not known", do.Action)
}

// fenceRemote fences the holder's redis-server, whose own agent is silent.
func (a *actor) fenceRemote(ctx context.Context, addr string) error {
	if err := a.fenceFrom(ctx, addr); err != nil {
		return err
	}
	a.journal.say(func(log *slog.Logger) { log.Warn("fenced the primary from here: its agent is silent", "primary", addr) })
	a.events.add("remote_fence", addr)
	return nil
}

// endProcess asks a process to end and returns at once: a redis-server that saves its data must not
// hold up the rounds. Or it ends it for good.
func (a *actor) endProcess(ctx context.Context, action fmt.Stringer) error {
	switch act := action.(type) {
	case reconcile.StopRedis:
		a.procs[node.Redis].stop(ctx, stopGrace)
	case reconcile.StopSentinel:
		a.procs[node.Sentinel].stop(ctx, stopGrace)
	case reconcile.KillRedis:
		if err := a.procs[node.Redis].Kill(); err != nil && !errors.Is(err, supervisor.ErrNotRunning) {
			return err
		}
		a.journal.say(func(log *slog.Logger) { log.Warn("redis-server is killed", "why", act.Why) })
		a.events.add("redis_killed", act.Why)
	}
	return nil
}

func (a *actor) moveVIP(ctx context.Context, do node.Do) error {
	switch act := do.Action.(type) {
	case reconcile.DropVIP:
		return a.dropVIP(ctx, do, act)
	case reconcile.HoldVIP:
		first, err := a.vips.hold(ctx, act.Address)
		if err == nil && first {
			a.tickler.taken(act.Address)
			a.journal.say(func(log *slog.Logger) { log.Info("vip held", "vip", act.Address) })
			a.events.add("vip_held", act.Address)
		}
		return err
	}
	return nil
}

func (a *actor) tellSentinel(ctx context.Context, action fmt.Stringer) error {
	s, name := a.sentinel, a.cfg.Load().Cluster.Name
	switch act := action.(type) {
	case reconcile.Monitor:
		return a.monitor(ctx, act)
	case reconcile.TuneSentinel:
		err := s.Tune(ctx, sentinelTimers)
		if errors.Is(err, redis.ErrUnsupported) {
			a.journal.say(func(log *slog.Logger) {
				log.Info("this redis-sentinel's timers cannot be set; it learns of changes more slowly")
			})
			return nil
		}
		return err
	case reconcile.SetSentinel:
		if err := s.Set(ctx, name, redis.Directive{Name: act.Option, Value: act.Value}); err != nil {
			return err
		}
		a.journal.say(func(log *slog.Logger) { log.Info("sentinel option set", "option", act.Option, "value", act.Value) })
	case reconcile.Publish:
		primary, err := netip.ParseAddrPort(act.Primary)
		if err != nil {
			return err
		}
		if err := s.Announce(ctx, name, primary, act.Epoch); err != nil {
			return err
		}
		a.journal.say(func(log *slog.Logger) {
			log.Info("sentinel told of the primary", "primary", act.Primary, "epoch", act.Epoch)
		})
	}
	return nil
}

// monitor sets the local Sentinel up anew for a primary it does not know, or has wrong and did not
// correct.
func (a *actor) monitor(ctx context.Context, act reconcile.Monitor) error {
	addr, err := netip.ParseAddrPort(act.Primary)
	if err != nil {
		return err
	}
	cfg := a.cfg.Load()
	s, name := a.sentinel, cfg.Cluster.Name
	if err := s.Remove(ctx, name); err != nil && !errors.Is(err, redis.ErrUnknownPrimary) {
		return err
	}
	if err := s.Monitor(ctx, name, addr, act.Quorum); err != nil {
		return err
	}
	a.journal.say(func(log *slog.Logger) {
		log.Info("sentinel watches the primary", "primary", act.Primary, "quorum", act.Quorum)
	})
	return s.Set(ctx, name,
		redis.Directive{Name: "auth-user", Value: "redisd-sentinel"},
		redis.Directive{Name: "auth-pass", Value: a.secret.Password("redis sentinel")},
		redis.Directive{Name: "down-after-milliseconds", Value: fmt.Sprint(time.Duration(cfg.Sentinel.DownAfter).Milliseconds())},
		redis.Directive{Name: "failover-timeout", Value: fmt.Sprint(time.Duration(cfg.Sentinel.FailoverTimeout).Milliseconds())},
		redis.Directive{Name: "parallel-syncs", Value: fmt.Sprint(parallelSyncs)},
	)
}
