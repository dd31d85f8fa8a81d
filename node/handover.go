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
	// before is min-replicas-to-write as it was, limit until when writes may wait.
	before  int
	limit   Time
	stopped bool // writes are
	replID  string
	cause   error // why it is being undone
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
	h := &handover{to: to, before: n.rounds.cur.o.Redis.MinReplicas}
	switch r := &pf.request; {
	case r.asked && r.to == to:
		r.asked = false
		h.request = r.id
	case !reconcile.CannotStay(n.Observe(n.at), n.desired):
		return false
	}
	pf.handover = h
	return true
}

// stopWrites fences redis-server, for good; how far its history went by then is what the successor
// must have.
func (pf *performer) stopWrites(l Lane, a reconcile.StopWrites, then func(error)) {
	n := pf.n
	if pf.mayComeLate() {
		then(errUnanswered)
		return
	}
	h, term := pf.handover, n.rounds.cur.o.Election.Term
	h.limit, h.stopped = n.at+CatchUp, true
	n.tell(HandoverBegun{To: h.to, Request: h.request})
	pf.do(l, Do{Action: a, Until: h.limit}, func(d Done) {
		if d.Err == nil {
			pf.drained = &Drained{Term: term, Offset: d.Offset}
			h.replID = d.ReplID
		}
		then(d.Err)
	})
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
	case reconcile.CloseClients:
		return // whoever stays connected is refused its writes
	case reconcile.SetMinReplicas:
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
		r.queue = []reconcile.Action{reconcile.SetMinReplicas{N: h.before}}
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
