package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
)

// stopWrites has the writes wait in the local redis-server, and reads how far its history went.
func (a *actor) stopWrites(ctx context.Context, do node.Do, done *node.Done) {
	a.requests.stopsWrites(do.Request, now())
	own, err := a.server.HoldWrites(ctx, node.HoldFor)
	if err != nil {
		done.Err = fmt.Errorf("stop writes: %w", err)
		return
	}
	done.ReplID, done.Offset = own.ReplID, own.Offset
	a.requests.stopped(do.Request, own.ReplID, own.Offset)
	a.requests.step(do.Request, "held", "writes wait on %s", a.name())
}

// withSuccessor does those steps of a handover that ask the successor.
func (a *actor) withSuccessor(ctx context.Context, do node.Do) error {
	to := ""
	switch act := do.Action.(type) {
	case reconcile.CheckInSync:
		to = act.To
	case reconcile.CheckRecorded:
		to = act.To
	case reconcile.AwaitOffset:
		to = act.To
	}
	m, ok := a.member(to)
	if !ok {
		return fmt.Errorf("hand over to %s: it is no member", to)
	}
	if _, ok := do.Action.(reconcile.CheckRecorded); ok {
		return wrapHandover(m.Name, a.checkRecorded(ctx, m.Addr, do.Term))
	}
	s := redis.NewServer(redisOf(m), a.agentCredentials())
	defer s.Close()
	await, ok := do.Action.(reconcile.AwaitOffset)
	if !ok {
		return wrapHandover(m.Name, a.checkInSync(ctx, s))
	}
	if err := awaitOffset(ctx, s, await.Offset); err != nil {
		return wrapHandover(m.Name, fmt.Errorf("wait until it has every byte: %w", err))
	}
	a.requests.step(do.Request, "drained", "%s has every byte (offset %d)", m.Name, await.Offset)
	return nil
}

func wrapHandover(to string, err error) error {
	if err != nil {
		return fmt.Errorf("hand over to %s: %w", to, err)
	}
	return nil
}

// redisOf is the redis-server of a member.
func redisOf(m gossip.Member) netip.AddrPort { return netip.AddrPortFrom(m.Addr.Addr(), m.RedisPort) }

// checkInSync checks, while writes still go on, that the successor can have them in a moment.
func (a *actor) checkInSync(ctx context.Context, s *redis.Server) error {
	info, err := s.Info(ctx)
	switch {
	case err != nil:
		return err
	case info.Role != redis.Replica || info.PrimaryAddr != a.redisAddr:
		return errors.New("it does not follow this primary")
	case !info.LinkUp || info.SyncInProgress || info.Loading:
		return errors.New("it is not in sync")
	}
	return nil
}

// checkRecorded checks that the successor's agent has on disk that its data is of this term: it
// polls ten times a second, and would else be outvoted by nobody but this node, which may be gone
// by then. An agent that does not answer is given the benefit of the doubt.
func (a *actor) checkRecorded(ctx context.Context, addr netip.AddrPort, term uint64) error {
	late := false
	for {
		var d reconcile.Data
		err := a.talk.ask(ctx, addr, opData, nil, &d)
		switch {
		case err == nil && d.Term == term:
			return nil
		case err != nil && late:
			return errors.New("its agent has not recorded yet that it is in sync, or is being stopped")
		case err != nil:
			a.log.Debug("the successor's agent does not say what it has on disk", "error", err)
			return nil
		}
		late = true
		select {
		case <-ctx.Done():
		case <-time.After(node.RecordedPoll):
		}
	}
}

// awaitOffset waits until a replica has everything up to offset. One whose process is gone is not
// waited for: no write is accepted meanwhile.
func awaitOffset(ctx context.Context, s *redis.Server, offset int64) error {
	var has int64
	var unanswered error
	for {
		info, err := s.Info(ctx)
		switch {
		case err == nil && info.Offset >= offset && info.LinkUp:
			return nil
		case err == nil:
			has, unanswered = info.Offset, nil
		case redis.AnswerOf(err) == redis.Refused:
			return fmt.Errorf("its redis-server is gone: %w", err)
		default:
			unanswered = err
		}
		select {
		case <-ctx.Done():
			if unanswered != nil {
				return fmt.Errorf("its redis-server did not answer within %v: %w", node.CatchUp, unanswered)
			}
			return fmt.Errorf("it did not catch up within %v: it has %d of %d bytes", node.CatchUp, has, offset)
		case <-time.After(node.CatchUpPoll):
		}
	}
}
