package agent

import (
	"slices"
	"testing"
	"time"
)

// TestRivalsAreLookedFor: at first when the host before has had its time, then twice a minute, and
// soon where somebody announced the address.
func TestRivalsAreLookedFor(t *testing.T) {
	const address = "10.0.0.100/24"
	var announced time.Time
	r := &rivals{held: map[string]*contest{}, heard: func(_ string, since time.Time) bool { return announced.After(since) }}
	began := time.Unix(1000, 0)
	var asked []time.Duration
	look := func(held []string, from, to time.Duration) {
		for at := from; at < to; at += rivalsLook {
			if slices.Contains(r.due(held, began.Add(at)), address) {
				asked = append(asked, at)
			}
		}
	}
	look([]string{address}, 0, 70*time.Second)
	if len(asked) != 3 || asked[0] < ownerProbedAfter || asked[1]-asked[0] < rivalsEvery || asked[1]-asked[0] > rivalsEvery+rivalsLook {
		t.Errorf("asked at %v", asked)
	}
	asked, announced = nil, began.Add(72*time.Second)
	look([]string{address}, 72*time.Second, 80*time.Second)
	if len(asked) != 1 || asked[0] > 74*time.Second {
		t.Errorf("after an announcement asked at %v", asked)
	}
	asked = nil
	look(nil, 80*time.Second, 85*time.Second)
	look([]string{address}, 85*time.Second, 87*time.Second)
	if len(asked) > 0 && asked[0] < 85*time.Second+ownerProbedAfter {
		t.Errorf("just taken, and asked at %v", asked)
	}
}
