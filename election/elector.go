package election

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Elector is one node's part in the election: voter always, candidate and holder at times. It is
// not safe for concurrent use.
type Elector struct {
	self    NodeID
	st      State
	unsaved bool

	// As a voter: what stands in the way of all others until it lapses or is released. A renewal
	// and a claim leave separate grants, so that a claim which a holder withdraws does not take its
	// running lease along.
	leased grant
	voted  grant
	// The word given to a bootstrap node: never taken back, it lapses.
	bootstrap grant

	// As a follower.
	heard      Renew // the newest renewal accepted
	newsAt     Time  // when it came
	heardAt    Time
	everHeard  bool
	openedAt   Time // when the current holder's lease was released
	successors []NodeID
	handed     Data   // what there was of the last holder's data when it handed over
	nudged     NodeID // denied this candidate, which has less data: claim at once
	lessIn     Term   // the holder of this term, the last one, was denied for that reason

	stood grant // the holder that has stood down, when it said so

	// As the holder.
	acks        map[NodeID]Time   // when the newest renewal that a voter granted was sent
	rosterAcks  map[NodeID]uint64 // the roster a voter has on disk
	unreachable map[NodeID]bool   // voters that cannot connect to the holder's redis-server
	settled     bool              // a majority of st.Roster has it on disk, with this term's stamp
	renewedAt   Time
	highest     Term // the highest term seen anywhere
	doubtedAt   Time // when a voter last asked for votes against this holder
	ahead       Term // the highest term that a voter or learner has gone ahead to
	leasedAt    Time // since when the lease has run without a gap
	info        Info

	// As a candidate.
	claim     *claim
	asked     *preVote
	askedAt   Time
	backed    grant // of this term's holder a majority would have let it take over
	claimedAt Time  // when the last claim ended
	denials   map[NodeID]Denied
	votedAt   Time // when it last voted for another

	resentAt    Time
	resendUntil Time
}

type grant struct {
	to   NodeID
	term Term
	at   Time
}

type claim struct {
	msg     Claim
	granted map[NodeID]bool
	denied  map[NodeID]Denied
	saidAt  Time
	newer   *Roster // the newest roster that a denial brought
}

// Info is what the holder tells every node with each renewal.
type Info struct {
	Primary    string
	Successors []NodeID
	Note       []byte
}

// ErrNotHolder: only the holder of a running lease can do this.
var ErrNotHolder = errors.New("this node does not hold the lease")

// ErrUnsettled: a change of the roster waits for the one before it.
var ErrUnsettled = errors.New("the last change of the roster is not with a majority yet")

// New returns the elector of node self with what its disk remembers. A grant given before the
// restart still binds: it is counted from now.
func New(self NodeID, st State, now Time) *Elector {
	e := &Elector{self: self, st: st, highest: st.Term, openedAt: now, claimedAt: now - Lapse, votedAt: now - Lapse}
	if st.Vote != "" && st.ClusterID == "" {
		e.bootstrap = grant{to: st.Vote, term: 1, at: now}
	}
	if st.Vote != "" && st.Term > st.HolderTerm {
		e.voted = grant{to: st.Vote, term: st.Term, at: now}
	}
	if st.Holder != "" && !st.Released {
		e.leased = grant{to: st.Holder, term: st.HolderTerm, at: now}
	}
	if st.Holder == self {
		e.becomeHolder(now)
		if st.Released { // perhaps nobody was told
			e.resendUntil = now + BootstrapFor
		}
	}
	return e
}

// Unsaved returns the state that must be on disk before any envelope returned so far is sent, and
// false when the disk is up to date. Saved says it is.
func (e *Elector) Unsaved() (State, bool) { return e.st, e.unsaved }

// Saved tells that what Unsaved returned is on disk.
func (e *Elector) Saved() { e.unsaved = false }

// SetInfo replaces what renewals carry.
func (e *Elector) SetInfo(i Info) { e.info = i }

