package election

import "hash/fnv"

// A term is an epoch above a count. The count rises with every claim, and goes on from one epoch to
// the next. An epoch begins when an operator leaves voters out: as they may live somewhere and go
// on counting, it is higher than all that they can come to. Of the bits of an epoch the lower ones
// are of the node that began it: of two that are begun in two places neither knows of the other.
const (
	countBits = 30
	tagBits   = 13
)

// Epoch is the epoch that the term is of.
func (t Term) Epoch() Term { return t >> countBits }

// nextEpoch is the term after t, in an epoch that this node begins. There are 1023 in the life of a
// cluster; after those a term is just the next.
func (t Term) nextEpoch(by NodeID) Term {
	h := fnv.New32a()
	h.Write([]byte(by))
	generation, tag := t>>(countBits+tagBits)+1, Term(h.Sum32())%(1<<tagBits)
	next := (generation<<tagBits+tag)<<countBits + (t+1)%(1<<countBits)
	if next >= maxTerm {
		return t + 1
	}
	return next
}

// newer is this node's roster, if that is of a later epoch than r, and else nil. Whoever hears of a
// later epoch is shown its roster with the same message: else it could claim a term of it by an
// older one.
func (e *Elector) newer(r Roster) *Roster {
	if own := e.st.Roster; r.Term.Epoch() < own.Term.Epoch() {
		return &own
	}
	return nil
}

// overrule takes over a roster of a later epoch from whomever it comes, also in the midst of a
// claim, which is void. A lease goes by its roster, so that of an earlier epoch is over: a majority
// of the new one has voted for another, and answers no lower term.
func (e *Elector) overrule(r *Roster) {
	if r == nil || e.st.ClusterID == "" || r.Term.Epoch() <= e.st.Roster.Term.Epoch() {
		return
	}
	e.claim, e.asked = nil, nil
	e.learn(*r)
}
