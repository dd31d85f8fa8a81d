package search

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/redisd/redisd/election"
)

// untold: less than a majority of r's voters knows that all have the cluster.
func (s *Scenario) untold(c *world, r election.Roster) bool {
	n := 0
	for i, id := range s.ids {
		if d := c.nodes[i].disk; r.Has(id) && !d.Bootstrapping && d.HolderTerm > 0 {
			n++
		}
	}
	return n < r.Majority()
}

// said is called for each message that leaves: what it says of a vote is for ever.
func (s *Scenario) said(c *world, a action, env election.Envelope, local election.Local) error {
	self := s.ids[a.node]
	switch m := env.Message.(type) {
	case election.Claim:
		if !m.Bootstrapping {
			return s.once(c, a.node, m.Term, self)
		}
	case election.ClaimReply:
		asked, is := a.letter.m.(election.Claim)
		if m.Granted && is && asked.Bootstrapping {
			c.ghost.words[slices.Index(s.ids, asked.Candidate)] |= 1 << a.node
		}
		if !m.Granted || !is || asked.Bootstrapping {
			return nil
		}
		full := !local.Candidate || c.nodes[a.node].data.Compare(asked.Data) <= 0
		known := asked.Data.Compare(local.Least) >= 0 || asked.Candidate == c.nodes[a.node].disk.Holder
		if asked.Holding || full && known {
			c.ghost.enough[m.Term] |= 1 << a.node
		}
		return s.once(c, a.node, m.Term, asked.Candidate)
	case election.Release:
		if v := c.nodes[a.node].e.View(c.clock(s, a.node)); v.Holder == m.Holder && v.HolderTerm == m.Term && !s.bootstrapping(m.Term) {
			c.ghost.released |= 1 << m.Term
		}
	}
	return nil
}

// bootstrap: of term 1 each cluster that is founded has its own.
func (s *Scenario) bootstrapping(t election.Term) bool { return len(s.Founders) > 0 && t == 1 }

// once: a node votes once in a term, whatever happens to its agent.
func (s *Scenario) once(c *world, i int, t election.Term, to election.NodeID) error {
	was := &c.ghost.vote[t][i]
	is := int8(slices.Index(s.ids, to) + 1)
	if *was != 0 && *was != is {
		return fmt.Errorf("%s voted for %s and %s in term %d", s.ids[i], s.ids[*was-1], to, t)
	}
	*was = is
	return nil
}

// check is called after each step, with the node that took it, or -1.
func (s *Scenario) check(c *world, at int) error {
	if at >= 0 {
		if err := s.won(c, at); err != nil {
			return err
		}
		if err := s.rosters(c, at); err != nil {
			return err
		}
	}
	return s.leases(c)
}

// leases: one lease at a time, one redis-server that accepts writes; terms rise; what was given
// back is not held again.
func (s *Scenario) leases(c *world) error {
	holder, writer := -1, -1
	for i, n := range c.nodes {
		if n.writable && (!s.Deaf || n.e != nil && !n.frozen) {
			if writer >= 0 {
				return fmt.Errorf("%s and %s both accept writes, of terms %d and %d", s.ids[writer], s.ids[i], c.nodes[writer].primaryOf, n.primaryOf)
			}
			writer = i
		}
		if n.e == nil {
			continue
		}
		if _, ok := n.e.LeaseUntil(c.clock(s, i)); !ok {
			continue
		}
		t := n.disk.HolderTerm
		switch {
		case holder >= 0:
			return fmt.Errorf("two leases: %s of term %d and %s of term %d", s.ids[holder], c.nodes[holder].disk.HolderTerm, s.ids[i], t)
		case c.ghost.released&(1<<t) != 0:
			return fmt.Errorf("%s has a lease of term %d again, which it gave back", s.ids[i], t)
		case t < election.Term(c.ghost.lease):
			return fmt.Errorf("%s has a lease of term %d after one of term %d ran", s.ids[i], t, c.ghost.lease)
		}
		if id := s.lacks(c, i); c.ghost.lease == 0 && id != "" {
			return fmt.Errorf("%s has the first lease while %s has not got the cluster on disk", s.ids[i], id)
		}
		if c.ghost.lease == 0 && s.untold(c, n.disk.Roster) {
			return fmt.Errorf("%s has the first lease while a majority has not been told that the cluster is born", s.ids[i])
		}
		holder = i
		c.ghost.lease = int8(t)
	}
	return nil
}

