package node

import (
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// newNode is node a, an hour after its host began.
func newNode(t *testing.T, o Options) *Node {
	t.Helper()
	o.Self, o.Redis, o.Now = "a", "10.0.0.1:6379", time.Hour
	o.Jitter, o.ClusterID = func(Time) Time { return 0 }, func() string { return "c" }
	if !o.Desired.Redis {
		o.Desired = reconcile.Desired{Redis: true, RedisAddr: o.Redis, Expect: 2, Priority: 100, MinReplicas: reconcile.Unknown}
	}
	return New(o)
}

// What the primary had is said also when its redis-server has ended: that is when the others have
// to know it.
func TestOwnHeartbeat(t *testing.T) {
	o := reconcile.Observed{Election: reconcile.Election{Term: 4, Lease: true}}
	o.Redis.Data = reconcile.Data{Term: 4, Offset: 900}
	if _, b := newNode(t, Options{}).rounds.ownHeartbeat(o); b.Offset != 900 {
		t.Errorf("offset %d after the end of redis-server, want 900", b.Offset)
	}
	o.Redis.Data.Term = 3
	if _, b := newNode(t, Options{}).rounds.ownHeartbeat(o); b.Offset != 0 {
		t.Errorf("offset %d of an older term", b.Offset)
	}
}

// An agent that has just been started knows no more than its last record: what the one before it
// said still counts, until there is another holder.
func TestHeardBeat(t *testing.T) {
	var h heardBeat
	for _, tt := range []struct {
		term    election.Term
		primary string
		beat    Heartbeat
		offset  int64
		replID  string
	}{
		{4, "a", Heartbeat{Offset: 900, ReplID: "h1"}, 900, "h1"},
		{4, "", Heartbeat{}, 900, "h1"}, // an agent that has just been started
		{4, "", Heartbeat{Offset: 700}, 900, "h1"},
		{4, "a", Heartbeat{Offset: 950, ReplID: "h2"}, 950, "h2"}, // its redis-server began a new one
		{4, "a", Heartbeat{Offset: 950}, 950, ""},                 // an older agent has taken over there
		{5, "", Heartbeat{}, 0, ""},
		{5, "b", Heartbeat{Offset: 10, ReplID: "h3"}, 10, "h3"},
	} {
		h.hear(election.View{HolderTerm: tt.term, Primary: tt.primary, Note: tt.beat.encode()})
		if h.offset != tt.offset || h.replID != tt.replID {
			t.Errorf("in term %d it says %+v: %d of %q, want %d of %q", tt.term, tt.beat, h.offset, h.replID, tt.offset, tt.replID)
		}
	}
}

// holding is node a of two, which holds the lease of term 4 by what its disk says.
func holding() State {
	roster := election.NewRoster(1, []election.Voter{{ID: "a", Addr: "10.0.0.1:7946"}, {ID: "b", Addr: "10.0.0.2:7946"}})
	return State{Election: election.State{ClusterID: "c", Term: 4, Vote: "a", Holder: "a", HolderTerm: 4, Roster: roster}}
}

// renewals are those that a Ready sends.
func renewals(r Ready) (out []election.Renew) {
	for _, s := range r.Send {
		if m, ok := s.Message.(election.Renew); ok {
			out = append(out, m)
		}
	}
	return out
}

// A renewal that names the primary names its history, too, and a new one is said at once: until
// then the replicas do not know the version of their data.
func TestAnnounce(t *testing.T) {
	n := newNode(t, Options{State: holding(), RedisPID: 1})
	for _, tt := range []struct {
		name            string
		info            RedisInfo
		offset          int64
		primary, replID string
		atOnce          bool
	}{
		{"a replica yet", RedisInfo{Role: reconcile.Replica, ReplID: "h1"}, 0, "", "", false},
		{"promoted", RedisInfo{Role: reconcile.Primary, ReplID: "h2"}, 0, "10.0.0.1:6379", "h2", true},
		{"nothing new", RedisInfo{Role: reconcile.Primary, ReplID: "h2"}, 0, "10.0.0.1:6379", "h2", false},
		{"more data", RedisInfo{Role: reconcile.Primary, ReplID: "h2"}, 900, "10.0.0.1:6379", "h2", false},
		{"a new history", RedisInfo{Role: reconcile.Primary, ReplID: "h3"}, 900, "10.0.0.1:6379", "h3", true},
	} {
		n.out = Ready{}
		n.redis.known, n.redis.pid, n.redis.info = true, 1, tt.info
		n.redis.rec = Record{Version: Version{Term: 4, Offset: tt.offset}}
		o := n.Observe(n.at)
		o.Election.Lease = true
		n.rounds.announce(o)
		v := n.View(n.at)
		if got := decodeHeartbeat(v.Note); v.Primary != tt.primary || got.ReplID != tt.replID || got.Offset != tt.offset {
			t.Errorf("%s: announces %q, %+v", tt.name, v.Primary, got)
		}
		if atOnce := len(renewals(n.out)) > 0; atOnce != tt.atOnce {
			t.Errorf("%s: said at once %v", tt.name, atOnce)
		}
	}
}

// A holder whose lease has ended says the pause that counts now, not the one from before.
func TestPauseWithoutLease(t *testing.T) {
	b := leads(t)
	pause := func(p Pause) {
		b.step(SetPause{Pause: p})
		b.settle(primary(1000), false)
	}
	pause(Pause{Version: 1, On: true})
	b.run(200*ms, true)
	b.run(700*ms, false) // the lease has ended, and it asks for it
	if v := b.n.View(b.now); v.Lease || v.Released || !decodeHeartbeat(v.Note).Pause.On {
		t.Fatalf("lease %v, released %v, says %s", v.Lease, v.Released, v.Note)
	}
	pause(Pause{Version: 2})
	b.run(200*ms, false)
	if got := decodeHeartbeat(b.n.View(b.now).Note).Pause; got != (Pause{Version: 2}) {
		t.Errorf("its renewals say %+v after the pause was ended", got)
	}
}