func (e *Elector) becomeHolder(now Time) {
	e.leasedAt = now
	e.acks = map[NodeID]Time{}
	e.rosterAcks = map[NodeID]uint64{}
	e.unreachable = map[NodeID]bool{}
	e.settled = len(e.st.Roster.Voters) == 1
	e.renewedAt = -RenewEvery
	e.born()
}

// born notes that every bootstrap voter has the cluster on disk: from now on none of them can help
// to bootstrap another. The lease begins when a majority has been told so: whoever has not is right
// to believe that there is no data yet.
func (e *Elector) born() {
	if !e.st.Bootstrapping {
		return
	}
	for _, v := range e.st.Roster.Voters {
		if _, ok := e.acks[v.ID]; !ok && v.ID != e.self {
			return
		}
	}
	e.learnBorn()
}

// learnBorn notes that the cluster is born. What a holder has been answered so far was not in the
// knowledge of that, so it counts no more, and all are told at once.
func (e *Elector) learnBorn() {
	e.st.Bootstrapping = false
	e.unsaved = true
	e.acks = map[NodeID]Time{}
	e.renewedAt = -RenewEvery
}

// holding: this node won the newest term it knows a holder of, and has neither given the lease back
// nor voted for another since, which gives it back too.
func (e *Elector) holding() bool {
	return e.st.Holder == e.self && !e.st.Released && e.st.ClusterID != ""
}

// LeaseUntil returns until when this node may accept writes; it may not when ok is false or the
// time has come.
func (e *Elector) LeaseUntil(now Time) (until Time, ok bool) {
	if !e.holding() || e.st.Bootstrapping {
		return 0, false
	}
	sent := e.answeredBy(e.st.Roster, now)
	until = sent + Lease
	if sent < e.doubtedAt {
		until = min(until, e.doubtedAt+DoubtFor)
	}
	return until, until > now
}

// doubt: a voter asks for votes against this holder, though its lease runs. It hears nothing of
// this node, or this node's clock has stood still: then the lease is over, and only this node does
// not know. So it has to be renewed at once.
func (e *Elector) doubt(now Time) {
	if _, leased := e.LeaseUntil(now); leased && now >= e.doubtedAt+DoubtFor {
		e.doubtedAt = now
		e.renewedAt = now - RenewEvery
	}
}

// answeredBy returns the sending time of the newest renewal that a majority of the roster, counting
// this node itself, has answered.
func (e *Elector) answeredBy(r Roster, now Time) Time {
	var few [7]Time // so that an ordinary roster needs no memory
	times := few[:0]
	for _, v := range r.Voters {
		switch t, ok := e.acks[v.ID]; {
		case v.ID == e.self:
			times = append(times, now)
		case ok:
			times = append(times, t)
		}
	}
	if len(times) < r.Majority() || len(r.Voters) == 0 {
		return -2 * Lease
	}
	slices.Sort(times)
	return times[len(times)-r.Majority()]
}

// Tick does what is due: renewals of a holder, also to the learners, who are no voters yet; the end
// of a claim; a release said again until it was heard.
func (e *Elector) Tick(now Time, learners []NodeID) []Envelope {
	var out []Envelope
	if e.claim != nil && now >= e.claim.msg.Sent+ClaimFor {
		out = append(out, e.withdraw(now)...)
	}
	if e.claim != nil && now >= e.claim.saidAt+RenewEvery/2 {
		e.claim.saidAt = now
		out = append(out, e.unanswered()...)
	}
	if e.st.Holder == e.self && e.st.Released && now < e.resendUntil && now >= e.resentAt+RenewEvery/2 {
		e.resentAt = now
		out = append(out, e.toVoters(e.releaseMessage("said again"))...)
	}
	if e.holding() && e.st.Term == e.st.HolderTerm && now >= e.renewedAt+renewDue {
		e.renewedAt = now
		out = append(out, e.renewals(now, learners)...)
	}
	return out
}

