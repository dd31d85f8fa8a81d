package reconcile

import "slices"

// CannotStay: a primary here is to move, whether an operator asked for it or not. This node stops,
// it is to run no redis-server any more, its redis-server refuses writes because it cannot write to
// its disk, or nothing can be saved here.
func CannotStay(o Observed, d Desired) bool {
	return o.Stopping || !d.Redis || o.Redis.WriteError || o.CannotSave
}

// handOver moves the primary to another node when that was requested or it cannot stay. Nothing
// moves while the cluster is paused: nobody would get the votes.
func (p *plan) handOver() bool {
	o := p.o
	wanted := o.Handover || CannotStay(o, p.d)
	if o.Paused || !wanted || !o.leased() || !o.Redis.answers() || o.Redis.Role != Primary {
		return false
	}
	to := p.target()
	if to == "" || o.At < o.HandoverAt+HandOverAgain || len(p.actions) > 0 { // its role comes first
		return false
	}
	p.handOverTo(to)
	return true
}

// handOverTo moves the primary to another node without losing a write: the successor is checked
// while writes go on; then writes wait, the successor has all that came in, and only then is the
// lease given back. The clients and the address stay until the successor is there; see letGo.
func (p *plan) handOverTo(to string) {
	p.do(CheckInSync{To: to}, CheckRecorded{To: to}, StopWrites{To: to}, AwaitOffset{To: to}, Release{Why: "handed over to " + to, To: to})
}

// yields: the lease was handed over, and nobody is heard to serve yet. Writes wait here; a client
// that were sent away now would find no primary, and no address, and come back a second later.
func (p *plan) yields() bool {
	o, r := p.o, p.o.Redis
	return o.At < o.YieldUntil && r.Held && r.answers() && r.Role == Primary && !o.leased() && !o.holderHeard()
}

// letGo ends a handover: the clients are closed, at once with the fence, so that none of them is
// refused a write, and the address goes. Whoever connects in between is refused or told.
func (p *plan) letGo() {
	if r := p.o.Redis; p.o.YieldUntil > 0 && r.Held && r.answers() && r.Role == Primary && !p.o.leased() {
		p.do(CloseClients{})
	}
}

// target is the node that the primary moves to: the one asked for, or the standing successor; after
// a handover that failed, the next. A node that cannot stay primary takes any successor there is.
func (p *plan) target() string {
	s := p.successors()
	switch {
	case len(s) == 0:
		return ""
	case p.o.Handover && slices.Contains(s, p.o.HandoverTo) && !p.untold(p.o.HandoverTo):
		return p.o.HandoverTo
	case p.o.Handover && p.o.HandoverTo != "" && !CannotStay(p.o, p.d):
		return ""
	}
	return s[p.o.HandoverFailures%len(s)] // one that does not answer is in sync for two seconds yet
}

// untold: a voter that was a learner until now may not know that it can take over.
func (p *plan) untold(id string) bool {
	return slices.ContainsFunc(p.o.Election.Voters, func(v Voter) bool { return v.ID == id && v.Untold })
}

// stop ends the node in order: hand the primary over and wait until somebody has taken it, stop
// redis-server with its data saved, and Sentinel last, whose voice counts meanwhile. Losing the
// lease on the way is no obstacle: stepDown has fenced redis-server then. Sentinel's publication is
// not waited for: it takes a second, needs nothing from this node, and nobody can write here any
// more.
func (p *plan) stop() {
	o := p.o
	if o.leased() && o.Redis.Running {
		if to := p.target(); to != "" && o.HandoverFailures < HandOverTries && !o.Paused && o.Redis.Role == Primary {
			if o.At >= o.HandoverAt+HandOverAgain {
				p.handOverTo(to)
				return
			}
			p.resume() // between two attempts the writes go on
			p.vips()
			return
		}
		if AwaitsSync(o, p.d) {
			p.resume() // writes go on
			p.vips()
			return
		}
		// Nobody can take over: no write may come in any more.
		if o.Redis.MinReplicas != Fence {
			p.do(FenceRedis{Why: "stopping"}, CloseClients{})
		}
		p.dropVIPs("stopping")
	}
	switch {
	case p.yields() || p.awaitsSuccessor():
	case o.Redis.Running && o.Redis.Apart && o.holderHeard():
		// It would not end before the rewrite has, and the primary has all of that.
		p.do(KillRedis{Why: "it is to stop, and rewrites what it has copied"})
	case o.Redis.Running:
		p.do(StopRedis{})
	case o.Sentinel.Running:
		p.do(StopSentinel{})
	}
}

// AwaitsSync: this primary is to stop, and nobody can take over yet who may be able to soon: what
// it has is nowhere else, so it serves on for a while.
func AwaitsSync(o Observed, d Desired) bool {
	p := &plan{o: o, d: d}
	if !o.Stopping || !o.leased() || o.Redis.Role != Primary || o.Paused || o.At >= o.StoppingSince+AwaitSync || p.target() != "" {
		return false
	}
	return slices.ContainsFunc(o.Members, func(m Member) bool {
		return m.ID != o.Self && m.Alive && m.Redis != "" && m.Priority != PriorityNever && p.isVoter(m.ID)
	})
}

// awaitsSuccessor: this node has just given the lease back, and one of the successors is about to
// take it.
func (p *plan) awaitsSuccessor() bool {
	e := p.o.Election
	return p.o.Redis.Running && e.Holder == p.o.Self && e.Released && len(e.Successors) > 0 && p.o.At < e.OpenedAt+AwaitSuccessor
}

// Stopped reports that a stopping node has nothing left to stop, nor to give back.
func Stopped(o Observed) bool {
	return o.Stopping && !o.Redis.Running && !o.Sentinel.Running && !o.holds()
}
