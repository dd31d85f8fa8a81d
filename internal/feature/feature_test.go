package feature

import (
	"slices"
	"testing"
)

func TestAll(t *testing.T) {
	for _, tt := range []struct {
		of   []Set
		want Set
	}{
		{nil, 0},
		{[]Set{Lenient}, Lenient},
		{[]Set{0b111, 0b101, 0b110}, 0b100},
		{[]Set{Own, 0, Own}, 0},
	} {
		if got := All(tt.of...); got != tt.want {
			t.Errorf("All(%b) = %b, want %b", tt.of, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	if got := (Lenient | 1<<40).Names(); !slices.Equal(got, []string{"lenient", "feature 40"}) {
		t.Errorf("Names: %q", got)
	}
	if len(Own.Names()) != len(names) || Own > Most {
		t.Errorf("a feature without a name, or a name without one: %v, %v", Own.Names(), names)
	}
}

func TestRefuse(t *testing.T) {
	for _, tt := range []struct {
		protocol, needs uint16
		ok              bool
	}{
		{0, 0, true}, // 0.1.0
		{Protocol, Needs, true},
		{Protocol + 5, Protocol, true},
		{Protocol + 5, Protocol + 1, false},
	} {
		if err := Refuse(tt.protocol, tt.needs); (err == nil) != tt.ok {
			t.Errorf("Refuse(%d, %d): %v", tt.protocol, tt.needs, err)
		}
	}
}
