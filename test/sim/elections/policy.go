package elections

import (
	"fmt"
	"slices"

	"github.com/redisd/redisd/election"
)

// decide is one round of the agent.
func (a *agent) decide(now election.Time) []election.Envelope {
	var learners []election.NodeID
	for _, o := range a.h.w.hosts {
		learners = append(learners, o.id)
	}
	out := a.e.Tick(now, learners)
	v := a.e.View(now)
	r := &a.h.redis
	owner := v.Holder == a.h.id && !v.Released && v.ClusterID != ""
	if v.Holder == a.h.id && v.HolderTerm == 1 && r.data.Term == 0 {
		r.data.Term = 1 // what the bootstrap node has, be it nothing, is the cluster's data
	}
	switch {
	case owner && (!r.up || r.primaryOf != 0 && r.primaryOf > v.HolderTerm):
		return append(out, a.release(now, "redis is dead")...)
	case !owner:
		r.lifted, r.primaryOf, r.exempt = false, 0, false
	}
	if v.Lease {
		return append(out, a.lead(now, v)...)
	}
	a.fence()
	switch {
	case v.ClusterID == "":
		out = append(out, a.found(now)...)
	case v.Claiming || a.fencing || !v.Roster.Has(a.h.id) || !r.up || now < a.nextClaim:
	case owner && v.Overtaken:
		out = append(out, a.claim(now, 0)...)
	case owner:
	case a.open(now, v):
		out = append(out, a.standFor(now, v)...)
	}
	return out
}

// lead is the round of a holder whose lease runs.
func (a *agent) lead(now election.Time, v election.View) []election.Envelope {
	w, r := a.h.w, &a.h.redis
	if r.primaryOf != v.HolderTerm {
		if _, unsaved := a.e.Unsaved(); unsaved {
			return nil
		}
		r.primaryOf, r.data.Term = v.HolderTerm, v.HolderTerm
		w.logf("%s is primary of term %d", a.h.id, v.HolderTerm)
	}
	if !r.lifted {
		r.lifted = true
		r.exempt = false
	}
	a.watch()
	w.check.lifted(a)
	if v.Overtaken && !v.Claiming && now >= a.nextClaim {
		return a.claim(now, 0)
	}
	if w.quiet || !w.f.changes {
		return nil
	}
	if w.one(0.005) {
		w.res.Switchovers++
		a.e.SetInfo(election.Info{Successors: successors(v, a.h.id)})
		return a.release(now, "switchover")
	}
	if v.Settled && (w.one(0.02) || w.f.churn && w.one(0.3)) {
		a.propose(now, v)
	}
	return nil
}

func successors(v election.View, self election.NodeID) []election.NodeID {
	var ids []election.NodeID
	for _, x := range v.Roster.Voters {
		if x.ID != self {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

func (a *agent) propose(now election.Time, v election.View) {
	w := a.h.w
	voters := slices.Clone(v.Roster.Voters)
	o := w.hosts[w.rng.IntN(len(w.hosts))]
	if x := w.exchange(v); x != nil && w.one(0.7) {
		o = x
	}
	if o == a.h {
		return
	}
	if i := slices.IndexFunc(voters, func(x election.Voter) bool { return x.ID == o.id }); i >= 0 {
		voters = slices.Delete(voters, i, i+1)
	} else if len(voters) < 5 {
		voters = append(voters, election.Voter{ID: o.id})
	}
	if err := a.e.Propose(now, voters); err == nil {
		w.res.Rosters++
		w.logf("%s proposes %v", a.h.id, ids(voters))
	}
}

// exchange is the voter that has been silent, to be taken out, or else a learner that answers, to
// be taken in for it; nil: neither.
func (w *world) exchange(v election.View) *host {
	for _, x := range v.Roster.Voters {
		if _, silent := v.Silent[x.ID]; silent {
			return w.host(x.ID)
		}
	}
	for _, id := range v.Answered {
		if !v.Roster.Has(id) && len(v.Roster.Voters) < w.f.expect {
			return w.host(id)
		}
	}
	return nil
}

func ids(voters []election.Voter) []election.NodeID {
	var out []election.NodeID
	for _, v := range voters {
		out = append(out, v.ID)
	}
	return out
}

// open: nobody holds the lease as far as this node can tell.
func (a *agent) open(now election.Time, v election.View) bool {
	if v.Released {
		rank := max(slices.Index(v.Successors, a.h.id), 0)
		return now >= v.OpenedAt+election.Time(rank)*30*ms
	}
	last := a.began
	if v.EverHeard {
		last = max(last, v.HeardAt)
	}
	return v.Nudged || now >= last+election.Lapse
}

func (a *agent) claim(now election.Time, fenced election.Term) []election.Envelope {
	a.nextClaim = now + 20*ms + a.h.w.upTo(a.h.w.f.eager)
	out := a.e.Claim(now, a.localNow(now), fenced)
	v := a.e.View(now)
	a.h.w.check.claimed(a, v, fenced)
	return out
}

// standFor claims, after it has fenced the last holder's redis from here if that still answers
// anyone.
func (a *agent) standFor(now election.Time, v election.View) []election.Envelope {
	asked := slices.Contains(slices.Collect(values(v.Denials)), election.DeniedReachable)
	hasty := a.h.w.one(0.2) // does not fence: the voters must refuse
	if v.Released || !a.reachable(now) && !asked || v.Holder == "" || hasty {
		return a.claim(now, 0)
	}
	a.nextClaim = now + 20*ms + a.h.w.upTo(a.h.w.f.eager)
	a.fencing = true
	a.remoteFence(now, v)
	if !a.reachable(now) {
		return a.claim(now, 0)
	}
	return nil
}

func values(m map[election.NodeID]election.Denied) func(func(election.Denied) bool) {
	return func(yield func(election.Denied) bool) {
		for _, d := range m {
			if !yield(d) {
				return
			}
		}
	}
}

func (a *agent) remoteFence(now election.Time, v election.View) {
	w, t := a.h.w, a.h.w.host(v.Holder)
	ok := false
	w.after(w.f.delay/2+w.upTo(w.f.delay), func() {
		if t != nil && w.linked(a.h, t) && t.redis.up {
			ok = true
			t.redis.lifted = false
			t.redis.exempt = false
			w.logf("%s fences %s of term %d", a.h.id, t.id, v.HolderTerm)
		}
	})
	a.whenAwake(w.f.delay+w.upTo(2*w.f.delay), func() {
		a.receive(item{do: func(at election.Time) []election.Envelope {
			a.fencing = false
			n := a.e.View(at)
			if !ok || n.HolderTerm != v.HolderTerm || n.Released || n.Claiming || at-now > election.FenceAge {
				return nil
			}
			return a.claim(at, v.HolderTerm)
		}})
	})
}

func (a *agent) found(now election.Time) []election.Envelope {
	if now < a.nextClaim || a.bootstrapNode() != a.h.id {
		return nil
	}
	var voters []election.Voter
	for _, o := range a.seen() {
		voters = append(voters, election.Voter{ID: o.id})
	}
	if len(voters) < a.h.w.f.expect {
		return nil
	}
	a.attempt++
	a.nextClaim = now + 100*ms + a.h.w.upTo(500*ms)
	local := a.localNow(now)
	local.BootstrapNode = a.h.id
	return a.e.Bootstrap(now, local, fmt.Sprintf("%s/%d/%d", a.h.id, a.attempt, a.h.w.now), voters)
}
