package reconcile

import (
	"fmt"
	"slices"
	"time"
)

// Timing, each with its reason; DESIGN.md has them in one table.
const (
	// Lapse is how long after the holder's last word no other node can win; it is election.Lapse,
	// and a test holds them equal.
	Lapse = 700 * time.Millisecond
	// TakeMargin is how long a lease must run yet for anything to be taken: the command that takes
	// it may be carried out 200 ms later.
	TakeMargin = 250 * time.Millisecond
	// Quiet is how long the holder, or a majority of its voters, may not be heard for all to be
	// calm: one renewal of 100 ms was lost then.
	Quiet = 200 * time.Millisecond
	// Ample is what a lease has left at least when a majority was heard within Quiet.
	Ample = 340 * time.Millisecond
	// SilentRedis is how long the holder's redis-server must not have answered this node before it
	// counts as unreachable: four probes of 100 ms.
	SilentRedis = 400 * time.Millisecond
	// AgentGrace is how long a holder whose agent is silent keeps its place while its redis-server
	// answers: longer than the systemd watchdog (2 s), a restart, and the kernel's lifetime of its
	// VIP (5 s, at most 1 s late), so that the VIP is off that host before it can be on another.
	AgentGrace = 7 * time.Second
	// AgentAlive is that time for a holder that gossip calls alive: the others may well hear what
	// only this node does not.
	AgentAlive = 30 * time.Second
	// HangAfter is how long redis-server may not answer, while its process does not even use the
	// processor, before it is taken for hung.
	HangAfter = 500 * time.Millisecond
	// ReachGrace is how long redis-server must have answered here before it counts that others
	// cannot connect: they need a second to believe it, and as long to unlearn it.
	ReachGrace = 2 * time.Second
	// Backed is how long the word of a majority that the holder is gone counts.
	Backed = time.Second
	// RankStep keeps the second best candidate out of the way of the best.
	RankStep = 300 * time.Millisecond
	// ClaimAgain is the pause after a claim that was not won; a node that has asked in vain for a
	// while asks every ClaimSlow, since each claim costs an fsync.
	ClaimAgain = 100 * time.Millisecond
	ClaimSlow  = time.Second
	// ColdStart is how long nodes that come up without a holder wait for the others before the
	// fullest dataset among those present wins.
	ColdStart = 10 * time.Second
	// LapsedFor is how long a holder whose lease has ended goes on asking for it before it gives it
	// back: a stall is over by then, a cut is not.
	LapsedFor = 500 * time.Millisecond
	// RenewVIP is how often the kernel's lifetime of a held address is renewed.
	RenewVIP = 500 * time.Millisecond
	// PublishAgain and Remonitor: a Sentinel does as it is told within milliseconds. One that did
	// not is told again after PublishAgain, and set up anew after Remonitor.
	PublishAgain = time.Second
	Remonitor    = 4 * time.Second
	// Relink is how long after a change of the primary a replica's link to it may be down, and
	// nothing is wrong: one that was refused tries again after a second.
	Relink = 1500 * time.Millisecond
	// HandOverAgain is the pause after a handover that failed, HandOverTries how often a stopping
	// node tries before it stops without one.
	HandOverAgain = 500 * time.Millisecond
	HandOverTries = 5
	// AwaitSync is how long a primary that is to stop serves on because no replica is in sync,
	// though one could be: systemd is asked for more time meanwhile.
	AwaitSync = time.Minute
	// YieldFor is how long a node that has handed over keeps its clients, whose writes wait, and
	// the VIP for its successor to be heard: longer than a claim, a promotion and a word take, also
	// on a busy host, and shorter than anybody's patience.
	YieldFor = 250 * time.Millisecond
	// AwaitSuccessor is how long a node that stops stays, after it gave the lease back, for its
	// successor to take it: its vote may be needed.
	AwaitSuccessor = time.Second
	// MaxLag is how stale the acknowledgement of a successor may be; replicas acknowledge every
	// second.
	MaxLag = 2 * time.Second
)

// PriorityNever is the priority of a node that is never to be primary.
const PriorityNever = 0

// plan collects the actions of one round.
type plan struct {
	o       Observed
	d       Desired
	actions []Action
}

