package election

// Serve notes that a redis-server is about to be made the primary of this cluster, which is on disk
// before it is.
func (e *Elector) Serve() {
	if e.st.Fresh {
		e.st.Fresh = false
		e.unsaved = true
	}
}

// unserved: the claim is for the first primary of a cluster that never had one: the holder was
// lost, or gave the lease back, before it was made that. Nobody has data, so having none is no
// reason to be denied, if that is what every voter knows: the one that was made primary would know
// better.
func (e *Elector) unserved(m Claim) bool {
	return e.st.Fresh && !e.st.Bootstrapping && m.Data.Term == 0 && !m.Forced && !m.Holding
}
