package elections

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/test/sim/seeds"
)

var flags = seeds.NewFlags(150)

// TestElection plays seeds: those that failed once first, then a fixed number, or for a time
// (-sim.for=1h -sim.from=1000000 -timeout 0).
func TestElection(t *testing.T) {
	s := sums{denied: map[election.Denied]int{}}
	report, span := seeds.Test(t, flags, "testdata/seeds.txt", seeds.Simulation[Result]{
		Run: func(seed uint64, trace io.Writer) (Result, error) {
			r := Run(seed, trace)
			return r, r.Err
		},
		Add: s.add,
	})
	if !span {
		return
	}
	t.Logf("%v; %v", report, s)
	if uint64(s.wins) < report.Runs {
		t.Errorf("%d terms won in %d runs: the simulator no longer elects anyone", s.wins, report.Runs)
	}
}

type sums struct {
	steps, wins, again, fenced, rosters, crashes, unsaved, switchovers, stuck int
	settled                                                                   time.Duration
	denied                                                                    map[election.Denied]int
}

func (s sums) String() string {
	return fmt.Sprintf("%d steps, %d terms won, %d by the holder again, %d after a remote fence, "+
		"%d roster changes, %d switchovers, %d agents died (%d before their state was on disk), %d bootstraps that stopped one another; "+
		"a holder for good at most %v after the last fault; denied %v",
		s.steps, s.wins, s.again, s.fenced, s.rosters, s.switchovers, s.crashes, s.unsaved, s.stuck, s.settled.Round(time.Millisecond), s.denied)
}

func (s *sums) add(r Result) {
	s.steps += r.Steps
	s.wins += r.Wins
	s.again += r.Again
	s.fenced += r.Fenced
	s.rosters += r.Rosters
	s.crashes += r.Crashes
	s.unsaved += r.Unsaved
	s.switchovers += r.Switchovers
	s.settled = max(s.settled, r.Settled)
	if r.Stuck {
		s.stuck++
	}
	for d, n := range r.Denied {
		s.denied[d] += n
	}
}