func (p *plan) do(a ...Action) { p.actions = append(p.actions, a...) }

// Plan returns what to do now, in order. It returns nil when everything is as it should be. What
// clients feel comes first, since an action that fails ends the round: a Sentinel that does not
// answer must not cost a promotion or a VIP.
func Plan(o Observed, d Desired) []Action {
	p := &plan{o: o, d: d}
	if !p.yields() {
		p.stepDown()
	}
	if len(p.actions) > 0 {
		return p.actions // let go first; what comes next is seen in the next round
	}
	if o.Stopping {
		p.stop()
		return p.actions
	}
	p.role()
	if p.handOver() {
		return p.actions // afterwards nothing is as it was observed
	}
	p.vips()
	p.announce()
	p.publish()
	p.processes()
	p.elect()
	p.sentinel()
	p.roster()
	return p.actions
}

// leased: this node may accept writes now.
func (o Observed) leased() bool { return o.holds() && o.Election.Lease && o.At < o.Election.LeaseUntil }

// mayTake: the lease runs long enough for something to be taken under it.
func (o Observed) mayTake() bool { return o.leased() && o.At+TakeMargin <= o.Election.LeaseUntil }

// holds: this node won the last term and has not given the lease back. The lease itself may have
// lapsed.
func (o Observed) holds() bool {
	return o.Election.ClusterID != "" && o.Election.Holder == o.Self && !o.Election.Released
}

// MayHold: the lease of the agent before this one may run. It does not once another node has won a
// term: nothing can renew it then, and the clock of a host that stood still shows too much of it.
func (o Observed) MayHold() bool { return !o.overthrown() && o.At < o.FenceAfter }

// overthrown: another node has won the last term.
func (o Observed) overthrown() bool { return o.Election.Holder != "" && o.Election.Holder != o.Self }

// holderHeard: another node holds the lease and says so.
func (o Observed) holderHeard() bool {
	e := o.Election
	return e.Holder != "" && e.Holder != o.Self && !e.Released && e.EverHeard && o.At < e.HeardAt+Lapse && e.Primary != ""
}

// answers: what was read from this redis-server is true of it now.
func (r Redis) answers() bool { return r.Running && r.Known && r.SilentSince == 0 && !r.Dying }

// primaryAddr is where the primary is, as far as the election knows.
func (p *plan) primaryAddr() string {
	switch {
	case p.o.leased():
		return p.d.RedisAddr
	case p.o.holderHeard():
		return p.o.Election.Primary
	}
	return ""
}

// stepDown gives up what this node may not have: first the right to write, then the clients, then
// the address, then the lease.
func (p *plan) stepDown() {
	o, r := p.o, p.o.Redis
	fence, why := !o.leased() && !o.MayHold(), "no lease"
	if o.YieldUntil > 0 {
		why = "the lease was handed over"
	}
	p.letGo()
	hung := r.Running && r.SilentSince > 0 && o.At >= r.SilentSince+HangAfter
	switch {
	case hung && r.Stuck && !r.Dying && !o.Paused:
		p.do(KillRedis{Why: hungFor(o.At - r.SilentSince)})
	case fence && r.Running && !r.Dying && (r.Known && r.MinReplicas != Fence || !r.Known && r.Unsure && (hung || r.Refuses && o.overthrown())):
		p.do(FenceRedis{Why: why})
		if r.Role == Primary && r.SilentSince == 0 && !planned[CloseClients](p) {
			p.do(CloseClients{}) // the fence has killed one that does not answer
		}
	}
	if fence {
		p.dropVIPs(why)
	}
	if o.holds() {
		p.giveBack()
	}
	p.dropReplicaVIPs()
}

// hungFor says why a redis-server is killed that is stuck: after so long it is, whatever it does.
func hungFor(silent time.Duration) string {
	why := fmt.Sprintf("no answer for %v", silent.Round(time.Millisecond))
	if silent < 10*time.Second {
		why += " and its process does nothing"
	}
	return why
}

