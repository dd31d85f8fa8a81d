package nodes

import (
	"encoding/binary"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// wake has a round run now, or after the one that is under way.
func (a *agent) wake() {
	switch {
	case a.inRound:
		a.woken = true
	case !a.waking:
		a.waking = true
		a.post(evWake, 20*us)
	}
}

func (a *agent) round() {
	if a.inRound {
		a.woken = true
		return
	}
	a.inRound, a.woken, a.roundAt = true, false, a.h.w.now
	a.rounds = 0
	a.begin()
}

// begin is agent.round up to the plan.
func (a *agent) begin() {
	if a.saving {
		a.waiters = append(a.waiters, a.begin)
		return
	}
	a.observe()
	out := a.e.Tick(a.h.local(), a.learnersOf())
	if _, unsaved := a.e.Unsaved(); unsaved {
		a.save(out, false, a.plan)
		return
	}
	a.send(out, false)
	a.plan()
}

func (a *agent) learnersOf() []election.NodeID {
	list := a.learners[:0]
	for _, m := range a.o.Members {
		if m.Alive && m.ID != a.o.Self {
			list = append(list, election.NodeID(m.ID))
		}
	}
	return list
}

func (a *agent) plan() {
	o := &a.o
	if o.Election.Lease {
		a.guardUntil = o.Election.LeaseUntil
		a.armGuard()
	}
	a.wasLeased, a.afterFence = o.Election.Lease, o.At >= o.FenceAfter
	a.wasSettled = o.Election.Lease || o.Election.EverHeard && o.At < o.Election.HeardAt+reconcile.Lapse
	a.readNote()
	a.announce()
	a.keepLease()
	a.again, a.sentineled, a.failed = false, false, false
	actions := reconcile.Plan(*o, a.h.d)
	a.h.w.res.Rounds++
	a.act(actions)
}

// act carries out the actions one after the other; the first that fails ends the
// round.
func (a *agent) act(actions []reconcile.Action) {
	w := a.h.w
	for len(actions) > 0 {
		act := actions[0]
		actions = actions[1:]
		if !a.step() {
			return
		}
		_, renewal := act.(reconcile.HoldVIP)
		if !renewal {
			a.again = true
			a.actedAt = w.now
			if w.trace != nil {
				w.logf("%s plans: %s", a.h.id, act)
			}
		}
		rest := actions
		if a.frozen {
			a.later(0, func() { a.apply(act, func(err bool) { a.applied(act, err, rest) }) })
			return
		}
		if renewal {
			a.holdVIP(act.(reconcile.HoldVIP).Address)
			continue
		}
		a.apply(act, func(err bool) { a.applied(act, err, rest) })
		return
	}
	a.finish()
}

func (a *agent) applied(act reconcile.Action, err bool, rest []reconcile.Action) {
	if !a.step() {
		return
	}
	switch act.(type) {
	case reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
		a.sentineled = !err
		a.sentW.acted(a.h.local(), err)
	}
	if err {
		a.h.w.logf("%s failed: %s", a.h.id, act)
		a.again, a.failed = false, true
		rest = nil
	}
	a.act(rest)
}

func (a *agent) finish() {
	if !a.wasLeased && a.afterFence && !a.failed {
		a.guardUntil = 0
	}
	if a.again {
		a.poll(pollTimeout, a.polled)
		return
	}
	a.polled()
}

func (a *agent) polled() {
	if a.sentineled {
		a.pollSentinelOnce()
	}
	a.shareMeta(a.wasSettled)
	if a.again && a.rounds < moreRounds {
		a.rounds++
		a.begin()
		return
	}
	a.inRound = false
	a.calm = !a.again && !a.failed && reconcile.Calm(a.o, a.h.d)
	if a.stopping {
		a.observe()
		if reconcile.Stopped(a.o) {
			a.stopped()
			return
		}
	}
	if a.woken {
		a.wake()
	}
}

// stopped: the node says farewell and its agent ends.
func (a *agent) stopped() {
	w := a.h.w
	w.logf("%s stopped in order", a.h.id)
	a.h.disk.record = a.redisW.rec
	a.h.disk.synced, a.h.disk.syncedAt = a.h.disk.record, w.now
	for _, o := range w.hosts {
		if w.linked(a.h, o) {
			o.gossip[a.h.i].left = true
		}
	}
	a.h.agent = nil
	w.after(w.soon(w.between(100*ms, 2*time.Second)), a.h.startAgent)
}

// announce has the renewals say where the primary is.
func (a *agent) announce() {
	o := &a.o
	if !o.Election.Lease {
		return
	}
	primary := ""
	note := note{pause: a.h.disk.pause}
	if o.Redis.Known && o.Redis.Role == reconcile.Primary {
		primary, note.replID = a.h.redisAt, a.redisW.info.replID
	}
	if o.Redis.Data.Term == o.Election.Term {
		note.offset = o.Redis.Data.Offset
	}
	atOnce := primary != o.Election.Primary || note.pause != a.noted.pause || note.replID != a.noted.replID
	if !atOnce && note == a.noted {
		return
	}
	a.noted = note
	i := a.e.Announced()
	i.Primary, i.Note = primary, note.encode()
	if atOnce {
		a.send(a.e.Announce(a.h.local(), i, a.learnersOf()), false)
		return
	}
	a.e.SetInfo(i)
}

// note is agent.note.
type note struct {
	pause  pause
	offset int64
	replID int32
}

func (n note) encode() []byte {
	b := []byte{n.pause.version, 0}
	if n.pause.on {
		b[1] = 1
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(n.offset))
	return binary.LittleEndian.AppendUint32(b, uint32(n.replID))
}

func noteOf(v election.View) note {
	if len(v.Note) != 14 {
		return note{}
	}
	offset, replID := binary.LittleEndian.Uint64(v.Note[2:]), binary.LittleEndian.Uint32(v.Note[10:])
	return note{pause{v.Note[0], v.Note[1] == 1}, int64(offset), int32(replID)}
}

func (a *agent) readNote() {
	v := a.e.View(a.h.local())
	if !v.Lease {
		a.h.adoptPause(noteOf(v).pause)
	}
}

func (h *host) adoptPause(p pause) {
	if p.version > h.disk.pause.version {
		h.disk.pause = p
		h.w.logf("%s paused %v", h.id, p.on)
	}
}

func (a *agent) keepLease() {
	e := &a.o.Election
	switch asking := e.Holder == a.h.id && !e.Released && !e.Lease; {
	case !asking:
		a.lapsedAt = 0
	case a.lapsedAt == 0:
		a.lapsedAt = a.h.local()
	}
	if e.Lease && e.LeaseUntil > a.h.disk.lease {
		a.h.disk.lease = e.LeaseUntil
	}
}

// observe is agent.observe: it copies what the watchers know.
func (a *agent) observe() {
	h, now := a.h, a.h.local()
	v := a.view()
	o := &a.o
	*o = reconcile.Observed{
		At: now, Self: h.id, Started: a.started, FenceAfter: a.fenceAfter,
		Stopping: a.stopping, Paused: h.disk.pause.on,
		RemoteFenced: a.probe.fenced,
	}
	a.observeElection(v)
	o.Election.ClaimedAt = a.backoff(max(v.ClaimedAt, v.VotedAt))
	o.Election.LapsedAt = a.lapsedAt
	if e := &o.Election; h.w.wrong == PromoteUnleased && v.Holder == a.self && !v.Released {
		e.Lease, e.LeaseUntil = true, now+election.Lease
	}
	if a.wish.active && now > a.wish.until {
		a.wish.active = false
	}
	o.Handover, o.HandoverTo, o.HandoverFailures, o.HandoverAt = a.wish.active, a.wish.to, a.wish.failures, a.wish.triedAt
	a.redisW.worth(lead{uint64(v.HolderTerm), v.Lease, v.Primary, a.holderHost(v), a.saidID}, h.w.wrong)
	a.observeRedis()
	a.observeSentinel()
	a.observeMembers()
	a.observeVIPs()
	if t := a.holderHost(v); t != nil {
		o.HolderSeen = a.probe.lastSeen(t, now)
		if h.w.wrong == VoteUnseen {
			o.HolderSeen = 1
		}
	}
}

func (a *agent) observeElection(v election.View) {
	e := &a.o.Election
	*e = reconcile.Election{
		ClusterID: v.ClusterID, Settled: v.Settled, Holder: string(v.Holder), Term: uint64(v.HolderTerm),
		Released: v.Released, OpenedAt: v.OpenedAt, HeardAt: v.HeardAt, EverHeard: v.EverHeard, Primary: v.Primary,
		Lease: v.Lease, LeaseUntil: v.LeaseUntil, Claiming: v.Claiming,
		Nudged: v.Nudged, ByHolder: v.ByHolder, Overtaken: v.Overtaken, Unreachable: len(v.Unreachable),
	}
	if v.HolderTerm != a.saidIn {
		a.saidIn, a.said, a.saidID = v.HolderTerm, 0, 0
	}
	n := noteOf(v)
	a.said = max(a.said, n.offset)
	if v.Primary != "" {
		a.saidID = n.replID
	}
	e.HolderOffset = a.said
	e.Successors, e.Voters = a.successors[:0], a.voters[:0]
	for _, id := range v.Successors {
		e.Successors = append(e.Successors, string(id))
	}
	for _, voter := range v.Roster.Voters {
		e.Voters = append(e.Voters, reconcile.Voter{ID: string(voter.ID), Addr: voter.Addr})
	}
}

func (a *agent) backoff(at time.Duration) time.Duration {
	if at != a.jitterAt {
		a.jitterAt, a.jitter = at, a.h.w.upTo(claimJitter)
	}
	return at + a.jitter
}

func (a *agent) observeMembers() {
	w := a.h.w
	list := a.members[:0]
	for _, o := range w.hosts {
		g := &a.h.gossip[o.i]
		if o != a.h && !g.known {
			continue
		}
		m := reconcile.Member{ID: o.id, Name: o.id, Gossip: o.gossipAt, Sentinel: o.sentinelAt}
		mt := &g.meta
		if o == a.h {
			mt, m.Alive = &a.meta, true
		} else {
			m.Alive = !g.left && w.now < g.heard+deadAfter
		}
		m.ClusterID, m.Ready, m.Data, m.Priority = mt.clusterID, mt.ready, mt.data, mt.priority
		if o.d.Redis {
			m.Redis = o.redisAt
		}
		list = append(list, m)
	}
	a.o.Members = list
}

// shareMeta is what gossip says of this node from now on.
func (a *agent) shareMeta(settled bool) {
	h := a.h
	r := &a.o.Redis
	m := meta{clusterID: a.o.Election.ClusterID, ready: true, priority: h.d.Priority}
	if h.d.Redis {
		m.ready = r.Known && !r.Loading
		m.data = r.Data
	}
	if settled {
		m.data = a.meta.data
	}
	a.meta = m
}

func (a *agent) observeVIPs() {
	list := a.vips[:0]
	if !a.h.d.Redis {
		return
	}
	for v := range a.vipHeld {
		if a.vipHeld[v] && !a.h.holds(v) {
			a.vipHeld[v], a.renewed[v] = false, 0
		}
		list = append(list, reconcile.VIP{Address: vipNames[v], Replica: v == 1, Held: a.vipHeld[v], RenewedAt: a.renewed[v]})
	}
	a.o.VIPs = list
}

var vipNames = [2]string{"primary", "replica"}

// holderHost is where the holder's redis-server runs; nil: here, or nobody knows.
func (a *agent) holderHost(v election.View) *host {
	if v.Holder == "" || v.Holder == a.self {
		return nil
	}
	return a.h.w.host(string(v.Holder))
}

// least is agent.least.
func (a *agent) least(crashed bool) election.Data {
	o := &a.o
	had, offset := o.Election.HolderOffset, int64(0)
	if o.Election.Holder == o.Self && o.Redis.Data.Term == o.Election.Term {
		had = o.Redis.Data.Offset
	}
	if crashed && o.At <= a.redisW.ackedUntil {
		offset = a.redisW.acked
	}
	if limit := a.h.d.FailoverLag; limit > 0 && !o.Election.ByHolder {
		offset = max(offset, had-limit)
	}
	if offset <= 0 {
		return election.Data{}
	}
	return election.Data{Term: election.Term(o.Election.Term), Offset: offset}
}

// local is agent.local, after a look at the dataset.
func (a *agent) local() election.Local {
	a.observe()
	o, r := &a.o, &a.o.Redis
	released := o.Election.Holder == o.Self && o.Election.Released
	l := election.Local{
		Data:      election.Data{Term: election.Term(r.Data.Term), Offset: r.Data.Offset},
		Known:     !r.Running || r.Known && !r.Loading,
		Reachable: o.HolderSeen == 0 || o.At < o.HolderSeen+reconcile.SilentRedis,
		Paused:    o.Paused,
		Founder:   election.NodeID(reconcile.Founder(*o, a.h.d)),
	}
	exited := func(within time.Duration) bool { return a.exitedAt > 0 && o.At < a.exitedAt+within }
	wrong := a.h.w.wrong
	l.Least = a.least(released && wrong != VoteAfterCrash)
	if d := a.drained; released && d.offset > 0 && (d.term == o.Election.Term || wrong == StaleDrain) && r.Data.Term == o.Election.Term {
		l.Known, l.Candidate, l.Data.Offset = true, true, d.offset
		return l
	}
	usable := o.Election.Holder != o.Self && (exited(reconcile.ColdStart) || !r.Running && o.At < o.Started+reconcile.ColdStart)
	switch {
	case released && a.whole != o.Election.Term:
		usable = false
	case o.Stopping:
		usable = released && wrong != StopFreely
	case r.Running && !r.Syncing && (r.SilentSince == 0 || o.Election.Holder != o.Self):
		usable = true
	}
	l.Candidate = a.h.d.Redis && a.h.d.Priority != reconcile.PriorityNever && usable
	if wrong == VoteAnyData {
		l.Candidate = false
	}
	return l
}
