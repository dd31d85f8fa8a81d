package elections

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/test/sim/seedfile"
)

var (
	seed   = flag.Uint64("sim.seed", 0, "play this seed alone, with a trace")
	seeds  = flag.Int("sim.seeds", 150, "play so many seeds")
	from   = flag.Uint64("sim.from", 1, "the first seed")
	lasts  = flag.Duration("sim.for", 0, "play seeds for so long instead")
	tracer = flag.String("sim.trace", "", "write the trace of sim.seed to this file")
)

// TestElection plays seeds: those that failed once first, then a fixed number, or
// for a time (-sim.for=1h -sim.from=1000000 -timeout 0).
func TestElection(t *testing.T) {
	if *seed != 0 {
		w := bufio.NewWriter(os.Stderr)
		if *tracer != "" {
			f, err := os.Create(*tracer)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			w = bufio.NewWriter(f)
		}
		r := Run(*seed, w)
		w.Flush()
		t.Logf("%+v", r)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return
	}
	failedOnce, err := seedfile.Read("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range failedOnce {
		if r := Run(s, nil); r.Err != nil {
			t.Errorf("seed %d, which failed once: %v (go test ./test/sim/elections -run TestElection -sim.seed=%d)", s, r.Err, s)
		}
	}
	s := play(t, *from, *seeds, *lasts)
	t.Log(s)
	if s.wins < s.runs {
		t.Errorf("%d terms won in %d runs: the simulator no longer elects anyone", s.wins, s.runs)
	}
}

type sums struct {
	runs, steps, wins, again, fenced, rosters, crashes, unsaved, switchovers, stuck int
	settled                                                                         time.Duration
	denied                                                                          map[election.Denied]int
	took                                                                            time.Duration
}

func (s sums) String() string {
	return fmt.Sprintf("%d schedules, %d steps in %v: %.0f schedules/s; %d terms won, %d by the holder again, %d after a remote fence, "+
		"%d roster changes, %d switchovers, %d agents died (%d before their state was on disk), %d foundings that stopped one another; "+
		"a holder for good at most %v after the last fault; denied %v",
		s.runs, s.steps, s.took.Round(time.Millisecond), float64(s.runs)/s.took.Seconds(), s.wins, s.again, s.fenced,
		s.rosters, s.switchovers, s.crashes, s.unsaved, s.stuck, s.settled.Round(time.Millisecond), s.denied)
}

func play(t *testing.T, from uint64, n int, lasts time.Duration) sums {
	start := time.Now()
	next := make(chan uint64)
	go func() {
		defer close(next)
		for i := uint64(0); lasts > 0 && time.Since(start) < lasts || lasts == 0 && i < uint64(n); i++ {
			next <- from + i
		}
	}()
	var mu sync.Mutex
	var wg sync.WaitGroup
	s := sums{denied: map[election.Denied]int{}}
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for seed := range next {
				r := Run(seed, nil)
				mu.Lock()
				if r.Err != nil {
					t.Errorf("seed %d: %v (go test ./test/sim/elections -run TestElection -sim.seed=%d)", seed, r.Err, seed)
				}
				s.add(r)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	s.took = time.Since(start)
	return s
}

func (s *sums) add(r Result) {
	s.runs++
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
