package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
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
	// handOverWithin bounds a handover that a person asked for.
	handOverWithin = 10 * time.Second
)

// handOver moves the primary to another node without losing a write: no write
// comes in any more, the successor has all that came in, and only then is the
// lease given back. Before that, any failure lets the writes go on here.
func (a *Agent) handOver(ctx context.Context, o reconcile.Observed, to string) (err error) {
	began := now()
	defer func() { a.wish.tried(err) }()
	i := slices.IndexFunc(o.Members, func(m reconcile.Member) bool { return m.ID == to })
	if i < 0 {
		return fmt.Errorf("hand over to %s: it is no member", to)
	}
	target := o.Members[i]
	addr, err := netip.ParseAddrPort(target.Redis)
	if err != nil {
		return fmt.Errorf("hand over to %s: %w", target.Name, err)
	}
	s := redis.NewServer(addr, a.agentCredentials())
	defer s.Close()
	if err := a.readyToTakeOver(ctx, s); err != nil {
		return fmt.Errorf("hand over to %s: %w", target.Name, err)
	}
	a.log.Info("handing over", "to", target.Name, "primary", target.Redis)
	if err := a.drain(ctx, s, o.Redis.MinReplicas); err != nil {
		return fmt.Errorf("hand over to %s: %w", target.Name, err)
	}
	// Nothing is lost from here on: the successor has everything, and this node denies
	// its vote to whoever has less.
	short, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	if _, err := a.redisW.server.CloseClients(short); err != nil {
		a.log.Warn("clients not closed", "error", err)
	}
	if err := a.vips.dropAll(ctx, false); err != nil {
		a.undrain(o.Redis.MinReplicas)
		return fmt.Errorf("hand over to %s: %w", target.Name, err)
	}
	next := append([]string{to}, slices.DeleteFunc(slices.Clone(o.Election.Successors), func(id string) bool { return id == to })...)
	err = a.ballot.do(func(e *election.Elector) []election.Envelope {
		i := e.Announced()
		i.Successors = nodeIDs(next)
		e.SetInfo(i)
		return e.Release(now(), "handed over to "+to)
	})
	if err != nil {
		return err
	}
	a.events.add("handed_over", "to "+target.Name)
	a.log.Info("handed over", "to", target.Name, "took", (now() - began).Round(100*time.Microsecond))
	return nil
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

// drain fences the local redis-server and waits until the successor has
// everything.
func (a *Agent) drain(ctx context.Context, s *redis.Server, minReplicas int) error {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if err := a.redisW.server.SetFence(ctx); err != nil {
		a.undrain(minReplicas)
		return err
	}
	own, err := a.redisW.server.Info(ctx)
	if err != nil {
		a.undrain(minReplicas)
		return err
	}
	a.drained.Store(own.Offset)
	for {
		info, err := s.Info(ctx)
		if err == nil && info.Offset >= own.Offset && info.LinkUp {
			return nil
		}
		select {
		case <-ctx.Done():
			a.undrain(minReplicas)
			return fmt.Errorf("it did not catch up within %v: %d of %d bytes", catchUp, info.Offset, own.Offset)
		case <-time.After(catchUpPoll):
		}
	}
}

// undrain lets the writes go on after a handover that did not come about, if
// this node still may accept them.
func (a *Agent) undrain(minReplicas int) {
	a.drained.Store(0)
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

// wish is a person's wish to move the primary.
type wish struct {
	mu       sync.Mutex
	active   bool
	to       string
	failures int
	triedAt  time.Duration
	done     chan error
}

// ErrBusy: one handover at a time.
var ErrBusy = errors.New("a switchover is under way already")

// make notes the wish; the channel tells how it went.
func (w *wish) make(to string) (<-chan error, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.active {
		return nil, ErrBusy
	}
	w.active, w.to, w.failures, w.triedAt = true, to, 0, 0
	w.done = make(chan error, 1)
	return w.done, nil
}

// tried notes the outcome of an attempt.
func (w *wish) tried(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.triedAt = now()
	if err != nil {
		w.failures++
	} else {
		w.failures = 0
	}
	if w.active {
		w.active = false
		w.done <- err
	}
}

// forget drops the failures so far: what failed for another reason, long ago, is no
// reason not to try now.
func (w *wish) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = 0
}

// cancel takes the wish back.
func (w *wish) cancel() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active = false
}

func (w *wish) observed() (active bool, to string, failures int, at time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.active, w.to, w.failures, w.triedAt
}
