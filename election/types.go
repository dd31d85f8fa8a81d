package election

import (
	"cmp"
	"slices"
	"time"
)

// Timing. A holder that is cut off stops accepting writes Lease after it sent the last renewal that
// a majority answered; a voter lets nobody else win until Lapse after it answered one. What is
// between them, less Drift of both clocks, is the time that the holder's agent has to fence Redis
// (a CONFIG SET takes 0.2 ms; a process that does not answer it is killed).
const (
	Lease = 540 * time.Millisecond
	Lapse = 700 * time.Millisecond
	// Drift is by how much a clock may run fast or slow: one part in so many. Disciplined clocks
	// are off by one in 2000 at most.
	Drift = 20
	// RenewEvery leaves four renewals to be lost before a lease lapses.
	RenewEvery = 100 * time.Millisecond
	// renewDue is when a Tick renews: one that comes a little early must not leave it to the next.
	renewDue = RenewEvery * 3 / 4
	// ClaimFor is how long a claim waits for answers before it is withdrawn.
	ClaimFor = 250 * time.Millisecond
	// FenceAge is how old a remote fence may be when a claim that leans on it is made, and
	// FencedLapse how long a voter has not granted the holder before it believes such a claim: a
	// holder that was alive when it was fenced could otherwise have lifted the fence again under a
	// lease that still ran.
	FenceAge    = 100 * time.Millisecond
	FencedLapse = Lapse + ClaimFor + FenceAge
	// DoubtFor is how long a lease runs on at most when a voter asks for votes against its holder,
	// unless a majority answers a renewal that was sent later: a round trip on a slow network.
	DoubtFor = 200 * time.Millisecond
	// BootstrapFor is how long a voter of a cluster that does not exist yet keeps its word to one
	// bootstrap node; longer than a bootstrap node waits for the others' word.
	BootstrapFor = 3 * time.Second
)

// Time is a reading of a monotonic clock that goes on while the host sleeps (CLOCK_BOOTTIME),
// though not while a hypervisor has paused it.
// Readings of different hosts are never compared.
type Time = time.Duration

// Term numbers the holders: each has a term of its own, later ones higher. epoch.go has its parts.
type Term uint64

// NodeID names a node for as long as its disk lives.
type NodeID string

// Voter is a node whose vote counts.
type Voter struct {
	ID NodeID `json:"id"`
	// Addr is where the agent of the voter was last reached, "ip:port".
	Addr string `json:"addr"`
}

// Roster is the list of voters. Only the holder writes it, by one voter at a time, so that every
// majority of one version meets every majority of the next. Each winner stamps it with its own
// term, and changes it only after a majority has that stamp on disk: two holders that each changed
// the same version without knowing of one another would have majorities that do not meet.
type Roster struct {
	// Term is the term of the holder that wrote this version.
	Term    Term    `json:"term"`
	Version uint64  `json:"version"`
	Voters  []Voter `json:"voters"`
}

// Compare orders rosters, the newer last.
func (r Roster) Compare(o Roster) int {
	return cmp.Or(cmp.Compare(r.Term, o.Term), cmp.Compare(r.Version, o.Version))
}

// Has reports whether id is a voter.
func (r Roster) Has(id NodeID) bool {
	return slices.ContainsFunc(r.Voters, func(v Voter) bool { return v.ID == id })
}

// Majority is the least number of voters that decides.
func (r Roster) Majority() int { return len(r.Voters)/2 + 1 }

// NewRoster returns the voters in the order of their IDs.
func NewRoster(version uint64, voters []Voter) Roster {
	voters = slices.Clone(voters)
	slices.SortFunc(voters, func(a, b Voter) int { return cmp.Compare(a.ID, b.ID) })
	return Roster{Version: version, Voters: voters}
}

// Data says the version of a node's dataset: the term of the holder it was last in sync with, and
// how far it had come. Zero: it has no data of this cluster, whatever it has of another.
type Data struct {
	Term   Term  `json:"term"`
	Offset int64 `json:"offset"`
}

// Compare orders datasets, the fuller last.
func (d Data) Compare(e Data) int {
	return cmp.Or(cmp.Compare(d.Term, e.Term), cmp.Compare(d.Offset, e.Offset))
}

