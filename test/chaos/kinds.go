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
	theGossip   part = "gossip"
	theLink     part = "link quality"
	theDisk     part = "disk"
	theCPU      part = "processor"
	theRole     part = "role"
	theClients  part = "clients"
	theSettings part = "settings"
	theCopy     part = "copy"
)

// kind is a kind of fault. How it is done is in injectors, under the same name.
type kind struct {
	name        string
	on          []Place
	least, most time.Duration // how long it lasts; 0: a moment
	touches     part
	alone       bool // nothing else at the same time
	planned     bool // an operator's command, which must succeed
	may         may
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

// What several kinds come to. crash: a process ends. power: a host does. split: clients still reach
// a host that the others do not. command: an operator's own.
var (
	crash   = may{down: crashed, lose: window, end: true, move: true}
	power   = may{down: lost, lose: window, end: true, move: true, away: true}
	split   = may{down: lost, lose: window, isolates: true, move: true, away: true}
	restart = may{down: moved, end: true, move: true, away: true}
	stage   = may{down: untouched, whole: copied}
)

// kinds is the catalogue: every kind of fault, and what it may come to.
var kinds = []kind{
	{name: "redis-server killed", on: anyone, touches: theRedis, may: crash},
	{name: "redis-server hangs", on: thePair, least: sec, most: 20 * sec, touches: theRedis, may: may{down: hung, lose: window, end: true, kill: true, move: true}},
	{name: "redis-server crash-loops", on: thePair, least: 5 * sec, most: 10 * sec, touches: theRedis, may: crash},
	{name: "out of memory", on: thePair, touches: theRedis, may: crash},
	{name: "redis-sentinel killed", on: thePair, touches: theSentinel},
	{name: "redis-sentinel hangs", on: thePair, least: 2 * sec, most: 10 * sec, touches: theSentinel},

	// The stages of what takes as long as the dataset is large. None is a failure.
	{name: "snapshots", on: primary, least: 3 * sec, most: 8 * sec, touches: theRedis},
	{name: "AOF rewrite", on: thePair, least: 2 * sec, most: 5 * sec, touches: theCopy},
	{name: "full resync", on: lastOne, least: 2 * sec, most: 5 * sec, touches: theCopy, may: stage},
	{name: "full copy being loaded", on: replicas, least: 2 * sec, most: 5 * sec, touches: theCopy, may: stage},
	{name: "rewrite after a full copy", on: replicas, least: 2 * sec, most: 5 * sec, touches: theCopy, may: stage},
	// The crash that has it load is part of it.
	{name: "dataset loads long", on: thePair, least: 3 * sec, most: 6 * sec, touches: theRedis, may: crash},

	// What clients can do who have the clients' password.
	{name: "busy script", on: primary, least: 3 * sec, most: 3 * sec, touches: theRedis, may: may{blocks: true}},
	{name: "writing script", on: primary, least: 2 * sec, most: 9 * sec, touches: theRedis, may: may{blocks: true}},
	{name: "clients paused", on: thePair, least: sec, most: 6 * sec, touches: theClients, may: may{blocks: true}},
	{name: "writes paused", on: thePair, least: sec, most: 6 * sec, touches: theClients, may: may{blocks: true}},
	{name: "connections full", on: thePair, least: 2 * sec, most: 6 * sec, touches: theClients},
	{name: "transactions and waits", on: primary, least: 2 * sec, most: 6 * sec, touches: theClients},
	{name: "keys that expire", on: primary, least: 2 * sec, most: 6 * sec, touches: theClients},

	// What redisd owns, set by a client: it is as it was soon after, and nobody has noticed.
	{name: "fence lifted", on: replicas, least: 3 * sec, most: 3 * sec, touches: theSettings},
	{name: "fence set", on: primary, least: 3 * sec, most: 3 * sec, touches: theSettings, may: may{down: noise}},
	{name: "replica writable", on: replicas, least: 3 * sec, most: 3 * sec, touches: theSettings, may: may{opened: closed}},
	{name: "masterauth changed", on: replicas, least: 3 * sec, most: 3 * sec, touches: theSettings},
	{name: "append-only file off", on: thePair, least: 3 * sec, most: 3 * sec, touches: theSettings},
	{name: "password changed", on: thePair, least: 3 * sec, most: 3 * sec, touches: theSettings, may: may{blocks: true}},
	{name: "port changed", on: thePair, least: 3 * sec, most: 3 * sec, touches: theSettings, may: may{down: outOfReach, lose: window, move: true}},
	{name: "agents' user deleted", on: thePair, least: 3 * sec, most: 3 * sec, touches: theSettings, may: may{down: outOfReach, lose: window, move: true}},
	{name: "agents' password changed", on: thePair, least: 3 * sec, most: 3 * sec, touches: theSettings, may: may{down: outOfReach, lose: window, move: true}},
	{name: "replicas' user off", on: primary, least: 3 * sec, most: 3 * sec, touches: theSettings},

	{name: "agent killed", on: thePair, touches: theAgent, may: may{mute: true}},
	{name: "agent killed in a loop", on: thePair, least: 5 * sec, most: 15 * sec, touches: theAgent, may: may{down: lost, move: true, mute: true, away: true}},
	{name: "agent hangs", on: thePair, least: sec, most: 15 * sec, touches: theAgent, may: may{down: watchdog, mute: true, unguarded: true, away: true}},
	{name: "agent restarted", on: thePair, touches: theAgent, planned: true, may: may{mute: true}},
	{name: "agent upgraded", on: thePair, touches: theAgent, planned: true, may: may{mute: true}},

	{name: "switchover", on: primary, touches: theRole, planned: true, may: may{down: moved, move: true}},
	{name: "stop and start", on: thePair, least: sec, most: 5 * sec, touches: theHost, planned: true, may: restart},
	{name: "reboot", on: thePair, touches: theHost, planned: true, may: restart},

	{name: "power loss", on: anyone, least: sec, most: 10 * sec, touches: theHost, may: power},
	{name: "host paused", on: thePair, least: sec, most: 8 * sec, touches: theHost, may: may{down: lost, lose: window, move: true, mute: true, frozen: true, away: true}},
	{name: "blackout", on: everybody, least: sec, most: 5 * sec, touches: theHost, alone: true, may: may{down: booted, lose: onDisk, end: true, move: true, blocks: true, away: true, whole: copied}},
	{name: "blackout, the primary returns later", on: everybody, least: 2 * sec, most: 20 * sec, touches: theHost, alone: true, may: may{down: coldStart, lose: onDisk, end: true, move: true, away: true, whole: copied}},

	{name: "cable pulled", on: thePair, least: 2 * sec, most: 12 * sec, touches: theCable, may: split},
	{name: "address goes", on: thePair, least: 2 * sec, most: 12 * sec, touches: theCable, may: split},
	{name: "link flaps", on: thePair, least: 2 * sec, most: 5 * sec, touches: theCable, may: may{down: lost, lose: window, isolates: true, lingers: true, move: true, away: true}},
	{name: "network silent", on: anyone, least: 2 * sec, most: 12 * sec, touches: thePeers, may: split},
	{name: "cut from the other nodes", on: thePair, least: 2 * sec, most: 12 * sec, touches: thePeers, may: split},
	{name: "cut from the primary", on: replicas, least: 2 * sec, most: 12 * sec, touches: thePeers},
	{name: "sends to no other node", on: thePair, least: 2 * sec, most: 12 * sec, touches: thePeers, may: split},
	{name: "hears no other node", on: thePair, least: 2 * sec, most: 12 * sec, touches: thePeers, may: may{down: gaveUp, lose: window, isolates: true, move: true, away: true}},
	{name: "UDP 7946 blocked", on: thePair, least: 5 * sec, most: 12 * sec, touches: thePort},
	{name: "TCP 7946 blocked", on: thePair, least: 5 * sec, most: 12 * sec, touches: thePort},
	// A primary that hears no agent has no lease, though all can reach its redis-server; a replica
	// that hears none must not take the primary for one that has no agent (reconcile.AgentGrace).
	{name: "deaf", on: anyone, least: 3 * sec, most: 20 * sec, touches: theGossip, may: may{down: gaveUp, move: true, away: true}},
	{name: "TCP 6379 blocked", on: thePair, least: 3 * sec, most: 12 * sec, touches: thePort, may: may{down: outOfReach, lose: window, move: true}},
	{name: "5 % loss", on: thePair, least: 5 * sec, most: 12 * sec, touches: theLink, may: may{down: farther, slow: true, move: true}},
	{name: "50 ms delay", on: thePair, least: 5 * sec, most: 12 * sec, touches: theLink, may: may{down: farther, slow: true}},

	// A redis-server that loses its disk may end by itself and load nothing before it is back.
	{name: "disk full", on: thePair, least: 3 * sec, most: 10 * sec, touches: theDisk, may: may{down: crashed, end: true, move: true}},
	{name: "disk hangs", on: thePair, least: sec, most: 15 * sec, touches: theDisk, may: may{down: waited, lose: window, end: true, kill: true, move: true, mute: true, away: true}},
	{name: "disk stutters", on: thePair, least: 4 * sec, most: 10 * sec, touches: theDisk, may: may{down: 1500*time.Millisecond + noise, mute: true, away: true}},
	{name: "disk read-only", on: thePair, least: 3 * sec, most: 8 * sec, touches: theHost, may: may{down: crashed, lose: window, end: true, move: true, away: true, whole: copied}},
	{name: "processor hogged", on: thePair, least: 10 * sec, most: 20 * sec, touches: theCPU, may: may{slow: true}},
	{name: "all processors busy", on: primary, least: 60 * sec, most: 120 * sec, touches: theCPU, alone: true, may: may{down: swamped}},
}

func kindOf(name string) *kind {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return nil
	}
	return &kinds[i]
}
