package bench

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bench is one run of it.
type bench struct {
	results
	dir    string // of the raw results
	ways   []way
	faults []fault
	parts  []string
}

func TestBench(t *testing.T) {
	if os.Getenv("REDISD_BENCH") == "" {
		t.Skip("a measurement, not a test: make bench")
	}
	b := newBench(t)
	began := time.Now()
	t.Logf("raw results go to %s", b.dir)
	if b.wants("matrix") {
		t.Run("matrix", b.matrix)
	}
	b.Took = time.Since(began).Seconds()
	if err := b.save(b.dir); err != nil {
		t.Fatal(err)
	}
}

func newBench(t *testing.T) *bench {
	b := &bench{dir: os.Getenv("BENCH_OUT")}
	var err error
	if b.dir == "" {
		b.dir, err = os.MkdirTemp("", "redisd-bench-")
	} else {
		err = os.MkdirAll(b.dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.Runs = 5
	if text := os.Getenv("BENCH_RUNS"); text != "" {
		if b.Runs, err = strconv.Atoi(text); err != nil || b.Runs < 1 {
			t.Fatalf("BENCH_RUNS is %q", text)
		}
	}
	b.ways = choose(t, "BENCH_WAYS", ways, func(w way) string { return w.id })
	b.faults = choose(t, "BENCH_FAULTS", faults, func(f fault) string { return f.id })
	all := []string{"matrix", "bootstrap", "throughput", "footprint"}
	b.parts = choose(t, "BENCH_PARTS", all, func(p string) string { return p })
	b.Partial = len(b.ways) < len(ways) || len(b.faults) < len(faults) || len(b.parts) < len(all)
	return b
}

// choose returns those of all that a variable names, all if it is not set.
func choose[T any](t *testing.T, variable string, all []T, id func(T) string) (chosen []T) {
	text := os.Getenv(variable)
	if text == "" {
		return all
	}
	want := strings.Split(text, ",")
	for _, one := range all {
		if i := slices.Index(want, id(one)); i >= 0 {
			chosen = append(chosen, one)
			want = slices.Delete(want, i, i+1)
		}
	}
	if len(want) > 0 {
		t.Fatalf("%s names %v, which there is not", variable, want)
	}
	return chosen
}

func (b *bench) wants(part string) bool { return slices.Contains(b.parts, part) }

// job is one fault to be measured once.
type job struct {
	fault fault
	run   int
}

// matrix is every fault for every way. A cluster that does not get whole again is
// thrown away, and fresh hosts go on with the next fault.
func (b *bench) matrix(t *testing.T) {
	for _, w := range b.ways {
		var jobs []job
		for _, f := range b.faults {
			for run := range b.Runs {
				if f.applies(w) {
					jobs = append(jobs, job{f, run + 1})
				}
			}
		}
		for len(jobs) > 0 {
			left := len(jobs)
			t.Run(w.id, func(t *testing.T) { b.goOn(t, w, &jobs) })
			if len(jobs) == left {
				jobs = jobs[1:] // it could not even be set up
			}
		}
	}
}

func (b *bench) goOn(t *testing.T, w way, jobs *[]job) {
	r := w.open(t)
	for len(*jobs) > 0 && t.Context().Err() == nil {
		j := (*jobs)[0]
		*jobs = (*jobs)[1:]
		began := time.Now()
		o := measure(t.Context(), r, j.fault)
		o.Way, o.Run = w.id, j.run
		b.Outcomes = append(b.Outcomes, o)
		if err := b.save(b.dir); err != nil {
			t.Fatal(err)
		}
		t.Logf("%-10s %-13s %d: stood still %.1f ms, %.1f after it was mended (own %.1f); %d acknowledged, %d lost (%d late), dual %.0f ms, whole after %.0f ms, %s>%s; took %v %s",
			w.id, o.Fault, o.Run, o.Standstill, o.AfterMend, o.OwnStall, o.Acked, o.Lost, o.LostLate, o.Dual, o.Whole, o.Primary, o.Then,
			time.Since(began).Round(100*time.Millisecond), o.Error)
		if o.Error != "" {
			if o.report != nil {
				t.Logf("%s", o.report)
			}
			return
		}
	}
}
