package node

import (
	"slices"

	"github.com/redisd/redisd/reconcile"
)

// watch asks redis-server, redis-sentinel and the holder's redis-server when that is due, and has
// written down what came of it.
type watch struct {
	n          *Node
	recording  bool
	beingSaved Record // while recording
	recordDue  Time
	syncDue    Time
	syncWanted bool
}

// redisWatch is the newest answer of the local redis-server, and the version of its dataset.
type redisWatch struct {
	pid         int // the process that the following was read from
	info        RedisInfo
	known       bool
	silentSince Time
	// refused: it gave no state although it is alive, and why.
	refused string
	// lastCPU and lastSwitches are what its process had used by when it was last seen to move;
	// wokeAt is when its event loop was.
	lastCPU         Time
	lastSwitches    uint64
	movedAt, wokeAt Time
	// answersSince is the first of the answers since it was silent last.
	answersSince Time
	stuck        bool
	ranSince     Time // when this agent last went on after it had stood still
	// unsure: it was taken over from an agent that may have let it write, and has not said since
	// whether it does.
	unsure     bool
	adopted    bool // info.RunID continues the record's dataset
	rec        Record
	saved      Record
	synced     Record
	acked      int64 // by a replica, at the end of the last process
	ackedUntil Time
	killed     int // the process that was sent SIGKILL
	// stale: this process was taken over from an agent whose last commands may not be carried out
	// yet.
	stale bool
	// changedAt is when it was asked for the first answer that was as the last one is.
	changedAt Time
	// notBefore is when a command was sent that lets writes in: what was asked before says nothing
	// about whether they are.
	notBefore Time
	// askedAt is when the question was put whose answer this is. Polls overlap: one that began
	// earlier may end later, and is not news then.
	askedAt Time

	due     Time
	polling bool // the regular poll is under way
}

func (w *redisWatch) next() Time {
	if w.polling {
		return never
	}
	return w.due
}

// step begins the polls that are due.
func (wa *watch) step() {
	n := wa.n
	if w := &n.redis; !w.polling && n.at >= w.due {
		w.due = Multiple(n.at, PollEvery)
		if n.procs[Redis].pid != 0 {
			w.polling = true
			timeout := PollTimeout
			if w.silentSince > 0 && n.at > w.silentSince+PatientAfter && n.at < w.movedAt+PatientMoved {
				timeout = PatientTimeout
			}
			wa.pollRedis(Polls, timeout, func(Input) { n.redis.polling = false })
		}
	}
	wa.stepSentinel()
	wa.stepProbe()
	wa.stepOverthrown()
}

// pollRedis asks the local redis-server, and goes on when it has answered, or not.
func (wa *watch) pollRedis(l Lane, timeout Time, then func(Input)) uint64 {
	n := wa.n
	return n.call(l, Do{Action: PollRedis{CloseStale: n.redis.stale || n.perform.mayComeLate()}, Until: n.at + timeout}, then)
}

// mayComeLate: redis-server has not answered a command that lets writes in, or has them wait, and
// may carry it out yet, also after one that does the opposite.
func (pf *performer) mayComeLate() bool {
	pid := pf.n.procs[Redis].pid
	return pid != 0 && (pf.letsIn.pid == pid || pf.holds.pid == pid)
}

// freshPoll is pollRedis where there is a process to ask, bounded for a vote.
func (wa *watch) freshPoll(l Lane, then func()) {
	n := wa.n
	if n.procs[Redis].pid == 0 {
		then()
		return
	}
	wa.pollRedis(l, FreshTimeout, func(Input) { then() })
}

// news has a round look at what a poll saw. The poll at the end of a round is no news: it is for
// the round that follows, if there is one.
func (wa *watch) news(poll uint64) {
	if poll != wa.n.rounds.poll {
		wa.n.wake()
	}
}

