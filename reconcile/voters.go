package reconcile

import (
	"cmp"
	"fmt"
	"slices"
)

// NextRoster is the next step from the voters that there are to those that there should be, and
// false when there is none. It is the one place that decides who votes: election.Propose sees to it
// that a step is safe whatever it is.
//
// There are as many voters as members, at most Desired.Voters; the other members are learners. Let
// the losses that voters survive be how many of them answer, less a majority. A voter that is added
// and answers never lowers that, nor does taking out one that does not answer, nor one that does
// out of an even number. These are all the steps that are made by themselves, so who is gone goes
// first and who lives goes last; election/DESIGN.md has the argument. Only a person's word, a lower
// number of voters or a member that leaves, takes one that answers out of an odd number.
func NextRoster(o Observed, d Desired) (SetRoster, bool) {
	r := newRoll(o, d)
	if r.n() == 0 {
		return SetRoster{}, false
	}
	for _, step := range []func() (SetRoster, bool){r.move, r.dismissGone, r.add, r.dismiss} {
		if next, ok := step(); ok {
			return next, true
		}
	}
	return SetRoster{}, false
}

// roll is the voters, and who could be one.
type roll struct {
	o       Observed
	d       Desired
	seats   []seat
	waiting []Member // the learners that can be voters, the best first
	crowds  map[string]int
}

// seat is a voter and what is known of it; a member that gossip has forgotten has an ID alone.
type seat struct {
	Voter
	m Member
}

func newRoll(o Observed, d Desired) *roll {
	r := &roll{o: o, d: d, crowds: map[string]int{}}
	for _, v := range o.Election.Voters {
		m := Member{ID: v.ID}
		if i := slices.IndexFunc(o.Members, func(m Member) bool { return m.ID == v.ID }); i >= 0 {
			m = o.Members[i]
		}
		r.seat(v, m)
	}
	for _, m := range o.Members {
		if m.Alive && m.ClusterID == o.Election.ClusterID && !r.votes(m.ID) && !r.unwanted(m.ID) && slices.Contains(o.Election.Learners, m.ID) {
			r.waiting = append(r.waiting, m)
		}
	}
	r.rank()
	return r
}

func (r *roll) seat(v Voter, m Member) {
	r.seats = append(r.seats, seat{v, m})
	r.crowds[m.Zone]++
}

