package node

import (
	"testing"
	"time"
)

// A redis-server that answers with a refusal is alive, however long it was silent before, and
// whatever its process seems to do.
func TestRefusedIsNotSilent(t *testing.T) {
	n := New(Options{Self: "a", RedisPID: 7, Jitter: func(Time) Time { return time.Millisecond }})
	n.redis.known, n.redis.pid = true, 7
	stopped := Silence{Known: true, State: 'T', RanFor: time.Hour}
	for i := range 3 {
		n.at = Time(1+i) * time.Second
		n.watch.redisPolled(RedisPolled{PID: 7, Began: n.at, Silent: stopped})
	}
	if r := n.observeRedis(); !r.Stuck || r.SilentSince != time.Second {
		t.Fatalf("a stopped process does not count as stuck: %+v", r)
	}
	n.at = 4 * time.Second
	n.watch.redisPolled(RedisPolled{PID: 7, Began: n.at, Refused: "its clients are paused", Silent: stopped})
	if r := n.observeRedis(); r.Stuck || r.SilentSince != 0 {
		t.Errorf("one that refuses counts as silent since %v, stuck %v", r.SilentSince, r.Stuck)
	}
}