// unanswered says the claim again to the voters that have not granted it: the message was lost, or
// what stood in the way has lapsed meanwhile.
func (e *Elector) unanswered() []Envelope {
	return slices.DeleteFunc(e.toVoters(e.claim.msg), func(env Envelope) bool { return e.claim.granted[env.To] })
}

func (e *Elector) renewals(now Time, learners []NodeID) []Envelope {
	m := Renew{
		ClusterID: e.st.ClusterID, Term: e.st.Term, Holder: e.self, Sent: now, Bootstrapping: e.st.Bootstrapping, Roster: e.st.Roster,
		Successors: e.info.Successors, Primary: e.info.Primary, Note: e.info.Note,
	}
	out := e.toVoters(m)
	for _, id := range learners {
		if id != e.self && !slices.ContainsFunc(out, func(env Envelope) bool { return env.To == id }) {
			out = append(out, Envelope{To: id, Message: m})
		}
	}
	return out
}

func (e *Elector) toVoters(m Message) []Envelope {
	var out []Envelope
	voters := e.st.Roster.Voters
	switch m := m.(type) {
	case Claim:
		voters = m.Roster.Voters
	case PreVote:
		voters = m.Roster.Voters
	}
	for _, v := range voters {
		if v.ID != e.self {
			out = append(out, Envelope{To: v.ID, Message: m})
		}
	}
	return out
}

// Propose makes voters the next version of the roster, by which the lease goes from now on. The
// next change waits until a majority of it has it on disk.
func (e *Elector) Propose(now Time, voters []Voter) error {
	if _, ok := e.LeaseUntil(now); !ok {
		return ErrNotHolder
	}
	if !e.settled {
		return ErrUnsettled
	}
	next := NewRoster(e.st.Roster.Version+1, voters)
	next.Term = e.st.Roster.Term
	if err := fits(next, e.st.Roster); err != nil {
		return fmt.Errorf("change the roster: %w", err)
	}
	if n := difference(e.st.Roster, next); n > 1 {
		return fmt.Errorf("change the roster by %d voters at once: one at a time keeps every two majorities in touch", n)
	}
	if !next.Has(e.self) {
		return errors.New("take the holder itself out of the roster: hand the lease over first")
	}
	if e.answeredBy(next, now)+Lease <= now {
		return errors.New("change the roster: a majority of the new one does not answer")
	}
	e.st.Roster = next
	e.unsaved = true
	e.settled = false
	e.settle()
	e.renewedAt = now - RenewEvery
	return nil
}

// maxRoster is how many bytes of JSON a roster may take that grows: what the agent saves has 8 KiB
// in all (internal/slotfile), and other things in it.
const maxRoster = 7 << 10

// fits says why a roster could not be sent or saved. One that shrinks may be too large yet.
func fits(next, was Roster) error {
	if err := checkRoster(next); err != nil {
		return err
	}
	b, err := json.Marshal(next)
	if err == nil && len(b) > maxRoster && len(next.Voters) >= len(was.Voters) {
		err = fmt.Errorf("%d voters take %d bytes, at most %d can be saved: lower voters in [cluster]", len(next.Voters), len(b), maxRoster)
	}
	return err
}

// difference counts the voters that are in one roster only.
func difference(a, b Roster) int {
	n := 0
	for _, v := range a.Voters {
		if !b.Has(v.ID) {
			n++
		}
	}
	for _, v := range b.Voters {
		if !a.Has(v.ID) {
			n++
		}
	}
	return n
}

// settle notes whether a majority of the newest roster has it on disk.
func (e *Elector) settle() {
	n := 0
	for _, v := range e.st.Roster.Voters {
		if v.ID == e.self || e.rosterAcks[v.ID] >= e.st.Roster.Version {
			n++
		}
	}
	e.settled = e.settled || n >= e.st.Roster.Majority()
}

