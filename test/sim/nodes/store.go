package nodes

import (
	"strconv"
	"time"

	"github.com/redisd/redisd/node"
)

// store is what of its dataset a redis-server has on its disk, where that is not simply what it has
// in memory.
type store struct {
	rdb      bool // it has no append-only file
	diskless bool // a full copy is loaded as it comes in, into an empty memory
	// apart: the next process loads file, not what was in memory.
	apart     bool
	file      dataset
	fileSays  node.RDB // what an RDB file says of the dataset in it
	copying   bool     // it loads what another one sends
	rewriteOK bool     // aof_last_bgrewrite_status
	rewrites  int      // counts the rewrites that were begun
	every     time.Duration
	fails     bool // the copy under way does
	tooSlow   bool // the primary has no longer what this replica lacks
}

// equip draws how a host's redis-server keeps its data.
func (w *world) equip(h *host) {
	r := &h.redis
	r.rewriteOK = true
	if w.has(RDBOnly) && w.side.one(0.5) {
		r.rdb, r.every = true, w.side.between(time.Second, 10*time.Second)
		w.after(w.side.upTo(r.every), func() { w.snapshots(h) })
	}
	r.diskless = w.has(Flush) && w.res.Seed%2 == 0 // as all have the same configuration
	if w.has(Everysec) {
		r.ownSync = true
		w.after(w.side.upTo(time.Second), func() { w.syncs(h) })
	}
}

// syncs is appendfsync everysec by the process itself.
func (w *world) syncs(h *host) {
	r := &h.redis
	w.after(time.Second, func() { w.syncs(h) })
	if r.up && !r.hung && !r.loading && h.syncs() {
		w.flow()
		r.safe, r.safeHist, r.safeAt = r.pos, r.hist, w.now
	}
}

// syncs: a disk that is slow does not sync the append-only file, but what comes in waits for it
// then: never is more than two seconds missing.
func (h *host) syncs() bool {
	w := h.w
	return !h.readOnly && w.now >= h.slowUntil || w.has(Everysec|Blackout|DiskCounts) && w.now >= h.redis.safeAt+2*time.Second
}

// snapshots is BGSAVE by the save points.
func (w *world) snapshots(h *host) {
	r := &h.redis
	w.after(r.every, func() { w.snapshots(h) })
	if r.up && !r.hung && !r.loading {
		w.flow()
		r.keep()
	}
}

// keep has the file be what is in memory now.
func (r *server) keep() {
	r.file, r.fileSays = dataset{true, r.hist, r.pos}, node.RDB{}
	if id := r.replID(); id != 0 {
		r.fileSays = node.RDB{ReplID: strconv.Itoa(int(id)), Offset: r.pos - r.shift}
	}
}

// leaves is what a process that ends without a word leaves to the next one.
func (r *server) leaves() {
	if r.rdb || r.apart {
		r.pos, r.hist = r.file.pos, cutHist(r.file.hist, r.file.pos)
	}
}

// durable is what a loss of power would leave now, and what it has left.
func (r *server) durable() dataset {
	switch {
	case r.rdb, r.apart:
		return r.file
	case r.safeHist != nil:
		return dataset{true, r.safeHist, r.safe}
	}
	return dataset{true, r.hist, 0}
}

// loads is the start of a process: it has what the file has.
func (r *server) loads() {
	if r.apart || r.rdb {
		r.safe, r.safeHist = r.pos, r.hist
	}
	r.apart, r.copying = false, false
}

// detach is what redis-server does with its append-only file before it loads a full copy: it closes
// it, and what it says remains until a rewrite has ended.
func (r *server) detach() {
	if !r.rdb && !r.apart {
		r.keep()
		r.apart = true
	}
}

// flush empties the memory before a full copy is loaded.
func (h *host) flush() {
	r := &h.redis
	r.detach()
	h.w.logf("%s is emptied for a full copy", h.id)
	r.pos, r.shift, r.hist, r.whole = 0, 0, nil, false
	r.loading, r.copying = true, true
}

// stopCopying ends a copy that was under way.
func (r *server) stopCopying() {
	if r.copying {
		r.copying, r.loading = false, false
	}
}

// copied: a full copy is in memory. The rewrite of the append-only file begins.
func (h *host) copied() {
	w, r := h.w, &h.redis
	r.tooSlow = false
	switch {
	case r.rdb:
		if !r.diskless {
			r.keep() // what was received is the RDB file now
		}
	case w.has(StaleAOF):
		h.rewrite()
	default: // the rewrite took no time
		r.apart = false
		r.safe, r.safeHist, r.safeAt = r.pos, r.hist, w.now
	}
}

// rewrite takes its time and may fail, then it is begun again.
func (h *host) rewrite() {
	w, r := h.w, &h.redis
	r.rewrites++
	n, run := r.rewrites, r.run
	d := w.side.between(5*ms, 300*ms)
	if w.side.one(0.5) {
		d = w.side.between(300*ms, 4*time.Second)
	}
	fails := w.side.one(0.15) && !w.quiet
	w.after(d, func() {
		switch {
		case !r.up || r.run != run || r.rewrites != n || !r.apart:
		case fails:
			w.logf("%s rewrite of the append-only file fails", h.id)
			r.rewriteOK = false
			h.rewrite()
		default:
			w.flow()
			w.logf("%s rewrite of the append-only file has ended", h.id)
			r.apart, r.rewriteOK = false, true
			r.safe, r.safeHist, r.safeAt = r.pos, r.hist, w.now
		}
	})
}

// shutdown is SIGTERM; it reports whether the process ends. One that writes its first append-only
// file does not, nor one that hangs.
func (h *host) shutdown() bool {
	r := &h.redis
	if !r.up || r.hung || r.apart && !r.copying && h.w.has(StaleAOF) {
		return false
	}
	h.w.flow()
	if !r.loading {
		r.keep()
		r.apart = false
	}
	h.endRedis("stopped")
	return true
}

// copyFrom is a full copy as it really goes: the replica is emptied before it, and it may end
// half-way.
func (w *world) copyFrom(h, p *host, gen int) {
	r := &h.redis
	r.fails = w.side.one(0.2) && !w.quiet
	d := w.side.between(5*ms, 50*ms+w.p.sync)
	if w.side.one(0.5) {
		d = w.side.between(100*ms, time.Second)
	}
	if r.diskless {
		w.flow()
		h.flush()
	}
	if r.fails && w.side.one(0.5) {
		d = w.side.upTo(d) // the link breaks
	}
	run := r.run
	w.after(d, func() {
		if !r.up || r.run != run || r.linkGen != gen || r.link != linkSyncing {
			return
		}
		s := &p.redis
		if r.hung || !w.linked(h, p) || !s.up || !s.primary || s.run != r.linkRun || r.fails && r.diskless {
			w.logf("%s full copy breaks off", h.id)
			w.unlink(h)
			if r.diskless && !r.rdb { // its append-only file is begun anew, with nothing
				r.apart, r.safe, r.safeHist, r.safeAt = false, 0, nil, w.now
			}
			w.changed()
			return
		}
		if r.diskless {
			w.fullSync(h, p, gen)
			return
		}
		w.flow()
		h.flush()
		w.changed()
		w.after(w.side.between(ms, 5*ms+w.p.load), func() {
			switch {
			case !r.up || r.run != run || r.linkGen != gen || r.link != linkSyncing:
			case r.fails:
				w.logf("%s cannot load the copy", h.id)
				w.unlink(h)
				w.changed()
			default:
				w.fullSync(h, p, gen)
			}
		})
	})
}
