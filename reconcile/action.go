package reconcile

import (
	"fmt"
	"strings"
)

// Action is one thing to do. Every action may be repeated.
type Action interface {
	fmt.Stringer
	action()
}

type (
	// FenceRedis takes the right to write from the local redis-server, and kills it when it does
	// not answer: afterwards no write is accepted.
	FenceRedis struct{ Why string }
	// CloseClients closes the clients' connections, so that they look for the primary. In the same
	// instant redis-server is fenced; what else waits goes on waiting until Follow.
	CloseClients struct{}
	// DropVIP takes an address off this host, HoldVIP puts or keeps it there.
	DropVIP struct{ Address, Why string }
	// HoldVIP adds the address, or renews its lifetime.
	HoldVIP struct{ Address string }

	// StartRedis starts redis-server as a replica of Primary (empty: of nobody yet).
	StartRedis struct{ Primary string }
	// StopRedis stops it with its data saved; KillRedis at once.
	StopRedis struct{}
	// KillRedis ends a redis-server that hangs.
	KillRedis struct{ Why string }
	// Promote makes it primary and lets it accept writes.
	Promote struct{ MinReplicas int }
	// SetMinReplicas lets a primary accept writes while this many replicas follow.
	SetMinReplicas struct{ N int }
	// ResumeWrites lets writes go on that wait since StopWrites.
	ResumeWrites struct{}
	// Follow makes it a fenced replica of Primary.
	Follow struct {
		Primary      string
		CloseClients bool
	}

	// StartSentinel starts redis-sentinel, StopSentinel stops it.
	StartSentinel struct{ Primary string }
	// StopSentinel stops redis-sentinel.
	StopSentinel struct{}
	// Monitor makes Sentinel watch Primary, forgetting what it watched before.
	Monitor struct {
		Primary string
		Quorum  int
	}
	// TuneSentinel sets its volatile timers.
	TuneSentinel struct{}
	// SetSentinel sets one of its options.
	SetSentinel struct{ Option, Value string }
	// Publish has the local Sentinel name Primary, and drop what it knows of an earlier Epoch.
	Publish struct {
		Primary string
		Epoch   int64
	}

	// Bootstrap asks every member to bootstrap the cluster with this node as primary.
	Bootstrap struct{ Voters []Voter }
	// Serve notes, on disk, that this cluster has a primary from now on.
	Serve struct{}
	// PreVote asks the voters whether they would vote for this node, had it fenced the redis-server
	// of the holder, whose agent is silent.
	PreVote struct{}
	// Claim asks the voters for the lease.
	Claim struct{ Why string }
	// Release gives the lease back. Whole: nothing is wrong with the local redis-server, so nobody
	// who has less data is to have the lease next. To: it is handed over to that node, which has
	// every byte up to where StopWrites stopped writes.
	Release struct {
		Why   string
		Whole bool
		To    string
	}

	// The steps of a handover, in this order; Release follows them. Until then each of them can
	// fail, and then writes go on here. Once the successor is heard to serve, or after YieldFor,
	// CloseClients and DropVIP end it.

	// CheckInSync asks the successor's redis-server whether it follows this primary and is in sync;
	// CheckRecorded its agent, whether that is on its disk.
	CheckInSync struct{ To string }
	// CheckRecorded asks the successor's agent whether its disk says that its data is of this term:
	// it would else be outvoted by nobody but this node, which may be gone then.
	CheckRecorded struct{ To string }
	// StopWrites has clients' writes wait in the local redis-server, and notes the offset at which
	// they stopped.
	StopWrites struct{ To string }
	// AwaitOffset waits until the successor has every byte up to that offset, which is known by
	// then.
	AwaitOffset struct {
		To     string
		Offset int64
	}
	// FenceRemote fences the holder's redis-server, whose agent is silent.
	FenceRemote struct{ Addr string }
	// SetSuccessors tells every node where the primary is, this one, and who takes over, the best
	// first.
	SetSuccessors struct{ IDs []string }
	// SetRoster changes the voters by one.
	SetRoster struct {
		Voters []Voter
		Why    string
	}
)