// State is what must survive the agent: it is on disk before anything that depends on it is sent.
type State struct {
	ClusterID string `json:"cluster_id,omitempty"`
	// Term is the highest term this node has voted in or followed.
	Term Term `json:"term"`
	// Vote is whom it voted for in Term; before there is a cluster, the bootstrap node it gave its
	// word to.
	Vote NodeID `json:"vote,omitempty"`
	// Holder is the last node known to have won a term, HolderTerm the term it won.
	Holder     NodeID `json:"holder,omitempty"`
	HolderTerm Term   `json:"holder_term,omitempty"`
	// Released: Holder has given the lease of HolderTerm back.
	Released bool `json:"released,omitempty"`
	// Bootstrapping: not every bootstrap voter is known to have this cluster on disk, so nobody
	// holds a lease yet.
	Bootstrapping bool `json:"founding,omitempty"`
	// Fresh: as far as this node knows, no redis-server was ever made the primary of this cluster.
	// A holder has it on disk that this is over before it does that.
	Fresh  bool   `json:"fresh,omitempty"`
	Roster Roster `json:"roster"`
}

// Envelope is a message and the node it goes to.
type Envelope struct {
	To      NodeID
	Message Message
}

// Message is one of Renew, RenewReply, Claim, ClaimReply, Release, PreVote, PreVoteReply and
// StandDown.
type Message interface{ message() }

// Renew is the holder's heartbeat. Who answers it grants the lease for another Lapse.
type Renew struct {
	ClusterID string `json:"cluster_id"`
	Term      Term   `json:"term"`
	Holder    NodeID `json:"holder"`
	// Sent is the holder's own clock; it comes back in the reply.
	Sent          Time   `json:"sent"`
	Bootstrapping bool   `json:"founding,omitempty"`
	Roster        Roster `json:"roster"`
	// Successors are the replicas to take over, the best first.
	Successors []NodeID `json:"successors,omitempty"`
	// Primary is where the holder's redis-server listens, "ip:port".
	Primary string `json:"primary"`
	// Note is carried for the agent: what it wants every node to know.
	Note []byte `json:"note,omitempty"`
}

// RenewReply answers a Renew.
type RenewReply struct {
	From    NodeID `json:"from"`
	Term    Term   `json:"term"`
	Granted bool   `json:"granted"`
	Sent    Time   `json:"sent"`
	// Unreachable: the holder's redis-server takes no connection from this node.
	Unreachable bool `json:"unreachable,omitempty"`
	// Bootstrapping: the voter does not know that every bootstrap voter has the cluster on disk.
	// Its answer is to a renewal that did not say so.
	Bootstrapping bool `json:"founding,omitempty"`
	// Highest is the voter's own term, RosterTerm and RosterVersion the roster it has on disk.
	Highest       Term   `json:"highest"`
	RosterTerm    Term   `json:"roster_term"`
	RosterVersion uint64 `json:"roster_version"`
	// Roster is sent when the holder's is of an earlier epoch.
	Roster *Roster `json:"roster,omitempty"`
}

// Claim asks for a vote.
type Claim struct {
	ClusterID string `json:"cluster_id"`
	Term      Term   `json:"term"`
	Candidate NodeID `json:"candidate"`
	Sent      Time   `json:"sent"`
	Roster    Roster `json:"roster"`
	Data      Data   `json:"data"`
	// HolderTerm is the newest term that the candidate knows a holder of; Released: that one has
	// given its lease back.
	HolderTerm Term `json:"holder_term"`
	Released   bool `json:"released,omitempty"`
	// Holding: the candidate is that holder and its lease runs; it claims only to win back a voter
	// that has gone ahead.
	Holding bool `json:"holding,omitempty"`
	// Fenced: the candidate has itself, with an answer, and at most FenceAge ago, taken the right
	// to write from the redis-server of the holder of this term (0: of none).
	Fenced Term `json:"fenced,omitempty"`
	// Bootstrapping: the cluster does not exist yet.
	Bootstrapping bool `json:"founding,omitempty"`
	// Forced: an operator has accepted that data is lost.
	Forced bool `json:"forced,omitempty"`
}

// ClaimReply answers a Claim.
type ClaimReply struct {
	From    NodeID `json:"from"`
	Term    Term   `json:"term"`
	Granted bool   `json:"granted"`
	Sent    Time   `json:"sent"`
	Denied  Denied `json:"denied,omitempty"`
	Highest Term   `json:"highest"`
	// Holder is the last holder that the voter knows, of HolderTerm; Released: it has given its
	// lease back.
	Holder     NodeID `json:"holder,omitempty"`
	HolderTerm Term   `json:"holder_term,omitempty"`
	Released   bool   `json:"released,omitempty"`
	// Born: the voter was told that every bootstrap voter has the cluster on disk.
	Born bool `json:"born,omitempty"`
	// Roster is sent when the candidate's is older and that is why, or is of an earlier epoch.
	Roster *Roster `json:"roster,omitempty"`
}