// redisPolled takes in what redis-server answered, and lets go on who waits for it.
func (wa *watch) redisPolled(in RedisPolled) {
	n := wa.n
	w := &n.redis
	if in.StaleClosed {
		w.stale = false
		n.perform.letsIn.closed(in)
		n.perform.holds.closed(in)
	}
	switch pid := n.procs[Redis].pid; {
	case in.PID == 0 || in.PID != pid:
		wa.news(in.ID) // it has ended meanwhile, or is another
	case in.Began < w.askedAt:
		// Whoever polls before a vote is not to be told what a slower poll saw before.
	case in.Info == nil && in.Refused != "":
		if w.refuses(in) {
			wa.news(in.ID)
		}
	case in.Info == nil:
		if w.wentSilent(in, n.at) {
			wa.news(in.ID)
		}
	case in.Began < w.notBefore:
		wa.news(in.ID) // it may have been read before the last command was carried out
	default:
		if w.answered(in, n.at) {
			wa.news(in.ID)
		}
		if !in.Info.Loading {
			n.procs[Redis].answered(pid)
		}
		wa.updateVersion(n.current())
	}
	n.answer(in.ID, in)
}

// answered takes down an answer, and reports whether a round should see it.
func (w *redisWatch) answered(in RedisPolled, at Time) (changed bool) {
	info, old := *in.Info, w.info
	fresh := !w.known || w.pid != in.PID || w.silentSince > 0
	changed = fresh || info.MinReplicas != old.MinReplicas || info.MaxLag != old.MaxLag ||
		info.Role != old.Role || info.Loading != old.Loading || info.LinkUp != old.LinkUp || info.WriteError != old.WriteError ||
		info.ReplID != old.ReplID || info.PrimaryAddr != old.PrimaryAddr || info.Syncing != old.Syncing ||
		!slices.EqualFunc(info.Replicas, old.Replicas, func(a, b reconcile.Link) bool { return a.Addr == b.Addr && a.Online == b.Online })
	changed = changed || info.good() != old.good()
	if fresh {
		w.answersSince = at
	}
	if changed {
		w.changedAt = in.Began
	}
	w.pid, w.info, w.known, w.askedAt = in.PID, info, true, in.Began
	w.silentSince, w.refused, w.stuck, w.unsure = 0, "", false, false
	w.meet()
	return changed
}

// of has what is known be of that process.
func (w *redisWatch) of(pid int) {
	if w.pid != pid {
		w.pid, w.known, w.stuck, w.silentSince, w.refused = pid, false, false, 0, ""
	}
}

// refuses notes that redis-server is alive and does not say how it is; it reports whether a round
// should see that. Whatever else it may be, it is not hung.
func (w *redisWatch) refuses(in RedisPolled) bool {
	w.of(in.PID)
	changed := w.refused != in.Refused || w.stuck
	if w.silentSince == 0 {
		w.silentSince = in.Began
	}
	w.refused, w.stuck, w.askedAt = in.Refused, false, in.Began
	return changed
}

// wentSilent notes that redis-server did not answer, and whether its process at least does
// something; it reports whether a round should see that.
func (w *redisWatch) wentSilent(in RedisPolled, at Time) bool {
	w.of(in.PID)
	s := &in.Silent
	if !w.known && s.RanFor < HangOnDisk {
		return false // just started: it is not listening yet
	}
	if !s.Known {
		return true
	}
	first := w.silentSince == 0
	if first || w.refused != "" {
		since := max(in.Began, w.ranSince)
		w.silentSince, w.refused, w.wokeAt = since, "", 0
		w.lastCPU, w.lastSwitches, w.movedAt = s.CPU, s.Switches, since
	}
	was := w.stuck
	w.stuck = w.stands(s, at)
	return first || was != w.stuck || w.stuck
}

// stoodStill: this agent did not run for d until now. Who does not listen hears no answer, so
// redis-server was not silent for that time, as far as anybody knows.
func (w *redisWatch) stoodStill(now, d Time) {
	w.ranSince, w.stuck = now, false
	for _, t := range []*Time{&w.silentSince, &w.movedAt, &w.wokeAt} {
		if *t > 0 {
			*t += d
		}
	}
}

