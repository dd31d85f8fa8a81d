package node

import (
	"testing"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// start has the node start redis-server, which gets that process number.
func (b *bench) start(pid int) {
	b.t.Helper()
	for range 200 {
		b.tick(50 * ms)
		b.answerPolls(nil)
		if d := b.take("start redis-server"); d.ID != 0 {
			b.step(Done{ID: d.ID, PID: pid})
			return
		}
		do := b.do
		b.do = nil
		for _, d := range do {
			b.step(Done{ID: d.ID})
		}
		b.settleElection()
	}
	b.t.Fatal("redis-server is not started")
}

// After a boot, and in containers, a process may get the number that an earlier one had. A node
// that took it for that one thought it dead for ever.
func TestProcessOfTheSameNumber(t *testing.T) {
	b := newBench(t, Options{Desired: reconcile.Desired{Redis: true, Expect: 2}})
	b.step(Exited{Process: Redis, PID: 62, Code: -1}) // while no agent ran
	b.start(62)
	if !b.n.Observe(b.now).Redis.Running {
		t.Fatal("the new process 62 is taken for the old one")
	}
	b.n.perform.kill(Guard, "test", func(error) {})
	b.step(Done{ID: b.n.nextID})
	if !b.n.Observe(b.now).Redis.Dying {
		t.Fatal("not dying after SIGKILL")
	}
	b.step(Exited{Process: Redis, PID: 62, Code: -1})
	b.start(62)
	if r := b.n.Observe(b.now).Redis; !r.Running || r.Dying {
		t.Errorf("the third process 62: %+v", r)
	}
	b.step(Exited{Process: Redis, PID: 62, Code: 1, RanFor: time.Second})
	if b.n.Observe(b.now).Redis.Running {
		t.Error("its end is not seen")
	}
}

// An exit that is faster than the word of the start counts.
func TestExitBeforeStarted(t *testing.T) {
	b := newBench(t, Options{Desired: reconcile.Desired{Redis: true, Expect: 2}})
	b.tick(100 * ms)
	d := b.must("start redis-server")
	b.step(Exited{Process: Redis, PID: 7, Code: 1})
	b.step(Done{ID: d.ID, PID: 7})
	if b.n.Observe(b.now).Redis.Running {
		t.Error("it runs, although it has ended")
	}
}

// A dataset is set aside only when redis-server has ended three times before it ever answered, and
// another node has the data.
func TestSetAside(t *testing.T) {
	b := newBench(t, Options{Desired: reconcile.Desired{Redis: true, Expect: 2}})
	for i := range brokenAfter {
		b.start(10 + i)
		b.step(Exited{Process: Redis, PID: 10 + i, Code: 1})
	}
	var aside bool
	b.n.perform.runProcess(Guard, reconcile.StartRedis{}, func(error) {})
	aside = b.n.out.Do[len(b.n.out.Do)-1].SetAside
	if aside {
		t.Error("set aside although nobody else is known to have the data")
	}
	b.n.perform.runProcess(Guard, reconcile.StartRedis{Primary: "10.0.0.2:6379"}, func(error) {})
	if !b.n.out.Do[len(b.n.out.Do)-1].SetAside {
		t.Error("not set aside")
	}
}

// What the driver found is known before anything is begun: a process that ended before this agent
// was there must not be taken for the one that it starts.
func TestNothingBeforeTheFirstTick(t *testing.T) {
	b := newBench(t, Options{Desired: reconcile.Desired{Redis: true, Expect: 2}})
	b.step(VIPsConfigured{})
	b.step(Members{})
	if b.step(Exited{Process: Redis, PID: 42, Code: -1}); len(b.do) > 0 {
		t.Fatalf("begun: %v", b.do)
	}
	b.start(42)
	if !b.n.Observe(b.now).Redis.Running {
		t.Error("the process that it started is taken for the one that had ended")
	}
}

// A Sentinel that the agent ends so that it forgets somebody is away for no longer each time.
func TestSentinelEndedOnPurposeStartsAtOnce(t *testing.T) {
	b := newBench(t, Options{Desired: reconcile.Desired{Sentinel: true, Expect: 2}})
	p := &b.n.procs[Sentinel]
	for pid := 7; pid < 15; pid++ {
		p.started(pid)
		p.answered(pid)
		b.step(Exited{Process: Sentinel, PID: pid, Code: -1, RanFor: time.Second, Asked: true})
		if p.startAfter > b.now {
			t.Fatalf("it is started %v later", p.startAfter-b.now)
		}
	}
	p.started(15)
	p.answered(15)
	b.step(Exited{Process: Sentinel, PID: 15, Code: -1, RanFor: time.Second})
	if p.startAfter <= b.now {
		t.Error("one that crashed is started at once")
	}
}
