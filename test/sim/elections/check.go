package elections

import (
	"fmt"
	"time"

	"github.com/redisd/redisd/election"
)

// checker holds what must always be true.
type checker struct {
	w   *world
	err error
	// holders of each cluster: the highest term whose lease ran, and who had it.
	highest  map[string]election.Term
	winner   map[termOf]election.NodeID
	votes    map[voteOf]election.NodeID
	votedFor map[termOf]map[election.NodeID]bool // voter: had no more data than the claim
	released map[termOf]bool
	grants   map[election.NodeID]granted // the newest renewal each voter granted
	// The holder that has been there since, without a gap.
	steady      election.NodeID
	steadySince time.Duration
}

type termOf struct {
	cluster string
	term    election.Term
}

type voteOf struct {
	termOf
	voter election.NodeID
}

type granted struct {
	to    election.NodeID
	until time.Duration
}

func newChecker(w *world) *checker {
	return &checker{
		w: w, highest: map[string]election.Term{}, winner: map[termOf]election.NodeID{}, votes: map[voteOf]election.NodeID{},
		votedFor: map[termOf]map[election.NodeID]bool{}, released: map[termOf]bool{}, grants: map[election.NodeID]granted{},
	}
}

func (c *checker) failf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("at %v: "+format, append([]any{c.w.now}, args...)...)
		c.w.logf("FAILED: %v", c.err)
	}
}

// after is called when an agent has done one thing.
func (c *checker) after(a *agent, now election.Time) {
	v := a.e.View(now)
	t := termOf{v.ClusterID, v.HolderTerm}
	if v.Holder == a.h.id && v.HolderTerm > 0 && !v.Claiming {
		c.won(a, t, v)
	}
	if !v.Lease {
		return
	}
	if c.released[t] {
		c.failf("%s has a lease of term %d again, which it released", a.h.id, v.HolderTerm)
	}
	if v.HolderTerm < c.highest[v.ClusterID] {
		c.failf("%s has a lease of term %d after one of term %d ran", a.h.id, v.HolderTerm, c.highest[v.ClusterID])
	}
	if _, unsaved := a.e.Unsaved(); !unsaved {
		c.highest[v.ClusterID] = v.HolderTerm
	}
	for _, o := range c.w.hosts {
		if o == a.h || o.agent == nil {
			continue
		}
		if until, ok := o.agent.e.LeaseUntil(o.local()); ok {
			c.failf("two leases: %s of term %d and %s of term %d, for another %v", a.h.id, v.HolderTerm, o.id, o.agent.e.View(o.local()).HolderTerm, until-o.local())
		}
	}
	c.lifted(a)
}

// won checks a win once: nobody else won that term, and the data is the best.
func (c *checker) won(a *agent, t termOf, v election.View) {
	by, ok := c.winner[t]
	if ok && by != a.h.id {
		c.failf("%s and %s both won term %d", by, a.h.id, t.term)
	}
	if ok {
		return
	}
	c.winner[t] = a.h.id
	c.w.res.Wins++
	c.w.logf("%s wins term %d of %s, roster %d.%d %v", a.h.id, t.term, t.cluster, v.Roster.Term, v.Roster.Version, ids(v.Roster.Voters))
	n := 1 // itself
	for voter, worse := range c.votedFor[t] {
		if worse && v.Roster.Has(voter) && voter != a.h.id {
			n++
		}
	}
	if n < v.Roster.Majority() {
		c.failf("%s won term %d though only %d of %d voters have no more data", a.h.id, t.term, n, len(v.Roster.Voters))
	}
	delete(c.votedFor, t)
}

// voted is called for each answer to a claim, before it is sent.
func (c *checker) voted(a *agent, m election.Claim, r election.ClaimReply, local election.Local) {
	if !r.Granted {
		c.w.res.Denied[r.Denied]++
		return
	}
	c.w.logf("%s grants %s term %d", a.h.id, m.Candidate, m.Term)
	t := termOf{m.ClusterID, m.Term}
	if c.votedFor[t] == nil {
		c.votedFor[t] = map[election.NodeID]bool{}
	}
	best := m.Holding || m.Bootstrapping || local.Data.Compare(m.Data) <= 0
	c.votedFor[t][a.h.id] = c.votedFor[t][a.h.id] || best
}

// claimed is called after an agent has claimed.
func (c *checker) claimed(a *agent, v election.View, fenced election.Term) {
	if v.Claiming {
		c.w.logf("%s claims term %d, fenced %d", a.h.id, v.Term, fenced)
		if v.Lease {
			c.w.res.Again++
		}
		if fenced != 0 {
			c.w.res.Fenced++
		}
	}
}

