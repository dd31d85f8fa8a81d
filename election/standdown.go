package election

// StandDown tells the voters that this node, which has released the lease and could not save that,
// holds it no more. It depends on nothing that is to be saved.
func (e *Elector) StandDown(now Time) []Envelope {
	if e.st.Holder != e.self || !e.st.Released || !e.unsaved {
		return nil
	}
	m := StandDown{ClusterID: e.st.ClusterID, Term: e.st.HolderTerm, Holder: e.self, Sent: now, Successors: e.successors}
	if e.handed.Term == m.Term {
		m.Handed = e.handed.Offset
	}
	return e.toVoters(m)
}

func (e *Elector) onStandDown(now Time, m StandDown) {
	if m.ClusterID != e.st.ClusterID || m.Holder != e.st.Holder || m.Holder == e.self || m.Term != e.st.HolderTerm || e.st.Released {
		return
	}
	if e.heard.Term == m.Term && e.heard.Holder == m.Holder && m.Sent < e.heard.Sent {
		return // it has begun to renew again since
	}
	e.free(Release{Term: m.Term, Holder: m.Holder})
	if !e.stoodDown() {
		e.openedAt = now
	}
	e.stood = grant{to: m.Holder, term: m.Term, at: now}
	e.successors = m.Successors
	if m.Handed > 0 {
		e.handed = Data{Term: m.Term, Offset: m.Handed}
	}
}

// stoodDown: the last holder has said that it does not hold its lease any more, and has not renewed
// it since.
func (e *Elector) stoodDown() bool {
	return e.stood.to != "" && e.stood.to == e.st.Holder && e.stood.term == e.st.HolderTerm
}
