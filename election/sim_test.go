package election_test

import (
	"testing"

	"github.com/redisd/redisd/test/sim/elections"
)

// TestSimulated plays a few schedules of package elections; `go test ./test/sim/elections` plays
// more, and says how to play for hours and how to repeat one.
func TestSimulated(t *testing.T) {
	for seed := uint64(1); seed <= 60; seed++ {
		if r := elections.Run(seed, nil); r.Err != nil {
			t.Errorf("seed %d: %v (go test ./test/sim/elections -run TestElection -sim.seed=%d)", seed, r.Err, seed)
		}
	}
}
