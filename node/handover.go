package node

import (
	"fmt"

	"github.com/redisd/redisd/reconcile"
)

// request is an operator's request to move the primary, from when it is made until a handover has
// begun, or it was cancelled.
type request struct {
	id, to   string
	asked    bool // no handover has begun for it
	failures int  // of handovers, since it was made
	triedAt  Time
}

// handover is one that is under way.
type handover struct {
	to, request string
	limit       Time // until when writes may wait
	stopped     bool // writes are
	replID      string
	cause       error // why it is being undone
}

// CancelSwitchover takes a request back, and reports whether nothing was done for it and nothing
// will be.
func (n *Node) CancelSwitchover(id string) bool {
	if n.perform.request.id != id || !n.perform.request.asked {
		return false
	}
	n.perform.request.asked = false
	return true
}

// stepHandover does one of the steps that only a handover has.
func (pf *performer) stepHandover(l Lane, action reconcile.Action, then func(error)) {
	n := pf.n
	switch a := action.(type) {
	case reconcile.CheckInSync:
		if !pf.beginHandover(a.To) {
			n.rounds.cur.queue = nil // the request was cancelled after this was planned
			then(nil)
			return
		}
		pf.do(l, Do{Action: a, Until: n.at + ActTimeout}, func(d Done) { then(d.Err) })
	case reconcile.CheckRecorded:
		pf.do(l, Do{Action: a, Until: n.at + RecordedWithin}, func(d Done) { then(d.Err) })
	case reconcile.StopWrites:
		pf.stopWrites(l, a, then)
	case reconcile.AwaitOffset:
		a.Offset = pf.drained.Offset
		pf.do(l, Do{Action: a, Until: pf.handover.limit}, func(d Done) { then(d.Err) })
	}
}

// beginHandover reports whether there is a reason to move the primary still.
func (pf *performer) beginHandover(to string) bool {
	n := pf.n
	h := &handover{to: to}
	switch r := &pf.request; {
	case r.asked && r.to == to:
		r.asked = false
		h.request = r.id
	case !reconcile.CannotStay(n.Observe(n.at), n.desired):
		return false
	}
	pf.handover, pf.yielding = h, ""
	return true
}

// stopWrites has clients' writes wait; how far the history went by then is what the successor must
// have.
//
// That they wait stands in for the fence until the clients are closed: whoever had the fence first
// would be refused a write. So they wait for reconcile's YieldFor many times over (HoldFor):
// an agent that dies in between has long been followed by the next one, which fences, and by the
// successor, which does it from outside.
func (pf *performer) stopWrites(l Lane, a reconcile.StopWrites, then func(error)) {
	n := pf.n
	if pf.mayComeLate() {
		then(errUnanswered)
		return
	}
	h, term := pf.handover, n.rounds.cur.o.Election.Term
	h.limit, h.stopped = n.at+CatchUp, true
	n.tell(HandoverBegun{To: h.to, Request: h.request})
	pid := n.procs[Redis].pid
	pf.held = pid
	pf.do(l, Do{Action: a, Until: h.limit}, func(d Done) {
		switch {
		case d.Err == nil:
			pf.drained = &Drained{Term: term, Offset: d.Offset}
			h.replID = d.ReplID
		case !d.Answered && !d.NotBegun:
			pf.holds = late{pid, n.at}
		}
		then(d.Err)
	})
}

// resumeWrites has the writes go on that wait. A command that has them wait, and was not answered,
// may be carried out after this one: so it is done again until that is out of the question.
func (pf *performer) resumeWrites(l Lane, then func(error)) {
	pid := pf.n.procs[Redis].pid
	pf.allowWrites(l, reconcile.ResumeWrites{}, func(err error) {
		if err == nil && pf.held == pid && pf.holds.pid != pid {
			pf.held = 0
		}
		then(err)
	})
}

// yield begins when the lease is about to be handed over: the clients, whose writes wait, stay here
// until the successor serves. The guard sees to it that they do not stay for longer, also when the
// disk that is to take the release hangs.
func (pf *performer) yield() {
	n := pf.n
	if pid := n.procs[Redis].pid; pid != 0 && pf.held == pid {
		pf.yieldUntil, pf.yielding = n.at+reconcile.YieldFor, pf.handover.request
		n.guard = guard{until: pf.yieldUntil}
	}
}

// handoverStep takes note of how a step went. When one fails before the lease is given back, writes
// that were stopped go on here, if this node may still accept them.
func (pf *performer) handoverStep(a reconcile.Action, err error) {
	n := pf.n
	h, r := pf.handover, &n.rounds.cur
	released := false
	switch a.(type) {
	case reconcile.Release:
		released = true
	case reconcile.ResumeWrites:
		pf.endHandover(h.cause) // undone
		r.failed = true
		return
	}
	switch {
	case err == nil && released:
		pf.endHandover(nil)
	case err == nil:
	case released:
		// Nothing was lost, and nothing can be undone: the release is sent as soon as the disk
		// takes it.
		r.queue = nil
		pf.endHandover(fmt.Errorf("release the lease: %w", err))
	case !h.stopped:
		r.queue, r.acted = nil, false
		pf.endHandover(err)
	default:
		h.cause = err
		pf.drained = nil
		r.queue = []reconcile.Action{reconcile.ResumeWrites{}}
	}
}

func (pf *performer) endHandover(err error) {
	n := pf.n
	h := pf.handover
	pf.handover = nil
	pf.request.triedAt = n.at
	if err != nil {
		pf.request.failures++
	} else {
		pf.request.failures = 0
	}
	e := HandoverEnded{To: h.to, Request: h.request, Err: err, Stopped: h.stopped, Drained: pf.drained != nil && h.stopped, ReplID: h.replID}
	if pf.drained != nil {
		e.Offset = pf.drained.Offset
	}
	n.tell(e)
}