// won: a term has one winner, which has no less data than a majority.
func (s *Scenario) won(c *world, i int) error {
	n := c.nodes[i]
	st := n.disk
	if st.Holder != s.ids[i] || st.HolderTerm == 0 {
		return nil
	}
	g := &c.ghost
	if s.bootstrapping(st.HolderTerm) {
		return s.founded(c, i)
	}
	switch by := int(g.winner[st.HolderTerm]) - 1; {
	case by == i:
		return nil
	case by >= 0:
		return fmt.Errorf("%s and %s both won term %d", s.ids[by], s.ids[i], st.HolderTerm)
	}
	g.winner[st.HolderTerm] = int8(i + 1)
	had := 1 // itself
	for o, id := range s.ids {
		if o != i && g.enough[st.HolderTerm]>>o&1 == 1 && st.Roster.Has(id) {
			had++
		}
	}
	g.enough[st.HolderTerm] = 0
	if had < st.Roster.Majority() {
		return fmt.Errorf("%s won term %d though only %d of %d voters have no more data", s.ids[i], st.HolderTerm, had, len(st.Roster.Voters))
	}
	if n.data.Term == 0 && g.lease > 0 {
		return fmt.Errorf("%s won term %d without any data", s.ids[i], st.HolderTerm)
	}
	return nil
}

// founded: every voter has given its word to who founds.
func (s *Scenario) founded(c *world, i int) error {
	r := c.nodes[i].disk.Roster
	for o, id := range s.ids {
		if o != i && r.Has(id) && c.ghost.words[i]>>o&1 == 0 {
			return fmt.Errorf("%s founds a cluster without the word of %s", s.ids[i], id)
		}
	}
	return nil
}

// lacks is a voter that has not the cluster of node i on its disk, empty for none.
func (s *Scenario) lacks(c *world, i int) election.NodeID {
	st := c.nodes[i].disk
	for o, id := range s.ids {
		if st.Roster.Has(id) && c.nodes[o].disk.ClusterID != st.ClusterID {
			return id
		}
	}
	return ""
}

// rosters: two rosters that can both win have no majorities that do not meet. A roster can win with
// those of its voters that know none newer.
func (s *Scenario) rosters(c *world, at int) error {
	r := c.nodes[at].disk.Roster
	for i, n := range c.nodes {
		o := n.disk.Roster
		if i == at || n.disk.ClusterID == "" || n.disk.ClusterID != c.nodes[at].disk.ClusterID {
			continue
		}
		x, y := s.canWin(c, r), s.canWin(c, o)
		if bits.OnesCount8(x) >= r.Majority() && bits.OnesCount8(y) >= o.Majority() && bits.OnesCount8(x|y) >= r.Majority()+o.Majority() {
			return fmt.Errorf("the rosters %s of %s and %s of %s can both win, without a voter in both majorities", rosterText(r), s.ids[at], rosterText(o), s.ids[i])
		}
	}
	return nil
}

func (s *Scenario) canWin(c *world, r election.Roster) uint8 {
	var set uint8
	for i, n := range c.nodes {
		if r.Has(s.ids[i]) && compare(n.disk.Roster, r) <= 0 {
			set |= 1 << i
		}
	}
	return set
}

func rosterText(r election.Roster) string {
	var ids []election.NodeID
	for _, v := range r.Voters {
		ids = append(ids, v.ID)
	}
	return fmt.Sprintf("%d.%d%v", r.Term, r.Version, ids)
}
