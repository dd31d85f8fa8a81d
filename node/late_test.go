package node

import (
	"errors"
	"testing"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// TestHandoverWaitsForLateCommand: a redis-server that did not answer a command that lets writes in
// may carry it out after the one that stops them. No handover stops writes before the connection of
// that command is closed.
func TestHandoverWaitsForLateCommand(t *testing.T) {
	n := New(Options{Self: "a", Now: time.Hour, RedisPID: 7, Jitter: func(Time) Time { return time.Millisecond }})
	n.redis.stale = false
	n.perform.letsIn = late{7, n.at}
	stop := func() (begun bool, err error) {
		n.perform.handover, n.out = &handover{to: "b"}, Ready{}
		n.perform.stopWrites(Rounds, reconcile.StopWrites{To: "b"}, func(e error) { err = e })
		return len(n.out.Do) > 0, err
	}
	if begun, err := stop(); begun || !errors.Is(err, errUnanswered) || n.perform.handover.stopped {
		t.Errorf("writes are stopped (%v) and may go on later: %v", begun, err)
	}
	polled := func(began Time, closed bool) {
		n.watch.redisPolled(RedisPolled{PID: 7, Began: began, StaleClosed: closed, Info: &RedisInfo{Role: reconcile.Primary}})
	}
	n.out = Ready{}
	n.watch.pollRedis(Polls, PollTimeout, nil)
	if a, ok := n.out.Do[0].Action.(PollRedis); !ok || !a.CloseStale {
		t.Errorf("%+v does not close the connection", n.out.Do[0].Action)
	}
	polled(n.at, false)
	polled(n.at-1, true) // asked before the command was given up
	if begun, _ := stop(); begun {
		t.Error("writes are stopped before the connection is closed")
	}
	polled(n.at, true)
	if begun, err := stop(); !begun || err != nil {
		t.Errorf("no handover although nothing may come late any more: %v", err)
	}
}

// TestCommandsOfTheDead: what an agent asked for that has died may be carried out as long as its
// connections are open. The next agent closes them, with its first poll or its first fence.
func TestCommandsOfTheDead(t *testing.T) {
	b := newBench(t, Options{State: holding(), RedisPID: 1})
	b.tick(20 * ms)
	poll := b.must("poll redis-server")
	if !poll.Action.(PollRedis).CloseStale {
		t.Error("the first poll leaves the connections of the earlier agent open")
	}
	b.n.perform.fence(Guard, "test", func(error) {})
	b.do = append(b.do, b.n.out.Do...)
	if f := b.must("fence"); !f.Action.(Fence).CloseStale {
		t.Error("the first fence leaves the connections of the earlier agent open")
	}
	b.step(RedisPolled{ID: poll.ID, Began: b.now, PID: 1, Info: primary(1000), StaleClosed: true})
	if b.n.redis.stale {
		t.Error("they are closed, and count as open")
	}
}