// giveBack releases the lease when the local redis-server can be no primary.
func (p *plan) giveBack() {
	r, why, whole := p.o.Redis, "", false
	switch {
	case !r.Running:
		// One that was stopped did not crash, nor one that never ran under this agent: the host was
		// down. What its disk has
		// nobody with less is to overtake.
		why, whole = "redis-server is not running", !r.Ended || p.o.Stopping
	case r.Dying || planned[KillRedis](p):
		why = "redis-server is killed" // it never runs again, even where the kernel cannot end it yet
	case p.outOfReach():
		why = fmt.Sprintf("%d of %d voters cannot connect to this redis-server", p.o.Election.Unreachable, len(p.o.Election.Voters))
		if r.MinReplicas != Fence && !planned[FenceRedis](p) {
			p.do(FenceRedis{Why: why}, CloseClients{})
		}
	case r.answers() && r.Loading && r.Role != Primary:
		why = "redis-server loads another dataset"
		if r.MinReplicas != Fence && !planned[FenceRedis](p) {
			p.do(FenceRedis{Why: why})
		}
	case !p.o.leased() && r.answers() && r.MinReplicas == Fence && p.lapsed():
		// What it says may still be heard, even if it hears nobody: as long as it renews, nobody
		// else can have the lease.
		why, whole = "no majority answers", true
	default:
		return
	}
	p.dropVIPs(why)
	p.do(Release{Why: why, Whole: whole})
}

// lapsed: this holder has asked in vain for the lease for so long that it is no stall.
func (p *plan) lapsed() bool {
	at := p.o.Election.LapsedAt
	return at > 0 && p.o.At >= at+LapsedFor
}

// outOfReach: a majority cannot connect to the local redis-server, although it has long answered
// here and its agent is heard, and there is somebody to take over. One that was busy until now
// takes no connection either once its backlog is full.
func (p *plan) outOfReach() bool {
	e := p.o.Election
	return p.o.leased() && p.o.At >= p.o.Redis.AnswersSince+ReachGrace && p.o.Redis.answers() && !p.o.Paused && len(e.Successors) > 0 && e.Unreachable > len(e.Voters)/2
}

// Calm: the primary is heard, or this node is it and its voters are, and what should run here
// answers. Whatever happens then calls for a round by itself; nothing becomes due because time
// passes, but renewals.
func Calm(o Observed, d Desired) bool {
	e, r := o.Election, o.Redis
	heard := e.EverHeard && !e.Released && o.At < e.HeardAt+Quiet
	if e.Lease {
		heard = o.At < e.LeaseUntil-Ample
	}
	usable := r.answers() && !r.Loading && !r.Syncing && (r.Role == Primary || r.LinkUp)
	return heard && !e.Claiming && !o.Stopping && !o.Handover && (usable || !r.Running && !d.Redis)
}

// planned: such an action is among those planned so far.
func planned[A Action](p *plan) bool {
	return slices.ContainsFunc(p.actions, func(a Action) bool { _, ok := a.(A); return ok })
}

func (p *plan) dropVIPs(why string) {
	for _, v := range p.o.VIPs {
		dropped := slices.ContainsFunc(p.actions, func(a Action) bool { d, ok := a.(DropVIP); return ok && d.Address == v.Address })
		if v.Held && !v.Replica && !dropped {
			p.do(DropVIP{Address: v.Address, Why: why})
		}
	}
}

// dropReplicaVIPs: the replicas' address is let go when it is known to belong elsewhere. While no
// holder is heard nobody knows: it is neither dropped nor renewed, so that a restart of the agent
// or a failover does not interrupt the readers, and the kernel removes it from a host that stays
// cut off.
func (p *plan) dropReplicaVIPs() {
	o, r, why := p.o, p.o.Redis, ""
	switch {
	case !r.Running || !p.d.Redis:
		why = "redis-server is not running"
	case o.Stopping:
		why = "stopping"
	case (o.leased() || o.holderHeard() && r.Known) && !p.servesReads():
		why = "another node serves the reads"
	default:
		return
	}
	for _, v := range o.VIPs {
		if v.Held && v.Replica {
			p.do(DropVIP{Address: v.Address, Why: why})
		}
	}
}

