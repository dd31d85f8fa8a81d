package node

import "testing"

// TestLastSeen: what of a probe says that the holder's redis-server, which does not answer, may yet
// take writes.
func TestLastSeen(t *testing.T) {
	const addr, first, at = "10.0.0.1:6379", Time(1000 * ms), Time(1500 * ms)
	for _, c := range []struct {
		name   string
		probe  Probed
		linked bool
		want   Time
	}{
		{"nothing comes back", Probed{}, true, first},
		{"it takes a connection", Probed{Connected: true}, false, at},
		{"its host is there", Probed{HostUp: true}, false, at},
		{"its host refuses connections: it has ended", Probed{Refused: true}, false, first},
		{"its host refuses connections, and its replica hears it: a client has set another port", Probed{Refused: true}, true, at},
	} {
		p := probe{addr: addr}
		p.learn(Probed{Answered: true, Connected: true}, true, first)
		p.learn(c.probe, c.linked, at)
		if got := p.lastSeen(addr, at); got != c.want {
			t.Errorf("%s: last seen at %v, not %v", c.name, got, c.want)
		}
		if p.learn(c.probe, c.linked, first+HostStuck); !c.probe.Connected && p.lastSeen(addr, first+HostStuck) != first {
			t.Errorf("%s: counts beyond %v", c.name, HostStuck)
		}
	}
}

// TestHears: a link counts as long as this redis-server itself says that it has it.
func TestHears(t *testing.T) {
	const addr = "10.0.0.1:6379"
	up := redisWatch{known: true, info: RedisInfo{LinkUp: true, PrimaryAddr: addr}}
	if !up.hears(addr) || up.hears("10.0.0.2:6379") {
		t.Error("a link that is up counts for its own primary")
	}
	for name, change := range map[string]func(*redisWatch){
		"down":    func(w *redisWatch) { w.info.LinkUp = false },
		"silent":  func(w *redisWatch) { w.silentSince = 1 },
		"unknown": func(w *redisWatch) { w.known = false },
	} {
		w := up
		if change(&w); w.hears(addr) {
			t.Errorf("%s: it counts", name)
		}
	}
}
