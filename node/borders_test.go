package node

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// Before there is a cluster the members say how many keys they have: the fullest is to bootstrap
// it, and an empty one must not be copied over it.
func TestKeysBeforeThereIsACluster(t *testing.T) {
	b := newBench(t, Options{RedisPID: 1})
	b.tick(ms)
	b.answerPolls(&RedisInfo{RunID: "r", Role: reconcile.Replica, Keys: 100})
	b.step(Tick{})
	b.tick(200 * ms)
	if keys := b.n.Meta().Data.Keys; keys != 100 {
		t.Errorf("it says that it has %d keys, redis-server said 100", keys)
	}
}

// A forced failover that the operator was told had failed does not go ahead later.
func TestForceTakenBack(t *testing.T) {
	b := newBench(t, Options{State: holding(), RedisPID: 1})
	b.tick(ms)
	b.do = nil
	b.step(Force{Until: b.now + time.Second})
	poll := b.must("poll redis-server") // its dataset is polled first
	b.step(Force{})
	b.sent = nil
	b.step(RedisPolled{ID: poll.ID, Began: b.now, PID: 1, Info: primary(1000), StaleClosed: true})
	for range 20 {
		b.tick(100 * ms)
		b.answerPolls(primary(1000))
		b.settleElection()
	}
	if slices.ContainsFunc(b.sent, func(s Send) bool { m, ok := s.Message.(election.Claim); return ok && m.Forced }) {
		t.Error("it claims by force after that was taken back")
	}
}

// A node that waits for its disk does not ask to be called all the time.
func TestForceWaitsForTheDisk(t *testing.T) {
	b := newBench(t, Options{State: holding()})
	b.tick(ms)
	b.step(SetPause{Pause: Pause{Version: 1, On: true}}) // a save that hangs
	b.step(Force{Until: b.now + 10*time.Second})
	b.tick(50 * ms)
	if b.last.Until <= b.now {
		t.Errorf("due at once, while the disk is waited for")
	}
	steps := 0
	for end := b.now + time.Second; b.now < end; steps++ {
		b.now = max(b.now, b.last.Until)
		b.step(Tick{})
	}
	if steps > 60 {
		t.Errorf("%d ticks in a second that waits for a disk", steps)
	}
}

// The lease is shown while something else of the election is being saved, and hidden when that
// could not be saved.
func TestLeaseWhileSaving(t *testing.T) {
	b := leads(t)
	b.saves = nil
	b.step(Members{List: append(slices.Clone(b.n.members), reconcile.Member{
		ID: "c", Name: "c", ClusterID: "c", Gossip: "10.0.0.3:7946", Redis: "10.0.0.3:6379", Alive: true, Ready: true, Priority: 100,
	})})
	term := b.n.View(b.now).HolderTerm
	b.step(Received{Message: election.RenewReply{From: "c", Term: term, Granted: true, Sent: b.now, Highest: term}})
	for range 100 {
		if len(b.saves) > 0 {
			break
		}
		b.tick(5 * ms)
		b.answerPolls(primary(1000))
		do := b.do
		b.do = nil
		for _, d := range do {
			b.step(Done{ID: d.ID})
		}
	}
	if len(b.saves) == 0 || len(b.saves[0].Election.Roster.Voters) != 3 {
		t.Fatalf("the roster is not being changed: %+v", b.saves)
	}
	if !b.n.View(b.now).Lease {
		t.Error("no lease is shown while the roster is being saved")
	}
	if _, ok := b.n.lease(); ok {
		t.Error("something would be let in under a roster that is not on disk")
	}
	b.step(Saved{Err: errors.New("disk full")})
	if b.n.ballot.saving {
		b.step(Saved{Err: errors.New("disk full")})
	}
	if !b.n.ballot.saving && b.n.View(b.now).Lease {
		t.Error("a lease is shown although the disk took nothing")
	}
}

// A fence that this agent was too late to begin was not refused by redis-server.
func TestFenceNotBegun(t *testing.T) {
	b := leads(t)
	b.n.perform.fence(Guard, "test", func(error) {})
	first := b.n.out.Do[len(b.n.out.Do)-1]
	b.step(Done{ID: first.ID, Err: errors.New("late"), NotBegun: true})
	again := b.must("fence redis-server")
	b.step(Done{ID: again.ID, Err: errors.New("late"), NotBegun: true})
	b.must("kill redis-server")
}

// Nor was one whose end this agent did not see in time.
func TestFenceWhileTheAgentStandsStill(t *testing.T) {
	for _, c := range []struct {
		late     Time
		answered bool
		again    bool
	}{{FenceTimeout + 5*ms, false, false}, {2 * FenceTimeout, false, true}, {time.Second, false, true}, {time.Second, true, false}} {
		b := leads(t)
		b.n.perform.fence(Guard, "test", func(error) {})
		first := b.n.out.Do[len(b.n.out.Do)-1]
		b.now += c.late
		b.step(Done{ID: first.ID, Err: errors.New("late"), Answered: c.answered})
		if c.again {
			again := b.must("fence redis-server")
			b.now += time.Second
			b.step(Done{ID: again.ID, Err: errors.New("late")})
		}
		b.must("kill redis-server")
	}
}

// What redis-server has confirmed in one lane need not be confirmed in the other, unless something
// has let writes in since, or it is long ago.
func TestFenceConfirmedInTheOtherLane(t *testing.T) {
	for _, c := range []struct {
		name  string
		since func(b *bench)
		kills bool
	}{
		{"just now", func(*bench) {}, false},
		{"long ago", func(b *bench) { b.n.perform.fenced.at -= FenceTimeout + ms }, true},
		{"writes let in since", func(b *bench) { b.n.perform.allowed++ }, true},
		{"another process", func(b *bench) { b.n.perform.fenced.pid++ }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := leads(t)
			var failed error
			ended := false
			b.n.perform.fence(Guard, "test", func(error) {})
			guards := b.n.out.Do[len(b.n.out.Do)-1]
			b.n.perform.fence(Rounds, "test", func(err error) { failed, ended = err, true })
			rounds := b.n.out.Do[len(b.n.out.Do)-1]
			b.step(Done{ID: guards.ID})
			c.since(b)
			b.do = nil
			b.step(Done{ID: rounds.ID, Err: errors.New("no answer")})
			if c.kills {
				b.must("kill redis-server")
			} else if !ended || failed != nil {
				t.Errorf("ended: %v, %v", ended, failed)
			}
		})
	}
}

// What the node knows of an address is newer than what the driver read before a reload.
func TestVIPsAfterReload(t *testing.T) {
	b := leads(t)
	b.step(VIPsConfigured{VIPs: []reconcile.VIP{{Address: "10.0.0.9/24"}, {Address: "10.0.0.8/24", Held: true}}})
	if !b.n.vip("10.0.0.9/24").Held || !b.n.vip("10.0.0.8/24").Held {
		t.Errorf("addresses: %+v", b.n.vips)
	}
}