// servesReads: the replicas' address belongs here: on the standing successor, or on the primary
// when there is none.
func (p *plan) servesReads() bool {
	o := p.o
	if !o.Redis.Running || o.Stopping || !p.d.Redis {
		return false
	}
	if o.leased() {
		return len(o.Election.Successors) == 0 && len(p.successors()) == 0
	}
	return o.holderHeard() && len(o.Election.Successors) > 0 && o.Election.Successors[0] == o.Self && o.Redis.LinkUp
}

// processes starts what is not running and stops what has no role here any more. While the cluster
// is paused they are left as they are.
func (p *plan) processes() {
	o, primary := p.o, p.primaryAddr()
	if o.Paused {
		return
	}
	switch {
	case p.d.Redis && !o.Redis.Running && o.At >= o.Redis.StartAfter:
		p.do(StartRedis{Primary: primary})
	case !p.d.Redis && o.Redis.Running && !o.holds() && !p.awaitsSuccessor():
		p.do(StopRedis{})
	}
	switch {
	case p.d.Sentinel && !o.Sentinel.Running && o.At >= o.Sentinel.StartAfter && (primary != "" || o.Sentinel.Configured):
		p.do(StartSentinel{Primary: primary})
	case !p.d.Sentinel && o.Sentinel.Running:
		p.do(StopSentinel{})
	}
}

// role makes the local redis-server what the election says. A pause changes nothing about it: while
// it lasts nobody new wins, and what was won before must be carried through.
func (p *plan) role() {
	o, r := p.o, p.o.Redis
	if !r.answers() || r.Loading {
		return
	}
	want := p.minReplicas()
	fenced := r.MinReplicas == Fence || r.MinReplicas == Unknown
	switch {
	case o.holderHeard():
		if p.d.Redis && (r.Role == Primary || r.PrimaryAddr != o.Election.Primary) {
			p.do(Follow{Primary: o.Election.Primary, CloseClients: r.Role == Primary})
		}
	case !o.leased():
	case r.Role != Primary:
		if o.mayTake() {
			p.serve()
			p.do(Promote{MinReplicas: want})
		}
	case r.Held:
		p.resume()
	case r.MinReplicas == want, fenced && !o.mayTake(), (fenced || want < r.MinReplicas) && !p.leasedSince(r.ChangedAt):
	default:
		p.serve()
		p.do(SetMinReplicas{N: want})
	}
}

// resume has writes go on that wait for a handover which did not come about.
func (p *plan) resume() {
	if p.o.Redis.Held && p.o.mayTake() {
		p.do(ResumeWrites{})
	}
}

// leasedSince: the lease was renewed after that. What may write is not let write more easily
// before: a fence from outside, or the loss of the replicas, may be a sign that another node has
// taken over while this host stood still.
func (p *plan) leasedSince(at Time) bool {
	return p.o.leased() && p.o.Election.LeaseUntil-Quiet-Ample >= at
}

// minReplicas is how many replicas must follow for a write to be accepted. The automatic choice is
// a second line behind the lease: with two replicas in touch one of them must acknowledge; it is
// given up only by a holder whose lease, and with it the majority of agents, is there.
func (p *plan) minReplicas() int {
	r := p.o.Redis
	switch {
	case p.d.MinReplicas != Unknown:
		return p.d.MinReplicas
	case r.Role == Primary && r.Good >= 2:
		return 1
	case r.Role == Primary && r.Good == 1 && r.MinReplicas == 1:
		return 1
	}
	return 0
}

// vips keeps the addresses where they belong. What does not belong here is gone already.
func (p *plan) vips() {
	o := p.o
	for _, v := range o.VIPs {
		var here bool
		switch {
		case v.Replica:
			here = p.servesReads()
		case v.Held:
			here = o.leased() && (p.serving() || o.Redis.Unsure && o.Redis.Refuses)
		default:
			here = o.mayTake() && p.serving()
		}
		if here && (!v.Held || o.At >= v.RenewedAt+RenewVIP) {
			p.do(HoldVIP{Address: v.Address})
		}
	}
}

// serving: the local redis-server is a primary that accepts writes, or will be after the actions
// planned so far.
func (p *plan) serving() bool {
	r := p.o.Redis
	return planned[Promote](p) || planned[SetMinReplicas](p) ||
		r.Running && r.Known && r.Role == Primary && r.MinReplicas != Fence && r.MinReplicas != Unknown
}
