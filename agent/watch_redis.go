package agent

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

// Polling. A round that changed something polls again at once, so these are only
// how soon a change by another hand is seen.
const (
	pollRedis   = 100 * time.Millisecond
	pollTimeout = 150 * time.Millisecond
	// A process that waits for its disk is given longer (fsync stalls of 2 s are
	// normal on a busy disk), one that computes longer still: a script or a slow
	// command is not a hang.
	hangOnDisk = 4 * time.Second
	hangBusy   = 15 * time.Second
)

// redisWatch keeps the newest answer of the local redis-server, and what its
// dataset is worth.
type redisWatch struct {
	server *redis.Server
	proc   *supervisor.Process
	wake   func()

	mu          sync.Mutex
	pid         int // the process that the following was read from
	info        redis.Info
	settings    redis.Settings
	known       bool
	silentSince time.Duration
	silentCPU   time.Duration
	// answersSince is the first of the answers since it was silent last.
	answersSince time.Duration
	stuck        bool
	adopted      bool // info.RunID continues the record's dataset
	rec          record
	saved        record
	synced       record
	acked        int64 // at the end of the last process
	ackedUntil   time.Duration
	killed       int // the process that was sent SIGKILL
	// adoptedRaw: this process was taken over from an agent whose last commands may not be
	// carried out yet.
	adoptedRaw bool
	// notBefore is when a command was sent that lets writes in: what was asked before
	// says nothing about whether they are.
	notBefore time.Duration
	// askedAt is when the question was put whose answer this is. Looks overlap: one that
	// began earlier may end later, and is not news then.
	askedAt time.Duration
}

// run polls until ctx ends.
func (w *redisWatch) run(ctx context.Context) error {
	t := newBeat(pollRedis)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			t.again()
		}
		if w.poll(ctx) {
			w.wake()
		}
	}
}

// poll asks once and reports whether something changed that a round should see.
func (w *redisWatch) poll(ctx context.Context) bool {
	st := w.proc.State()
	if st.Status != supervisor.Running {
		return w.forget()
	}
	began := now()
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	err := w.outlive(ctx)
	var info redis.Info
	var settings redis.Settings
	if err == nil {
		info, settings, err = w.server.Poll(ctx)
	}
	if w.proc.State().PID != st.PID {
		return true
	}
	return w.heard(began, st, info, settings, err)
}

// heard takes in what was asked at began, and reports whether something changed that a
// round should see.
func (w *redisWatch) heard(began time.Duration, st supervisor.State, info redis.Info, settings redis.Settings, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case began < w.askedAt:
		return false // whoever looks before a vote is not to be told what a slower look saw before
	case err != nil:
		return w.silent(began, st)
	case began < w.notBefore:
		return true // it may have been read before the last command was carried out
	}
	w.askedAt = began
	changed := !w.known || w.pid != st.PID || w.silentSince > 0 || settings != w.settings ||
		info.Role != w.info.Role || info.Loading != w.info.Loading || info.LinkUp != w.info.LinkUp ||
		info.AOFWriteOK != w.info.AOFWriteOK || info.RDBOK != w.info.RDBOK || info.ReplID != w.info.ReplID ||
		info.PrimaryAddr != w.info.PrimaryAddr || info.SyncInProgress != w.info.SyncInProgress ||
		!slices.EqualFunc(info.Replicas, w.info.Replicas, sameLink)
	if !w.known || w.pid != st.PID || w.silentSince > 0 {
		w.answersSince = now()
	}
	w.pid, w.info, w.settings, w.known = st.PID, info, settings, true
	w.silentSince, w.stuck = 0, false
	w.meet()
	return changed
}

