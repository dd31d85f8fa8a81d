package nodes

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Class is a set of ways in which the models are as unkind as the real programs and machines are.
// Each is drawn from a stream of random numbers of its own: without any, a seed plays what it
// played before there were classes.
type Class uint32

// The classes.
const (
	// Everysec: redis-server syncs its append-only file by its own clock, once a second.
	Everysec Class = 1 << iota
	// Blackout: all hosts lose power and return in any order; from then on voters answer for what
	// their disks had kept.
	Blackout
	// DiskCounts: so do those that were the last primary, and no dataset is let in while the disks
	// of most hosts have much more.
	DiskCounts
	// StaleAOF: after a full copy the disk has the old dataset until the rewrite has ended.
	StaleAOF
	// RDBOnly: some hosts have no append-only file: a kill leaves the last RDB file.
	RDBOnly
	// Flush: a full copy empties the replica first, and may fail then.
	Flush
	// LongLoad: some processes load for minutes.
	LongLoad
	// LoginRefused: for a time every login to a redis-server is answered with an error.
	LoginRefused
	// ClientsFull: for a time a redis-server takes no new client.
	ClientsFull
	// PauseAll: CLIENT PAUSE ALL: it answers nobody for a time.
	PauseAll
	// PauseWrite: CLIENT PAUSE WRITE: writes wait.
	PauseWrite
	// Scripts: a script runs for seconds, and after five of them -BUSY is answered.
	Scripts
	// HungWriter: an agent hangs while a script runs, and S1 holds nevertheless.
	HungWriter
	// PausedGuest: a host stands still as a whole, its clock included.
	PausedGuest
	// FastClocks: clocks are up to 5 % off.
	FastClocks
	// Joins: another host joins, while faults go on.
	Joins
	// Moves: a host returns from a reboot with other addresses.
	Moves
	// Forced: an operator forces a failover, and leaves out voters only where none of them has
	// heard of a later term.
	Forced
	// LeaveOut: also where one has.
	LeaveOut
	// ReadOnly: for a time nothing can be written to the disk of a host.
	ReadOnly
	// Deaf: the agents' port is filtered on one host, both ways, and redis-server's is not.
	Deaf
	// Parted: the network parts the hosts, an operator leaves out the others on one side or on
	// both, and they meet again.
	Parted
	// Learners: not all hosts vote, and one that does is gone for so long that another votes in its
	// place.
	Learners
	// Unserved: the cluster is founded, and at that moment the bootstrap node loses its
	// redis-server, its agent or its power. It is played by its own test, TestUnserved.
	Unserved

	classEnd
	// Plain is none of them.
	Plain = classEnd
)

var classNames = [...]string{
	"everysec", "blackout", "disk counts", "stale AOF", "RDB only", "flush", "long loading", "login refused", "clients full", "pause all",
	"pause write", "scripts", "hung agent and busy script", "paused guest", "5 % clocks", "joins", "moves", "forced", "leave out", "read-only disk", "deaf", "parted", "learners", "unserved",
}

// Known are the classes in which the product has a known defect: see testdata/open.txt.
const Known Class = 0

// Default are the classes that are played unless a schedule asks for others.
const Default = (classEnd - 1) &^ Known &^ Unserved

// String names the classes of the set.
func (c Class) String() string {
	var names []string
	for i, name := range classNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "plain"
	}
	return strings.Join(names, "+")
}

// ParseClass reads what String writes.
func ParseClass(text string) (Class, error) {
	if text == "plain" {
		return Plain, nil
	}
	var set Class
next:
	for word := range strings.SplitSeq(text, "+") {
		for i, name := range classNames {
			if name == word {
				set |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("no class %q", word)
	}
	return set, nil
}

// dice is a stream of random numbers.
type dice struct {
	src rand.PCG
	*rand.Rand
}

func (d *dice) seed(a, b uint64) {
	d.src.Seed(a, b)
	d.Rand = rand.New(&d.src)
}

func (d *dice) one(p float64) bool { return d.Float64() < p }

func (d *dice) upTo(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(d.Uint64N(uint64(most)))
}

func (d *dice) between(least, most time.Duration) time.Duration { return least + d.upTo(most-least) }

func (w *world) has(c Class) bool { return w.on&c != 0 }

// choose draws the classes of this schedule.
func (w *world) choose(only Class) {
	w.side.seed(w.res.Seed, 0xc1a55)
	if only != 0 {
		w.on = only & (classEnd - 1)
		return
	}
	for c := Class(1); c < Unserved; c <<= 1 {
		often := 0.05
		if c&(Blackout|Forced|LeaveOut|Parted|Scripts|LongLoad) != 0 {
			often = 0.015 // these take long
		}
		if w.side.one(often) {
			w.on |= c & Default
		}
	}
}
