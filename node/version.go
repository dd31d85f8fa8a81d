package node

import (
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// Record is the version of the local dataset, as it is on disk.
type Record struct {
	Term   uint64 `json:"term"`
	Offset int64  `json:"offset"`
	Keys   int64  `json:"keys"`
	// RunID is the redis-server process that Offset belongs to.
	RunID string `json:"run_id"`
	// Primary: that process was made the primary of Term, so all that it has since belongs to it.
	Primary bool `json:"primary,omitempty"`
}

// meet compares a redis-server that answers with the record of the dataset: the record is what
// counts until this process has followed a primary itself, since Redis forgets its offset when it
// loads its file.
func (w *redisWatch) meet() {
	if w.info.Loading || w.adopted && w.rec.RunID == w.info.RunID {
		return
	}
	if w.rec.RunID != w.info.RunID {
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
// that term's data.
//
// The address alone does not show that. A primary that lost power never closed its links, and a
// replica that hears it without being heard takes such a link for good until repl-timeout. When the
// same node is primary again by then, its history is another, and the replica's data are old. A
// holder whose agent says no history is an older one's.
func (w *redisWatch) update(l lead) {
	if !w.known || w.info.Loading || w.info.Syncing {
		return
	}
	i, rec := &w.info, &w.rec
	follows := i.Role == reconcile.Replica && (l.replID == "" || i.ReplID == l.replID)
	switch {
	case l.leased && i.Role == reconcile.Primary:
		rec.Term, rec.Offset, rec.Keys, rec.Primary = l.term, i.Offset, i.Keys, true
	case i.Role == reconcile.Primary && rec.Primary && rec.RunID == i.RunID:
		// It has lost the lease, not its data, and its history goes on: its replicas count on with
		// it.
		rec.Offset, rec.Keys = i.Offset, i.Keys
	case follows && i.LinkUp && i.PrimaryAddr != "" && i.PrimaryAddr == l.primary:
		rec.Term, rec.Offset, rec.Keys, rec.Primary = l.term, i.Offset, i.Keys, false
	case follows && l.holder != "" && i.PrimaryAddr == l.holder && rec.Term == l.term && i.Offset > rec.Offset:
		// More came in after the last poll, before the link broke, or before this agent was there
		// to hear the holder.
		rec.Offset = i.Offset
	}
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
	sync := n.at >= wa.syncDue
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
		n.tell(RecordNotSaved{Err: err})
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

// Recorded is the version of the dataset as far as the next agent would know. A node that is
// being stopped says none: it goes with what it has, and is nobody's successor.
func (n *Node) Recorded() reconcile.Data {
	if n.stopping {
		return reconcile.Data{}
	}
	r := n.redis.saved
	return reconcile.Data{Term: r.Term, Offset: r.Offset, Keys: r.Keys}
}
