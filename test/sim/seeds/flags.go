package seeds

import (
	"bufio"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Flags choose what a simulation's test plays.
type Flags struct {
	seed, from, count uint64
	lasts             time.Duration
	first             bool
	trace             string
}

// NewFlags adds the flags to the test binary; count is how many seeds are played without them.
func NewFlags(count uint64) *Flags {
	f := &Flags{}
	flag.Uint64Var(&f.seed, "sim.seed", 0, "play this seed alone, with a trace")
	flag.StringVar(&f.trace, "sim.trace", "", "write the trace of sim.seed to this file")
	flag.Uint64Var(&f.count, "sim.seeds", count, "play so many seeds")
	flag.Uint64Var(&f.from, "sim.from", 1, "the first seed")
	flag.DurationVar(&f.lasts, "sim.for", 0, "play seeds for so long instead")
	flag.BoolVar(&f.first, "sim.first", false, "stop at the first that fails")
	return f
}

// failuresShown: the first few say what is wrong; a broken rule fails thousands.
const failuresShown = 20

// Test plays what the flags say: one seed with its trace, or those of the file of seeds that failed
// once, and then a span. It fails the test with each failure. Only of a span it returns a report.
func Test[R any](t *testing.T, f *Flags, file string, s Simulation[R]) (report Report, span bool) {
	t.Helper()
	if f.seed != 0 {
		trace(t, f, s)
		return Report{}, false
	}
	failedOnce, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	again := again(t)
	for _, seed := range failedOnce {
		if _, err := s.Run(seed, nil); err != nil {
			t.Errorf("seed %d, which failed once: %v (%s=%[1]d)", seed, err, again)
		}
	}
	report = s.Play(Span{From: f.from, Count: f.count, For: f.lasts, UntilFailed: f.first})
	for _, failed := range report.Failed[:min(failuresShown, len(report.Failed))] {
		t.Errorf("seed %d: %v (%s=%[1]d)", failed.Seed, failed.Err, again)
	}
	return report, true
}

// again is the command that plays one seed, but for its number.
func again(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd() // that of the package, as for every test
	if err != nil {
		t.Fatal(err)
	}
	return "go test ./test/sim/" + filepath.Base(dir) + " -run " + t.Name() + " -sim.seed"
}

func trace[R any](t *testing.T, f *Flags, s Simulation[R]) {
	t.Helper()
	var to io.Writer = os.Stderr
	if f.trace != "" {
		file, err := os.Create(f.trace)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		to = file
	}
	w := bufio.NewWriter(to)
	result, failed := s.Run(f.seed, w)
	if err := w.Flush(); err != nil {
		t.Error(err)
	}
	t.Logf("%+v", result)
	if failed != nil {
		t.Fatal(failed)
	}
}
