package node

import (
	"testing"
	"time"
)

// TestStands: what a redis-server that does not answer does, from poll to poll, and at which of
// them it is taken for stuck.
func TestStands(t *testing.T) {
	type look struct {
		at       time.Duration // since it fell silent
		state    byte
		cpu      time.Duration
		switches uint64
		refused  string
		stuck    bool
	}
	for _, c := range []struct {
		name  string
		looks []look
	}{
		{"is stopped", []look{{at: 150 * ms, state: 'T', stuck: true}}},
		{"waits for what does not come", []look{{at: 150 * ms, state: 'S'}, {at: 350 * ms, state: 'S'}, {at: 550 * ms, state: 'S', stuck: true}}},
		{"serves others: its event loop wakes", []look{
			{at: 150 * ms, state: 'S', switches: 10}, {at: 550 * ms, state: 'S', switches: 14},
			{at: time.Second, state: 'S', switches: 18}, {at: 20 * time.Second, state: 'S', switches: 200},
		}},
		{"its event loop wakes no more", []look{
			{at: 150 * ms, state: 'S', switches: 10}, {at: 550 * ms, state: 'S', switches: 14}, {at: 1600 * ms, state: 'S', switches: 14, stuck: true},
		}},
		{"computes", []look{{at: 550 * ms, state: 'R'}, {at: 14 * time.Second, state: 'R', cpu: 14 * time.Second}}},
		{"computes for ever", []look{{at: 550 * ms, state: 'R'}, {at: 16 * time.Second, state: 'R', cpu: 16 * time.Second, stuck: true}}},
		{"waits for its disk", []look{{at: 150 * ms, state: 'D'}, {at: 3900 * ms, state: 'D'}, {at: 4100 * ms, state: 'D', stuck: true}}},
		{"computes, and then waits for its disk", []look{
			{at: 150 * ms, state: 'R', cpu: 100 * ms}, {at: 4400 * ms, state: 'R', cpu: 4300 * ms}, {at: 5300 * ms, state: 'D', cpu: 4350 * ms},
			{at: 8300 * ms, state: 'D', cpu: 4350 * ms}, {at: 9400 * ms, state: 'D', cpu: 4350 * ms, stuck: true},
		}},
		{"computes, and is between two things then", []look{{at: 700 * ms, state: 'R', cpu: 600 * ms}, {at: 750 * ms, state: 'S', cpu: 650 * ms}}},
		{"answers with errors, and is silent later", []look{
			{at: 150 * ms, state: 'S', refused: "no"}, {at: 20 * time.Second, state: 'S', refused: "no"},
			{at: 20100 * ms, state: 'S'}, {at: 20700 * ms, state: 'S', stuck: true},
		}},
	} {
		w := redisWatch{pid: 7, known: true}
		for _, l := range c.looks {
			began := time.Hour + l.at - 150*ms
			if l.refused != "" {
				w.refuses(RedisPolled{PID: 7, Began: began, Refused: l.refused})
			} else {
				w.wentSilent(RedisPolled{PID: 7, Began: began, Silent: Silence{Known: true, State: l.state, CPU: l.cpu, Switches: l.switches, RanFor: time.Hour}}, time.Hour+l.at)
			}
			if w.stuck != l.stuck {
				t.Errorf("%s: after %v stuck is %v", c.name, l.at, w.stuck)
			}
		}
	}
}

// An agent that stood still itself has heard no answer, and does not know for how long redis-server
// was silent: what it saw before counts, the time in between does not.
func TestSilenceOfTheDeaf(t *testing.T) {
	silent := func(began Time) RedisPolled {
		return RedisPolled{PID: 7, Began: began, Silent: Silence{Known: true, State: 'S', RanFor: time.Hour}}
	}
	w := redisWatch{pid: 7, known: true}
	at := time.Hour
	w.wentSilent(silent(at), at+150*ms)
	w.stoodStill(at+5*time.Second, 4800*ms) // it was due 50 ms after that
	w.wentSilent(silent(at+200*ms), at+5*time.Second)
	if w.stuck {
		t.Error("stuck, for what nobody listened to")
	}
	if w.wentSilent(silent(at+5050*ms), at+5200*ms); !w.stuck {
		t.Error("it was silent for 200 ms before and as long since, and is not stuck")
	}
	w = redisWatch{pid: 7, known: true}
	w.stoodStill(at+5*time.Second, 5*time.Second) // its poll was under way
	if w.wentSilent(silent(at), at+5*time.Second); w.stuck || w.silentSince != at+5*time.Second {
		t.Error("silent for as long as this agent stood still")
	}
	b := leads(t)
	b.now += time.Second
	b.step(RedisPolled{ID: 1, Began: b.now - time.Second, PID: 1, Silent: Silence{Known: true, State: 'S', RanFor: time.Hour}})
	if since := b.n.redis.silentSince; since < b.now {
		t.Errorf("a node that stood still for a second takes redis-server for silent for %v", b.now-since)
	}
}
