package reconcile

import (
	"cmp"
	"time"

	"github.com/redisd/redisd/internal/feature"
)

// Time is a reading of this host's monotonic clock.
type Time = time.Duration

// Fence is the min-replicas-to-write no cluster can meet: with it a redis-server refuses every
// write and serves everything else.
const Fence = 1000000

// Unknown stands for a setting that has not been read yet.
const Unknown = -1

// Role is what a redis-server says it is.
type Role int

// The roles.
const (
	RoleUnknown Role = iota
	Primary
	Replica
)

func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Replica:
		return "replica"
	}
	return "unknown"
}

// Observed is everything Plan knows. A zero field means "not learnt".
type Observed struct {
	At   Time
	Self string
	// Started is when this agent began, FenceAfter until when the lease that its predecessor held
	// may still be counted on.
	Started, FenceAfter Time
	// Stopping: the node is to be stopped in order, since StoppingSince.
	Stopping      bool
	StoppingSince Time
	// CannotSave: this node's disk takes nothing, so that it can neither vote nor win.
	CannotSave bool
	// Paused: an operator has stopped all automatic changes.
	Paused bool
	// Handover is a request to move the primary; HandoverTo may be empty: the best.
	Handover   bool
	HandoverTo string
	// HandoverFailures counts the attempts that failed since the request was made, HandoverAt is
	// when the last one ended.
	HandoverFailures int
	HandoverAt       Time
	// YieldUntil: the lease was handed over, and the clients stay here until the successor is heard
	// to serve, or this. Zero: they are not to.
	YieldUntil Time

	Election Election
	Redis    Redis
	Sentinel Sentinel
	// HolderSeen is when the holder's redis-server last answered this node (0: it was not asked);
	// RemoteFenced the last term in which this node fenced it.
	HolderSeen   Time
	HolderFenced bool // and it accepts no write
	RemoteFenced uint64
	VIPs         []VIP
	Members      []Member // in the order of their IDs, this node among them
	// Forgotten are the IDs of members that must not vote, alive or not: they leave, or are gone
	// for good, by a person's word.
	Forgotten []string
}

// Election is the state of the ballot.
type Election struct {
	ClusterID string
	Voters    []Voter
	// Learners are who answers this holder without being a voter, in order.
	Learners  []string
	Settled   bool
	Holder    string
	Term      uint64 // of the holder
	Released  bool
	OpenedAt  Time
	HeardAt   Time
	EverHeard bool
	Primary   string // where the holder's redis-server listens
	// Fresh: this cluster never had a primary, as far as this node knows.
	Fresh bool
	// HolderOffset is how much the holder had when it was heard last; 0: not known.
	HolderOffset int64
	Successors   []string
	Lease        bool
	LeaseUntil   Time
	Claiming     bool
	ClaimedAt    Time
	// BackedAt is when a majority would last have voted for this node, had it fenced the holder;
	// AskedAt when it asked that.
	AskedAt, BackedAt Time
	Nudged            bool // a node with less data has asked for this one's vote
	ByHolder          bool // and it was the last holder
	Overtaken         bool
	// Unreachable is how many voters say that this holder's redis-server takes no connection from
	// them.
	Unreachable int
	// LapsedAt is since when this node has won the last term and has no lease: nobody answers, or
	// not enough. Zero: it is not so.
	LapsedAt Time
}

// Voter is a node of the roster.
type Voter struct {
	ID, Addr string
	// SilentSince is since when it has not answered this holder, as long as this has had the lease;
	// 0: it answers, or this node is not the holder.
	SilentSince Time
	// Untold: it may not know that it is one.
	Untold bool
}

// Data is a dataset's version; the later term wins, then the offset.
type Data struct {
	Term   uint64
	Offset int64
	Keys   int64
}

// Compare orders datasets of one cluster, the fuller last.
func (d Data) Compare(e Data) int {
	return cmp.Or(cmp.Compare(d.Term, e.Term), cmp.Compare(d.Offset, e.Offset))
}

