package chaos

import "time"

// may is what a fault may come to at the host that it befalls. What is not here, it must not do.
type may struct {
	// down is the write downtime at most when the host is the primary; elsewhere it is untouched.
	// With blocks it begins at the fault's end: writes are down as long as it lasts, and nothing
	// else could be done. Zero: untouched.
	down   time.Duration
	blocks bool
	// lose is how old an acknowledged write may be, counted back from the last one of that
	// redis-server, that goes with the primary. Zero: nothing is lost.
	lose time.Duration
	// isolates: a primary that clients still reach may go on until its lease lapses. lingers: it
	// may also do so at any time while the fault lasts, not only at its beginning.
	isolates, lingers bool
	// opened is for how long after it was done redis-server may take writes as a replica. They are
	// judged no further: not that they are lost, nor that it goes on having them.
	opened time.Duration
	// end: redis-server may be another process afterwards. kill: its own agent may have ended it.
	end, kill bool
	// move: another node may be the primary afterwards, when this one was.
	move bool
	// mute: the agent may be unable to do anything, such as to drop the VIP.
	mute bool
	// unguarded: nobody fences redis-server, should the host be cut off meanwhile.
	unguarded bool
	// frozen: the host does not know what time it is.
	frozen bool
	// slow: what was sent takes longer to arrive.
	slow bool
	// away: the host has no vote meanwhile; without a majority, writes are down.
	away bool
	// whole is how long after the fault's end all is well again. Zero: wholeLimit.
	whole time.Duration
}

// Write downtimes. The first of each sum is what docs/GUARANTEES.md promises or docs/FAULTS.md has
// seen; noise is what a machine adds whose two processors are shared by all hosts and the client.
// What of a gap the client itself did not run is taken off before.
const (
	noise = 300 * time.Millisecond
	// untouched: nothing is done that writes have to wait for.
	untouched = noise
	// crashed: the exit is seen at once, then a claim, a vote, a promotion.
	crashed = 100*time.Millisecond + noise
	// moved on purpose: writes stop, the successor has every byte, the lease moves.
	moved = 100*time.Millisecond + noise
	// hung: reconcile.HangAfter, a poll, and then as crashed.
	hung = 600*time.Millisecond + crashed
	// lost: nobody hears the primary, whose lease lapses.
	lost = lapse + crashed
	// outOfReach: a majority of voters cannot connect for a second.
	outOfReach = time.Second + crashed
	// gaveUp: it notices that no majority answers, fences, and gives the lease back half a second
	// later.
	gaveUp = 1100*time.Millisecond + crashed
	// waited: a redis-server that waits for its disk is given four seconds.
	waited = 4*time.Second + hung
	// watchdog: systemd replaces an agent that hangs after two seconds; meanwhile writes may wait.
	watchdog = 2*time.Second + 500*time.Millisecond + noise
	// farther: a link with 50 ms each way lets a client connect anew in a third of a second.
	farther = 500*time.Millisecond + noise
	// booted: hosts boot in a second or two, when all at once, and all voters are there then.
	booted = 5 * time.Second
	// coldStart: nodes that come up without a primary wait ten seconds for those that are missing.
	coldStart = 10*time.Second + booted
	// swamped: every processor is busy with something else, those of the client, too.
	swamped = time.Second
)

// Losses.
const (
	// window is how old an acknowledged write may be that a crash or a power loss of the primary
	// takes with it. redis-server answers a client and sends to its replicas in the same round of
	// its loop, so on a network without faults nothing is lost in nearly all rounds; where the
	// machine is busy, the two are a time slice apart.
	window = 50 * time.Millisecond
	// windowSlow is the same where a fault delays what is sent: TCP repeats a lost segment after
	// 200 ms, then after 400.
	windowSlow = 700 * time.Millisecond
	// onDisk is what the loss of all hosts takes: appendfsync everysec is two seconds at the most.
	onDisk = 2 * time.Second
	// lapse is how long a primary that is cut off from the other nodes, but not from its clients,
	// goes on: election.Lapse. Nobody else can be primary before.
	lapse = 700 * time.Millisecond
	// secondLine is how long it goes on where its agent hangs as well: Redis' own count of its
	// replicas (min-replicas-max-lag 2, looked at once a second) and the watchdog.
	// docs/GUARANTEES.md has it under what is not covered.
	secondLine = 3500 * time.Millisecond
	// wakes is for how long a host that was paused may take writes when it goes on: its
	// redis-server does not know that time has passed, and somebody must first run to tell it, the
	// agent or, when the watchdog has killed that, what runs after it.
	wakes = 150 * time.Millisecond
	// closed is how soon a replica that a client has opened for writes takes none any more.
	// docs/GUARANTEES.md has it under what is not covered: 0.1 s or two.
	closed = 200 * time.Millisecond
	// late is for acknowledgements that were on their way when the fault was injected.
	late = 100 * time.Millisecond
)

// Time until all is well.
const (
	// wholeLimit: Sentinel needs a second or two to publish a primary, TCP up to 6.7 s to send
	// again what a cut of twelve has swallowed, and a redis-server that ends again and again is
	// started again after five.
	wholeLimit = 12 * time.Second
	// copied is where a host comes back that must copy the dataset anew.
	copied = 20 * time.Second
)

// The VIP.
const (
	// stepDownLimit is how long a host that has lost touch may keep the VIP: its lease, and noise.
	stepDownLimit = time.Second
	// yields is for how long a host that has handed over may have the VIP beside its successor:
	// reconcile.YieldFor, and noise.
	yields = 350 * time.Millisecond
	// lifetime is the same where the agent can do nothing: the kernel's own patience (5 s, a second
	// late at most), and noise.
	lifetime = 6500 * time.Millisecond
	// thawed is how long a host that was paused may take to see that time has passed.
	thawed = time.Second
)

// Of several faults at once.
const (
	// reunited is how soon writes are back when a majority of nodes is.
	reunited = 3 * time.Second
)
