package node

import (
	"slices"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// Options is what a node is made of.
type Options struct {
	Self string
	// Now is when this agent begins.
	Now Time
	// State and Record are what this node's disk remembers.
	State  State
	Record Record
	// RedisPID and SentinelPID are the processes that an earlier agent left running; 0: none.
	RedisPID, SentinelPID int
	// SentinelConfigured: redis-sentinel has a file from an earlier run.
	SentinelConfigured bool
	// LeaseUntil is until when the lease of that agent may run.
	LeaseUntil Time
	// Redis is where this node's redis-server listens, "ip:port".
	Redis   string
	Desired reconcile.Desired
	// Jitter draws a duration below its argument.
	Jitter func(Time) Time
	// ClusterID draws the name of a new cluster.
	ClusterID func() string
}

// State is what must survive the agent and a power loss.
type State struct {
	Election election.State `json:"election"`
	Pause    Pause          `json:"pause"`
	// Drained is how far this node's history went when it handed over last.
	Drained *Drained `json:"drained,omitempty"`
	// Whole is the term whose lease this node gave back with all its data, if that is the last one
	// there was.
	Whole uint64 `json:"whole,omitempty"`
	// Removed are the nodes that are no members any more.
	Removed []Removal `json:"removed,omitempty"`
}

// Pause is an operator's request that nothing be changed automatically. It holds for the whole
// cluster: every node keeps it on disk, the holder's heartbeats carry it to those that were away
// when it was made, and the later version counts.
type Pause struct {
	Version uint64 `json:"version"`
	On      bool   `json:"on"`
}

// Node is one node of a cluster. New makes one.
type Node struct {
	self       string
	redisAddr  string
	started    Time
	fenceAfter Time
	jitter     func(Time) Time
	clusterID  func() string
	desired    reconcile.Desired
	at         Time // of the Step that runs
	begun      bool // the first Tick has come
	seen       seen
	out        Ready

	ballot     ballot
	inbox      inbox
	redis      redisWatch
	sentinel   sentinelWatch
	probe      probe
	overthrown overthrown
	procs      [2]process
	vips       []reconcile.VIP
	members    []reconcile.Member
	conflict   bool // another host answers under this node's ID
	paused     Pause
	removed    removed
	stopping   bool
	// stoppingSince is when it was asked to stop.
	stoppingSince Time
	stopped       bool
	// failsSince is since when nothing can be saved; 0: it can.
	failsSince Time

	heard   heardBeat // from the holder
	force   force
	guard   guard
	rounds  rounds
	perform performer
	watch   watch
	calls   map[uint64]func(Input)
	nextID  uint64

	leaseNoted Time
}

// New returns a node that has done nothing yet. A lease that an earlier agent of this node held may
// still be counted on for as long as it runs.
func New(o Options) *Node {
	n := &Node{
		self: o.Self, redisAddr: o.Redis, started: o.Now, jitter: o.Jitter, clusterID: o.ClusterID, desired: o.Desired,
		at: o.Now, paused: o.State.Pause, calls: map[uint64]func(Input){},
	}
	n.rounds.n, n.watch.n = n, n
	n.removed.set(o.State.Removed)
	n.perform = performer{n: n, drained: o.State.Drained, whole: o.State.Whole}
	n.ballot = ballot{n: n, e: election.New(election.NodeID(o.Self), o.State.Election, o.Now), onDisk: o.State.Election}
	n.redis = redisWatch{rec: o.Record, saved: o.Record, stale: o.RedisPID != 0}
	lately := o.LeaseUntil > 0 && o.Now < o.LeaseUntil+UnsureFor // and its end may not have been seen to
	n.redis.unsure = o.RedisPID != 0 && (string(o.State.Election.Holder) == o.Self || lately)
	n.perform.releasedBy = o.RedisPID
	if e := o.State.Election; o.RedisPID == 0 {
		n.redis.rec.forget()
		if string(e.Holder) == o.Self && e.Released {
			n.perform.whole = uint64(e.HolderTerm) // the host was down: that its redis-server had crashed before is long ago
		}
	}
	n.redis.due, n.sentinel.due, n.probe.due = o.Now, o.Now, o.Now
	n.watch.recordDue, n.watch.syncDue = o.Now, o.Now
	n.procs[Redis].started(o.RedisPID)
	n.procs[Sentinel].started(o.SentinelPID)
	n.procs[Sentinel].configured = o.SentinelConfigured
	held := string(o.State.Election.Holder) == o.Self
	if released := held && o.State.Election.Released; o.RedisPID != 0 && !released { // else there is no lease to wait for
		n.fenceAfter = max(o.LeaseUntil, o.Now+FirstRenewal)
		if held {
			n.guard.until = n.fenceAfter // the first rounds may be the ones that are stuck
		}
	}
	if held {
		n.perform.held = o.RedisPID // the agent before this one may have died in a handover
	}
	n.rounds.cur.due = o.Now
	n.ballot.redrawJitter(n.current())
	n.rounds.share = n.meta()
	return n
}

// Step takes in what happened and returns what is to be done about it. Time never goes back: an
// earlier one counts as the last.
func (n *Node) Step(at Time, in Input) Ready {
	n.at = max(n.at, at)
	if due := n.out.Until; n.begun && n.at > due+Stalled {
		n.redis.stoodStill(n.at, n.at-due)
	}
	n.out = Ready{}
	n.take(in)
	n.advance()
	n.out.Until = n.next()
	n.out.Stopped = n.stopped
	return n.out
}

func (n *Node) take(in Input) {
	switch in := in.(type) {
	case Tick:
		n.begin()
	case Wake:
		n.wake()
	case Configured:
		n.desired = in.Desired
		n.wake()
	case VIPsConfigured:
		n.configureVIPs(in.VIPs)
	case VIPSeen:
		n.vipSeen(in)
	case Members:
		n.members, n.conflict = in.List, in.Conflict
	case Exited:
		n.exited(in)
	case StopFailed:
		n.procs[in.Process].stopOf = 0
	case RedisPolled:
		n.watch.redisPolled(in)
	case SentinelPolled:
		n.watch.sentinelPolled(in)
	case Probed:
		n.watch.probed(in)
	case Done:
		n.answer(in.ID, in)
	case Received:
		n.ballot.receive(in)
	case Saved:
		n.noteSave(in.Err, NotSaved(in))
		n.ballot.saved(in.Err)
	case RecordSaved:
		n.noteSave(in.Err, RecordNotSaved(in))
		n.watch.recordSaved(in.Err)
	case Stop:
		n.perform.request.failures = 0 // what failed for another reason, long ago, is no reason not to try now
		if !n.stopping {
			n.stopping, n.stoppingSince = true, n.at
		}
		n.wake()
	case SetPause:
		n.ballot.setPause(in.Pause)
	case Remove:
		n.ballot.remove(in.List)
	case RequestSwitchover:
		n.perform.request = request{id: in.ID, to: in.To, asked: true}
		n.wake()
	case Force:
		n.force = force{leaveOut: in.LeaveOut, until: in.Until, due: n.at, polling: n.force.polling}
	}
}

// begin is the first Tick: from now on renewals are sent. The time that their answers are given
// counts from here. A host that is busy takes long to start an agent, and to fence without having
// asked anybody would cost writes for nothing.
func (n *Node) begin() {
	if n.begun {
		return
	}
	n.begun = true
	if n.fenceAfter != 0 {
		n.fenceAfter = max(n.fenceAfter, n.at+FirstRenewal)
	}
	if n.guard.until != 0 {
		n.guard.until = n.fenceAfter
	}
}

// advance does whatever can be done now. Before the first Tick that is nothing: the driver says
// first what it found.
func (n *Node) advance() {
	if !n.begun {
		return
	}
	n.guardStep()
	for {
		moved := n.ballot.readInbox()
		moved = n.ballot.savePause() || moved
		moved = n.ballot.saveRemoved() || moved
		moved = n.ballot.stepForce() || moved
		moved = n.rounds.step() || moved
		if !moved {
			break
		}
	}
	n.ballot.standDown()
	n.watch.step()
	n.watch.stepRecord()
	n.noteLease()
}

// next is when Step(Tick) is due.
func (n *Node) next() Time {
	if !n.begun {
		return n.at
	}
	next := never
	if !n.ballot.saving && !n.perform.lanes[Rounds].busy { // else its end is what the round waits for
		next = n.rounds.cur.next()
	}
	for _, t := range []Time{n.redis.next(), n.sentinel.next(), n.probe.next(), n.overthrown.next(), n.ballot.nextStandDown(), n.guard.next(n.at), n.watch.recordNext()} {
		next = min(next, t)
	}
	if n.force.until != 0 && !n.force.polling && !n.ballot.saving {
		next = min(next, n.force.due)
	}
	return max(next, n.at)
}

// never is later than everything.
const never = Time(1<<63 - 1)

// Multiple returns the next multiple of a period after t. What is done several times a second falls
// together then: to wake an idle processor costs more than most of what is done.
func Multiple(t, every Time) Time { return t - t%every + every }

// View is the state of the election. A lease that is not on disk yet is not shown: it would not
// survive this agent. While something else of the election is being saved, the lease that is on
// disk is.
func (n *Node) View(at Time) election.View {
	v := n.ballot.e.View(at)
	if n.ballot.hidden() {
		v.Lease = false
	}
	return v
}

// lease is until when this node may accept writes; ok is false when it may not.
func (n *Node) lease() (until Time, ok bool) {
	if _, unsaved := n.ballot.e.Unsaved(); unsaved {
		return 0, false
	}
	return n.ballot.e.LeaseUntil(n.at)
}

// seen is the state of the election as a Step saw it last.
type seen struct {
	view election.View
	at   Time
	ok   bool
}

// current is View now, for a Step: it is the same until time passes or the elector changes.
func (n *Node) current() *election.View {
	if s := &n.seen; !s.ok || s.at != n.at {
		s.view, s.at, s.ok = n.View(n.at), n.at, true
	}
	return &n.seen.view
}

// changed: the elector has been told something.
func (n *Node) changed() { n.seen.ok = false }

// state is what the election has to remember, saved or not.
func (n *Node) state() election.State {
	st, _ := n.ballot.e.Unsaved()
	return st
}

// noteLease tells the next agent, and the guard, how long the lease runs.
func (n *Node) noteLease() {
	until, ok := n.lease()
	if !ok {
		// Another node has won: it is over, whatever this host's clock shows. While writes wait for
		// a handover they have until its end to be fenced.
		if n.guard.until > n.at && n.perform.yieldUntil == 0 && n.perform.held == 0 && string(n.state().Holder) != n.self {
			n.guard.until = n.at
		}
		return
	}
	n.guard.until = until
	if until >= n.leaseNoted+TickEvery { // a lone voter's grows all the time
		n.leaseNoted = until
		n.out.Lease = until
	}
}

// noteSave notes whether the disk takes anything, and says once that it does not.
func (n *Node) noteSave(err error, failed Event) {
	switch {
	case err == nil:
		n.failsSince = 0
	case n.failsSince == 0:
		n.failsSince = n.at
		n.tell(failed)
	}
}

// cannotSave: nothing could be saved for a while: this node can neither vote nor win.
func (n *Node) cannotSave(at Time) bool { return n.failsSince > 0 && at >= n.failsSince+SaveFails }

func (n *Node) tell(e Event) { n.out.Events = append(n.out.Events, e) }

// call begins something, and has then told of what came of it.
func (n *Node) call(l Lane, action Do, then func(Input)) uint64 {
	n.nextID++
	action.ID, action.Lane, action.Term = n.nextID, l, uint64(n.state().HolderTerm)
	if then != nil {
		n.calls[action.ID] = then
	}
	n.out.Do = append(n.out.Do, action)
	return action.ID
}

// answer passes an answer to whoever waits for it. One that nobody waits for is of a call that was
// given up.
func (n *Node) answer(id uint64, in Input) {
	then := n.calls[id]
	delete(n.calls, id)
	if then != nil {
		then(in)
	}
}

func (n *Node) vipSeen(in VIPSeen) {
	if v := n.vip(in.Address); v.Held != in.Held {
		v.Held = in.Held
		if !in.Held {
			v.RenewedAt = 0
		}
		n.setVIP(v)
		n.wake()
	}
}

// configureVIPs takes over which addresses there are. What is known of one that stays is newer than
// what the driver read before.
func (n *Node) configureVIPs(list []reconcile.VIP) {
	list = slices.Clone(list)
	for i, v := range list {
		if old := n.vip(v.Address); old.Address == v.Address && old.Replica == v.Replica {
			list[i] = old
		}
	}
	n.vips = list
}

func (n *Node) vip(address string) reconcile.VIP {
	for _, v := range n.vips {
		if v.Address == address {
			return v
		}
	}
	return reconcile.VIP{}
}

// setVIP replaces what is known of an address. What was observed before keeps its own.
func (n *Node) setVIP(v reconcile.VIP) {
	n.vips = slices.Clone(n.vips)
	for i := range n.vips {
		if n.vips[i].Address == v.Address {
			n.vips[i] = v
		}
	}
}

// meta is what this node says about itself now.
func (n *Node) meta() Meta {
	m := Meta{
		ClusterID: n.state().ClusterID, Redis: n.desired.Redis, Sentinel: n.desired.Sentinel, Ready: true, Priority: n.desired.Priority, Zone: n.desired.Zone,
	}
	if n.desired.Redis {
		r := n.observeRedis()
		m.Ready, m.Data = r.Known && !r.Loading, r.Data
		if r.Known {
			m.Data.Keys = n.redis.info.Keys // also before there is a cluster: the fullest is to bootstrap it
		}
		if r.WriteError || n.cannotSave(n.at) {
			m.Priority = reconcile.PriorityNever // it would refuse writes as a primary, too
		}
	}
	return m
}

// shareMeta tells the members what changed. The dataset's size and offset change all the time and
// matter only to an election among nodes that have no holder, so they alone are no reason to speak
// while there is one.
func (rs *rounds) shareMeta(settled bool) {
	n := rs.n
	next := n.meta()
	if settled {
		next.Data = rs.share.Data
	}
	if next != rs.share {
		rs.share = next
		n.out.Share = &Meta{}
		*n.out.Share = next
	}
}

// Meta is what this node last said about itself.
func (n *Node) Meta() Meta { return n.rounds.share }
