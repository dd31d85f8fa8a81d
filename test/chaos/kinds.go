package chaos

import (
	"slices"
	"time"
)

// what a kind of fault touches; two of the same at one host get in each other's way.
type part string

const (
	theRedis    part = "redis-server"
	theSentinel part = "redis-sentinel"
	theAgent    part = "agent"
	theHost     part = "host"
	theCable    part = "cable"
	thePeers    part = "peers"
	thePort     part = "port"
	theLink     part = "link quality"
	theDisk     part = "disk"
	theCPU      part = "processor"
	theRole     part = "role"
)

// harm is what a fault may do to the host that it is injected at. What is not here, it must not do.
type harm struct {
	// loses: writes that no replica had yet may go with the primary. isolates: a primary that
	// clients still reach may go on until its lease lapses. lingers: it may also do so at any time
	// while the fault lasts, not only at its beginning.
	loses, isolates, lingers bool
	// ends: redis-server may be another process afterwards.
	ends bool
	// mute: the agent may be unable to do anything, such as to drop the VIP.
	mute bool
	// unguarded: nobody fences redis-server, should the host be cut off meanwhile.
	unguarded bool
	// frozen: the host does not know what time it is.
	frozen bool
	// slow: what was sent takes longer to arrive.
	slow bool
	// moves: the primary may be another one afterwards, though this one is well.
	moves bool
	// blocks: writes may be down as long as it lasts; nothing else could be done.
	blocks bool
	// waits is for how long redis-server is given the benefit of the doubt before it is taken to
	// hang: who waits for a disk may only be slow.
	waits time.Duration
}

// kind is a kind of fault. How it is done is in injectors, under the same name.
type kind struct {
	name        string
	on          []Place
	least, most time.Duration // how long it lasts; 0: a moment
	touches     part
	alone       bool // nothing else at the same time
	planned     bool // an operator's command, which must succeed
	harm        harm
}

var (
	anyone    = []Place{Primary, Successor, Replica}
	thePair   = []Place{Primary, Successor}
	primary   = []Place{Primary}
	replicas  = []Place{Successor, Replica}
	lastOne   = []Place{Replica}
	everybody = []Place{Everyone}
)

const sec = time.Second

// kinds is the catalogue.
var kinds = []kind{
	{name: "redis-server killed", on: anyone, touches: theRedis, harm: harm{loses: true, ends: true}},
	{name: "redis-server hangs", on: thePair, least: sec, most: 20 * sec, touches: theRedis, harm: harm{loses: true, ends: true}},
	{name: "redis-server crash-loops", on: thePair, least: 5 * sec, most: 10 * sec, touches: theRedis, harm: harm{loses: true, ends: true}},
	{name: "out of memory", on: thePair, touches: theRedis, harm: harm{loses: true, ends: true}},
	{name: "snapshots", on: primary, least: 3 * sec, most: 8 * sec, touches: theRedis},
	{name: "full resync", on: lastOne, least: 2 * sec, most: 5 * sec, touches: theRedis},
	{name: "busy script", on: primary, least: 3 * sec, most: 3 * sec, touches: theRedis, harm: harm{blocks: true}},
	{name: "redis-sentinel killed", on: thePair, touches: theSentinel},
	{name: "redis-sentinel hangs", on: thePair, least: 2 * sec, most: 10 * sec, touches: theSentinel},

	{name: "agent killed", on: thePair, touches: theAgent, harm: harm{mute: true}},
	{name: "agent hangs", on: thePair, least: sec, most: 15 * sec, touches: theAgent, harm: harm{mute: true, unguarded: true}},
	{name: "agent restarted", on: thePair, touches: theAgent, planned: true, harm: harm{mute: true}},
	{name: "agent upgraded", on: thePair, touches: theAgent, planned: true, harm: harm{mute: true}},

	{name: "switchover", on: primary, touches: theRole, planned: true, harm: harm{moves: true}},
	{name: "stop and start", on: thePair, least: sec, most: 5 * sec, touches: theHost, planned: true, harm: harm{ends: true, moves: true}},
	{name: "reboot", on: thePair, touches: theHost, planned: true, harm: harm{ends: true, moves: true}},

	{name: "power loss", on: anyone, least: sec, most: 10 * sec, touches: theHost, harm: harm{loses: true, ends: true}},
	{name: "host paused", on: thePair, least: sec, most: 8 * sec, touches: theHost, harm: harm{loses: true, ends: true, mute: true, frozen: true}},
	{name: "blackout", on: everybody, least: sec, most: 5 * sec, touches: theHost, alone: true, harm: harm{loses: true, ends: true, blocks: true}},
	{name: "blackout, the primary returns later", on: everybody, least: 2 * sec, most: 20 * sec, touches: theHost, alone: true, harm: harm{loses: true, ends: true, blocks: true}},

	{name: "cable pulled", on: thePair, least: 2 * sec, most: 12 * sec, touches: theCable, harm: harm{loses: true, isolates: true, ends: true}},
	{name: "link flaps", on: thePair, least: 2 * sec, most: 5 * sec, touches: theCable, harm: harm{loses: true, isolates: true, ends: true, lingers: true}},
	{name: "network silent", on: anyone, least: 2 * sec, most: 12 * sec, touches: thePeers, harm: harm{loses: true, isolates: true, ends: true}},
	{name: "cut from the other nodes", on: thePair, least: 2 * sec, most: 12 * sec, touches: thePeers, harm: harm{loses: true, isolates: true, ends: true}},
	{name: "cut from the primary", on: replicas, least: 2 * sec, most: 12 * sec, touches: thePeers},
	{name: "sends to no other node", on: thePair, least: 2 * sec, most: 12 * sec, touches: thePeers, harm: harm{loses: true, isolates: true, ends: true}},
	{name: "hears no other node", on: thePair, least: 2 * sec, most: 12 * sec, touches: thePeers, harm: harm{loses: true, isolates: true, ends: true}},
	{name: "UDP 7946 blocked", on: thePair, least: 5 * sec, most: 12 * sec, touches: thePort},
	{name: "TCP 7946 blocked", on: thePair, least: 5 * sec, most: 12 * sec, touches: thePort},
	{name: "TCP 6379 blocked", on: thePair, least: 3 * sec, most: 12 * sec, touches: thePort, harm: harm{loses: true, moves: true, blocks: true}},
	{name: "5 % loss", on: thePair, least: 5 * sec, most: 12 * sec, touches: theLink, harm: harm{slow: true, moves: true}},
	{name: "50 ms delay", on: thePair, least: 5 * sec, most: 12 * sec, touches: theLink, harm: harm{slow: true}},

	{name: "disk full", on: thePair, least: 3 * sec, most: 10 * sec, touches: theDisk, harm: harm{ends: true, moves: true}},
	{name: "disk hangs", on: thePair, least: sec, most: 15 * sec, touches: theDisk, harm: harm{loses: true, ends: true, mute: true, waits: 4 * sec}},
	{name: "processor hogged", on: thePair, least: 10 * sec, most: 20 * sec, touches: theCPU, harm: harm{slow: true}},
	{name: "all processors busy", on: primary, least: 60 * sec, most: 120 * sec, touches: theCPU, alone: true},
}

func kindOf(name string) *kind {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return nil
	}
	return &kinds[i]
}
