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
