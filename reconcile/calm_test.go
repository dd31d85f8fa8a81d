package reconcile_test

import (
	"slices"
	"testing"

	"github.com/redisd/redisd/reconcile"
)

// TestCalm: a round is left out only where nothing becomes due by itself.
func TestCalm(t *testing.T) {
	bases := situations(t)
	for _, tt := range []struct {
		base, change string
		want         bool
	}{
		{"primary", "", true},
		{"primary", "election: lease_until=340ms", false}, // nobody has answered for 200 ms
		{"primary", "election: -lease", false},
		{"primary", "redis: silent_since=-100ms", false},
		{"primary", "node: handover", false},
		{"primary", "node: stopping", false},
		{"replica", "", true},
		{"replica", "election: heard_at=-200ms", false}, // two renewals are missing
		{"replica", "election: released", false},
		{"replica", "election: claiming", false},
		{"replica", "redis: -link_up", false},
		{"replica", "redis: loading", false},
		{"replica", "redis: -running -known", false},
		{"replica", "config: -redis\nredis: -running -known", true}, // it has none to look after
	} {
		s, ok := bases[tt.base]
		if !ok {
			t.Fatalf("no base %s", tt.base)
		}
		if err := reconcile.Change(&s.o, &s.d, tt.change); err != nil {
			t.Fatal(err)
		}
		if got := reconcile.Calm(s.o, s.d); got != tt.want {
			t.Errorf("%s, %q: calm %v, want %v", tt.base, tt.change, got, tt.want)
		}
	}
}

// TestAddressWaitsForWrites: the address is held where writes are accepted, or will be after what
// is planned before it.
func TestAddressWaitsForWrites(t *testing.T) {
	for _, tt := range []struct {
		change string
		want   bool
	}{
		{"", true},
		{"redis: min_replicas=fence", true}, // writes are let in before, in the same round
		{"redis: min_replicas=fence silent_since=-100ms", false},
	} {
		s := situations(t)["primary"]
		if err := reconcile.Change(&s.o, &s.d, tt.change); err != nil {
			t.Fatal(err)
		}
		for i := range s.o.VIPs {
			s.o.VIPs[i].Held = false
		}
		holds := slices.ContainsFunc(reconcile.Plan(s.o, s.d), func(a reconcile.Action) bool { _, ok := a.(reconcile.HoldVIP); return ok })
		if holds != tt.want {
			t.Errorf("%q: address held %v, want %v", tt.change, holds, tt.want)
		}
	}
}
