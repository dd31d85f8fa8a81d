package election

// Announce has the renewals carry i from now on, and sends one at once.
func (e *Elector) Announce(now Time, i Info, learners []NodeID) []Envelope {
	e.info = i
	e.renewedAt = now - RenewEvery
	return e.Tick(now, learners)
}

// Announced returns what the renewals of this holder carry.
func (e *Elector) Announced() Info { return e.info }
