package node

import (
	"errors"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// rounds is the loop: observe, plan, act. One thing is under way at a time; elections go on beside
// it, and between two actions renewals are sent.
type rounds struct {
	n        *Node
	cur      round
	held     bool      // the lease, as people know it
	lapsedAt Time      // since when this node has won the last term and has no lease
	said     Heartbeat // what this node's own renewals carry
	share    Meta      // what gossip says of this node
	needs    string    // why an operator is needed
	awaits   bool      // it is to stop, and waits for a replica to be in sync
	poll     uint64    // the last one at the end of a round
}

// round is one of them, or, while none runs, what is known of the next.
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

// wake has a round run now, or after the one that is under way.
func (n *Node) wake() { n.rounds.cur.woken = true }

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

// step goes on with the round, or begins the next one, and reports whether it did.
func (rs *rounds) step() bool {
	n, r := rs.n, &rs.cur
	if n.stopped || n.ballot.saving || n.perform.lanes[Rounds].busy {
		return false
	}
	if !r.running {
		return rs.begin()
	}
	if !r.planned {
		rs.plan()
		return true
	}
	if rs.renew() {
		return true
	}
	if len(r.queue) > 0 {
		a := r.queue[0]
		r.queue = r.queue[1:]
		rs.act(a)
		return true
	}
	rs.end()
	return true
}

// renew sends the renewals that are due between two actions, and reports whether the disk is to be
// waited for. A disk that could not save is tried again by the next round.
func (rs *rounds) renew() bool {
	n := rs.n
	if _, unsaved := n.ballot.e.Unsaved(); unsaved || n.at == rs.cur.ticked {
		return false
	}
	rs.tick()
	return n.ballot.saving
}

func (rs *rounds) tick() {
	n := rs.n
	rs.cur.ticked = n.at
	n.ballot.elect(false, func(e *election.Elector) []election.Envelope { return e.Tick(n.at, n.ballot.learners()) }, nil)
}

func (rs *rounds) begin() bool {
	n, r := rs.n, &rs.cur
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
	rs.tick()
	return true
}

// plan looks at everything as it is now, and plans.
func (rs *rounds) plan() {
	n, r := rs.n, &rs.cur
	r.planned = true
	rs.keepLease()
	r.o, r.d = n.observe(n.current(), n.at), n.desired
	if !r.o.Election.Lease && n.heard.last.Pause.Version > n.paused.Version {
		n.ballot.setPause(n.heard.last.Pause)
	}
	rs.announce(r.o)
	if why := n.NeedsOperator(r.o); why != rs.needs {
		rs.needs = why
		n.tell(OperatorRequired{Why: why})
	}
	if awaits := reconcile.AwaitsSync(r.o, r.d); awaits != rs.awaits {
		rs.awaits = awaits
		n.tell(StopAwaitsSync{On: awaits})
	}
	r.queue = reconcile.Plan(r.o, r.d)
	n.out.Planned = true
}

// keepLease notes when the lease comes and goes.
func (rs *rounds) keepLease() {
	n := rs.n
	v := n.current()
	switch asking := string(v.Holder) == n.self && !v.Released && !v.Lease; {
	case !asking:
		rs.lapsedAt = 0
	case rs.lapsedAt == 0:
		rs.lapsedAt = n.at
	}
	if v.Lease == rs.held {
		return
	}
	rs.held = v.Lease
	if rs.held {
		n.tell(LeaseHeld{Term: uint64(v.HolderTerm)})
		return
	}
	n.tell(LeaseLost{Term: uint64(v.HolderTerm), Released: v.Released})
}

// act carries out one action of the plan; the first that fails ends the round.
func (rs *rounds) act(a reconcile.Action) {
	n, r := rs.n, &rs.cur
	switch a.(type) {
	case reconcile.HoldVIP, reconcile.PreVote: // done again and again, without anything being changed
	default:
		r.acted = true
		n.tell(ActionPlanned{Action: a})
	}
	n.perform.begin(Rounds, a, func(err error) { rs.acted(a, err) })
}

func (rs *rounds) acted(a reconcile.Action, err error) {
	n, r := rs.n, &rs.cur
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
	if n.perform.handover != nil {
		n.perform.handoverStep(a, err)
		return
	}
	if err != nil {
		r.queue, r.acted, r.failed = nil, false, true
	}
}

// end polls what was changed, and says what others should know.
func (rs *rounds) end() {
	n, r := rs.n, &rs.cur
	switch {
	case !r.finishing:
		r.finishing = true
		if !r.o.Election.Lease && !r.o.MayHold() && !r.failed && n.perform.yieldUntil == 0 {
			n.guard = guard{} // what the end of the lease asks for is done
		}
		if r.acted && n.procs[Redis].pid != 0 {
			n.perform.lanes[Rounds].busy = true
			rs.poll = n.watch.pollRedis(Rounds, PollTimeout, func(Input) { n.perform.lanes[Rounds].busy = false })
		}
		return
	case r.sentinel:
		r.sentinel = false
		if n.procs[Sentinel].pid != 0 {
			n.perform.lanes[Rounds].busy = true
			rs.poll = n.watch.pollSentinel(Rounds, func() { n.perform.lanes[Rounds].busy = false })
		}
		return
	}
	e := r.o.Election
	rs.shareMeta(e.Lease || e.EverHeard && r.o.At < e.HeardAt+reconcile.Lapse)
	if n.stopping && reconcile.Stopped(n.observe(n.current(), n.at)) {
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
