package agent

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

const (
	pollSentinel        = time.Second
	pollSentinelWrong   = 100 * time.Millisecond // while it names another primary
	sentinelPollTimeout = 300 * time.Millisecond
)

// sentinelWatch keeps the newest answer of the local redis-sentinel.
type sentinelWatch struct {
	sentinel *redis.Sentinel
	proc     *supervisor.Process
	name     string
	poke     chan struct{}
	wake     func()
	// want is the address that Sentinel should name, "" when that is not known.
	want func() string

	mu          sync.Mutex
	pid         int
	known       bool
	tunedPID    int
	view        redis.PrimaryView
	monitors    bool
	peers       []redis.SentinelView
	choice      netip.AddrPort
	wrongSince  time.Duration
	publishedAt time.Duration
	failedAt    time.Duration
}

func (w *sentinelWatch) run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-w.poke:
		}
		if w.poll(ctx) {
			w.wake()
		}
		t.Reset(w.period())
	}
}

func (w *sentinelWatch) period() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrongSince > 0 || !w.known {
		return pollSentinelWrong
	}
	return pollSentinel
}

func (w *sentinelWatch) pokeNow() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// poll asks once and reports whether something changed.
func (w *sentinelWatch) poll(ctx context.Context) bool {
	st := w.proc.State()
	if st.Status != supervisor.Running {
		w.mu.Lock()
		defer w.mu.Unlock()
		was := w.known
		w.known, w.pid, w.wrongSince = false, 0, 0
		return was
	}
	ctx, cancel := context.WithTimeout(ctx, sentinelPollTimeout)
	defer cancel()
	view, err := w.sentinel.Primary(ctx, w.name)
	monitors := err == nil
	if err != nil && !errors.Is(err, redis.ErrUnknownPrimary) {
		return false
	}
	want := w.want()
	wrong := monitors && want != "" && view.Addr.String() != want
	var peers []redis.SentinelView
	var choice netip.AddrPort
	if monitors {
		if peers, err = w.sentinel.Peers(ctx, w.name); err != nil {
			return false
		}
	}
	if wrong {
		choice = w.choose(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := !w.known || w.pid != st.PID || monitors != w.monitors || view.Addr != w.view.Addr || view.Quorum != w.view.Quorum ||
		len(peers) != len(w.peers) || wrong || choice != w.choice
	w.pid, w.known, w.view, w.monitors, w.peers, w.choice = st.PID, true, view, monitors, peers, choice
	switch {
	case !wrong:
		w.wrongSince = 0
	case w.wrongSince == 0:
		w.wrongSince = now()
	}
	return changed
}

// choose returns the replica that this Sentinel would promote.
func (w *sentinelWatch) choose(ctx context.Context) netip.AddrPort {
	replicas, err := w.sentinel.Replicas(ctx, w.name)
	if err != nil {
		return netip.AddrPort{}
	}
	choice, _ := redis.Successor(replicas)
	return choice.Addr
}

func (w *sentinelWatch) tuned(pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tunedPID = pid
}

// acted takes note of how an action went: after one that failed, Sentinel is left
// alone for a while, since asking it costs time that a round does not have.
func (w *sentinelWatch) acted(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failedAt = 0
	if err != nil {
		w.failedAt = now()
	}
}

// leaveAlone is how long a Sentinel that did not do as told is not asked again.
const leaveAlone = 2 * time.Second

func (w *sentinelWatch) published() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.publishedAt = now()
}

func (w *sentinelWatch) observed() reconcile.Sentinel {
	st := w.proc.State()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := reconcile.Sentinel{Running: st.Status == supervisor.Running, PublishedAt: w.publishedAt}
	if !s.Running || !w.known || w.pid != st.PID || w.failedAt > 0 && now() < w.failedAt+leaveAlone {
		return s
	}
	s.Known, s.Tuned = true, w.tunedPID == st.PID
	s.Peers, s.WrongSince = len(w.peers), w.wrongSince
	if w.monitors {
		s.Monitors = w.view.Addr.String()
		s.Failover = w.view.Flags.FailoverInProgress
		s.Quorum, s.DownAfter, s.FailoverTimeout = w.view.Quorum, w.view.DownAfter, w.view.FailoverTimeout
	}
	if w.choice.IsValid() {
		s.Choice = w.choice.String()
	}
	return s
}