// Claim asks all voters for the next term. The node's redis-server accepts no write until the lease
// runs. Fenced is the term whose holder the caller has fenced from here at most FenceAge ago, else
// 0.
func (e *Elector) Claim(now Time, local Local, fenced Term) []Envelope {
	if e.st.ClusterID == "" || e.claim != nil || !e.st.Roster.Has(e.self) {
		return nil
	}
	_, holding := e.LeaseUntil(now)
	return e.start(now, local, Claim{
		ClusterID: e.st.ClusterID, Term: max(e.st.Term, e.highest) + 1, Candidate: e.self, Sent: now,
		Roster: e.st.Roster, Data: local.Data, HolderTerm: e.st.HolderTerm, Released: e.st.Released,
		Holding: holding, Fenced: fenced,
	})
}

// Bootstrap asks all future voters to bootstrap the cluster with this node as its first primary.
// Every one of them must agree.
func (e *Elector) Bootstrap(now Time, local Local, clusterID string, voters []Voter) []Envelope {
	if e.st.ClusterID != "" || e.claim != nil {
		return nil
	}
	return e.start(now, local, Claim{
		ClusterID: clusterID, Term: 1, Candidate: e.self, Sent: now,
		Roster: NewRoster(1, voters), Data: local.Data, Bootstrapping: true,
	})
}

func (e *Elector) start(now Time, local Local, m Claim) []Envelope {
	e.nudged = ""
	reply := e.vote(now, m, local)
	if !reply.Granted {
		e.claimedAt = now
		e.denials = map[NodeID]Denied{e.self: reply.Denied}
		return nil
	}
	e.claim = &claim{msg: m, granted: map[NodeID]bool{e.self: true}, denied: map[NodeID]Denied{}, saidAt: now}
	e.denials = e.claim.denied
	out := e.toVoters(m)
	return append(out, e.count(now)...)
}

// withdraw ends a claim and frees the voters that granted it.
func (e *Elector) withdraw(now Time) []Envelope {
	m := e.claim.msg
	if r := e.claim.newer; r != nil {
		e.learn(*r)
	}
	e.claim = nil
	e.claimedAt = now
	r := Release{ClusterID: m.ClusterID, Term: m.Term, Holder: e.self, Why: "claim withdrawn"}
	e.free(r)
	var out []Envelope
	for _, v := range m.Roster.Voters {
		if v.ID != e.self {
			out = append(out, Envelope{To: v.ID, Message: r})
		}
	}
	return out
}

// Withdraw ends a running claim, if there is one.
func (e *Elector) Withdraw(now Time) []Envelope {
	if e.claim == nil {
		return nil
	}
	return e.withdraw(now)
}

// Release gives the lease back for good: the caller has made certain that its redis-server accepts
// no write.
func (e *Elector) Release(now Time, why string) []Envelope {
	if !e.holding() {
		return nil
	}
	var out []Envelope
	if e.claim != nil {
		out = e.withdraw(now)
	}
	e.open(now, e.info.Successors)
	e.resentAt = now
	e.resendUntil = now + BootstrapFor
	m := e.releaseMessage(why)
	e.free(m)
	return append(out, e.toVoters(m)...)
}

// HandOver is Release by a holder whose redis-server has taken no write since it was at offset.
// Signs of life to its replicas may follow, and count for nothing.
func (e *Elector) HandOver(now Time, successors []NodeID, offset int64, why string) []Envelope {
	if !e.holding() {
		return nil
	}
	e.info.Successors = successors
	e.handed = Data{Term: e.st.HolderTerm, Offset: offset}
	return e.Release(now, why)
}

func (e *Elector) releaseMessage(why string) Release {
	m := Release{ClusterID: e.st.ClusterID, Term: e.st.HolderTerm, Holder: e.self, Successors: e.successors, Why: why}
	if e.handed.Term == m.Term {
		m.Handed = e.handed.Offset
	}
	return m
}

// free drops a grant that its owner has given back.
func (e *Elector) free(r Release) {
	for _, g := range []*grant{&e.leased, &e.voted} {
		if g.to == r.Holder && g.term == r.Term {
			*g = grant{}
		}
	}
}