// rank puts the learners in the order in which they are to be voters.
func (r *roll) rank() {
	slices.SortFunc(r.waiting, func(a, b Member) int {
		return cmp.Or(
			cmp.Compare(r.crowds[a.Zone], r.crowds[b.Zone]), last(!a.couldLead(), !b.couldLead()), last(!a.Ready, !b.Ready),
			cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})
}

// couldLead: it has a dataset, and may be primary.
func (m Member) couldLead() bool { return m.Redis != "" && m.Priority != PriorityNever }

// last orders what is so after what is not.
func last(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (r *roll) n() int                  { return len(r.seats) }
func (r *roll) odd() bool               { return r.n()%2 == 1 }
func (r *roll) surplus() bool           { return r.d.Voters > 0 && r.n() > r.d.Voters }
func (r *roll) full() bool              { return r.d.Voters > 0 && r.n() >= r.d.Voters }
func (r *roll) unwanted(id string) bool { return slices.Contains(r.o.Forgotten, id) }

func (r *roll) votes(id string) bool {
	return slices.ContainsFunc(r.seats, func(s seat) bool { return s.ID == id })
}

func (s seat) answers() bool { return s.SilentSince == 0 }

// gone: it has not answered for so long that another one is to vote in its place.
func (r *roll) gone(s seat) bool {
	return !s.answers() && r.d.ReplaceAfter > 0 && r.o.At >= s.SilentSince+r.d.ReplaceAfter
}

// move corrects the address of a voter.
func (r *roll) move() (SetRoster, bool) {
	for i, s := range r.seats {
		if s.m.Alive && s.m.ClusterID == r.o.Election.ClusterID && s.Addr != s.m.Gossip {
			next := slices.Clone(r.o.Election.Voters)
			next[i].Addr = s.m.Gossip
			return SetRoster{Voters: next, Why: s.ID + " has a new address"}, true
		}
	}
	return SetRoster{}, false
}

// dismissGone takes out who does not answer: for good, on a person's word; else where another can
// take its place, or where the number is even, so that the rest survives more without it.
func (r *roll) dismissGone() (SetRoster, bool) {
	for _, s := range r.seats {
		if !s.answers() && r.unwanted(s.ID) {
			return r.without(s, s.ID+" is no member any more")
		}
	}
	for _, s := range r.seats {
		if r.gone(s) && (len(r.waiting) > 0 || !r.odd() || r.surplus()) {
			return r.without(s, fmt.Sprintf("%s has not answered for %v", s.ID, r.d.ReplaceAfter))
		}
	}
	return SetRoster{}, false
}

// add makes a learner a voter: where there are too few, and also beyond their number where it comes
// in the place of one that lives, which goes next.
func (r *roll) add() (SetRoster, bool) {
	if len(r.waiting) == 0 || r.surplus() {
		return SetRoster{}, false
	}
	if i := slices.IndexFunc(r.waiting, func(m Member) bool { return r.o.Handover && m.ID == r.o.HandoverTo }); i >= 0 {
		return r.with(r.waiting[i], "the primary is to move to "+r.waiting[i].ID)
	}
	best := r.waiting[0]
	switch {
	case !r.full():
		return r.with(best, best.ID+" joined")
	case r.odd() && slices.ContainsFunc(r.seats, func(s seat) bool { return r.unwanted(s.ID) && s.ID != r.o.Self }):
		return r.with(best, "another voter leaves")
	case r.odd() && !slices.ContainsFunc(r.seats, func(s seat) bool { return !s.answers() }):
		for _, m := range r.waiting {
			if why := r.better(m); why != "" {
				return r.with(m, why)
			}
		}
	}
	return SetRoster{}, false
}

// better says why a learner should vote in the place of a voter that is as alive; "": it should
// not. Each such exchange spreads the voters over more zones, or as many and more of them can be
// primary, so there is an end to it.
func (r *roll) better(m Member) string {
	for _, s := range r.seats {
		spread := r.crowds[s.m.Zone] - r.crowds[m.Zone] // without the one, and with the other
		switch same := s.m.Zone == m.Zone; {
		case s.ID == r.o.Self || !s.m.Alive:
		case !same && spread > 1 && s.m.Zone != "" && m.Zone != "": // else somebody is just saying where all are
			return "fewer voters are in zone " + m.Zone
		case (same || spread == 1) && m.couldLead() && !s.m.couldLead():
			return m.ID + " can be primary"
		}
	}
	return ""
}

// dismiss takes out one that answers: because it leaves, or there are too many.
func (r *roll) dismiss() (SetRoster, bool) {
	var out []seat
	for _, s := range r.seats {
		if s.ID != r.o.Self && !(r.o.Handover && s.ID == r.o.HandoverTo) {
			out = append(out, s)
		}
	}
	for _, s := range out {
		if next, ok := r.without(s, s.ID+" is no member any more"); ok && r.unwanted(s.ID) {
			return next, true
		}
	}
	if !r.surplus() || len(out) == 0 {
		return SetRoster{}, false
	}
	// The successors stay, and of those that are in one zone the one that is best as a primary.
	next := r.o.Election.Successors
	worst := slices.MinFunc(out, func(a, b seat) int {
		return cmp.Or(
			last(a.answers(), b.answers()), cmp.Compare(r.crowds[b.m.Zone], r.crowds[a.m.Zone]), last(a.m.couldLead(), b.m.couldLead()),
			cmp.Compare(place(next, b.ID), place(next, a.ID)), cmp.Compare(b.m.Priority, a.m.Priority), cmp.Compare(b.ID, a.ID))
	})
	return r.without(worst, fmt.Sprintf("%s is one more than voters = %d", worst.ID, r.d.Voters))
}

// place is where id stands, behind the last when it does not.
func place(list []string, id string) int {
	if i := slices.Index(list, id); i >= 0 {
		return i
	}
	return len(list)
}

func (r *roll) with(m Member, why string) (SetRoster, bool) {
	next := append(slices.Clone(r.o.Election.Voters), Voter{ID: m.ID, Addr: m.Gossip})
	return SetRoster{Voters: next, Why: why}, true
}

// without is the roster without a voter, if a majority of the others answers.
func (r *roll) without(out seat, why string) (SetRoster, bool) {
	var next []Voter
	here := 0
	for _, s := range r.seats {
		if s.ID == out.ID {
			continue
		}
		next = append(next, s.Voter)
		if s.answers() {
			here++
		}
	}
	return SetRoster{Voters: next, Why: why}, here > len(next)/2
}

// FirstVoters are who is to vote when the cluster begins: this node, which is to be its first
// primary, and others of those that are here. They are as many as expected at least, since any two
// sets of that many have a node in common, which gives its word to one of them.
func FirstVoters(o Observed, d Desired) []Voter {
	r := &roll{o: o, d: d, crowds: map[string]int{}}
	for _, m := range o.Members {
		switch {
		case m.ID == o.Self:
			r.seat(Voter{ID: m.ID, Addr: m.Gossip}, m)
		case m.Alive:
			r.waiting = append(r.waiting, m)
		}
	}
	for len(r.waiting) > 0 && (d.Voters == 0 || r.n() < max(d.Voters, d.Expect)) {
		r.rank()
		m := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.seat(Voter{ID: m.ID, Addr: m.Gossip}, m)
	}
	var voters []Voter
	for _, s := range r.seats {
		voters = append(voters, s.Voter)
	}
	slices.SortFunc(voters, func(a, b Voter) int { return cmp.Compare(a.ID, b.ID) })
	return voters
}
