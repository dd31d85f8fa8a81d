package search

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/redisd/redisd/election"
)

const (
	// settleWithin is how long after the last fault somebody must hold the lease for good, and
	// settleFor how long that one must then have it.
	settleWithin = 8 * time.Second
	settleFor    = time.Second
	settleStep   = 50 * ms
)

// settle goes on from w without any fault, after all have come back but perhaps one: what is under
// way comes in order, and agents claim as those that ship do, each some time at random after its
// last claim and its last vote. In time one must hold the lease for good.
func (s *Scenario) settle(w *world, rng *rand.Rand) error {
	c := w.fork()
	for i := range c.nodes {
		c.touch(i)
	}
	dead := -1
	if at := rng.IntN(2 * s.Nodes); at < s.Nodes {
		dead = at
	}
	if rng.IntN(2) == 0 {
		c.letters = nil
	}
	s.repair(c, dead)
	if !s.mustSettle(c) {
		return nil
	}
	agents := make([]claimant, s.Nodes)
	holder, since := -1, c.now
	began := c.now
	for c.now-began < settleWithin {
		s.calmly(c, agents, rng)
		h := slices.IndexFunc(c.nodes, func(n *node) bool {
			if n.e == nil {
				return false
			}
			_, ok := n.e.LeaseUntil(c.clock(s, slices.Index(c.nodes, n)))
			return ok
		})
		if h != holder || h < 0 {
			holder, since = h, c.now
		}
		if h >= 0 && c.now-since >= settleFor {
			return nil
		}
	}
	who := "all of them alive"
	if dead >= 0 {
		who = fmt.Sprintf("only %s dead", s.ids[dead])
	}
	return fmt.Errorf("no lease for good %v after the last fault, %s", settleWithin, who)
}

// repair ends all faults, but that the agent of dead is gone, and perhaps its host.
func (s *Scenario) repair(c *world, dead int) {
	for i, n := range c.nodes {
		switch {
		case i == dead:
			n.e, n.frozen = nil, false
			n.up, n.writable = n.up && !s.Deaf, n.writable && !s.Deaf
		case n.e == nil:
			n.e = election.New(s.ids[i], n.disk, c.clock(s, i))
			n.up, n.writable, n.primaryOf = true, false, 0
		default:
			n.up, n.frozen = true, false
			n.obey(c.clock(s, i))
		}
	}
}

// mustSettle: a majority of every roster lives, the cluster is born, and one of those that live may
// become primary by what all of them know.
func (s *Scenario) mustSettle(c *world) bool {
	if len(s.Founders) > 0 && c.ghost.lease == 0 {
		return false
	}
	var newest election.Roster
	cluster := c.nodes[0].disk.ClusterID
	for _, n := range c.nodes {
		if n.disk.ClusterID != "" && n.disk.ClusterID != cluster {
			return false
		}
		if r := n.disk.Roster; compare(r, newest) > 0 {
			newest = r
		}
		live := 0
		for i, o := range c.nodes {
			if o.e != nil && n.disk.Roster.Has(s.ids[i]) {
				live++
			}
		}
		if n.disk.ClusterID != "" && live < n.disk.Roster.Majority() {
			return false
		}
	}
	return slices.ContainsFunc(c.nodes, func(n *node) bool {
		i := slices.Index(c.nodes, n)
		return n.e != nil && !n.witness && newest.Has(s.ids[i]) && n.data.Term > 0 && !slices.ContainsFunc(c.nodes, func(o *node) bool {
			return o.e != nil && (!o.witness && o.data.Compare(n.data) > 0 || o.least.Compare(n.data) > 0)
		})
	})
}

// claimant is what an agent knows besides its elector: when it may claim next.
type claimant struct {
	next    election.Time
	votedAt election.Time
}

// calmly is one step of a world without faults.
func (s *Scenario) calmly(c *world, agents []claimant, rng *rand.Rand) {
	c.now += settleStep
	letters := c.letters
	c.letters = nil
	for _, l := range letters {
		n := c.nodes[l.to]
		if n.e == nil {
			continue
		}
		now := c.clock(s, l.to)
		n.obey(now)
		out := n.e.Step(now, l.m, s.local(c, l.to))
		s.copyData(c, n, l, out)
		s.turn(c, l.to, out)
	}
	for i, n := range c.nodes {
		if n.e == nil {
			continue
		}
		now := c.clock(s, i)
		n.obey(now)
		s.turn(c, i, n.e.Tick(now, s.ids))
		s.turn(c, i, s.stand(c, i, &agents[i], rng))
	}
}

// turn saves and sends.
func (s *Scenario) turn(c *world, i int, out []election.Envelope) {
	n := c.nodes[i]
	if st, dirty := n.e.Unsaved(); dirty {
		n.disk = st
		n.e.Saved()
	}
	for _, env := range out {
		if to := slices.Index(s.ids, env.To); to >= 0 && to != i {
			c.letters = append(c.letters, &letter{from: i, to: to, m: env.Message})
		}
	}
	s.lead(n, i, c.clock(s, i))
}

// stand claims when the lease is open, or the holder is overtaken.
func (s *Scenario) stand(c *world, i int, a *claimant, rng *rand.Rand) []election.Envelope {
	n, now := c.nodes[i], c.clock(s, i)
	v := n.e.View(now)
	if v.VotedAt > a.votedAt {
		a.votedAt = v.VotedAt
		a.next = max(a.next, v.VotedAt+100*ms+time.Duration(rng.Int64N(int64(600*ms))))
	}
	holding := v.Holder == s.ids[i] && !v.Released
	switch {
	case v.ClusterID == "" || v.Claiming || n.witness || !v.Roster.Has(s.ids[i]) || now < a.next:
		return nil
	case holding && !v.Overtaken, !holding && !v.Released && !v.Nudged && v.EverHeard && now < v.HeardAt+election.Lapse:
		return nil
	}
	a.next = now + 100*ms + time.Duration(rng.Int64N(int64(600*ms)))
	var fenced election.Term
	if h := slices.Index(s.ids, v.Holder); !holding && !v.Released && h >= 0 && c.nodes[h].up {
		c.nodes[h].writable = false
		fenced = v.HolderTerm
	}
	return n.e.Claim(now, s.local(c, i), fenced)
}
