package node

import (
	"errors"

	"github.com/redisd/redisd/reconcile"
)

// guard is the dead man's switch of the rounds. What the end of a lease asks for is their business;
// but a round may be stuck, most likely in a write to a disk that hangs, and must not keep the
// right to write and the VIP with it. Its lane is never behind the rounds'.
type guard struct {
	// until is the end of the lease; zero: there is none, or what has to be done was done.
	until Time
	woke  bool // the rounds were called at its end
}

// next is when there is something to look at: the end of the lease, when the rounds are called, and
// then, when they have had their time.
func (g *guard) next(at Time) Time {
	if g.until == 0 {
		return never
	}
	next := g.until + WakeMargin
	if at >= next {
		next = g.until + GuardMargin
	}
	return min(next, at+GuardEvery)
}

// guardStep calls the rounds at the end of a lease, and does itself what they have not done a
// moment later.
func (n *Node) guardStep() {
	g := &n.guard
	if g.until == 0 || n.at < g.until+WakeMargin {
		g.woke = false
		return
	}
	if until, ok := n.lease(); ok {
		*g = guard{until: until} // an answer has made it longer
		return
	}
	if n.at >= g.until+GuardMargin {
		*g = guard{}
		n.perform.stepDown()
		return
	}
	if !g.woke {
		g.woke = true
		n.wake()
	}
}

// stepDown does what reconcile plans for the end of a lease, without a plan.
func (pf *performer) stepDown() {
	n := pf.n
	n.tell(GuardActs{})
	var todo []reconcile.Action
	todo = append(todo, reconcile.FenceRedis{Why: "the lease ended while the agent was stuck"}, reconcile.CloseClients{})
	for _, v := range n.vips {
		if !v.Replica {
			todo = append(todo, reconcile.DropVIP{Address: v.Address, Why: "the lease ended while the agent was stuck"})
		}
	}
	l := &pf.lanes[Guard]
	l.queue = todo
	pf.guardLane()
}

// guardLane goes on with what is left; whatever fails, the rest is done.
func (pf *performer) guardLane() {
	n := pf.n
	l := &pf.lanes[Guard]
	for !l.busy && len(l.queue) > 0 {
		a := l.queue[0]
		l.queue = l.queue[1:]
		if _, ok := a.(reconcile.CloseClients); ok && n.procs[Redis].pid == n.redis.killed {
			continue
		}
		pf.begin(Guard, a, func(err error) {
			if err != nil {
				n.tell(ActionFailed{Action: a, Err: err})
			}
			pf.guardLane()
		})
	}
}

var (
	// ErrLeaseOver: the lease lapsed between the plan and the act.
	ErrLeaseOver  = errors.New("the lease is over")
	errUnanswered = errors.New("an earlier command that lets writes in was not answered, and may be carried out yet")
)
