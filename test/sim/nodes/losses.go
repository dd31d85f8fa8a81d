package nodes

// allowWrites: S2 and S3. Under a new term writes are accepted here: what was acknowledged and is
// not in this dataset is lost. By a handover nothing may be.
func (c *checker) allowWrites(h *host, term uint64) {
	w, r := c.w, &h.redis
	if r.term = term; c.leftOut(h) {
		w.logf("%s is let in in an epoch that is over, and does not know", h.id)
		return
	}
	c.epoch = max(c.epoch, epochOf(term))
	if r.late {
		w.res.Late++
		if term <= c.allowedTerm {
			return
		}
		c.handed = false
	}
	if term == c.allowedTerm {
		c.handed = false // it was not handed over after all
		c.forget(r)
		return
	}
	c.allowedTerm = term
	if s := c.last(r); s != nil && term > s.term {
		s.later = append(s.later, segmentTerm{term, r.pos})
	}
	w.res.Promotions++
	lost, widely, passedOver := int64(0), false, false
	for id := range c.segments {
		s := &c.segments[id]
		have := max(has(r.hist, r.pos, int32(id)), s.start)
		if have >= s.acked {
			continue
		}
		lost += s.acked - have
		n := 0
		for _, o := range w.hosts {
			if o.d.Redis && !o.doubt && has(o.redis.hist, o.redis.pos, int32(id)) > have {
				n++
				passedOver = passedOver || o.redis.term < s.term && w.inTouchWith(h, o)
			}
		}
		widely = widely || n > len(w.hosts)/2
		s.acked = have
	}
	if !c.forced() {
		c.lacks(h)
	}
	if lost > 0 {
		w.res.Losses++
		w.logf("%s let in without %d bytes, a majority has some: %v, one in touch: %v", h.id, lost, widely, passedOver)
	}
	if passedOver {
		w.res.PassedOver++
	}
	if widely {
		w.res.WideLosses++
	}
	if lost > 0 && c.handed && c.spoilt == w.res.PowerLosses+w.res.Ends {
		c.failf("%d bytes lost by the handover to %s", lost, h.id)
	}
	c.handed = false
}

// inTouchWith: h and o have been able to talk for a while, and o could take over.
func (w *world) inTouchWith(h, o *host) bool {
	return o.alive() && !o.stands && o.redis.responds(w.now) && !o.redis.loading && w.linked(h, o) && w.now > max(h.cutAt, o.cutAt)+100*ms
}

// forget: what a loss of power took from the primary is no loss by what comes later.
func (c *checker) forget(r *server) {
	if c.w.res.PowerLosses == 0 {
		return
	}
	for id := range c.segments {
		s := &c.segments[id]
		s.acked = min(s.acked, max(has(r.hist, r.pos, int32(id)), s.start))
	}
}

// forced: an operator has just forced a failover, and accepted that data is lost.
func (c *checker) forced() bool { return c.forcedAt > 0 && c.w.now < c.forcedAt+forcedFor }

// lacks: S2. A dataset with nothing in it is let in by nobody but an operator once there was some;
// and after a power loss what most voters have on their disks is not left behind, but for what a
// record may be older than its dataset.
func (c *checker) lacks(h *host) {
	w, r := c.w, &h.redis
	for id := range c.segments[:len(c.segments)-1] {
		s := &c.segments[id]
		if s.acked <= s.start {
			continue
		}
		if r.pos == 0 {
			c.failf("%s is let in with nothing", h.id)
			return
		}
		have, n := max(has(r.hist, r.pos, int32(id)), s.start)+recordAge, 0
		for _, o := range w.hosts {
			d := o.redis.durable()
			if o.d.Redis && h.votesWith(o) && min(has(d.hist, d.pos, int32(id)), s.reached) > have {
				n++
			}
		}
		if n > min(w.size(), h.voters())/2 && w.has(DiskCounts) {
			c.failf("%s is let in, and %d voters have more of segment %d on their disks", h.id, n, id)
		}
	}
}

// recordAge is how much a dataset may have gained since its record was synced last.
const recordAge = int64(2100 * ms / ms * writeRate)
