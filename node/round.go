package node

import (
	"errors"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// round is the loop: observe, plan, act. One thing is under way at a time; elections go on
// beside it, and between two actions renewals are sent.
type round struct {
	running bool
	woken   bool
	due     Time
	ticked  Time // when the elector was last told the time
	listen  Time // a round that was late begins then
	count   int  // rounds that followed one another

	o         reconcile.Observed
	d         reconcile.Desired
	queue     []reconcile.Action
	planned   bool
	acted     bool // something was done that the next round should look at
	failed    bool
	sentinel  bool // Sentinel was told something
	finishing bool
}

// lane is what is under way in a lane, and what is left.
type lane struct {
	busy  bool
	queue []reconcile.Action
}

// wake has a round run now, or after the one that is under way.
func (n *Node) wake() { n.round.woken = true }

func (r *round) next() Time {
	switch {
	case r.running:
		return never
	case r.listen > 0:
		return r.listen
	case r.woken:
		return 0
	}
	return r.due
}

// roundStep goes on with the round, or begins the next one, and reports whether it did.
func (n *Node) roundStep() bool {
	r := &n.round
	if n.stopped || n.ballot.saving || n.lanes[Rounds].busy {
		return false
	}
	if !r.running {
		return n.beginRound()
	}
	if !r.planned {
		n.planRound()
		return true
	}
	if n.renew() {
		return true
	}
	if len(r.queue) > 0 {
		a := r.queue[0]
		r.queue = r.queue[1:]
		n.act(a)
		return true
	}
	n.endRound()
	return true
}

// renew sends the renewals that are due between two actions, and reports whether the disk
// is to be waited for. A disk that could not save is tried again by the next round.
func (n *Node) renew() bool {
	if _, unsaved := n.ballot.e.Unsaved(); unsaved || n.at == n.round.ticked {
		return false
	}
	n.tick()
	return n.ballot.saving
}

func (n *Node) tick() {
	n.round.ticked = n.at
	n.elect(false, func(e *election.Elector) []election.Envelope { return e.Tick(n.at, n.learners()) }, nil)
}

func (n *Node) beginRound() bool {
	r := &n.round
	switch {
	case r.listen > 0:
		if n.at < r.listen {
			return false
		}
	case r.count == 0 && n.at > r.due+Stalled:
		r.listen = n.at + Listen // this agent has stood still: what others said meanwhile comes first
		return false
	case !r.woken && n.at < r.due:
		return false
	}
	*r = round{running: true, due: r.due, count: r.count}
	n.tick()
	return true
}

// planRound looks at everything as it is now, and plans.
func (n *Node) planRound() {
	r := &n.round
	r.planned = true
	n.keepLease()
	r.o, r.d = n.observe(n.look(), n.at), n.desired
	if !r.o.Election.Lease && n.heard.last.Pause.Version > n.paused.Version {
		n.setPause(n.heard.last.Pause)
	}
	n.announce(r.o)
	if why := n.NeedsOperator(r.o); why != n.needs {
		n.needs = why
		n.tell(OperatorRequired{Why: why})
	}
	r.queue = reconcile.Plan(r.o, r.d)
	n.out.Planned = true
}

// keepLease notes when the lease comes and goes.
func (n *Node) keepLease() {
	v := n.look()
	switch asking := string(v.Holder) == n.self && !v.Released && !v.Lease; {
	case !asking:
		n.lapsedAt = 0
	case n.lapsedAt == 0:
		n.lapsedAt = n.at
	}
	if v.Lease == n.held {
		return
	}
	n.held = v.Lease
	if n.held {
		n.tell(LeaseHeld{Term: uint64(v.HolderTerm)})
		return
	}
	n.tell(LeaseLost{Term: uint64(v.HolderTerm), Released: v.Released})
}

// act carries out one action of the plan; the first that fails ends the round.
func (n *Node) act(a reconcile.Action) {
	r := &n.round
	if _, renewal := a.(reconcile.HoldVIP); !renewal {
		r.acted = true
		n.tell(ActionPlanned{Action: a})
	}
	n.begin(Rounds, a, func(err error) { n.acted(a, err) })
}

func (n *Node) acted(a reconcile.Action, err error) {
	r := &n.round
	if err != nil {
		n.tell(ActionFailed{Action: a, Err: err})
	}
	switch a.(type) {
	case reconcile.HoldVIP:
		if !errors.Is(err, ErrLeaseOver) {
			return // an address that cannot be had keeps nothing else from being done
		}
	case reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
		r.sentinel = err == nil
		n.sentinel.acted(n.at, err)
	}
	if n.handover != nil {
		n.handoverStep(a, err)
		return
	}
	if err != nil {
		r.queue, r.acted, r.failed = nil, false, true
	}
}

// endRound polls what was changed, and says what others should know.
func (n *Node) endRound() {
	r := &n.round
	switch {
	case !r.finishing:
		r.finishing = true
		if !r.o.Election.Lease && !r.failed {
			n.guard.over(r.o.At, r.o.FenceAfter) // what the end of the lease asks for is done
		}
		if r.acted && n.procs[Redis].pid != 0 {
			n.lanes[Rounds].busy = true
			n.pollRedis(Rounds, PollTimeout, func(Input) { n.lanes[Rounds].busy = false })
		}
		return
	case r.sentinel:
		r.sentinel = false
		if n.procs[Sentinel].pid != 0 {
			n.lanes[Rounds].busy = true
			n.pollSentinel(Rounds, func() { n.lanes[Rounds].busy = false })
		}
		return
	}
	e := r.o.Election
	n.shareMeta(e.Lease || e.EverHeard && r.o.At < e.HeardAt+reconcile.Lapse)
	if n.stopping && reconcile.Stopped(n.observe(n.look(), n.at)) {
		n.stopped = true
		r.running = false
		return
	}
	if r.acted && r.count < MoreRounds-1 {
		*r = round{woken: true, due: r.due, count: r.count + 1}
		return
	}
	period := TickEvery
	if !r.acted && !r.failed && reconcile.Calm(r.o, r.d) {
		period = CalmEvery
	}
	*r = round{woken: r.woken, due: Multiple(n.at, period)}
}
