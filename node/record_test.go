package node

import (
	"testing"

	"github.com/redisd/redisd/reconcile"
)

// TestRecordFollowsTheDisk plays polls of a replica that had 1000 bytes of term 5, and what its
// dataset counts for after each: in memory, and on disk.
func TestRecordFollowsTheDisk(t *testing.T) {
	const p = "10.0.0.1:6379"
	aof := func(i RedisInfo) RedisInfo {
		i.RunID, i.Role, i.PrimaryAddr, i.ReplID = "r", reconcile.Replica, p, "h2"
		i.AOF, i.AOFOn, i.RewriteOK = true, true, true
		return i
	}
	synced := aof(RedisInfo{LinkUp: true, Offset: 9000, Keys: 9})
	with := func(change func(*RedisInfo)) RedisInfo { i := synced; change(&i); return i }
	rewriting := with(func(i *RedisInfo) { i.OldAOF, i.Rewriting = true, true })
	failed := with(func(i *RedisInfo) { i.RewriteOK = false })
	empty := aof(RedisInfo{Offset: 1, Keys: 0})
	type step struct {
		info         RedisInfo
		held, onDisk uint64 // terms
	}
	for name, steps := range map[string][]step{
		"the rewrite after a full copy takes a while": {
			{aof(RedisInfo{Syncing: true, Offset: 1000, Keys: 1}), 0, 5}, {rewriting, 7, 5}, {rewriting, 7, 5}, {synced, 7, 7},
		},
		"nobody saw the copy, but the rewrite":         {{rewriting, 7, 5}, {synced, 7, 7}},
		"the rewrite fails, and another is to begin":   {{rewriting, 7, 5}, {failed, 7, 5}, {rewriting, 7, 5}, {synced, 7, 7}},
		"an ordinary rewrite of what it has on disk":   {{synced, 7, 7}, {with(func(i *RedisInfo) { i.Rewriting = true }), 7, 7}},
		"its append-only file is switched off":         {{synced, 7, 7}, {with(func(i *RedisInfo) { i.AOFOn, i.Offset = false, 9900 }), 7, 7}},
		"it is emptied for a copy that fails":          {{aof(RedisInfo{Loading: true}), 0, 5}, {with(func(i *RedisInfo) { i.LinkUp, i.AOFOn, i.Keys = false, false, 0 }), 0, 5}},
		"it is emptied, and nobody saw the copy":       {{with(func(i *RedisInfo) { i.LinkUp, i.AOFOn, i.Keys = false, false, 0 }), 0, 5}},
		"and begins its append-only file anew, empty":  {{aof(RedisInfo{Syncing: true, Keys: 1}), 0, 5}, {empty, 0, 0}},
		"a copy breaks off, and the next one succeeds": {{aof(RedisInfo{Syncing: true, Keys: 1}), 0, 5}, {rewriting, 7, 5}, {synced, 7, 7}},
	} {
		w := &redisWatch{known: true, adopted: true, rec: Record{Version: Version{Term: 5, Offset: 1000, Keys: 1, ReplID: "h1"}, RunID: "r"}}
		for i, s := range steps {
			w.info = s.info
			w.update(lead{term: 7, primary: p, holder: p, replID: "h2"})
			if w.rec.held().Term != s.held || w.rec.Term != s.onDisk {
				t.Errorf("%s, after poll %d: term %d in memory and %d on disk, want %d and %d", name, i+1, w.rec.held().Term, w.rec.Term, s.held, s.onDisk)
			}
		}
		onDisk := w.rec.Term
		w.ended(0)
		if w.rec.held().Term != onDisk {
			t.Errorf("%s: after its end it counts for term %d, its disk has %d", name, w.rec.held().Term, onDisk)
		}
	}
}

// TestRecordLoads: what a process has that loads an RDB file.
func TestRecordLoads(t *testing.T) {
	has := Record{Version: Version{Term: 7, Offset: 9000, Keys: 9, ReplID: "h2"}, Before: 5, BeforeReplID: "h1"}
	for name, c := range map[string]struct {
		file    RDB
		primary bool
		term    uint64
		offset  int64
	}{
		"older":                                     {RDB{"h2", 8000}, false, 7, 8000},
		"saved when it was stopped":                 {RDB{"h2", 9100}, false, 7, 9000},
		"of the history before":                     {RDB{"h1", 1000}, true, 5, 1000},
		"of another history":                        {RDB{"h3", 9900}, true, 0, 0},
		"none, or of no history":                    {RDB{}, false, 0, 0},
		"of a primary that never had a replica":     {RDB{}, true, 7, 0},
		"of another history, with a similar offset": {RDB{"h0", 9000}, false, 0, 0},
	} {
		r := has
		r.Primary = c.primary
		if r.loads(c.file); r.Term != c.term || r.Offset != c.offset {
			t.Errorf("%s: %d of term %d, want %d of term %d", name, r.Offset, r.Term, c.offset, c.term)
		}
	}
}

// TestProcessHasWhatItsFileHas: a process that is started has what the RDB file says that it loads,
// and no longer what this node handed over, if the file has less.
func TestProcessHasWhatItsFileHas(t *testing.T) {
	n := newNode(t, Options{Record: Record{Version: Version{Term: 7, Offset: 9000, Keys: 9, ReplID: "h2"}}})
	n.perform.drained = &Drained{Term: 7, Offset: 8900}
	n.perform.begin(Rounds, reconcile.StartRedis{}, func(error) {})
	n.answer(n.nextID, Done{ID: n.nextID, PID: 9, RDB: &RDB{ReplID: "h2", Offset: 8000}})
	if got := n.observeRedis().Data.Offset; got != 8000 || n.perform.drained != nil {
		t.Errorf("it has %d, and answers for %+v", got, n.perform.drained)
	}
}
