package chaos

import "time"

// composed are rounds that no pair of the catalogue's at random would give: one fault hits what
// another has just begun, or takes away what the other leaves to rely on.
var composed = []Round{
	{Name: "primary lost while a replica resyncs", Steps: []Step{
		{Kind: "full resync", On: Replica, For: 4 * time.Second},
		{Kind: "power loss", On: Primary, For: 5 * time.Second, After: time.Second, Then: true},
	}},
	{Name: "agent hangs and its host is cut off", Steps: []Step{
		{Kind: "agent hangs", On: Primary, For: 6 * time.Second},
		{Kind: "network silent", On: Primary, For: 6 * time.Second},
	}},
	{Name: "primary left alone and joined one by one", Steps: []Step{
		{Kind: "cut from the primary", On: Replica, For: 6 * time.Second},
		{Kind: "power loss", On: Successor, For: 8 * time.Second},
	}, Extra: 6 * time.Second}, // until the cut ends
	{Name: "agent hangs and its host is cut off, but not from clients", Steps: []Step{
		{Kind: "agent hangs", On: Primary, For: 6 * time.Second},
		{Kind: "cut from the other nodes", On: Primary, For: 6 * time.Second},
	}},

	// The stages of a copy, and of what follows it on the disk.
	{Name: "replica killed while the primary writes its copy", Steps: []Step{
		{Kind: "full resync", On: Replica, For: 4 * time.Second},
		{Kind: "redis-server killed", On: Replica, After: time.Second, Then: true},
	}},
	{Name: "replica loses power while it loads its copy", Steps: []Step{
		{Kind: "full copy being loaded", On: Replica, For: 4 * time.Second},
		{Kind: "power loss", On: Replica, For: 2 * time.Second, After: time.Second, Then: true},
	}},
	{Name: "primary lost while its successor loads a copy", Steps: []Step{
		{Kind: "full copy being loaded", On: Successor, For: 5 * time.Second},
		{Kind: "power loss", On: Primary, For: 4 * time.Second, After: time.Second, Then: true},
	}},
	{Name: "replica killed before its copy is on its disk", Steps: []Step{
		{Kind: "rewrite after a full copy", On: Successor, For: 5 * time.Second},
		{Kind: "redis-server killed", On: Successor, After: time.Second, Then: true},
	}},
	{Name: "replica and primary killed before a copy is on the replica's disk", Steps: []Step{
		{Kind: "rewrite after a full copy", On: Successor, For: 5 * time.Second},
		{Kind: "redis-server killed", On: Successor, After: time.Second, Then: true},
		{Kind: "redis-server killed", On: Primary, After: 100 * time.Millisecond, Then: true},
	}},
	{Name: "blackout while the primary writes a copy", Steps: []Step{
		{Kind: "full resync", On: Replica, For: 4 * time.Second},
		{Kind: "blackout", On: Everyone, For: 2 * time.Second, After: time.Second, Then: true},
	}},
	{Name: "blackout before a copy is on the replica's disk", Steps: []Step{
		{Kind: "rewrite after a full copy", On: Successor, For: 5 * time.Second},
		{Kind: "blackout, the primary returns later", On: Everyone, For: 15 * time.Second, After: time.Second, Then: true},
	}},
	{Name: "blackout during an AOF rewrite", Steps: []Step{
		{Kind: "AOF rewrite", On: Primary, For: 4 * time.Second},
		{Kind: "blackout", On: Everyone, For: 2 * time.Second, After: time.Second, Then: true},
	}},
	{Name: "successor lost while the old primary loads", Steps: []Step{
		{Kind: "dataset loads long", On: Primary, For: 6 * time.Second},
		{Kind: "power loss", On: Successor, For: 3 * time.Second, After: time.Second, Then: true},
	}, Extra: 6 * time.Second}, // the two that are left are no majority that could vote before one has loaded

	// Clients that are in the middle of something.
	{Name: "agent hangs while a script writes", Steps: []Step{
		{Kind: "writing script", On: Primary, For: 6 * time.Second},
		{Kind: "agent hangs", On: Primary, For: 8 * time.Second, After: 200 * time.Millisecond},
	}},
	{Name: "agent killed while a script writes", Steps: []Step{
		{Kind: "writing script", On: Primary, For: 8 * time.Second},
		{Kind: "agent killed", On: Primary, After: 2 * time.Second},
	}},
	{Name: "switchover while a script writes", Steps: []Step{
		{Kind: "writing script", On: Primary, For: 3 * time.Second},
		{Kind: "switchover", On: Primary, After: 500 * time.Millisecond},
	}},
	{Name: "cut off while a script writes", Steps: []Step{
		{Kind: "writing script", On: Primary, For: 4 * time.Second},
		{Kind: "cut from the other nodes", On: Primary, For: 6 * time.Second, After: 300 * time.Millisecond},
	}},
	{Name: "switchover among transactions", Steps: []Step{
		{Kind: "transactions and waits", On: Primary, For: 4 * time.Second},
		{Kind: "switchover", On: Primary, After: 1500 * time.Millisecond},
	}},
	{Name: "primary cut off among transactions", Steps: []Step{
		{Kind: "transactions and waits", On: Primary, For: 6 * time.Second},
		{Kind: "cut from the other nodes", On: Primary, For: 3 * time.Second, After: 1500 * time.Millisecond},
	}},
	{Name: "primary killed among transactions", Steps: []Step{
		{Kind: "transactions and waits", On: Primary, For: 4 * time.Second},
		{Kind: "redis-server killed", On: Primary, After: 1500 * time.Millisecond},
	}},
	{Name: "primary lost among keys that expire", Steps: []Step{
		{Kind: "keys that expire", On: Primary, For: 5 * time.Second},
		{Kind: "power loss", On: Primary, For: 3 * time.Second, After: 1500 * time.Millisecond},
	}},
	{Name: "no room for the connection of a new agent", Steps: []Step{
		{Kind: "connections full", On: Primary, For: 5 * time.Second},
		{Kind: "agent killed", On: Primary, After: 200 * time.Millisecond, Then: true},
	}},
	{Name: "no room for the connection of a replica", Steps: []Step{
		{Kind: "connections full", On: Primary, For: 5 * time.Second},
		{Kind: "redis-server killed", On: Replica, After: 200 * time.Millisecond, Then: true},
	}},
	{Name: "switchover with clients paused", Steps: []Step{
		{Kind: "writes paused", On: Primary, For: 4 * time.Second},
		{Kind: "switchover", On: Primary, After: 500 * time.Millisecond, Then: true},
	}},
	{Name: "writes paused and a replica lost", Steps: []Step{
		{Kind: "writes paused", On: Primary, For: 5 * time.Second},
		{Kind: "power loss", On: Successor, For: 3 * time.Second, After: 500 * time.Millisecond, Then: true},
	}},
	{Name: "no append-only file, and the successor killed", Steps: []Step{
		{Kind: "append-only file off", On: Successor, For: 3 * time.Second},
		{Kind: "redis-server killed", On: Successor, After: 500 * time.Millisecond, Then: true},
	}},

	// Several hosts.
	{Name: "all redis-servers killed", Steps: []Step{
		{Kind: "redis-server killed", On: Primary},
		{Kind: "redis-server killed", On: Successor},
		{Kind: "redis-server killed", On: Replica},
	}, Extra: 3 * time.Second}, // the first of them must load
	{Name: "both replicas killed", Steps: []Step{
		{Kind: "redis-server killed", On: Successor},
		{Kind: "redis-server killed", On: Replica},
	}},
	{Name: "all agents killed", Steps: []Step{
		{Kind: "agent killed", On: Primary},
		{Kind: "agent killed", On: Successor},
	}, Extra: 700 * time.Millisecond}, // no majority answers until the next ones are there
	{Name: "one fault at each node", Steps: []Step{
		{Kind: "power loss", On: Primary, For: 4 * time.Second},
		{Kind: "agent killed", On: Successor},
		{Kind: "redis-server killed", On: Replica, After: 300 * time.Millisecond},
	}, Extra: 3 * time.Second}, // two voters are left, and each must be there for a majority
	{Name: "deaf successor, and the primary killed", Steps: []Step{
		{Kind: "deaf", On: Successor, For: 6 * time.Second},
		{Kind: "redis-server killed", On: Primary, After: 2 * time.Second, Then: true},
	}},
	{Name: "disks stutter at two nodes", Steps: []Step{
		{Kind: "disk stutters", On: Primary, For: 6 * time.Second},
		{Kind: "disk stutters", On: Successor, For: 6 * time.Second},
	}},
}