// outlive makes sure that nothing which the agent before this one asked for is carried
// out any more: it could lift a fence that this one has put up.
func (w *redisWatch) outlive(ctx context.Context) error {
	w.mu.Lock()
	raw := w.adoptedRaw
	w.mu.Unlock()
	if !raw {
		return nil
	}
	if err := w.server.CloseOthers(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.adoptedRaw = false
	return nil
}

func sameLink(a, b redis.ReplicaLink) bool { return a.Addr == b.Addr && a.Online == b.Online }

func (w *redisWatch) forget() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.known || w.pid != 0
	if was && w.killed != w.pid {
		w.noteAcked()
	}
	w.known, w.pid, w.silentSince, w.stuck = false, 0, 0, false
	return was
}

// silent notes that redis-server did not answer, and whether its process at
// least does something.
func (w *redisWatch) silent(began time.Duration, st supervisor.State) bool {
	if w.pid != st.PID {
		w.pid, w.known, w.stuck, w.silentSince = st.PID, false, false, 0
	}
	if !w.known && time.Since(st.StartedAt) < hangOnDisk {
		return false // just started: it is not listening yet
	}
	p, perr := w.proc.Proc()
	if perr != nil {
		return true
	}
	first := w.silentSince == 0
	if first {
		w.silentSince, w.silentCPU = began, p.MainCPU
	}
	was := w.stuck
	quiet := now() - w.silentSince
	idle := p.MainCPU-w.silentCPU < 10*time.Millisecond
	switch {
	case p.State == 'T' || p.State == 't':
		w.stuck = true
	case quiet > hangBusy:
		w.stuck = true
	case p.State == 'D':
		w.stuck = quiet > hangOnDisk
	case p.State == 'R':
		w.stuck = false // it computes, or would if it got the processor
	default:
		w.stuck = idle
	}
	return first || was != w.stuck || w.stuck
}

// meet compares a redis-server that answers with the record of the dataset: the
// record is what counts until this process has followed a primary itself, since
// Redis forgets its offset when it loads its file.
func (w *redisWatch) meet() {
	if w.info.Loading || w.adopted && w.rec.RunID == w.info.RunID {
		return
	}
	if w.rec.RunID != w.info.RunID {
		if w.rec.Keys > 0 && w.info.Keys == 0 {
			// The dataset is gone: removed, or never written to disk.
			w.rec = record{}
		}
		w.rec.RunID, w.rec.Primary = w.info.RunID, false
	}
	w.adopted = true
}

// lead is what is known of a term and its holder.
type lead struct {
	term   uint64
	leased bool // it is this node, and may write
	// primary is where the holder says that its primary is, until its redis-server has
	// ended; holder is where that was.
	primary string
	holder  netip.AddrPort
	// replID is the history of that primary, as the holder said last; "": it did not.
	replID string
}

// worth follows the dataset through the election: who is in sync with the holder
// of a term has that term's data.
//
// The address alone does not show that. A primary that lost power never closed its links,
// and a replica that hears it without being heard takes such a link for good until
// repl-timeout. When the same node is primary again by then, its history is another, and
// the replica's data are old. A holder whose agent says no history is an older one's.
func (w *redisWatch) worth(l lead) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.known || w.info.Loading || w.info.SyncInProgress {
		return
	}
	follows := w.info.Role == redis.Replica && (l.replID == "" || w.info.ReplID == l.replID)
	switch {
	case l.leased && w.info.Role == redis.Primary:
		w.rec.Term, w.rec.Offset, w.rec.Keys, w.rec.Primary = l.term, w.info.Offset, w.info.Keys, true
	case w.info.Role == redis.Primary && w.rec.Primary && w.rec.RunID == w.info.RunID:
		// It has lost the lease, not its data, and its history goes on: its replicas
		// count on with it.
		w.rec.Offset, w.rec.Keys = w.info.Offset, w.info.Keys
	case follows && w.info.LinkUp && w.info.PrimaryAddr.String() == l.primary:
		w.rec.Term, w.rec.Offset, w.rec.Keys, w.rec.Primary = l.term, w.info.Offset, w.info.Keys, false
	case follows && l.holder.IsValid() && w.info.PrimaryAddr == l.holder && w.rec.Term == l.term && w.info.Offset > w.rec.Offset:
		// More came in after the last look, before the link broke, or before this agent
		// was there to hear the holder.
		w.rec.Offset = w.info.Offset
	}
}

