package node

import (
	"fmt"

	"github.com/redisd/redisd/reconcile"
)

// request is an operator's request to move the primary, from when it is made until a
// handover has begun, or it was cancelled.
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

// CancelSwitchover takes a request back, and reports whether nothing was done for it and
// nothing will be.
func (n *Node) CancelSwitchover(id string) bool {
	if n.request.id != id || !n.request.asked {
		return false
	}
	n.request.asked = false
	return true
}

// stepHandover does one of the steps that only a handover has.
func (n *Node) stepHandover(l Lane, action reconcile.Action, then func(error)) {
	switch a := action.(type) {
	case reconcile.CheckInSync:
		if !n.beginHandover(a.To) {
			n.round.queue = nil // the request was cancelled after this was planned
			then(nil)
			return
		}
		n.do(l, Do{Action: a, Until: n.at + ActTimeout}, func(d Done) { then(d.Err) })
	case reconcile.CheckRecorded:
		n.do(l, Do{Action: a, Until: n.at + RecordedWithin}, func(d Done) { then(d.Err) })
	case reconcile.StopWrites:
		n.stopWrites(l, a, then)
	case reconcile.AwaitOffset:
		a.Offset = n.drained.Offset
		n.do(l, Do{Action: a, Until: n.handover.limit}, func(d Done) { then(d.Err) })
	}
}

// beginHandover reports whether there is a reason to move the primary still.
func (n *Node) beginHandover(to string) bool {
	h := &handover{to: to, before: n.round.o.Redis.MinReplicas}
	switch r := &n.request; {
	case r.asked && r.to == to:
		r.asked = false
		h.request = r.id
	case !reconcile.CannotStay(n.Observe(n.at), n.desired):
		return false
	}
	n.handover = h
	n.tell(HandoverBegun{To: to, Request: h.request})
	return true
}

// stopWrites fences redis-server, for good; how far its history went by then is what the
// successor must have.
func (n *Node) stopWrites(l Lane, a reconcile.StopWrites, then func(error)) {
	if n.mayComeLate() {
		then(errUnanswered)
		return
	}
	h, term := n.handover, n.round.o.Election.Term
	h.limit, h.stopped = n.at+CatchUp, true
	n.do(l, Do{Action: a, Until: h.limit}, func(d Done) {
		if d.Err == nil {
			n.drained = &Drained{Term: term, Offset: d.Offset}
			h.replID = d.ReplID
		}
		then(d.Err)
	})
}

// handoverStep takes note of how a step went. When one fails before the lease is given back,
// writes that were stopped go on here, if this node may still accept them.
func (n *Node) handoverStep(a reconcile.Action, err error) {
	h, r := n.handover, &n.round
	released := false
	switch a.(type) {
	case reconcile.Release:
		released = true
	case reconcile.CloseClients:
		return // whoever stays connected is refused its writes
	case reconcile.SetMinReplicas:
		n.endHandover(h.cause) // undone
		r.failed = true
		return
	}
	switch {
	case err == nil && released:
		n.endHandover(nil)
	case err == nil:
	case released:
		// Nothing was lost, and nothing can be undone: the release is sent as soon as the
		// disk takes it.
		r.queue = nil
		n.endHandover(fmt.Errorf("release the lease: %w", err))
	case !h.stopped:
		r.queue, r.acted = nil, false
		n.endHandover(err)
	default:
		h.cause = err
		n.drained = nil
		r.queue = []reconcile.Action{reconcile.SetMinReplicas{N: h.before}}
	}
}

func (n *Node) endHandover(err error) {
	h := n.handover
	n.handover = nil
	n.request.triedAt = n.at
	if err != nil {
		n.request.failures++
	} else {
		n.request.failures = 0
	}
	e := HandoverEnded{To: h.to, Request: h.request, Err: err, Stopped: h.stopped, Drained: n.drained != nil && h.stopped, ReplID: h.replID}
	if n.drained != nil {
		e.Offset = n.drained.Offset
	}
	n.tell(e)
}
