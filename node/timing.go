package node

import (
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// Time is a reading of this host's monotonic clock, as in package election.
type Time = election.Time

// All timings that more than one driver needs, each once. Those of the election are in package
// election, those that only a plan needs in package reconcile; timing_test.go holds what they
// require of one another.
const (
	// TickEvery is how often a round runs when nothing happens: half the time between two renewals.
	// When all is calm each second one is left out, so that an idle host sleeps longer.
	TickEvery = 50 * time.Millisecond
	CalmEvery = 2 * TickEvery
	// Stalled is how late a round may be for this agent to have stood still, on a host that is
	// overloaded or was paused. What others said meanwhile is read first, for the time of Listen,
	// before anything is concluded from their silence.
	Stalled = TickEvery
	Listen  = 5 * time.Millisecond
	// MoreRounds bounds how many rounds follow one another without a pause, so that a plan that
	// never settles costs a tick, not a processor.
	MoreRounds = 8

	// RecordEvery is how often the dataset's version is written down, SyncEvery how often that is
	// made to survive a power loss. After one of all hosts it decides who wins.
	RecordEvery = 100 * time.Millisecond
	SyncEvery   = time.Second

	// PollEvery is how soon a change of the local redis-server by another hand is seen: a round
	// that changed something polls again at once.
	PollEvery   = 100 * time.Millisecond
	PollTimeout = 150 * time.Millisecond
	// FreshTimeout bounds the poll of the own dataset before a vote.
	FreshTimeout = 50 * time.Millisecond

	// A process that waits for its disk is given longer (fsync stalls of 2 s are normal on a busy
	// disk), one that computes longer still: a script or a slow command is no hang.
	HangOnDisk = 4 * time.Second
	HangBusy   = 15 * time.Second
	// PatientAfter: a redis-server that has been silent for so long, and has moved within
	// PatientMoved, is given PatientTimeout to answer. On a host that has too little processor it
	// may only be slow.
	PatientAfter   = 3 * time.Second
	PatientMoved   = 500 * time.Millisecond
	PatientTimeout = 2 * time.Second
	// IdleCPU is how much processor time a process may have used while it was silent, and still
	// count as one that does nothing.
	IdleCPU = 10 * time.Millisecond
	// IdleFor is how long a process that waits for nothing that is known of must not have moved to
	// count as stuck: a little less than reconcile.HangAfter, at whose end it is killed.
	IdleFor = reconcile.HangAfter - PollEvery
	// UnsureFor is how long after the end of a lease a redis-server may still not be fenced because
	// its agents died one after the other: longer than the watchdog and a restart take.
	UnsureFor = 30 * time.Second
	// LoopWakes: an event loop that has woken within it runs. It wakes every 100 ms.
	LoopWakes = time.Second

	PollSentinelEvery   = time.Second
	PollSentinelWrong   = 100 * time.Millisecond // while it names another primary
	PollSentinelTimeout = 250 * time.Millisecond
	// LeaveAlone is how long a Sentinel that did not do as told is not asked again: asking it costs
	// time that a round does not have.
	LeaveAlone = 2 * time.Second

	// ProbeEvery is how often the holder's redis-server is probed, ProbeCalm the pause while the
	// holder is heard and its redis-server answers: less than reconcile.SilentRedis, so that there
	// is always word of late.
	ProbeEvery   = 100 * time.Millisecond
	ProbeTimeout = 150 * time.Millisecond
	ProbeCalm    = 250 * time.Millisecond
	// FenceLastEvery is how often a holder tries to fence the one whose place it took, for
	// FenceLastFor; then every FenceLastSlow.
	FenceLastEvery = 100 * time.Millisecond
	FenceLastFor   = time.Minute
	FenceLastSlow  = 500 * time.Millisecond
	// FencesItself: an agent that answers, and does so again after this time, has had its rounds in
	// between, and has fenced.
	FencesItself = 500 * time.Millisecond
	// FenceHandedOver is how long the agent of a holder that has handed over has to fence by
	// itself, before the successor does: several times reconcile.YieldFor, and a fraction of
	// HoldFor.
	FenceHandedOver = time.Second
	// HostStuck is how long a holder's host may take connections, while neither its agent nor its
	// redis-server says anything, before it counts as gone: longer than reconcile.AgentGrace,
	// within which the watchdog has ended the agent and the next one has fenced or killed
	// redis-server.
	HostStuck = 10 * time.Second
	// UnreachableAfter: a redis-server that takes no connection for so long is out of this node's
	// reach. DoubtAfter is how old the last connection must be before another one is made just to
	// see: each fills the backlog of a server that is busy.
	UnreachableAfter = time.Second
	DoubtAfter       = 80 * time.Millisecond

	// ActTimeout bounds a command to a redis-server that is to change it: a round must not outlast
	// the lease.
	ActTimeout = 200 * time.Millisecond
	// FenceTimeout: a redis-server that is busy is killed when it must not accept writes. All of
	// it, from when the guard finds the lease over, has to fit between the end of a lease and the
	// next one, election.Lapse - election.Lease.
	FenceTimeout = 60 * time.Millisecond
	// SentinelTimeout is longer: each of its settings is fsync'd to its file. With the poll that
	// follows it leaves half of a lease.
	SentinelTimeout = 250 * time.Millisecond

	// CatchUp is the longest write downtime for the successor to receive what is on its way to it.
	// One that needs longer is not in sync.
	CatchUp = 250 * time.Millisecond
	// HoldFor is how long clients' writes wait at most in a handover whose agent has died: longer
	// than the watchdog, the next agent and its first fence take, or the successor's fence from
	// outside. It stands in for the fence meanwhile.
	HoldFor = 10 * time.Second
	// RecordedWithin is how long the successor's agent has to write down its dataset's version;
	// writes go on meanwhile.
	RecordedWithin = 150 * time.Millisecond
	// CatchUpPoll is how often a successor is asked how far it has come, RecordedPoll how often its
	// agent is asked what it has on disk.
	CatchUpPoll  = time.Millisecond
	RecordedPoll = 20 * time.Millisecond

	// VIPLifetime is how long the kernel keeps an address that is not renewed.
	VIPLifetime = 5 * time.Second

	// WakeMargin is how much later than the end of a lease the rounds are called, since an answer
	// that is here already, and not read yet, may make it longer; GuardMargin how much later the
	// guard acts.
	WakeMargin  = 10 * time.Millisecond
	GuardMargin = 30 * time.Millisecond
	// GuardEvery bounds the pause between two looks at the lease: timers stand still while a host
	// is suspended, and leases do not.
	GuardEvery = 200 * time.Millisecond
	// FirstRenewal is how long a new agent waits for the answers to its first renewals before it
	// fences a primary whose lease it cannot show.
	FirstRenewal = 150 * time.Millisecond

	// ClaimJitter is the longest that chance adds to the pause after a claim, or after a vote for
	// somebody else. Without it three equal candidates could go round for ever.
	ClaimJitter = 150 * time.Millisecond
	// AckedCounts is how long after the end of its redis-server a primary's agent refuses those who
	// have less than a replica had acknowledged: that one may need a moment to claim, and may be
	// gone itself.
	AckedCounts = time.Second
	// ReliableAfter: a voter that did not answer for this long is also tried over TCP, since its
	// network may let no UDP through.
	ReliableAfter = 300 * time.Millisecond
	// ForceAgain is the pause between two forced claims; a lease that still runs must lapse first.
	ForceAgain = 300 * time.Millisecond
	// StandDownAfter is how long a release may take to be saved before it is said without that.
	StandDownAfter = 100 * time.Millisecond
	// SaveFails is how long nothing can have been saved for a disk to count as one that cannot be
	// written: the record is tried ten times a second.
	SaveFails = time.Second
	// NeedsOperatorAfter is how long a cluster must have been without a primary before an operator
	// is called: somebody else may just be about to become one.
	NeedsOperatorAfter = 2 * time.Second
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
	// backoffReset: what ran this long had started well; its exit says nothing of the next start.
	backoffReset = 10 * time.Second
	// brokenAfter is how often in a row redis-server must have ended by itself before it ever
	// answered for its dataset to count as broken.
	brokenAfter = 3
	// inboxMost bounds the messages that wait for a disk; more are lost, as on a network.
	inboxMost = 200
)
