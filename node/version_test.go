package node

import (
	"testing"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// What reached a replica between the last poll and the end of its primary counts, although the
// holder, whose redis-server has ended, names no primary any more: else who is elected hangs on who
// happened to poll last.
func TestVersionCountsTheLastWords(t *testing.T) {
	primary := "10.0.0.1:6379"
	replica := func(offset int64, up bool) RedisInfo {
		return RedisInfo{Role: reconcile.Replica, RunID: "r", PrimaryAddr: primary, LinkUp: up, Offset: offset, Keys: 1}
	}
	w := &redisWatch{known: true, info: replica(1000, true)}
	w.meet()
	w.update(lead{term: 7, primary: primary, holder: primary})
	if w.rec.Term != 7 || w.rec.Offset != 1000 {
		t.Fatalf("in sync with the primary of term 7 at 1000: %+v", w.rec)
	}
	w.info = replica(1600, false)
	w.update(lead{term: 7, holder: primary})
	if w.rec.Term != 7 || w.rec.Offset != 1600 {
		t.Errorf("600 bytes came in before the link broke: %+v", w.rec)
	}
	w.info = replica(2000, false)
	w.update(lead{term: 8, holder: primary})
	if w.rec.Term != 7 || w.rec.Offset != 1600 {
		t.Errorf("the dataset was never in sync with the holder of term 8: %+v", w.rec)
	}
	w.update(lead{term: 7, holder: "10.0.0.2:6379"})
	if w.rec.Offset != 1600 {
		t.Errorf("it follows somebody else than the holder: %+v", w.rec)
	}
}

// A replica whose packets do not get through takes the link to a primary that lost power for good,
// and that one may be primary again, at the same address, in a later term. What the replica has is
// of that term only when it has its history.
func TestVersionComparesHistories(t *testing.T) {
	primary := "10.0.0.1:6379"
	for _, tt := range []struct {
		name      string
		said, own string
		term      uint64 // of what it has then
		offset    int64
	}{
		{"in sync", "h2", "h2", 7, 1600},
		{"a link that was never closed", "h2", "h1", 5, 1000},
		{"the holder's agent is older, and says no history", "", "h1", 7, 1600},
	} {
		w := &redisWatch{known: true, adopted: true, rec: Record{Version: Version{Term: 5, Offset: 1000, Keys: 1}}}
		w.info = RedisInfo{Role: reconcile.Replica, PrimaryAddr: primary, LinkUp: true, ReplID: tt.own, Offset: 1600, Keys: 1}
		w.update(lead{term: 7, primary: primary, holder: primary, replID: tt.said})
		if w.rec.Term != tt.term || w.rec.Offset != tt.offset {
			t.Errorf("%s: %+v, want %d of term %d", tt.name, w.rec, tt.offset, tt.term)
		}
	}
	// Nor does what another history counts on to count as this one's last words.
	w := &redisWatch{known: true, adopted: true, rec: Record{Version: Version{Term: 7, Offset: 1000, Keys: 1}}}
	w.info = RedisInfo{Role: reconcile.Replica, PrimaryAddr: primary, ReplID: "h3", Offset: 1600, Keys: 1}
	w.update(lead{term: 7, holder: primary, replID: "h2"})
	if w.rec.Offset != 1000 {
		t.Errorf("last words of another history: %+v", w.rec)
	}
}

// The last that a redis-server was known to have is written down also after its end: its next
// process has forgotten its offset.
func TestRecordOutlivesRedis(t *testing.T) {
	n := newNode(t, Options{})
	n.redis.known, n.redis.pid, n.redis.rec = true, 1, Record{Version: Version{Term: 7, Offset: 1600, Keys: 1}}
	n.procs[Redis].pid = 1
	n.Step(n.at, Tick{})
	n.Step(n.at, RecordSaved{})
	n.redis.rec.Offset = 1700
	r := n.Step(n.at+RecordEvery, Exited{Process: Redis, PID: 1})
	if r.Record == nil || r.Record.Record.Offset != 1700 {
		t.Fatalf("after the end of redis-server: %+v", r.Record)
	}
	sync := r.Record.Sync
	n.Step(n.at, RecordSaved{})
	if _, changed := n.Unrecorded(false); changed {
		t.Error("saved, and unsaved still")
	}
	if _, changed := n.Unrecorded(true); changed == sync {
		t.Errorf("synced %v, and unsynced %v", sync, changed)
	}
}

// The history that is announced is that of the process which is the primary now.
func TestLeads(t *testing.T) {
	w := &redisWatch{known: true, info: RedisInfo{Role: reconcile.Replica, ReplID: "h1"}}
	if got := w.leads(); got != "" {
		t.Errorf("a replica leads %q", got)
	}
	w.info = RedisInfo{Role: reconcile.Primary, ReplID: "h2"}
	if got := w.leads(); got != "h2" {
		t.Errorf("promoted, it leads %q", got)
	}
	w.ended(0)
	if got := w.leads(); got != "" {
		t.Errorf("after its end it leads %q", got)
	}
	heard := func(began Time, replID string) bool {
		return w.answered(RedisPolled{Began: began, PID: 1, Info: &RedisInfo{ReplID: replID}}, began)
	}
	if heard(time.Second, "h3"); !heard(2*time.Second, "h4") {
		t.Error("a new history is to be announced at once")
	}
}

// The poll that comes round all the time may overlap with the poll before a vote. What it saw
// earlier must not replace what was seen later: a successor that claimed with it lacked bytes that
// it had, and was refused.
func TestVersionIsOfTheNewestPoll(t *testing.T) {
	const primary = "10.0.0.1:6379"
	n := newNode(t, Options{RedisPID: 1})
	w := &n.redis
	poll := func(began Time, offset int64) int64 {
		in := RedisPolled{Began: began, PID: 1}
		if offset > 0 {
			in.Info = &RedisInfo{Role: reconcile.Replica, RunID: "r", PrimaryAddr: primary, LinkUp: true, Offset: offset, Keys: 1}
		} else {
			in.Silent = Silence{Known: true, State: 'S', RanFor: time.Hour}
		}
		n.Step(n.at, in)
		w.update(lead{term: 7, primary: primary})
		return w.rec.Offset
	}
	poll(2*time.Second, 1600)
	if offset := poll(1*time.Second, 1000); offset != 1600 {
		t.Errorf("after an earlier poll that ended later: offset %d, want 1600", offset)
	}
	if poll(1*time.Second, 0); w.silentSince != 0 {
		t.Error("an earlier poll had no answer, a later one had: it is not silent")
	}
	if offset := poll(3*time.Second, 2000); offset != 2000 {
		t.Errorf("after the next poll: offset %d, want 2000", offset)
	}
}

// A node that handed over, and was primary again later, has more than it had then.
func TestDrainedCountsInItsTerm(t *testing.T) {
	at := func(term uint64) reconcile.Observed {
		return reconcile.Observed{Election: reconcile.Election{Term: term}, Redis: reconcile.Redis{Data: reconcile.Data{Term: term}}}
	}
	d := &Drained{Term: 4, Offset: 1000}
	if !d.counts(at(4)) {
		t.Error("it handed over in term 4: that is what its successor must have")
	}
	if d.counts(at(6)) {
		t.Error("it was primary again in term 6: what it had in term 4 says nothing")
	}
	if d = nil; d.counts(at(4)) {
		t.Error("it did not hand over")
	}
}

// A voter that has just been started has its data, though not its redis-server yet.
func TestReturns(t *testing.T) {
	boots := reconcile.Observed{Self: "a", At: time.Minute + time.Second, Started: time.Minute, Election: reconcile.Election{Holder: "b", Term: 4}}
	for _, tt := range []struct {
		name   string
		change func(*reconcile.Observed)
		exited bool
		want   bool
	}{
		{"it has just been started", func(*reconcile.Observed) {}, false, true},
		{"long ago: its redis-server does not start", func(o *reconcile.Observed) { o.At += time.Hour }, false, false},
		{"its redis-server has just ended", func(o *reconcile.Observed) { o.At += time.Hour }, true, true},
		{"it runs, and says itself what it has", func(o *reconcile.Observed) { o.Redis.Running = true }, false, false},
		{"it was the primary, which is to be overtaken", func(o *reconcile.Observed) { o.Election.Holder = "a" }, false, false},
	} {
		o := boots
		tt.change(&o)
		if got := returns(o, false, tt.exited); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// Who gave the lease back because it was alone denies those who have less, also while it is being
// stopped: what it acknowledged last is nowhere else.
func TestUsable(t *testing.T) {
	alone := reconcile.Observed{
		Self: "a", At: time.Hour, Election: reconcile.Election{Holder: "a", Term: 4, Released: true},
		Redis: reconcile.Redis{Running: true, Known: true},
	}
	for _, tt := range []struct {
		name   string
		whole  uint64
		change func(*reconcile.Observed)
		want   bool
	}{
		{"it was only alone", 4, func(*reconcile.Observed) {}, true},
		{"it gave the lease back for another reason", 3, func(*reconcile.Observed) {}, false},
		{"it was only alone, and is being stopped", 4, func(o *reconcile.Observed) { o.Stopping = true }, true},
		{"and its redis-server has been", 4, func(o *reconcile.Observed) { o.Stopping, o.Redis.Running = true, false }, true},
		{"it crashed after that", 4, func(o *reconcile.Observed) { o.Redis.Running = false }, false},
		{"it gave the lease back to stop", 3, func(o *reconcile.Observed) { o.Stopping = true }, false},
		{"a replica", 0, func(o *reconcile.Observed) { o.Election.Holder = "b" }, true},
		{"a replica that is being stopped", 0, func(o *reconcile.Observed) { o.Election.Holder, o.Stopping = "b", true }, false},
		{"a replica that copies a dataset", 0, func(o *reconcile.Observed) { o.Election.Holder, o.Redis.Syncing = "b", true }, false},
		{"a replica that loads has what its record says, or less", 0, func(o *reconcile.Observed) { o.Election.Holder, o.Redis.Loading = "b", true }, true},
		{"a replica that is busy", 0, func(o *reconcile.Observed) { o.Election.Holder, o.Redis.SilentSince = "b", time.Minute }, true},
		{"a primary that hangs", 4, func(o *reconcile.Observed) { o.Redis.SilentSince = time.Minute }, false},
	} {
		o := alone
		tt.change(&o)
		if got := usable(o, tt.whole == o.Election.Term, false); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// What a replica had acknowledged when the primary ended is somewhere: its agent votes for nobody
// who has less.
func TestAckedAtEnd(t *testing.T) {
	w := &redisWatch{known: true, pid: 7, info: RedisInfo{Role: reconcile.Primary, Replicas: []reconcile.Link{
		{Online: true, Offset: 500}, {Online: true, Offset: 900}, {Online: false, Offset: 1000},
	}}}
	if got := w.ackedAtEnd(0); got != 0 {
		t.Errorf("%d before it ended", got)
	}
	w.ended(0)
	w.ended(0) // and it stays away
	if got := w.ackedAtEnd(0); got != 900 {
		t.Errorf("%d, want the 900 of the replica that was in touch", got)
	}
	w.known, w.pid, w.info = true, 8, RedisInfo{Role: reconcile.Replica} // it is started again,
	w.ended(0)                                                           // and ends again
	if got := w.ackedAtEnd(0); got != 900 {
		t.Errorf("%d after the end of a process that was no primary, want 900 still", got)
	}
}

func TestLeast(t *testing.T) {
	holder := reconcile.Observed{Self: "a", Election: reconcile.Election{Holder: "a", Term: 5}, Redis: reconcile.Redis{Data: reconcile.Data{Term: 5, Offset: 900}}}
	voter := reconcile.Observed{Self: "b", Election: reconcile.Election{Holder: "a", Term: 5, HolderOffset: 800}}
	limit := reconcile.Desired{FailoverLag: 100}
	back := voter
	back.Election.ByHolder = true
	for name, tt := range map[string]struct {
		o     reconcile.Observed
		d     reconcile.Desired
		acked int64
		want  int64 // of term 5; 0: nothing
	}{
		"nothing is known":                         {voter, reconcile.Desired{}, 0, 0},
		"a replica had acknowledged":               {holder, reconcile.Desired{}, 700, 700},
		"the limit, of what the primary said":      {voter, limit, 0, 700},
		"the limit, of what it had itself":         {holder, limit, 0, 800},
		"a replica had acknowledged more":          {holder, limit, 850, 850},
		"the primary is back, and has less":        {back, limit, 0, 0},
		"a limit that is larger than all there is": {voter, reconcile.Desired{FailoverLag: 1000}, 0, 0},
	} {
		got := least(tt.o, tt.d, tt.acked)
		if got.Offset != tt.want || tt.want > 0 && got.Term != 5 {
			t.Errorf("%s: %+v, want %d", name, got, tt.want)
		}
	}
}

// Who is being stopped is nobody's successor: the primary, stopped in the same moment, would
// hand over to it, and with it what it has would be gone.
func TestStoppingIsNoSuccessor(t *testing.T) {
	b := newBench(t, Options{Record: Record{Version: Version{Term: 4, Offset: 1000}}})
	b.step(Tick{})
	if b.n.Recorded().Term != 4 {
		t.Fatal("it does not say what it has on disk")
	}
	b.step(Stop{})
	if got := b.n.Recorded(); got != (reconcile.Data{}) {
		t.Errorf("it is being stopped, and says that it has %+v", got)
	}
}
