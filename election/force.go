package election

// Force claims the lease because an operator has decided so: whoever has more data does not deny
// it, and voters that the operator knows to be gone for good do not count any more (voters is who
// is left). All else holds as ever: no lease of anybody else may run, and nobody may reach the
// holder's redis-server.
//
// Should voters that are left out be alive somewhere, and be a majority of the roster before, they
// can elect a holder of their own as long as nobody reaches them who knows the new roster. So that
// begins an epoch: once they are reached, it is theirs to let go. As that holds also for who has a
// lease, a majority of those that are left must have said that they would vote for it: what cannot
// be done has no effect.
func (e *Elector) Force(now Time, local Local, voters []Voter) []Envelope {
	if _, leased := e.LeaseUntil(now); leased || e.st.ClusterID == "" || e.claim != nil {
		return nil
	}
	term := max(e.st.Term, e.highest) + 1
	next := NewRoster(e.st.Roster.Version, voters)
	next.Term = e.st.Roster.Term
	if difference(e.st.Roster, next) > 0 {
		term = max(e.st.Term, e.highest).nextEpoch(e.self)
		next.Version, next.Term = next.Version+1, term
	}
	if !next.Has(e.self) {
		return nil
	}
	m := Claim{
		ClusterID: e.st.ClusterID, Term: term, Candidate: e.self, Sent: now,
		Roster: next, Data: local.Data, HolderTerm: e.st.HolderTerm, Released: e.st.Released, Forced: true,
	}
	if next.Term == term {
		return e.ask(now, local, m)
	}
	return e.start(now, local, m)
}
