package agent

import (
	"net/netip"
	"testing"
	"time"
)

func TestRenumbering(t *testing.T) {
	own, other, third := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.51"), netip.MustParseAddr("10.0.0.52")
	var none netip.Addr
	type seen struct {
		at    time.Duration
		found netip.Addr
		over  bool
	}
	for name, steps := range map[string][]seen{
		"its own again":        {{0, none, false}, {time.Second, own, false}, {time.Hour, own, false}},
		"none":                 {{0, none, false}, {time.Hour, none, false}},
		"another":              {{0, none, false}, {time.Second, other, false}, {2 * time.Second, other, false}, {3 * time.Second, other, true}},
		"several in turn":      {{0, other, false}, {time.Second, third, false}, {2 * time.Second, third, false}, {3 * time.Second, third, true}},
		"back, and lost again": {{0, other, false}, {time.Second, none, false}, {2 * time.Second, other, false}, {3 * time.Second, other, false}},
	} {
		r := renumbering{own: own}
		for i, s := range steps {
			if got := r.over(s.found, s.at); got != s.over {
				t.Errorf("%s, step %d: %v, want %v", name, i, got, s.over)
			}
		}
	}
}
