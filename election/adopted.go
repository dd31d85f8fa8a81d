package election

// skipped is how many terms an adopted node leaves out: more than a cluster without it, or with it
// and unheard, can have come to, and few of the thousand million that there are.
const skipped = 1000

// Adopted is the state of a node that may have promised more than it remembers: its disk was moved
// from another host, or is a backup. It votes in no term in which it may have voted, goes by the
// newest roster that the others know, and gives back a lease that it remembers. known are the
// states of others, of this cluster. Who has no others has promised nobody anything.
func (s State) Adopted(known []State) State {
	if s.ClusterID == "" || len(s.Roster.Voters) < 2 {
		return s
	}
	highest := s.Term
	for _, k := range known {
		highest = max(highest, k.Term)
		if k.Roster.Compare(s.Roster) > 0 {
			s.Roster = k.Roster
		}
	}
	s.Term, s.Vote, s.Fresh = highest+skipped, "", false
	s.Released = s.Released || s.Holder != ""
	return s
}
