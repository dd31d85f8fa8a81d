package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
)

const (
	// catchUp is how long writes may stand still for the successor to receive what
	// is on its way to it. One that needs longer is not in sync.
	catchUp = 300 * time.Millisecond
	// catchUpPoll is how often it is asked.
	catchUpPoll = time.Millisecond
)

// handOver moves the primary to another node without losing a write: no write
// comes in any more, the successor has all that came in, and only then is the
// lease given back. Before that, any failure lets the writes go on here.
func (a *Agent) handOver(ctx context.Context, o reconcile.Observed, to string) (err error) {
	began, name := now(), a.cfg.Load().Node.Name
	w := a.wishes.begin(to)
	if w == nil && !reconcile.CannotStay(o, a.desired()) {
		return nil // the wish was taken back after this was planned
	}
	defer func() { a.wishes.tried(w, err) }()
	i := slices.IndexFunc(o.Members, func(m reconcile.Member) bool { return m.ID == to })
	if i < 0 {
		return fmt.Errorf("hand over to %s: it is no member", to)
	}
	target := o.Members[i]
	s, err := a.serverOf(target)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := a.readyToTakeOver(ctx, s); err != nil {
		return fmt.Errorf("hand over to %s: %w", target.Name, err)
	}
	if err := a.notedBy(ctx, target, o.Election.Term); err != nil {
		return fmt.Errorf("hand over to %s: %w", target.Name, err)
	}
	a.log.Info("handing over", "to", target.Name, "primary", target.Redis)
	if err := a.drain(ctx, s, o, w); err != nil {
		return fmt.Errorf("hand over to %s: %w", target.Name, err)
	}
	w.step("drained", "%s has every byte (offset %d)", target.Name, a.drained.Load().Offset)
	// Nothing is lost from here on: the successor has everything, and this node denies
	// its vote to whoever has less.
	short, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	if _, err := a.redisW.server.CloseClients(short); err != nil {
		a.log.Warn("clients not closed", "error", err)
	}
	if err := a.vips.dropAll(ctx, false); err != nil {
		a.undrain(o.Redis.MinReplicas)
		return fmt.Errorf("hand over to %s: drop the VIP: %w", target.Name, err)
	}
	for _, address := range a.primaryVIPs() {
		w.step("vip_dropped", "VIP %s dropped by %s", address, name)
	}
	next := append([]string{to}, slices.DeleteFunc(slices.Clone(o.Election.Successors), func(id string) bool { return id == to })...)
	err = a.ballot.do(func(e *election.Elector) []election.Envelope {
		return e.HandOver(now(), nodeIDs(next), a.drained.Load().Offset, "handed over to "+to)
	})
	if err != nil {
		return fmt.Errorf("hand over to %s: release the lease: %w", target.Name, err)
	}
	w.step("released", "lease released by %s", name)
	a.events.add("handed_over", "to "+target.Name)
	a.log.Info("handed over", "to", target.Name, "took", (now() - began).Round(100*time.Microsecond))
	return nil
}

// serverOf is the redis-server of a member; close it.
func (a *Agent) serverOf(m reconcile.Member) (*redis.Server, error) {
	addr, err := netip.ParseAddrPort(m.Redis)
	if err != nil {
		return nil, fmt.Errorf("ask the redis-server of %s: %w", m.Name, err)
	}
	return redis.NewServer(addr, a.agentCredentials()), nil
}

// primaryVIPs are the addresses that go with the primary.
func (a *Agent) primaryVIPs() []string {
	var out []string
	for _, v := range a.vips.observed() {
		if !v.Replica {
			out = append(out, v.Address)
		}
	}
	return out
}

// readyToTakeOver checks, while writes still go on, that the successor can have
// them in a moment.
func (a *Agent) readyToTakeOver(ctx context.Context, s *redis.Server) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
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

// notedWithin is how long the successor's agent has to note what its data is worth, and
// notedPoll how often it is asked; writes go on meanwhile.
const (
	notedWithin = 150 * time.Millisecond
	notedPoll   = 20 * time.Millisecond
)

// notedBy checks that the successor's agent has noted on disk that its data is of this term:
// it looks ten times a second, and would else be outvoted by nobody but this node, which
// may be gone by then. An agent that does not answer is given the benefit of the doubt.
func (a *Agent) notedBy(ctx context.Context, m reconcile.Member, term uint64) error {
	ctx, cancel := context.WithTimeout(ctx, notedWithin)
	defer cancel()
	addr, err := netip.ParseAddrPort(m.Gossip)
	if err != nil {
		return fmt.Errorf("ask its agent: %w", err)
	}
	late := false
	for {
		var d reconcile.Data
		err := a.ask(ctx, addr, opData, nil, &d)
		switch {
		case err == nil && d.Term == term:
			return nil
		case err != nil && late:
			return errors.New("its agent has not noted yet that it is in sync")
		case err != nil:
			a.log.Debug("the successor's agent does not say what its data is worth", "error", err)
			return nil
		}
		late = true
		select {
		case <-ctx.Done():
		case <-time.After(notedPoll):
		}
	}
}

// drained is how far the history of a term went when its holder handed over. It says
// nothing of a later term of the same holder.
type drained struct {
	Term   uint64 `json:"term"`
	Offset int64  `json:"offset"`
}

// counts: the lease of that term is the last one there was.
func (d *drained) counts(o reconcile.Observed) bool {
	return d != nil && d.Term == o.Election.Term && d.Term == o.Redis.Data.Term
}

// drain fences the local redis-server and waits until the successor has
// everything.
func (a *Agent) drain(ctx context.Context, s *redis.Server, o reconcile.Observed, w *wish) error {
	minReplicas := o.Redis.MinReplicas
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	w.stopsWrites(now())
	if err := a.redisW.server.SetFence(ctx); err != nil {
		a.undrain(minReplicas)
		return fmt.Errorf("stop writes: %w", err)
	}
	own, err := a.redisW.server.Info(ctx)
	if err != nil {
		a.undrain(minReplicas)
		return fmt.Errorf("read the offset at which writes stopped: %w", err)
	}
	a.drained.Store(&drained{Term: o.Election.Term, Offset: own.Offset})
	w.stopped(own.ReplID, own.Offset)
	w.step("fenced", "writes stopped on %s", a.cfg.Load().Node.Name)
	if err := awaitOffset(ctx, s, own.Offset); err != nil {
		a.undrain(minReplicas)
		return fmt.Errorf("wait until it has every byte: %w", err)
	}
	return nil
}

// awaitOffset waits until a replica has everything up to offset. One whose process is
// gone is not waited for: writes stand still.
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
				return fmt.Errorf("its redis-server did not answer within %v: %w", catchUp, unanswered)
			}
			return fmt.Errorf("it did not catch up within %v: it has %d of %d bytes", catchUp, has, offset)
		case <-time.After(catchUpPoll):
		}
	}
}

// undrain lets the writes go on after a handover that did not come about, if
// this node still may accept them.
func (a *Agent) undrain(minReplicas int) {
	a.drained.Store(nil)
	if !a.ballot.view().Lease {
		return // the next round sees to it
	}
	ctx, cancel := context.WithTimeout(context.Background(), actTimeout)
	defer cancel()
	err := a.letIn(ctx, func(ctx context.Context) error { return a.redisW.server.SetMinReplicas(ctx, minReplicas) })
	if err != nil {
		a.log.Warn("writes not let go on at once", "error", err)
	}
	a.redisW.poll(ctx)
}
