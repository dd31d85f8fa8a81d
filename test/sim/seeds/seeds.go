// Package seeds plays the schedules of a simulation, each drawn from a seed: one seed with a trace,
// those of a file, or many at once on all processors. The tests of the simulations call it; what a
// schedule is, and what it may not show, is theirs.
package seeds

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Simulation is what plays.
type Simulation[R any] struct {
	// Run plays one seed; trace is nil but for a seed that is played alone. The error is what the
	// schedule showed. It is called from many goroutines.
	Run func(seed uint64, trace io.Writer) (R, error)
	// Add counts a result; one call at a time. It may be nil.
	Add func(R)
}

// Span is which seeds to play.
type Span struct {
	From, Count uint64
	For         time.Duration // instead of Count, if it is not 0
	UntilFailed bool          // no seed is begun after one has failed
}

// Failure is a seed that showed something.
type Failure struct {
	Seed uint64
	Err  error
}

// Report says what was played.
type Report struct {
	Runs   uint64
	Failed []Failure
	Took   time.Duration
}

func (r Report) String() string {
	return fmt.Sprintf("%d schedules, %d failed, in %v: %.0f schedules/s", r.Runs, len(r.Failed), r.Took.Round(time.Millisecond),
		float64(r.Runs)/r.Took.Seconds())
}

// Play plays the seeds of a span on all processors.
func (s Simulation[R]) Play(span Span) Report {
	var (
		report Report
		mu     sync.Mutex // report, and what Add counts
		next   atomic.Uint64
		over   atomic.Bool
		wg     sync.WaitGroup
	)
	start := time.Now()
	played := func(seed uint64) bool {
		if span.For > 0 {
			return time.Since(start) < span.For
		}
		return seed-span.From < span.Count
	}
	next.Store(span.From)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !over.Load() {
				seed := next.Add(1) - 1
				if !played(seed) {
					return
				}
				result, err := s.Run(seed, nil)
				mu.Lock()
				report.Runs++
				if s.Add != nil {
					s.Add(result)
				}
				if err != nil {
					report.Failed = append(report.Failed, Failure{seed, err})
					over.Store(span.UntilFailed)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	report.Took = time.Since(start)
	return report
}