// stands: the process of a redis-server that does not answer is stopped, or waits for what does not
// come. Each kind of waiting counts from when the process was seen to move last: a long script
// before it is no part of it.
func (w *redisWatch) stands(s *Silence, at Time) bool {
	if s.Switches != w.lastSwitches {
		w.lastSwitches, w.wokeAt, w.movedAt = s.Switches, at, at
	}
	if s.CPU-w.lastCPU >= IdleCPU {
		w.lastCPU, w.movedAt = s.CPU, at
	}
	still := at - w.movedAt
	switch {
	case s.State == 'T' || s.State == 't':
		return true
	case s.State == 'S' && w.wokeAt > 0 && at < w.wokeAt+LoopWakes:
		return false // its event loop runs
	case at-w.silentSince > HangBusy:
		return true
	case s.State == 'D':
		return still > HangOnDisk
	case s.State == 'R':
		return false // it computes, or would if it got the processor
	}
	return still >= IdleFor
}

// ended forgets the process.
func (w *redisWatch) ended(at Time) {
	if (w.known || w.pid != 0) && w.killed != w.pid {
		w.noteAcked(at)
	}
	w.known, w.pid, w.silentSince, w.refused, w.stuck, w.stale, w.unsure = false, 0, 0, "", false, false, false
	w.rec.forget()
}

// noteAcked notes what the replicas had acknowledged when a primary's process ended, or was as good
// as ended. The end of the next one, which was no primary yet, takes nothing of that back.
func (w *redisWatch) noteAcked(at Time) {
	if !w.known || w.info.Role != reconcile.Primary {
		return
	}
	w.acked, w.ackedUntil = 0, at+AckedCounts
	for _, l := range w.info.Replicas {
		if l.Online {
			w.acked = max(w.acked, l.Offset)
		}
	}
}

// ackedAtEnd is the most that a replica had acknowledged when the last process ended, 0 when that
// is long ago.
func (w *redisWatch) ackedAtEnd(at Time) int64 {
	if at > w.ackedUntil {
		return 0
	}
	return w.acked
}

// allowing: a command is sent that lets writes in. From now on redis-server counts as one that may
// accept them, until it says otherwise itself.
func (w *redisWatch) allowing(at Time) {
	w.notBefore, w.info.MinReplicas = at, reconcile.Unknown
}

// leads is the history that the local redis-server is the primary of; "" when it is none.
func (w *redisWatch) leads() string {
	if !w.known || w.info.Role != reconcile.Primary {
		return ""
	}
	return w.info.ReplID
}

// observeRedis turns the newest answer into what reconcile reads.
func (n *Node) observeRedis() reconcile.Redis {
	w, p := &n.redis, &n.procs[Redis]
	r := reconcile.Redis{
		Running: p.pid != 0, MinReplicas: reconcile.Unknown, StartAfter: p.startAfter,
		Data: w.rec.held().data(),
	}
	r.Dying, r.Ended = r.Running && w.killed == p.pid, p.exitedAt > 0
	r.Unsure, r.Held = r.Running && w.unsure, r.Running && n.perform.held == p.pid
	if !r.Running || w.pid != 0 && w.pid != p.pid {
		return r
	}
	r.SilentSince, r.Refuses, r.Stuck, r.AnswersSince = w.silentSince, w.refused != "", w.stuck, w.answersSince
	if !w.known {
		return r
	}
	i := &w.info
	r.ChangedAt, r.Apart = w.changedAt, w.rec.Apart
	r.Known, r.Loading, r.LinkUp, r.Syncing = true, i.Loading, i.LinkUp, i.Syncing
	r.Role, r.PrimaryAddr, r.WriteError = i.Role, i.PrimaryAddr, i.WriteError
	r.MinReplicas, r.Replicas = i.MinReplicas, i.Replicas
	r.Good = i.good()
	return r
}

// good is how many replicas acknowledge in time.
func (i *RedisInfo) good() (n int) {
	for _, l := range i.Replicas {
		if l.Online && l.Lag <= i.MaxLag {
			n++
		}
	}
	return n
}

// RedisInfo is the newest answer of the local redis-server; ok is false when it has given none
// since it was started.
func (n *Node) RedisInfo() (info RedisInfo, ok bool) { return n.redis.info, n.redis.known }

// RedisRefuses is why the local redis-server, which is alive, does not say how it is; "": it does,
// or is silent.
func (n *Node) RedisRefuses() string { return n.redis.refused }