// Redis is the local redis-server.
type Redis struct {
	Running    bool
	StartedAt  Time
	StartAfter Time // when it may be started next, after quick exits
	// SilentSince is when it stopped answering (0: it answers); Stuck that its process does not use
	// the processor meanwhile, or is stopped.
	SilentSince Time
	Stuck       bool
	// Refuses: it is silent in so far as it does not say how it is, and certainly alive: it answers
	// with errors, or its clients are paused.
	Refuses bool
	// Unsure: it was taken over from an agent that may have let it write, and has not said since
	// whether it does.
	Unsure bool
	// AnswersSince is since when it has answered whenever it was asked.
	AnswersSince Time
	// Dying: SIGKILL was sent, so it never runs again, but it is not gone yet.
	Dying bool
	// Ended: one has ended since this agent began.
	Ended bool

	// Known: what follows was read since this process started.
	Known       bool
	Role        Role
	Loading     bool
	PrimaryAddr string
	LinkUp      bool
	Syncing     bool
	MinReplicas int // Unknown
	// Held: its clients' writes may be waiting, because this agent, or the one before it, had them
	// stop for a handover.
	Held bool
	Good int // replicas that acknowledge in time
	// Apart: what it has in memory is not on its disk: a full copy whose rewrite has not ended.
	Apart bool
	// ChangedAt is since when it has answered as it does now, but for how far it is.
	ChangedAt Time
	// WriteError: it cannot write to its disk, and refuses writes for that.
	WriteError bool
	Replicas   []Link
	Data       Data
}

// Link is a replica as its primary sees it.
type Link struct {
	Addr   string
	Online bool
	Lag    time.Duration `text:"span"`
	Offset int64
}

// Sentinel is the local redis-sentinel.
type Sentinel struct {
	Running    bool
	StartAfter Time
	// Configured: it has a file from an earlier run.
	Configured bool
	Known      bool // what follows was read since this process started
	Tuned      bool // its volatile timers are set
	// Monitors is the address it holds for the primary; empty: it watches none.
	Monitors        string
	Epoch           int64 // of that; between two Sentinels the higher one wins
	Quorum, Peers   int
	DownAfter       time.Duration `text:"span"`
	FailoverTimeout time.Duration `text:"span"`
	// WrongSince is when it was first seen to name another primary than the one that is.
	WrongSince Time
	// Published is the epoch in which this process was last told of a primary; 0: never.
	Published   int64
	PublishedAt Time
}

// VIP is a floating address on this host.
type VIP struct {
	Address   string
	Replica   bool // follows the best replica instead of the primary
	Held      bool
	RenewedAt Time
}

// Member is a node as gossip and its own last word describe it.
type Member struct {
	ID, Name, ClusterID string
	Gossip, Redis       string // addresses; Redis empty: it runs none
	Sentinel            string
	Alive               bool
	// Ready: its redis-server has loaded what it had; Data is its version.
	Ready    bool
	Data     Data
	Priority int
	// Zone is where it is, in the operator's words: what fails together. Voters are spread over
	// zones.
	Zone string
	// Features are what its agent can do.
	Features feature.Set
	// Release is that of its redis-server, the later the greater; 0: not known.
	Release int
}

// Desired is what the configuration asks for.
type Desired struct {
	Redis, Sentinel bool // the roles of this node
	RedisAddr       string
	Expect          int
	Priority        int
	Zone            string // of this node
	// Voters is how many members vote at most; 0: all. ReplaceAfter is how long one of them must
	// have been silent for another to vote in its place; 0: that is never done.
	Voters       int
	ReplaceAfter time.Duration `text:"span"`
	// MinReplicas is the operator's min_replicas_to_write; Unknown: automatic.
	MinReplicas int
	// FailoverLag is how many bytes this node may lack of what the last primary had, and still ask
	// for the lease by itself; 0: any number.
	FailoverLag     int64
	DownAfter       time.Duration `text:"span"`
	FailoverTimeout time.Duration `text:"span"`
}