// sent is called for each message that leaves: what it depends on is on disk.
func (c *checker) sent(a *agent, env election.Envelope, said time.Duration) {
	switch m := env.Message.(type) {
	case election.Claim:
		c.vote(termOf{m.ClusterID, m.Term}, a.h.id, m.Candidate, m.Bootstrapping)
	case election.RenewReply:
		if m.Granted {
			c.grants[a.h.id] = granted{to: env.To, until: said + time.Duration(float64(election.Lease)/a.h.rate)}
			c.majorities(a, env.To)
		}
	case election.Release:
		if v := a.e.View(a.h.local()); v.Holder == m.Holder && v.HolderTerm == m.Term {
			c.released[termOf{m.ClusterID, m.Term}] = true
		}
	}
}

// vote: a node votes once a term, whatever happened to its agent.
func (c *checker) vote(t termOf, voter, to election.NodeID, bootstrap bool) {
	if bootstrap {
		return
	}
	v := voteOf{t, voter}
	if was, ok := c.votes[v]; ok && was != to {
		c.failf("%s voted for %s and %s in term %d", voter, was, to, t.term)
	}
	c.votes[v] = to
}

// majorities: no two nodes have a majority of running grants, each of its own roster.
func (c *checker) majorities(a *agent, to election.NodeID) {
	a1 := c.w.host(to)
	if a1 == nil || !c.hasMajority(a1) {
		return
	}
	for _, o := range c.w.hosts {
		if o != a1 && c.hasMajority(o) {
			c.failf("%s and %s both have the grants of a majority", to, o.id)
		}
	}
}

func (c *checker) hasMajority(h *host) bool {
	if h.agent == nil {
		return false
	}
	v := h.agent.e.View(h.local())
	if v.Holder != h.id || v.Released || v.Bootstrapping || len(v.Roster.Voters) < 2 {
		return false
	}
	n := 0
	for _, x := range v.Roster.Voters {
		if g := c.grants[x.ID]; x.ID == h.id || g.to == h.id && c.w.now < g.until {
			n++
		}
	}
	return n >= v.Roster.Majority()
}

// lifted: at most one redis-server accepts writes, unless its agent and its network failed
// together.
func (c *checker) lifted(a *agent) {
	if !a.h.writable() {
		return
	}
	c.exempt()
	for _, o := range c.w.hosts {
		if o != a.h && o.writable() && !o.redis.exempt && !a.h.redis.exempt {
			c.failf("%s and %s both accept writes, of terms %d and %d (agent gone: %v)", a.h.id, o.id, a.h.redis.primaryOf,
				o.redis.primaryOf, o.agent == nil || o.agent.frozen())
		}
	}
}

// exempt notes whose agent was gone while its host was cut, or just had been, so that a voter may
// still have thought it out of reach.
func (c *checker) exempt() {
	for _, h := range c.w.hosts {
		if h.agent != nil && !h.agent.frozen() {
			continue
		}
		cut := c.w.now-h.lastCut < time.Second
		for i := range c.w.hosts {
			cut = cut || c.w.cut[h.i][i] || c.w.cut[i][h.i]
		}
		h.redis.exempt = h.redis.exempt || cut
	}
}

// calm: the faults are over and there has been one holder for a while.
func (c *checker) calm() bool {
	return c.steady != "" && c.w.now-max(c.steadySince, c.w.f.until) >= steadyFor
}

// settled checks the end of a run: one holder, and the same for a while.
func (c *checker) settled() {
	if c.err != nil {
		return
	}
	clusters := map[string]bool{}
	var holder *host
	for _, h := range c.w.hosts {
		if h.lost {
			continue
		}
		if h.agent == nil {
			c.failf("no agent on %s", h.id)
			return
		}
		v := h.agent.e.View(h.local())
		clusters[v.ClusterID] = true
		if v.Lease {
			holder = h
		}
	}
	if holder == nil && len(clusters) > 1 && !clusters[""] || holder == nil && len(clusters) > 2 {
		c.w.res.Stuck = true
		return
	}
	if holder == nil {
		c.failf("no holder %v after the faults ended", Bound)
		return
	}
	if !c.calm() {
		c.failf("%s holds, but only since %v", holder.id, c.w.now-c.steadySince)
	}
	c.w.res.Settled = max(c.steadySince-c.w.f.until, 0)
}

// watch notes since when there is one and the same holder.
func (c *checker) watch() {
	c.exempt()
	var id election.NodeID
	for _, h := range c.w.hosts {
		if h.agent != nil {
			if _, ok := h.agent.e.LeaseUntil(h.local()); ok {
				id = h.id
			}
		}
	}
	if id == "" || id != c.steady {
		c.steady, c.steadySince = id, c.w.now
	}
	c.w.after(10*ms, c.watch)
}