// Release gives a lease, or a vote, back: from then on nothing that was granted for Term stands in
// another node's way. Its sender has made certain that its redis-server accepts no write: it is
// fenced, dead and held down, or was never made primary.
type Release struct {
	ClusterID string `json:"cluster_id"`
	Term      Term   `json:"term"`
	Holder    NodeID `json:"holder"`
	// Successors are the replicas to take over, the best first.
	Successors []NodeID `json:"successors,omitempty"`
	// Handed is the offset at which the holder had stopped writes before it handed over: whoever
	// has that much of the term's data has every acknowledged write. 0: it did not hand over.
	Handed int64  `json:"handed,omitempty"`
	Why    string `json:"why"`
}

// PreVote is a claim that asks only whether it would be granted, had its sender fenced the holder's
// redis-server. Nothing is remembered of it. Whoever hears nobody is alone in believing that the
// holder is gone, and is to learn that before it fences anybody.
type PreVote Claim

// PreVoteReply answers a PreVote.
type PreVoteReply ClaimReply

// StandDown is the Release of a holder that cannot save one: its redis-server accepts no write, and
// it does not renew any more. If it is started anew it may have forgotten that, and renew again, so
// this is no more than its own word to those who hear it, until they answer a renewal.
type StandDown struct {
	ClusterID string `json:"cluster_id"`
	Term      Term   `json:"term"`
	Holder    NodeID `json:"holder"`
	// Sent is the holder's own clock: renewals that were sent later count for more.
	Sent       Time     `json:"sent"`
	Successors []NodeID `json:"successors,omitempty"`
	// Handed is as in Release.
	Handed int64 `json:"handed,omitempty"`
}

func (Renew) message()        {}
func (RenewReply) message()   {}
func (Claim) message()        {}
func (ClaimReply) message()   {}
func (Release) message()      {}
func (PreVote) message()      {}
func (PreVoteReply) message() {}
func (StandDown) message()    {}

// Denied says why a vote was refused.
type Denied string

// The reasons.
const (
	DeniedForeign   Denied = "another cluster"
	DeniedTerm      Denied = "the term is over"
	DeniedVoted     Denied = "voted for another in this term"
	DeniedLease     Denied = "the holder's lease runs"
	DeniedReachable Denied = "the holder's redis-server answers here"
	DeniedData      Denied = "has more data"
	DeniedRoster    Denied = "the roster is older"
	DeniedNotVoter  Denied = "not in the roster"
	DeniedChoice    Denied = "would bootstrap another node"
	DeniedPaused    Denied = "the cluster is paused"
	DeniedLag       Denied = "lacks too much"
)

// Local is what a node knows of itself at the moment it votes.
type Local struct {
	// Data is its own dataset's version. Of one that it cannot read yet it is the most that there
	// can be.
	Data Data
	// Candidate: it could be made primary itself, so more data is a reason to deny others.
	Candidate bool
	// Least is what a candidate must have, unless it is the last holder, or forced: another node is
	// known to have had it, or an operator lets no more go without being asked. Zero: nothing is
	// known.
	Least Data
	// Reachable: nothing says that the holder's redis-server is out of reach. It is true until a
	// probe begun by this agent, lately, went unanswered: not to have asked, or to have slept
	// meanwhile, is no answer.
	Reachable bool
	// Unreachable: it has taken no connection from this node for a while.
	Unreachable bool
	// Paused: an operator has stopped all automatic changes.
	Paused bool
	// BootstrapNode is whom this node would choose to bootstrap the cluster; empty while its view
	// is not complete.
	BootstrapNode NodeID
	// FreshNode is whom it would have as the first primary of a cluster that is Fresh, all of whose
	// voters it sees, none with data.
	FreshNode NodeID
}

// Sender is the node that a message comes from.
func Sender(m Message) NodeID {
	switch m := m.(type) {
	case Renew:
		return m.Holder
	case RenewReply:
		return m.From
	case Claim:
		return m.Candidate
	case ClaimReply:
		return m.From
	case Release:
		return m.Holder
	}
	return ""
}
