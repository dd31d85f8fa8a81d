package node

import (
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// Version says of a dataset which one of its cluster it is.
type Version struct {
	Term   uint64 `json:"term"`
	Offset int64  `json:"offset"`
	Keys   int64  `json:"keys"`
	// ReplID is the history that Offset counts in.
	ReplID string `json:"repl_id,omitempty"`
}

// Compare orders versions of one cluster, the fuller last.
func (v Version) Compare(o Version) int { return v.data().Compare(o.data()) }

// Record is the version of the local dataset as it is on disk, and of what redis-server has in
// memory where that is another.
type Record struct {
	Version
	// Before is the term of the history before this one: an RDB file may be of that.
	Before uint64 `json:"before,omitempty"`
	// BeforeReplID is that history.
	BeforeReplID string `json:"before_repl_id,omitempty"`
	// RunID is the redis-server process that the version belongs to.
	RunID string `json:"run_id"`
	// Primary: that process was made the primary of Term, so all that it has since belongs to it.
	Primary bool `json:"primary,omitempty"`
	// Apart: it has Memory, which is not on disk. A full copy is in memory at once, or the memory
	// is emptied for it, and the disk has the dataset before it until the append-only file has been
	// rewritten. The zero version is of what nobody can tell.
	Apart  bool    `json:"apart,omitempty"`
	Memory Version `json:"memory,omitzero"`
}

// RDB is what an RDB file says of the dataset in it. The zero value: nothing.
type RDB struct {
	ReplID string
	Offset int64
}

// held is the version that counts: of what is in memory while there is a process, else of what is
// on disk.
func (r *Record) held() *Version {
	if r.Apart {
		return &r.Memory
	}
	return &r.Version
}

// hold notes that this is in memory from now on. follows: and so on disk.
func (r *Record) hold(v Version, follows bool) {
	if !follows {
		r.Apart, r.Memory = true, v
		return
	}
	if r.ReplID != v.ReplID && r.ReplID != "" {
		r.Before, r.BeforeReplID = r.Term, r.ReplID
	}
	r.Version = v
	r.forget()
}

// forget: what was in memory is no more.
func (r *Record) forget() { r.Apart, r.Memory = false, Version{} }

// loads: the next process loads this file, and nothing that came after it. A primary that never had
// a replica writes files that name no history.
func (r *Record) loads(f RDB) {
	switch {
	case f.ReplID == "" && r.Primary:
		r.Offset = 0
	case f.ReplID != "" && f.ReplID == r.ReplID:
		r.Offset = min(r.Offset, f.Offset)
	case f.ReplID != "" && f.ReplID == r.BeforeReplID:
		r.Term, r.Offset, r.ReplID = r.Before, f.Offset, f.ReplID
	default:
		r.Version = Version{Keys: r.Keys}
	}
}

// meet compares a redis-server that answers with the record of the dataset: the record is what
// counts until this process has followed a primary itself, since Redis forgets its offset when it
// loads its file.
func (w *redisWatch) meet() {
	if w.info.Loading || w.adopted && w.rec.RunID == w.info.RunID {
		return
	}
	if w.rec.RunID != w.info.RunID {
		w.rec.forget()
		if w.rec.Keys > 0 && w.info.Keys == 0 {
			// The dataset is gone: removed, or never written to disk.
			w.rec = Record{}
		}
		w.rec.RunID, w.rec.Primary = w.info.RunID, false
	}
	w.adopted = true
}

// lead is what is known of a term and its holder.
type lead struct {
	term   uint64
	leased bool // it is this node, and may write
	// primary is where the holder says that its primary is, until its redis-server has ended;
	// holder is where that was.
	primary, holder string
	// replID is the history of that primary, as the holder said last; "": it did not.
	replID string
}

func (wa *watch) updateVersion(v *election.View) {
	n := wa.n
	n.redis.update(lead{
		term: uint64(v.HolderTerm), leased: v.Lease, primary: v.Primary, holder: n.holderAddr(v), replID: n.heard.replID,
	})
}

// update follows the dataset through the election: who is in sync with the holder of a term has
// that term's data, in memory at first.
//
// The address alone does not show that. A primary that lost power never closed its links, and a
// replica that hears it without being heard takes such a link for good until repl-timeout. When the
// same node is primary again by then, its history is another, and the replica's data are old. A
// holder whose agent says no history is an older one's.
//
// A full copy empties the memory before it is loaded, and may fail then: from when it is seen the
// dataset counts for nothing, until it is there.
func (w *redisWatch) update(l lead) {
	if !w.known || !w.adopted || w.rec.RunID != w.info.RunID {
		return
	}
	i, rec := &w.info, &w.rec
	if i.Role == reconcile.Replica && (i.Syncing || i.Loading || w.emptied()) {
		rec.hold(Version{}, false)
		rec.Primary = false
	}
	if i.Syncing || i.Loading {
		return
	}
	held, follows := *rec.held(), i.diskFollows(rec.Apart)
	inSync := i.Role == reconcile.Replica && (l.replID == "" || i.ReplID == l.replID)
	switch {
	case l.leased && i.Role == reconcile.Primary:
		rec.Primary = true
		held = Version{l.term, i.Offset, i.Keys, i.ReplID}
	case i.Role == reconcile.Primary && rec.Primary && rec.RunID == i.RunID:
		// It has lost the lease, not its data, and its history goes on: its replicas count on with
		// it.
		held.Offset, held.Keys = i.Offset, i.Keys
	case inSync && i.LinkUp && i.PrimaryAddr != "" && (i.PrimaryAddr == l.primary || l.replID != "" && i.PrimaryAddr == l.holder):
		rec.Primary = false
		held = Version{l.term, i.Offset, i.Keys, i.ReplID}
	case inSync && l.holder != "" && i.PrimaryAddr == l.holder && held.Term == l.term && i.Offset > held.Offset:
		// More came in after the last poll, before the link broke, or before this agent was there
		// to hear the holder.
		held.Offset = i.Offset
	case !rec.Apart:
		return
	}
	rec.hold(held, follows)
}

// emptied: a replica without a link has nothing, and had something. Its full copy has failed before
// anybody saw it.
func (w *redisWatch) emptied() bool {
	return !w.info.LinkUp && w.info.Keys == 0 && w.rec.held().Keys > 0
}

// diskFollows: what this redis-server has in memory is on its disk, but for the last second. apart:
// it was not so until now. Without an append-only file the RDB file says what it has, once it is
// loaded.
func (i *RedisInfo) diskFollows(apart bool) bool {
	if !i.AOF {
		return true
	}
	return i.AOFOn && !i.OldAOF && (!apart || !i.Rewriting && i.RewriteOK)
}

// stepRecord has the version of the dataset written down when that is due: a disk that is slow must
// not cost the lease.
func (wa *watch) stepRecord() {
	n := wa.n
	w := &n.redis
	if wa.recording || n.at < wa.recordDue {
		return
	}
	wa.recordDue = Multiple(n.at, RecordEvery)
	// Another term, or another dataset in memory, is not left to chance.
	sync := n.at >= wa.syncDue || w.rec.Term != w.synced.Term || w.rec.Apart != w.synced.Apart
	if sync {
		wa.syncDue = n.at + SyncEvery
	}
	if w.rec == w.saved && (!sync || w.rec == w.synced) {
		return
	}
	wa.recording, wa.syncWanted, wa.beingSaved = true, sync, w.rec
	n.out.Record = &SaveRecord{Record: w.rec, Sync: sync}
}

func (wa *watch) recordNext() Time {
	n := wa.n
	w := &n.redis
	switch {
	case wa.recording:
		return never
	case w.rec != w.saved:
		return wa.recordDue
	case w.rec != w.synced:
		return max(wa.recordDue, wa.syncDue)
	}
	return never
}

func (wa *watch) recordSaved(err error) {
	n := wa.n
	wa.recording = false
	if err != nil {
		return
	}
	n.redis.saved = wa.beingSaved
	if wa.syncWanted {
		n.redis.synced = wa.beingSaved
	}
}

// Unrecorded is what the dataset's version is now, and whether the disk says something else: what a
// driver writes down last before it ends. It is also of use once redis-server has ended: it is all
// that is known then.
func (n *Node) Unrecorded(sync bool) (Record, bool) {
	w := &n.redis
	return w.rec, w.rec != w.saved || sync && w.rec != w.synced
}

// Recorded is the version of the dataset that is on disk, as far as the next agent would know. A
// node that is being stopped says none: it goes with what it has, and is nobody's successor.
func (n *Node) Recorded() reconcile.Data {
	if n.stopping {
		return reconcile.Data{}
	}
	return n.redis.saved.Version.data()
}

func (v Version) data() reconcile.Data {
	return reconcile.Data{Term: v.Term, Offset: v.Offset, Keys: v.Keys}
}
