package election

import "slices"

// View is what the rest of the agent may know of the election.
type View struct {
	ClusterID string
	Term      Term
	Roster    Roster
	// Settled: the holder (this node) may change the roster.
	Settled bool

	// Holder is the last winner, HolderTerm the term it won; Released, since OpenedAt, when it gave
	// the lease back, or stood down.
	Holder     NodeID
	HolderTerm Term
	Released   bool
	OpenedAt   Time
	// HeardAt is when its last renewal came in; never since the start of this agent when EverHeard
	// is false.
	HeardAt    Time
	EverHeard  bool
	Primary    string
	Note       []byte
	Successors []NodeID

	// Fresh: no redis-server was ever made the primary of this cluster, as far as is known here.
	Fresh bool
	// Bootstrapping: the cluster is not on the disks of all its bootstrap voters yet.
	Bootstrapping bool

	// Lease: this node may accept writes until LeaseUntil.
	Lease      bool
	LeaseUntil Time
	// Answered: who answered this holder's renewals within a lease, voter or learner.
	Answered []NodeID
	// Silent: the voters that did not, and since when, as long as this holder has had the lease.
	Silent map[NodeID]Time
	// Untold: the voters that have not said that they have this holder's roster on disk.
	Untold []NodeID
	// Unreachable: those of them that cannot connect to this node's redis-server.
	Unreachable []NodeID

	// Claiming: a claim is under way; ClaimedAt is when the last one ended.
	Claiming  bool
	ClaimedAt Time
	// VotedAt is when this node last voted for another: it leaves that one some time, at random,
	// else three candidates can go round for ever. 0 once that one has given its lease back: it had
	// its turn.
	VotedAt Time
	// Denials of the claim under way, or of the last one; not to be changed.
	Denials map[NodeID]Denied
	// Nudged: this node has more data than a candidate it denied. ByHolder: that one was the last
	// holder, so nobody has more.
	Nudged, ByHolder bool
	// BackedAt is when a majority would last have voted for this node, had it fenced the holder's
	// redis-server. 0: it would not, or was not asked.
	BackedAt Time
	// AskedAt is when it was asked last; 0: never.
	AskedAt Time
	// Overtaken: a voter or learner knows a higher term than this holder's, so the holder must
	// claim again to win that node back.
	Overtaken bool
}

// View returns what is known now.
func (e *Elector) View(now Time) View {
	v := View{
		ClusterID: e.st.ClusterID, Term: e.st.Term, Roster: e.st.Roster, Settled: e.settled, Bootstrapping: e.st.Bootstrapping, Fresh: e.st.Fresh,
		Holder: e.st.Holder, HolderTerm: e.st.HolderTerm, Released: e.st.Released, OpenedAt: e.openedAt,
		HeardAt: e.heardAt, EverHeard: e.everHeard, Successors: e.successors,
		Claiming: e.claim != nil, ClaimedAt: e.claimedAt, VotedAt: e.votedAt, Nudged: e.nudged != "",
		ByHolder: e.lessIn != 0 && e.lessIn == e.st.HolderTerm,
	}
	v.Released = v.Released || e.stoodDown()
	v.AskedAt = e.askedAt
	if e.backed.term == e.st.HolderTerm {
		v.BackedAt = e.backed.at
	}
	if v.Released && e.votedAt < e.openedAt {
		v.VotedAt = 0
	}
	if e.heard.Term == e.st.HolderTerm && e.heard.Holder == e.st.Holder {
		v.Primary, v.Note = e.heard.Primary, e.heard.Note
	}
	v.Denials = e.denials
	v.LeaseUntil, v.Lease = e.LeaseUntil(now)
	if e.holding() {
		v.Successors = e.info.Successors
		v.Primary, v.Note = e.info.Primary, e.info.Note
		v.Overtaken = max(e.ahead, e.st.Term) > e.st.HolderTerm
		v.Answered = make([]NodeID, 0, len(e.acks))
		for id, t := range e.acks {
			if t+Lease > now {
				v.Answered = append(v.Answered, id)
				if e.unreachable[id] && e.st.Roster.Has(id) {
					v.Unreachable = append(v.Unreachable, id)
				}
			}
		}
		slices.Sort(v.Answered)
		slices.Sort(v.Unreachable)
		v.Silent = e.silent(now)
		for _, voter := range e.st.Roster.Voters {
			if voter.ID != e.self && e.rosterAcks[voter.ID] < e.st.Roster.Version {
				v.Untold = append(v.Untold, voter.ID)
			}
		}
	}
	return v
}

// silent returns the voters that have not answered this holder within a lease, and since when. That
// nobody could while it had none, because it was cut off or stood still, is nobody's silence.
func (e *Elector) silent(now Time) map[NodeID]Time {
	var silent map[NodeID]Time
	for _, voter := range e.st.Roster.Voters {
		if t := e.acks[voter.ID]; voter.ID != e.self && t+Lease <= now {
			if silent == nil {
				silent = map[NodeID]Time{}
			}
			silent[voter.ID] = max(t, e.leasedAt)
		}
	}
	return silent
}

// AnsweredAt is when the newest renewal that the voter granted was sent.
func (e *Elector) AnsweredAt(id NodeID) (Time, bool) {
	t, ok := e.acks[id]
	return t, ok
}
