package node

import (
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// A primary that has just crashed votes for nobody who has less than a replica had acknowledged;
// its own data stand in nobody's way.
func TestVoteAfterACrash(t *testing.T) {
	b := leads(t)
	b.n.redis.info.Replicas[0].Offset = 900
	b.step(Exited{Process: Redis, PID: 1})
	local := b.n.Local()
	if want := (election.Data{Term: 4, Offset: 900}); local.Least != want {
		t.Errorf("whoever has at least %+v is voted for, want %+v", local.Least, want)
	}
	if local.Candidate {
		t.Error("it counts as one that could be primary itself")
	}
	b.now += AckedCounts + time.Millisecond
	b.step(Tick{})
	if least := b.n.Local().Least; least.Offset != 0 {
		t.Errorf("long after the crash %+v is still asked for", least)
	}
}

// A replica that could be primary says so when it votes, and whether the holder answers it.
func TestVoteOfAReplica(t *testing.T) {
	st := holding()
	st.Election.Holder, st.Election.Vote = "b", "b"
	b := newBench(t, Options{State: st, RedisPID: 1, Record: Record{Version: Version{Term: 4, Offset: 1000, Keys: 1}, RunID: "r"}})
	b.step(Members{List: []reconcile.Member{
		{ID: "b", Name: "b", ClusterID: "c", Gossip: "10.0.0.2:7946", Redis: "10.0.0.2:6379", Alive: true, Ready: true, Priority: 100},
	}})
	replica := &RedisInfo{RunID: "r", Role: reconcile.Replica, PrimaryAddr: "10.0.0.2:6379", LinkUp: true, ReplID: "h", Offset: 1000, Keys: 1}
	b.tick(20 * ms)
	b.answerPolls(replica)
	if !b.n.Local().Candidate {
		t.Error("it does not say that it could be primary")
	}
	b.n.probe = probe{addr: "10.0.0.2:6379", seen: b.n.at, tried: b.n.at, probing: true}
	if !b.n.Local().Reachable {
		t.Error("the holder, which has just answered, counts as out of reach")
	}
	b.now += 2 * reconcile.SilentRedis
	b.n.at, b.n.probe.tried = b.now, b.now
	if b.n.Local().Reachable {
		t.Errorf("the holder, silent for %v, counts as within reach", 2*reconcile.SilentRedis)
	}
}

// Who gives the lease back only because it is alone is still one that could be primary.
func TestVoteOfOneAlone(t *testing.T) {
	for _, whole := range []bool{true, false} {
		b := leads(t)
		b.n.rounds.cur.o = b.n.Observe(b.n.at)
		b.n.perform.release(reconcile.Release{Why: "test", Whole: whole}, func(error) {})
		b.step(Saved{})
		if !b.n.ballot.e.View(b.n.at).Released {
			t.Fatal("the lease is not given back")
		}
		if got := b.n.Local().Candidate; got != whole {
			t.Errorf("given back, whole: %v; it counts as one that could be primary: %v", whole, got)
		}
	}
}
