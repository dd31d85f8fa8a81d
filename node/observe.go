package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// Observe is all that this node knows, as reconcile reads it. It changes nothing.
func (n *Node) Observe(at Time) reconcile.Observed {
	v := n.View(at)
	return n.observe(&v, at)
}

func (n *Node) observe(v *election.View, at Time) reconcile.Observed {
	o := reconcile.Observed{
		At: at, Self: n.self, Started: n.started, FenceAfter: n.fenceAfter,
		Stopping: n.stopping, StoppingSince: n.stoppingSince, CannotSave: n.cannotSave(at), Paused: n.paused.On || n.conflict,
		Handover: n.perform.request.asked, HandoverTo: n.perform.request.to,
		HandoverFailures: n.perform.request.failures, HandoverAt: n.perform.request.triedAt,
		YieldUntil: n.perform.yieldUntil,
		Election:   observeElection(v), Redis: n.observeRedis(), Sentinel: n.observeSentinel(at),
		RemoteFenced: n.probe.fenced, VIPs: n.vips, Members: n.members, Forgotten: n.removed.ids,
	}
	o.Election.ClaimedAt = n.ballot.backoff(v)
	o.Election.HolderOffset = n.heard.offset
	o.Election.LapsedAt = n.rounds.lapsedAt
	if addr := n.holderAddr(v); addr != "" {
		o.HolderSeen = n.probe.lastSeen(addr, at)
		o.HolderFenced = n.probe.seenFenced(addr, at)
	}
	return o
}

func observeElection(v *election.View) reconcile.Election {
	e := reconcile.Election{
		ClusterID: v.ClusterID, Settled: v.Settled, Fresh: v.Fresh, Holder: string(v.Holder), Term: uint64(v.HolderTerm),
		Released: v.Released, OpenedAt: v.OpenedAt, HeardAt: v.HeardAt, EverHeard: v.EverHeard, Primary: v.Primary,
		Lease: v.Lease, LeaseUntil: v.LeaseUntil, Claiming: v.Claiming,
		AskedAt: v.AskedAt, BackedAt: v.BackedAt, Nudged: v.Nudged, ByHolder: v.ByHolder, Overtaken: v.Overtaken, Unreachable: len(v.Unreachable),
	}
	if len(v.Successors) > 0 {
		e.Successors = make([]string, len(v.Successors))
		for i, id := range v.Successors {
			e.Successors[i] = string(id)
		}
	}
	if len(v.Roster.Voters) > 0 {
		e.Voters = make([]reconcile.Voter, len(v.Roster.Voters))
		for i, voter := range v.Roster.Voters {
			e.Voters[i] = reconcile.Voter{ID: string(voter.ID), Addr: voter.Addr, SilentSince: v.Silent[voter.ID],
				Untold: slices.Contains(v.Untold, voter.ID)}
		}
	}
	for _, id := range v.Answered {
		if !v.Roster.Has(id) {
			e.Learners = append(e.Learners, string(id))
		}
	}
	return e
}

// Desired is what the operator asks of this node.
func (n *Node) Desired() reconcile.Desired { return n.desired }

// Plan is what this node would do now. Nothing is done.
func (n *Node) Plan(at Time) []reconcile.Action { return reconcile.Plan(n.Observe(at), n.desired) }

// HolderSince is when this node learnt of the term of the last holder; 0: it knew it from the
// beginning.
func (n *Node) HolderSince() Time { return n.ballot.last.since }

// NeedsOperator says why this node, which could become primary now, leaves that to an operator;
// empty: it does not.
func (n *Node) NeedsOperator(o reconcile.Observed) string {
	since := max(o.Election.HeardAt, o.Started)
	if o.Election.Released {
		since = max(o.Election.OpenedAt, o.Started)
	}
	if o.At < since+NeedsOperatorAfter || n.PrimaryAddr(o.At) != "" {
		return ""
	}
	if !o.Redis.Running || o.Redis.Data.Term == 0 || !reconcile.TooFarBehind(o, n.desired) {
		return withoutData(o)
	}
	lacks := "may lack more than max_lag_on_failover of what the last primary had"
	if bytes, known := reconcile.Lacks(o); known {
		lacks = fmt.Sprintf("lacks %d bytes of what the last primary had, more than max_lag_on_failover", bytes)
	}
	return "it " + lacks + ", and does not become primary by itself: bring " + nameOf(o.Members, o.Election.Holder) +
		" back, or `redisd failover --allow-data-loss`"
}

// withoutData says why a cluster whose nodes have no data stays without a primary; empty: it has
// some, or one of them becomes it.
func withoutData(o reconcile.Observed) string {
	if o.Election.ClusterID == "" || o.Redis.Data.Term != 0 || reconcile.FreshNode(o) != "" {
		return ""
	}
	away := map[string]bool{}
	for _, v := range o.Election.Voters {
		away[v.ID] = true
	}
	for _, m := range o.Members {
		if m.Alive && m.Data.Term != 0 {
			return ""
		}
		if m.Alive {
			delete(away, m.ID)
		}
	}
	var names []string
	for _, v := range o.Election.Voters {
		if away[v.ID] {
			names = append(names, fmt.Sprintf("%s (%s)", nameOf(o.Members, v.ID), v.Addr))
		}
	}
	if len(names) == 0 {
		return "no node has data of this cluster any more, and none becomes primary without: `redisd failover --allow-data-loss` goes on with what there is"
	}
	return "no node that is here has data of this cluster, and none becomes primary without: bring back " + strings.Join(names, ", ") +
		"; what is gone for good, `redisd failover --allow-data-loss` goes on without"
}

func nameOf(members []reconcile.Member, id string) string {
	for _, m := range members {
		if m.ID == id {
			return m.Name
		}
	}
	return id
}
