package node

import (
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/feature"
	"github.com/redisd/redisd/reconcile"
)

// Input is something that happened; one of the types below.
type Input interface{ input() }

type (
	// Tick: time has passed.
	Tick struct{}
	// Wake: something that a round should see may have changed.
	Wake struct{}

	// Configured is what the operator asks for, after a reload.
	Configured struct{ Desired reconcile.Desired }
	// VIPsConfigured are the addresses that this node may hold, and which of them it does.
	VIPsConfigured struct{ VIPs []reconcile.VIP }
	// VIPSeen: the kernel has the address, or has it no more.
	VIPSeen struct {
		Address string
		Held    bool
	}
	// Members are all that gossip knows of, this node among them. Conflict: another host answers
	// under this node's ID.
	Members struct {
		List     []reconcile.Member
		Conflict bool
	}

	// Exited: the process has ended. Code is its exit status, negative when a signal ended it.
	Exited struct {
		Process Process
		PID     int
		Code    int
		RanFor  time.Duration
		Asked   bool // the agent had asked for it: no crash
	}
	// StopFailed: the process that was to stop goes on.
	StopFailed struct{ Process Process }

	// RedisPolled answers PollRedis.
	RedisPolled struct {
		ID uint64
		// Began is when it was asked, PID the process that was; 0: none ran.
		Began Time
		PID   int
		// StaleClosed: the connections of the agent before this one are closed.
		StaleClosed bool
		// Info is what it answered; nil: nothing that says how it is.
		Info *RedisInfo
		// Refused: without Info, why it gave none although it is alive, in words: it answered with
		// an error, or shows by other means that it is. "": then Silent says what its process does.
		Refused string
		Silent  Silence
	}
	// SentinelPolled answers PollSentinel.
	SentinelPolled struct {
		ID  uint64
		PID int // the process that was asked; 0: none ran
		// View is what it answered; nil: nothing.
		View *SentinelView
	}
	// Probed answers Probe.
	Probed struct {
		ID   uint64
		Addr string
		// Answered: with whatever. Connected: it took a connection. Refused: its host refused one.
		// HostUp: neither, but its host is there.
		Answered, Connected, Refused, HostUp bool
		// Fenced: it accepts no write, as far as it was asked.
		Fenced bool
	}
	// Done answers all other actions.
	Done struct {
		ID  uint64
		Err error
		// Answered: redis-server answered, if with an error. One that did not may yet carry the
		// command out.
		Answered bool
		// NotBegun: its time was over before it was begun.
		NotBegun bool
		// StaleClosed is as in RedisPolled, of Fence.
		StaleClosed bool
		// PID is the process that was started. RDB is what its file says of the dataset that it
		// loads; nil: it loads an append-only file.
		PID int
		RDB *RDB
		// ReplID and Offset are where the history stood when StopWrites had fenced.
		ReplID string
		Offset int64
	}

	// Received is a message of another agent, and the features that this one has; TCP: it came that
	// way.
	Received struct {
		Message  election.Message
		Features feature.Set
		TCP      bool
	}
	// Saved: what Ready.Save asked for is on disk, or could not be put there.
	Saved struct{ Err error }
	// RecordSaved: what Ready.Record asked for.
	RecordSaved struct{ Err error }

	// Stop asks for the node to be stopped in order.
	Stop struct{}
	// SetPause asks for automatic changes to be stopped, or to go on. The later version counts.
	SetPause struct{ Pause Pause }
	// Remove tells of nodes that are no members any more.
	Remove struct{ List []Removal }
	// RequestSwitchover asks for the primary to move to the node with that ID.
	RequestSwitchover struct{ ID, To string }
	// Force has this node claim the lease although data is lost, by these voters, until it is held
	// or the time has come.
	Force struct {
		LeaveOut bool // voters that are away do not count any more
		Until    Time
	}
)

func (Tick) input()              {}
func (Wake) input()              {}
func (Configured) input()        {}
func (VIPsConfigured) input()    {}
func (VIPSeen) input()           {}
func (Members) input()           {}
func (Exited) input()            {}
func (StopFailed) input()        {}
func (RedisPolled) input()       {}
func (SentinelPolled) input()    {}
func (Probed) input()            {}
func (Done) input()              {}
func (Received) input()          {}
func (Saved) input()             {}
func (RecordSaved) input()       {}
func (Stop) input()              {}
func (SetPause) input()          {}
func (Remove) input()            {}
func (RequestSwitchover) input() {}
func (Force) input()             {}

// Process is one of the two that a node supervises.
type Process uint8

// The processes.
const (
	Redis Process = iota
	Sentinel
)

func (p Process) String() string {
	if p == Sentinel {
		return "redis-sentinel"
	}
	return "redis-server"
}

// RedisInfo is what redis-server says of itself.
type RedisInfo struct {
	RunID       string // new with every start of the process
	Role        reconcile.Role
	PrimaryAddr string // "ip:port" of whom it follows; empty: nobody
	LinkUp      bool
	Syncing     bool // a full copy is under way
	Loading     bool
	WriteError  bool // it cannot write to its disk
	// AOF: it is to have an append-only file; AOFOn: it writes one. OldAOF: what the disk has is
	// the one before its last full copy, whose rewrite has not ended. Rewriting: one is under way,
	// or to begin; RewriteOK: the last one succeeded.
	AOF, AOFOn, OldAOF, Rewriting, RewriteOK bool
	ReplID                                   string
	Offset                                   int64
	Keys                                     int64
	Replicas                                 []reconcile.Link
	MinReplicas                              int
	MaxLag                                   time.Duration
}

// Silence is what a process does that does not answer.
type Silence struct {
	// Known: the following could be read.
	Known bool
	// State is the kernel's letter for it: 'T' stopped, 'D' waits for a disk, 'R' computes.
	State byte
	// CPU is how much processor time its main thread has used so far.
	CPU time.Duration
	// Switches is how often its main thread has waited for something so far. An event loop wakes
	// ten times a second though nothing comes in.
	Switches uint64
	// RanFor is how long it has run.
	RanFor time.Duration
}

// SentinelView is what redis-sentinel says of the primary.
type SentinelView struct {
	// Monitors is the address it names; empty: it watches none.
	Monitors                   string
	Epoch                      int64 // of that configuration
	Quorum, Peers              int
	DownAfter, FailoverTimeout time.Duration
}