// unsavedRecord returns the record when it differs from what was saved, or synced,
// last. It is also of use once redis-server has ended: it is all that is known then.
func (w *redisWatch) unsavedRecord(sync bool) (record, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rec, w.rec != w.saved || sync && w.rec != w.synced
}

// savedData is what the dataset is worth, as far as the next agent would know.
func (w *redisWatch) savedData() reconcile.Data {
	w.mu.Lock()
	defer w.mu.Unlock()
	return reconcile.Data{Term: w.saved.Term, Offset: w.saved.Offset, Keys: w.saved.Keys}
}

func (w *redisWatch) recordSaved(r record, sync bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.saved = r
	if sync {
		w.synced = r
	}
}

// unfencing forgets what was read of the fence: from now on redis-server counts as
// one that may accept writes, until it says otherwise itself.
func (w *redisWatch) unfencing() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notBefore = now()
	w.settings.MinReplicas = reconcile.Unknown
}

// kill ends the process, whatever it does; it is not gone before its exit is seen.
func (w *redisWatch) kill() error {
	pid := w.proc.State().PID
	if err := w.proc.Kill(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killed = pid
	w.noteAcked()
	return nil
}

// noteAcked notes what the replicas had acknowledged when a primary's process ended, or was
// as good as ended; w.mu is held. The end of the next one, which was no primary yet, takes
// nothing of that back.
func (w *redisWatch) noteAcked() {
	if !w.known || w.info.Role != redis.Primary {
		return
	}
	w.acked, w.ackedUntil = 0, now()+ackedCounts
	for _, l := range w.info.Replicas {
		if l.Online {
			w.acked = max(w.acked, l.Offset)
		}
	}
}

// observed turns the newest answer into what reconcile reads.
func (w *redisWatch) observed() reconcile.Redis {
	st := w.proc.State()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := reconcile.Redis{Running: st.Status == supervisor.Running, MinReplicas: reconcile.Unknown, Priority: reconcile.Unknown}
	r.Data = reconcile.Data{Term: w.rec.Term, Offset: w.rec.Offset, Keys: w.rec.Keys}
	r.Dying = r.Running && w.killed == st.PID
	if !r.Running || w.pid != 0 && w.pid != st.PID {
		return r
	}
	r.SilentSince, r.Stuck, r.AnswersSince = w.silentSince, w.stuck, w.answersSince
	if !w.known {
		return r
	}
	i := w.info
	r.Known, r.Loading, r.LinkUp, r.Syncing = true, i.Loading, i.LinkUp, i.SyncInProgress
	r.MinReplicas, r.Priority = w.settings.MinReplicas, w.settings.Priority
	r.WriteError = !i.AOFWriteOK || !i.RDBOK
	r.Role = reconcile.Replica
	if i.Role == redis.Primary {
		r.Role = reconcile.Primary
	}
	if i.PrimaryAddr.IsValid() {
		r.PrimaryAddr = i.PrimaryAddr.String()
	}
	for _, l := range i.Replicas {
		r.Replicas = append(r.Replicas, reconcile.Link{Addr: l.Addr.String(), Online: l.Online, Lag: l.Lag, Offset: l.Offset})
		if l.Online && l.Lag <= w.settings.MaxLag {
			r.Good++
		}
	}
	return r
}

// ackedAtEnd is the most that a replica had acknowledged when the last process ended, 0
// when that is long ago.
func (w *redisWatch) ackedAtEnd() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now() > w.ackedUntil {
		return 0
	}
	return w.acked
}

// leads is the history that the local redis-server is the primary of; "" when it is none.
func (w *redisWatch) leads() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.known || w.info.Role != redis.Primary {
		return ""
	}
	return w.info.ReplID
}

// snapshot returns the last INFO, for people.
func (w *redisWatch) snapshot() (redis.Info, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.info, w.known
}
