package node

import (
	"slices"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// ballot keeps the election's promise: what an answer depends on is on disk before the answer is
// sent. While its state is being saved nothing else is done with the elector.
type ballot struct {
	n      *Node
	e      *election.Elector
	saving bool
	// held waits for the disk, and then is told how that went.
	held []Send
	then func(error)
	// waiting is to be done once the elector is free.
	waiting []func()
	// pause is a later pause that is to be kept, or is being kept with this save.
	pause   *Pause
	keeping bool
	last    lastHolder
	// standDownAt is when a release that is being saved is to be said without that; 0: never.
	standDownAt Time
	// onDisk is the last state that was saved.
	onDisk    election.State
	next      election.State // that is being saved
	jitterAt  Time
	jitterFor Time
	// heard is what voters last said they can do.
	heard map[election.NodeID]ability
}

// elect does f on the elector, sends what it returns once its state is on disk, and then goes on;
// then may be nil. When the state cannot be saved nothing is sent, which to the others is a lost
// message. It is not to be called while a save is under way.
func (b *ballot) elect(tcp bool, f func(e *election.Elector) []election.Envelope, then func(error)) {
	n := b.n
	envelopes := f(b.e)
	n.changed()
	out := b.address(envelopes, tcp)
	b.learn()
	if _, unsaved := b.e.Unsaved(); unsaved {
		b.save(out, then)
		return
	}
	n.out.Send = append(n.out.Send, out...)
	if then != nil {
		then(nil)
	}
}

func (b *ballot) save(out []Send, then func(error)) {
	n := b.n
	st, _ := b.e.Unsaved()
	b.saving, b.held, b.then, b.keeping, b.next = true, out, then, b.pause != nil, st
	next := State{Election: st, Pause: n.paused, Removed: n.removed.saving()}
	if b.keeping {
		next.Pause = *b.pause
	}
	// With the release itself: the next agent must not vote for less.
	if d := n.perform.drained; d != nil && st.Released && d.Term == uint64(st.HolderTerm) {
		next.Drained = d
	}
	if st.Released && n.perform.whole == uint64(st.HolderTerm) {
		next.Whole = n.perform.whole
	}
	if !b.onDisk.Released {
		b.standDownAt = n.at + StandDownAfter
	}
	n.out.Save = &next
}

// standDown says that a release is under way which the disk is slow to take: this node keeps it as
// long as it lives.
func (b *ballot) standDown() {
	n := b.n
	if !b.saving || b.standDownAt == 0 || n.at < b.standDownAt {
		return
	}
	b.standDownAt = 0
	n.out.Send = append(n.out.Send, b.address(b.e.StandDown(n.at), false)...)
}

// nextStandDown is when standDown has something to do.
func (b *ballot) nextStandDown() Time {
	if !b.saving || b.standDownAt == 0 {
		return never
	}
	return b.standDownAt
}

func (b *ballot) saved(err error) {
	n := b.n
	out, then := b.held, b.then
	b.saving, b.held, b.then, b.standDownAt = false, nil, nil, 0
	if b.keeping {
		b.pauseKept(err)
	}
	n.removed.saved(n.at, err)
	if err == nil {
		b.onDisk = b.next
		b.e.Saved()
		n.changed()
		n.out.Send = append(n.out.Send, out...)
		b.learn()
	} else {
		if !b.onDisk.Released { // what it gave back it does not take again while it lives
			n.out.Send = append(n.out.Send, b.address(b.e.StandDown(n.at), false)...)
		}
	}
	if then != nil {
		then(err)
	}
	for len(b.waiting) > 0 && !b.saving {
		next := b.waiting[0]
		b.waiting = b.waiting[1:]
		next()
	}
}

// hidden: the lease that the elector knows of is not on disk. What is being saved may be something
// else, like a change of the voters.
func (b *ballot) hidden() bool {
	st, unsaved := b.e.Unsaved()
	d := &b.onDisk
	return unsaved && !(b.saving && d.Holder == st.Holder && d.HolderTerm == st.HolderTerm && d.Released == st.Released)
}

// whenFree does f as soon as no save is under way.
func (b *ballot) whenFree(f func()) {
	if b.saving {
		b.waiting = append(b.waiting, f)
		return
	}
	f()
}

// address turns envelopes into messages, and says which a lost packet would make late.
func (b *ballot) address(out []election.Envelope, tcp bool) []Send {
	n := b.n
	if len(out) == 0 {
		return nil
	}
	sends := make([]Send, len(out))
	for i, env := range out {
		reliable := true
		switch env.Message.(type) {
		case election.Renew:
			t, ok := b.e.AnsweredAt(env.To)
			reliable = !ok || n.at-t > ReliableAfter
		case election.RenewReply:
			// Whoever renews over TCP hears no packets, and so would not hear this one.
			reliable = tcp
		}
		sends[i] = Send{To: env.To, Message: env.Message, Reliable: reliable}
	}
	return sends
}

// learn takes in what may have changed in the election.
func (b *ballot) learn() {
	n := b.n
	v := n.current()
	n.heard.hear(*v)
	b.redrawJitter(v)
	n.watch.updateVersion(v)
	b.succeed(v)
}

// redrawJitter draws anew after each claim, and each vote for another.
func (b *ballot) redrawJitter(v *election.View) {
	n := b.n
	if at := max(v.ClaimedAt, v.VotedAt); at != b.jitterAt || b.jitterFor == 0 {
		b.jitterAt, b.jitterFor = at, n.jitter(ClaimJitter)
	}
}

// backoff is when the last claim ended, or this node last voted for another, and a little more, by
// chance.
func (b *ballot) backoff(v *election.View) Time {
	return max(v.ClaimedAt, v.VotedAt) + b.jitterFor
}

// inbox are the messages that wait until the elector is free, one after the other.
type inbox struct {
	list []Received
	// polling: the first of them is a claim, which waits for a fresh poll; polled: it has had it.
	polling, polled bool
}

func (b *ballot) receive(in Received) {
	n := b.n
	b.note(in)
	if len(n.inbox.list) < inboxMost && !n.inbox.waits(in.Message) {
		n.inbox.list = append(n.inbox.list, in)
	}
}

// waits: the same claim waits already. It comes by packet and by stream, and is said again and
// again; as each waits for a poll, a redis-server that is busy would have this node hear nothing
// else for as long as somebody claims.
func (i *inbox) waits(m election.Message) bool {
	c, claim := m.(election.Claim)
	return claim && slices.ContainsFunc(i.list, func(in Received) bool {
		o, ok := in.Message.(election.Claim)
		return ok && o.Candidate == c.Candidate && o.Term == c.Term && o.Sent == c.Sent
	})
}

// readInbox handles what has come in, and reports whether it did.
func (b *ballot) readInbox() (moved bool) {
	n := b.n
	for len(n.inbox.list) > 0 && !b.saving && !n.inbox.polling {
		in := n.inbox.list[0]
		if _, claim := in.Message.(election.Claim); claim && !n.inbox.polled && n.procs[Redis].pid != 0 {
			n.inbox.polling = true
			n.watch.pollRedis(Polls, FreshTimeout, func(Input) { n.inbox.polling, n.inbox.polled = false, true })
			return true
		}
		n.inbox.list, n.inbox.polled = n.inbox.list[1:], false
		b.handle(in)
		moved = true
	}
	return moved
}

func (b *ballot) handle(in Received) {
	n := b.n
	var local election.Local
	switch in.Message.(type) {
	case election.Claim, election.PreVote:
		local = n.Local()
	case election.Renew:
		local.Unreachable = n.probe.unreachable(n.at)
	}
	before := b.brief()
	b.elect(in.TCP, func(e *election.Elector) []election.Envelope { return e.Step(n.at, in.Message, local) }, func(error) {
		if b.brief() != before {
			n.wake()
		}
	})
}

// brief is of the election what makes a round worth while.
type brief struct {
	holder                                                  election.NodeID
	term                                                    election.Term
	primary                                                 string
	released, lease, nudged, claiming, overtaken, everHeard bool
}

func (b *ballot) brief() brief {
	n := b.n
	v := n.current()
	return brief{
		holder: v.Holder, term: v.HolderTerm, primary: v.Primary, released: v.Released, lease: v.Lease,
		nudged: v.Nudged, claiming: v.Claiming, overtaken: v.Overtaken, everHeard: v.EverHeard,
	}
}

// learners are the members that renewals go to beside the voters.
func (b *ballot) learners() []election.NodeID {
	n := b.n
	var out []election.NodeID
	for _, m := range n.members {
		if m.Alive && m.ID != n.self && !n.isRemoved(election.NodeID(m.ID)) {
			out = append(out, election.NodeID(m.ID))
		}
	}
	return out
}

func (b *ballot) setPause(p Pause) {
	n := b.n
	if p.Version > n.paused.Version && (b.pause == nil || p.Version > b.pause.Version) {
		b.pause = &p
		// A save under way has the one before it: this one follows.
		b.keeping = false
	}
}

// savePause puts a later pause on disk, and reports whether it began to.
func (b *ballot) savePause() bool {
	if b.pause == nil || b.saving {
		return false
	}
	b.save(nil, nil)
	return true
}

func (b *ballot) pauseKept(err error) {
	n := b.n
	p := *b.pause
	b.pause, b.keeping = nil, false
	if err != nil {
		n.tell(PauseRefused{Err: err})
		return
	}
	was := n.paused.On
	n.paused = p
	if was != p.On {
		n.tell(PauseChanged{On: p.On})
	}
	n.wake()
}

// Paused is the pause that this node has on disk.
func (n *Node) Paused() Pause { return n.paused }

// force is an operator's decision to have this node claim the lease.
type force struct {
	leaveOut   bool
	until, due Time // until 0: there is none
	polling    bool
}

// stepForce claims by force when that is due, and reports whether it did something.
func (b *ballot) stepForce() bool {
	n := b.n
	f := &n.force
	if f.until == 0 || f.polling || b.saving || n.at < f.due {
		return false
	}
	if _, leased := n.lease(); leased || n.at >= f.until {
		*f = force{polling: f.polling}
		n.wake()
		return true
	}
	f.polling, f.due = true, n.at+ForceAgain
	n.watch.freshPoll(Polls, func() {
		b.whenFree(func() {
			f.polling = false
			if n.at >= f.until {
				return // nobody waits for it any more, or it was taken back
			}
			if r := n.Observe(n.at).Redis; !r.Known || r.Loading {
				return // it could not be primary, and nobody else any more
			}
			local, voters := n.Local(), b.votersLeft(f.leaveOut)
			b.elect(false, func(e *election.Elector) []election.Envelope { return e.Force(n.at, local, voters) }, nil)
		})
	})
	return true
}

// votersLeft are the voters, without those that are away if they are left out. Then this node is
// one also if it has been left out itself: an operator makes it the primary.
func (b *ballot) votersLeft(leaveOut bool) []election.Voter {
	n := b.n
	roster := n.current().Roster
	if !leaveOut {
		return roster.Voters
	}
	var left []election.Voter
	for _, v := range roster.Voters {
		if slices.ContainsFunc(n.members, func(m reconcile.Member) bool { return m.Alive && m.ID == string(v.ID) }) {
			left = append(left, v)
		}
	}
	for _, m := range n.members {
		if m.ID == n.self && !roster.Has(election.NodeID(n.self)) {
			left = append(left, election.Voter{ID: election.NodeID(n.self), Addr: m.Gossip})
		}
	}
	return left
}