func (FenceRedis) action()     {}
func (CloseClients) action()   {}
func (DropVIP) action()        {}
func (HoldVIP) action()        {}
func (StartRedis) action()     {}
func (StopRedis) action()      {}
func (KillRedis) action()      {}
func (Promote) action()        {}
func (SetMinReplicas) action() {}
func (ResumeWrites) action()   {}
func (Follow) action()         {}
func (StartSentinel) action()  {}
func (StopSentinel) action()   {}
func (Monitor) action()        {}
func (TuneSentinel) action()   {}
func (SetSentinel) action()    {}
func (Publish) action()        {}
func (Bootstrap) action()      {}
func (Serve) action()          {}
func (PreVote) action()        {}
func (Claim) action()          {}
func (Release) action()        {}
func (CheckInSync) action()    {}
func (CheckRecorded) action()  {}
func (StopWrites) action()     {}
func (AwaitOffset) action()    {}
func (FenceRemote) action()    {}
func (SetSuccessors) action()  {}
func (SetRoster) action()      {}

func (a FenceRedis) String() string { return "fence redis-server: " + a.Why }
func (CloseClients) String() string { return "close clients" }
func (a DropVIP) String() string    { return "drop vip " + a.Address + ": " + a.Why }
func (a HoldVIP) String() string    { return "hold vip " + a.Address }
func (a StartRedis) String() string {
	if a.Primary == "" {
		return "start redis-server"
	}
	return "start redis-server as replica of " + a.Primary
}
func (StopRedis) String() string        { return "stop redis-server" }
func (a KillRedis) String() string      { return "kill redis-server: " + a.Why }
func (a Promote) String() string        { return fmt.Sprintf("promote min-replicas=%d", a.MinReplicas) }
func (a SetMinReplicas) String() string { return fmt.Sprintf("set min-replicas %d", a.N) }
func (ResumeWrites) String() string     { return "resume writes" }
func (a Follow) String() string {
	if a.CloseClients {
		return "follow " + a.Primary + ", close clients"
	}
	return "follow " + a.Primary
}
func (a StartSentinel) String() string {
	if a.Primary == "" {
		return "start redis-sentinel"
	}
	return "start redis-sentinel for " + a.Primary
}
func (StopSentinel) String() string { return "stop redis-sentinel" }
func (a Monitor) String() string {
	return fmt.Sprintf("sentinel: monitor %s quorum=%d", a.Primary, a.Quorum)
}
func (TuneSentinel) String() string  { return "sentinel: set timers" }
func (a SetSentinel) String() string { return "sentinel: set " + a.Option + " " + a.Value }
func (a Publish) String() string {
	return fmt.Sprintf("sentinel: publish %s epoch=%d", a.Primary, a.Epoch)
}
func (a Bootstrap) String() string { return "bootstrap cluster with " + ids(a.Voters) }
func (Serve) String() string       { return "note that the cluster has a primary" }
func (PreVote) String() string     { return "ask for a pre-vote" }
func (a Claim) String() string     { return "claim lease: " + a.Why }
func (a Release) String() string {
	return "release lease: " + a.Why + map[bool]string{true: ", the data is whole"}[a.Whole]
}
func (a CheckInSync) String() string   { return "check that " + a.To + " is in sync" }
func (a CheckRecorded) String() string { return "check that " + a.To + " has that on disk" }
func (a StopWrites) String() string    { return "stop writes, to hand over to " + a.To }
func (a AwaitOffset) String() string   { return "wait until " + a.To + " has every byte" }
func (a FenceRemote) String() string   { return "fence " + a.Addr + " from here: its agent is silent" }
func (a SetSuccessors) String() string {
	return "set successors [" + strings.Join(a.IDs, " ") + "]"
}
func (a SetRoster) String() string { return "set roster " + ids(a.Voters) + ": " + a.Why }

func ids(voters []Voter) string {
	s := make([]string, len(voters))
	for i, v := range voters {
		s[i] = v.ID
	}
	return "[" + strings.Join(s, " ") + "]"
}
