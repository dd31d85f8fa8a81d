package node

import (
	"github.com/redisd/redisd/election"
)

// overthrown is a holder whose lease lapsed, and whose place this node has taken. It may come back
// as if no time had passed: a virtual machine that was paused, whose clock was, too. What its
// clients send it is acknowledged until something there learns better, so this node sees to that
// from outside, the moment it is there again.
type overthrown struct {
	holder election.NodeID // empty: there is none
	addr   string          // of its redis-server
	term   election.Term   // in which this node took over
	since  Time
	due    Time
	trying bool
	// answered is when its agent was first heard to follow. It fences then; but it may have stood
	// still again right after it had answered.
	answered Time
	// handedOver: it gave the lease back to this node, and fences by itself as soon as it hears it.
	// What keeps writes out until then lasts for some seconds: this node looks after an agent that
	// died in between.
	handedOver bool
}

func (o *overthrown) next() Time {
	if o.holder == "" || o.trying {
		return never
	}
	return o.due
}

// succeed notes whom this node has overthrown, if it did.
func (b *ballot) succeed(v *election.View) {
	n := b.n
	was := b.last
	b.last = lastHolder{v.Holder, v.HolderTerm, v.Released, n.holderAddr(v), was.since}
	if was.term != 0 && v.HolderTerm != was.term {
		b.last.since = n.at
	}
	switch {
	case v.HolderTerm == was.term && v.Holder == was.holder:
	case string(v.Holder) != n.self:
		n.overthrown = overthrown{trying: n.overthrown.trying}
	case was.holder != "" && string(was.holder) != n.self && was.addr != "":
		n.overthrown = overthrown{
			holder: was.holder, addr: was.addr, term: v.HolderTerm, since: n.at, due: n.at, trying: n.overthrown.trying, handedOver: was.released,
		}
		if was.released {
			n.overthrown.due += FenceHandedOver
		}
	}
}

// lastHolder is a holder as the election had it last.
type lastHolder struct {
	holder   election.NodeID
	term     election.Term
	released bool
	addr     string
	since    Time // when this node learnt of its term; 0: it knew it when it began
}

// stepOverthrown tries to fence the last holder's redis-server, until that has worked or its agent
// follows this node.
func (wa *watch) stepOverthrown() {
	n := wa.n
	o := &n.overthrown
	if o.holder == "" || o.trying || n.at < o.due {
		return
	}
	every := FenceLastEvery
	if n.at > o.since+FenceLastFor {
		every = FenceLastSlow
	}
	o.due = Multiple(n.at, every)
	if _, leased := n.lease(); !leased {
		return
	}
	at, answered := n.ballot.e.AnsweredAt(o.holder)
	if answered && o.answered == 0 {
		o.answered = at
	}
	if answered && at >= o.answered+FencesItself || o.handedOver && n.at > o.since+FenceLastFor {
		*o = overthrown{}
		return
	}
	o.trying = true
	n.call(Polls, Do{Action: FenceLast{Addr: o.addr}, Until: n.at + ProbeTimeout}, func(in Input) {
		o.trying = false
		if done, _ := in.(Done); done.Err == nil {
			*o = overthrown{}
		}
	})
}
