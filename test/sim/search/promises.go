package search

import (
	"cmp"
	"fmt"

	"github.com/redisd/redisd/election"
)

// compare orders rosters as they ought to be: by the term of the writer first.
func compare(a, b election.Roster) int {
	return cmp.Or(cmp.Compare(a.Term, b.Term), cmp.Compare(a.Version, b.Version))
}

// promises are what a node keeps by itself, whatever others do. The arguments for two leases at
// once, and for rosters, are built of them; n.disk is as it was before the step.
func (n *node) promises(s *Scenario, a action, out []election.Envelope, now election.Time, leased bool) error {
	if a.letter == nil {
		return nil
	}
	switch m := a.letter.m.(type) {
	case election.Release:
		if m.Holder == n.voteTo && m.Term == n.voteTerm {
			n.voteTo = ""
		}
	case election.Renew:
		if len(out) > 0 && out[0].Message.(election.RenewReply).Granted {
			return n.renewed(s, a, m, now)
		}
	case election.Claim:
		switch {
		case len(out) == 0 || !out[0].Message.(election.ClaimReply).Granted:
		case m.Bootstrapping:
			return n.promised(s, a, m.Candidate, now)
		default:
			return n.voted(s, a, m, now, leased)
		}
	}
	return nil
}

// voted: who has a lease votes for nobody, and who voted for one does not vote for another within
// Lapse unless the vote was given back. A vote is of its own cluster, by a roster that is not older
// than the voter's, for a term without a holder.
func (n *node) voted(s *Scenario, a action, m election.Claim, now election.Time, leased bool) error {
	id := s.ids[a.node]
	// A later term has a holder: what was voted before is that one's business.
	back := m.Released && m.HolderTerm == n.voteTerm || n.disk.HolderTerm > n.voteTerm
	switch {
	case leased:
		return fmt.Errorf("%s votes for %s while it has a lease", id, m.Candidate)
	case n.voteTo != "" && n.voteTo != m.Candidate && now < n.voteAt+election.Lapse && !back:
		return fmt.Errorf("%s votes for %s %v after it voted for %s", id, m.Candidate, now-n.voteAt, n.voteTo)
	case n.disk.ClusterID != "" && m.ClusterID != n.disk.ClusterID:
		return fmt.Errorf("%s of cluster %s votes for %s in cluster %s", id, n.disk.ClusterID, m.Candidate, m.ClusterID)
	case n.disk.ClusterID != "" && compare(m.Roster, n.disk.Roster) < 0:
		return fmt.Errorf("%s votes for %s by roster %s, and has %s", id, m.Candidate, rosterText(m.Roster), rosterText(n.disk.Roster))
	case m.Term <= n.disk.HolderTerm:
		return fmt.Errorf("%s votes for %s in term %d, though term %d has a holder", id, m.Candidate, m.Term, n.disk.HolderTerm)
	case n.disk.ClusterID == "" && n.wordTo != "" && n.wordTo != m.Candidate && now < n.wordAt+election.BootstrapFor:
		return fmt.Errorf("%s votes for %s %v after it gave its word to %s", id, m.Candidate, now-n.wordAt, n.wordTo)
	}
	n.voteTo, n.voteTerm, n.voteAt = m.Candidate, m.Term, now
	return nil
}

// promised: a word is given to one bootstrap node for BootstrapFor, by who has no cluster.
func (n *node) promised(s *Scenario, a action, to election.NodeID, now election.Time) error {
	id := s.ids[a.node]
	switch {
	case n.disk.ClusterID != "":
		return fmt.Errorf("%s gives its word to %s, and has a cluster", id, to)
	case n.wordTo != "" && n.wordTo != to && now < n.wordAt+election.BootstrapFor:
		return fmt.Errorf("%s gives its word to %s %v after it gave it to %s", id, to, now-n.wordAt, n.wordTo)
	}
	n.wordTo, n.wordAt = to, now
	return nil
}

// renewed: not what is known to have been given back, nor for a bootstrap node that did not get
// this node's word while another has it.
func (n *node) renewed(s *Scenario, a action, m election.Renew, now election.Time) error {
	id := s.ids[a.node]
	switch {
	case n.disk.Released && n.disk.HolderTerm == m.Term && n.disk.ClusterID == m.ClusterID:
		return fmt.Errorf("%s answers a renewal of term %d, which it knows was given back", id, m.Term)
	case n.disk.ClusterID == "" && n.wordTo != "" && n.wordTo != m.Holder && now < n.wordAt+election.BootstrapFor:
		return fmt.Errorf("%s follows %s %v after it gave its word to %s", id, m.Holder, now-n.wordAt, n.wordTo)
	}
	return nil
}
