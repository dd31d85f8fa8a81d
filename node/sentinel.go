package node

import (
	"github.com/redisd/redisd/reconcile"
)

// sentinelWatch is the newest answer of the local redis-sentinel.
type sentinelWatch struct {
	pid         int
	known       bool
	tunedPID    int
	view        SentinelView
	wrongSince  Time
	published   int64 // the epoch in which it was last told of a primary
	publishedAt Time
	failedAt    Time

	due     Time
	polling bool
	poked   bool // to be polled again as soon as the poll under way is over
}

func (w *sentinelWatch) next() Time {
	if w.polling {
		return never
	}
	return w.due
}

func (w *sentinelWatch) poke(at Time) {
	w.due, w.poked = at, w.polling
}

func (wa *watch) stepSentinel() {
	n := wa.n
	w := &n.sentinel
	if w.polling || n.at < w.due {
		return
	}
	if n.procs[Sentinel].pid == 0 {
		w.due = n.at + PollSentinelWrong
		return
	}
	w.polling = true
	wa.pollSentinel(Polls, func() {
		w.polling = false
		switch {
		case w.poked:
			w.due, w.poked = n.at, false
		case w.wrongSince > 0 || !w.known:
			w.due = Multiple(n.at, PollSentinelWrong)
		default:
			w.due = Multiple(n.at, PollSentinelEvery)
		}
	})
}

func (wa *watch) pollSentinel(l Lane, then func()) uint64 {
	n := wa.n
	return n.call(l, Do{Action: PollSentinel{}, Until: n.at + PollSentinelTimeout}, func(Input) { then() })
}

func (wa *watch) sentinelPolled(in SentinelPolled) {
	n := wa.n
	w := &n.sentinel
	if in.View != nil && in.PID != 0 && in.PID == n.procs[Sentinel].pid {
		want := n.primaryAddr(n.current(), n.at)
		wrong := in.View.Monitors != "" && want != "" && in.View.Monitors != want
		old := w.view
		changed := !w.known || w.pid != in.PID || in.View.Monitors != old.Monitors || in.View.Quorum != old.Quorum ||
			in.View.Peers != old.Peers || in.View.Epoch != old.Epoch || wrong
		w.pid, w.known, w.view = in.PID, true, *in.View
		switch {
		case !wrong:
			w.wrongSince = 0
		case w.wrongSince == 0:
			w.wrongSince = n.at
		}
		if changed {
			wa.news(in.ID)
		}
	}
	n.answer(in.ID, in)
}

// ended forgets the process.
func (w *sentinelWatch) ended() {
	w.known, w.pid, w.wrongSince, w.published = false, 0, 0, 0
}

// acted takes note of how an action went: after one that failed, Sentinel is left alone for a
// while.
func (w *sentinelWatch) acted(at Time, err error) {
	w.failedAt = 0
	if err != nil {
		w.failedAt = at
	}
}

func (n *Node) observeSentinel(at Time) reconcile.Sentinel {
	w, p := &n.sentinel, &n.procs[Sentinel]
	s := reconcile.Sentinel{
		Running: p.pid != 0, Published: w.published, PublishedAt: w.publishedAt, StartAfter: p.startAfter,
		Configured: p.pid != 0 || p.configured,
	}
	if !s.Running || !w.known || w.pid != p.pid || w.failedAt > 0 && at < w.failedAt+LeaveAlone {
		return s
	}
	v := &w.view
	s.Known, s.Tuned, s.Peers, s.WrongSince = true, w.tunedPID == p.pid, v.Peers, w.wrongSince
	s.Monitors = v.Monitors
	if v.Monitors != "" {
		s.Epoch, s.Quorum, s.DownAfter, s.FailoverTimeout = v.Epoch, v.Quorum, v.DownAfter, v.FailoverTimeout
	}
	return s
}
