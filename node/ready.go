package node

import (
	"fmt"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// Ready is what a Step asks of the driver. Nothing in it waits for anything else in it: whatever
// depends on a Save comes out of the Step that is told of its success.
type Ready struct {
	// Save is to be put on disk, for certain; then the driver says Saved.
	Save *State
	// Record is to be written beside everything else; then the driver says RecordSaved.
	Record *SaveRecord
	// Lease is until when this node's lease runs, for the next agent to know; 0: as before.
	Lease Time
	// Send are messages to other agents, to be sent now.
	Send []Send
	// Do is to be begun now, each in its lane; the driver answers each with the input that its type
	// names.
	Do []Do
	// Share is what gossip is to say of this node from now on; nil: as before.
	Share *Meta
	// Events are for people: the driver logs them.
	Events []Event
	// Planned: a round has looked at everything and planned; a watchdog may know.
	Planned bool
	// Until is when Step(Tick) is due at the latest.
	Until Time
	// Stopped: a node that was to stop has nothing left to stop.
	Stopped bool
}

// Send is a message to another agent. Reliable: also over TCP, because a lost packet would cost
// time, or packets do not get through.
type Send struct {
	To       election.NodeID
	Message  election.Message
	Reliable bool
}

// SaveRecord is the record to be written. Sync: it is to survive a power loss.
type SaveRecord struct {
	Record Record
	Sync   bool
}

// Meta is what a node says about itself to all members.
type Meta struct {
	ClusterID string
	// Redis and Sentinel: it has that role.
	Redis, Sentinel bool
	Ready           bool // its redis-server has loaded what it had
	Priority        int
	Zone            string
	Data            reconcile.Data
}

// Lane is a sequence of things of which one is under way at a time; Polls overlap.
type Lane uint8

// The lanes.
const (
	Rounds Lane = iota
	Guard
	Polls
)

// Do is one thing to do. Its Action is one of reconcile's, or PollRedis, PollSentinel, Probe,
// FenceLast or Fence. All but these polls are answered by Done.
type Do struct {
	ID     uint64
	Lane   Lane
	Action fmt.Stringer
	// Until bounds it; 0: nothing does. What could not be begun by then must not be begun.
	Until Time
	// Term is the term of the last holder.
	Term uint64
	// Request is the switchover request that this is done for; empty: none.
	Request string
	// SetAside, of StartRedis: the dataset cannot be loaded, and is to be moved away first.
	SetAside bool
}

// PollRedis asks the local redis-server for its state; answered by RedisPolled. CloseStale: all
// other connections of this agent and of the one before it are closed first, so that nothing which
// was asked for on them is carried out any more.
type PollRedis struct{ CloseStale bool }

// PollSentinel asks the local redis-sentinel for its view; answered by SentinelPolled.
type PollSentinel struct{}

// Probe asks the redis-server at Addr for PING; answered by Probed. Connect: it is tried whether it
// takes a connection, or at least its host is there. Look: and whether it is fenced. An empty Addr:
// there is nobody to probe any more, and no answer.
type Probe struct {
	Addr    string
	Connect bool
	Look    bool
}

// FenceLast takes the right to write from the redis-server of the holder before this one, and
// closes its clients; answered by Done.
type FenceLast struct{ Addr string }

// Fence takes the right to write from the local redis-server; answered by Done, whose error means
// that it may still write.
type Fence struct {
	Why        string
	CloseStale bool
}

func (PollRedis) String() string    { return "poll redis-server" }
func (PollSentinel) String() string { return "poll redis-sentinel" }
func (a Probe) String() string      { return "probe " + a.Addr }
func (a FenceLast) String() string  { return "fence the last primary, " + a.Addr }
func (a Fence) String() string      { return "fence redis-server: " + a.Why }

// Event is something that people want to know of.
type Event interface{ event() }

// The events.
type (
	// LeaseHeld: this node is the primary from now on.
	LeaseHeld struct{ Term uint64 }
	// LeaseLost: it is not the primary any more.
	LeaseLost struct {
		Term     uint64
		Released bool
	}
	// LeaseReleased: it gives the lease back; To: to that node, for Request, having stopped writes
	// at Offset.
	LeaseReleased struct {
		Why, To, Request string
	}
	// LeaseClaimed: it asks for the lease.
	LeaseClaimed struct{ Why string }
	// Bootstrapping: it asks all expected members to form the cluster.
	Bootstrapping struct {
		Voters int
		Keys   int64
	}
	// RosterChanged: the voters are others.
	RosterChanged struct {
		Why    string
		Voters int
	}
	// OperatorRequired: this node could be primary and leaves that to an operator; Why empty: it is
	// so no more.
	OperatorRequired struct{ Why string }
	// StopAwaitsSync: a primary that is to stop serves on, since no replica is in sync that could
	// take over; or it does so no more.
	StopAwaitsSync struct{ On bool }
	// PauseChanged: the cluster is paused, or resumed.
	PauseChanged struct{ On bool }
	// PauseRefused: that could not be kept.
	PauseRefused struct{ Err error }
	// NodeRemoved: the node is no member any more.
	NodeRemoved struct{ Removal Removal }
	// NotSaved: no vote is given and no lease taken.
	NotSaved struct{ Err error }
	// RecordNotSaved: the dataset's version is not on disk.
	RecordNotSaved struct{ Err error }
	// ActionPlanned: a round does this, and more than to renew an address.
	ActionPlanned struct{ Action fmt.Stringer }
	// ActionFailed: the round ends, and the next one plans afresh.
	ActionFailed struct {
		Action fmt.Stringer
		Err    error
	}
	// HandoverBegun: the successor was checked, and writes are being stopped.
	HandoverBegun struct{ To, Request string }
	// HandoverEnded: the lease was given back (Err nil), or writes go on here. Stopped: they had
	// been stopped. Drained: they still are, and only the release is not on disk.
	HandoverEnded struct {
		To, Request      string
		Err              error
		Stopped, Drained bool
		ReplID           string
		Offset           int64
	}
	// GuardActs: a lease ended while the rounds were stuck.
	GuardActs struct{}
	// Killed: redis-server must not accept writes, and does not answer.
	Killed struct {
		Why string
		Err error
	}
)

func (LeaseHeld) event()        {}
func (LeaseLost) event()        {}
func (LeaseReleased) event()    {}
func (LeaseClaimed) event()     {}
func (Bootstrapping) event()    {}
func (RosterChanged) event()    {}
func (OperatorRequired) event() {}
func (StopAwaitsSync) event()   {}
func (PauseChanged) event()     {}
func (PauseRefused) event()     {}
func (NodeRemoved) event()      {}
func (NotSaved) event()         {}
func (RecordNotSaved) event()   {}
func (ActionPlanned) event()    {}
func (ActionFailed) event()     {}
func (HandoverBegun) event()    {}
func (HandoverEnded) event()    {}
func (GuardActs) event()        {}
func (Killed) event()           {}
