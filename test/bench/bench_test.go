package bench

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redisd/redisd/test/figures"
	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/ways"
)

// bench is one run of it.
type bench struct {
	results
	dir    string // of the raw results
	ways   []ways.Way
	faults []fault
	parts  []string
}

func TestBench(t *testing.T) {
	if old := os.Getenv("BENCH_RENDER"); old != "" {
		render(t, old)
		return
	}
	if os.Getenv("REDISD_BENCH") == "" {
		t.Skip("a measurement, not a test: make bench")
	}
	b := newBench(t)
	began := time.Now()
	t.Logf("raw results go to %s", b.dir)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{{"matrix", b.matrix}, {"bootstrap", b.bootstraps}, {"throughput", b.throughput}, {"footprint", b.footprint}} {
		if slices.Contains(b.parts, part.name) {
			t.Run(part.name, part.run)
		}
	}
	b.Took = time.Since(began).Seconds()
	docs := os.Getenv("BENCH_DOCS")
	if docs == "" || b.Partial || t.Failed() {
		docs = b.dir
	}
	if err := errors.Join(b.save(b.dir), publish(&b.results, docs)); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %v; tables and picture are in %s", time.Since(began).Round(time.Second), docs)
}

// render writes the tables and the picture of an earlier run anew.
func render(t *testing.T, path string) {
	r, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	docs := os.Getenv("BENCH_DOCS")
	if docs == "" {
		docs = filepath.Dir(path)
	}
	if err := publish(r, docs); err != nil {
		t.Fatal(err)
	}
	t.Logf("tables and picture are in %s", docs)
}

func newBench(t *testing.T) *bench {
	command := cmp.Or(os.Getenv("BENCH_COMMAND"), "make bench")
	b := &bench{dir: os.Getenv("BENCH_OUT"), results: results{Machine: figures.Describe(command)}}
	var err error
	if b.dir == "" {
		b.dir, err = os.MkdirTemp("", "redisd-bench-")
	} else {
		err = os.MkdirAll(b.dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.Runs = figures.Number(t, "BENCH_RUNS", 5)
	b.BaselineRuns = figures.Number(t, "BENCH_BASELINE_RUNS", min(b.Runs, 3))
	b.ways = figures.Choose(t, "BENCH_WAYS", ways.All, func(w ways.Way) string { return w.ID })
	b.faults = figures.Choose(t, "BENCH_FAULTS", faults, func(f fault) string { return f.id })
	all := []string{"matrix", "bootstrap", "throughput", "footprint"}
	b.parts = figures.Choose(t, "BENCH_PARTS", all, func(p string) string { return p })
	b.Partial = len(b.ways) < len(ways.All) || len(b.faults) < len(faults) || len(b.parts) < len(all)
	return b
}

// job is one fault to be measured once.
type job struct {
	fault fault
	run   int
}

// matrix is every fault for every way. A cluster that does not get whole again is thrown away, and
// fresh hosts go on with the next fault.
func (b *bench) matrix(t *testing.T) {
	for _, w := range b.ways {
		var jobs []job
		runs := b.BaselineRuns
		if w.ID == "redisd" {
			runs = b.Runs
		}
		for _, f := range b.faults {
			for run := range runs {
				if f.applies(w) {
					jobs = append(jobs, job{f, run + 1})
				}
			}
		}
		for len(jobs) > 0 {
			left := len(jobs)
			t.Run(w.ID, func(t *testing.T) { b.goOn(t, w, &jobs) })
			if len(jobs) == left {
				jobs = jobs[1:] // it could not even be set up
			}
		}
	}
}

// open sets a way up on fresh hosts. The installation is on their disks when it returns: what a
// power loss takes is to be what happened since.
func (b *bench) open(t *testing.T, w ways.Way) *ways.Running {
	r := w.Open(t)
	if err := ways.OnAll(r.Nodes, (*lab.Host).SyncDisks); err != nil {
		t.Fatal(err)
	}
	b.Machine.AddVersions(t.Context(), r.Nodes[0])
	return r
}

func (b *bench) goOn(t *testing.T, w ways.Way, jobs *[]job) {
	r := b.open(t, w)
	for len(*jobs) > 0 && t.Context().Err() == nil {
		j := (*jobs)[0]
		*jobs = (*jobs)[1:]
		began := time.Now()
		o := measure(t.Context(), r, j.fault)
		o.Way, o.Run = w.ID, j.run
		b.Outcomes = append(b.Outcomes, o)
		if err := b.save(b.dir); err != nil {
			t.Fatal(err)
		}
		t.Logf("%-10s %-13s %d: write downtime %.1f ms, %.1f after it was mended (own %.1f); %d acknowledged, %d lost (%d late), dual %.0f ms, whole after %.0f ms, %s>%s; took %v %s",
			w.ID, o.Fault, o.Run, o.Downtime, o.AfterMend, o.OwnStall, o.Acked, o.Lost, o.LostLate, o.Dual, o.Whole, o.Primary, o.Then,
			time.Since(began).Round(100*time.Millisecond), o.Error)
		if w.ID == "redisd" {
			keepsItsWord(t, o)
		}
		if o.Error != "" {
			t.Logf("%s", o.Record)
			return
		}
	}
}

// keepsItsWord fails the test, and so keeps the hosts' journals, where redisd does what it must
// never do. The baselines may do as they like.
func keepsItsWord(t *testing.T, o outcome) {
	mayLose := 100 // with a primary that is gone: what had not reached a replica
	if o.Fault == "split" {
		mayLose = 5000 // what clients wrote to it until its lease of 600 ms had lapsed
	}
	inOrder := slices.Contains([]string{"stop", "reboot", "switchover", "agent-kill", "agent-restart"}, o.Fault)
	switch {
	case o.Error != "":
		t.Errorf("redisd, %s: %s", o.Fault, o.Error)
	case o.Dual > 0:
		t.Errorf("redisd, %s: two nodes acknowledged at once\n%s", o.Fault, o.Record)
	case o.Lost > mayLose, inOrder && o.Lost > 0, o.LostLate > 0:
		t.Errorf("redisd, %s: %d acknowledged writes are lost, %d of them late\n%s", o.Fault, o.Lost, o.LostLate, o.Record)
	}
}

func (b *bench) bootstraps(t *testing.T) {
	for run := range b.Runs {
		t.Run(strconv.Itoa(run+1), func(t *testing.T) {
			one, err := measureBootstrap(t)
			if err != nil {
				t.Fatal(err)
			}
			one.Run = run + 1
			t.Logf("first write after %.0f ms, whole after %.0f; a fourth in sync after %.0f, whole after %.0f", one.FirstWrite, one.Whole, one.InSync, one.Joined)
			b.Bootstrap = append(b.Bootstrap, one)
		})
	}
}

func (b *bench) throughput(t *testing.T) {
	found, err := measureThroughput(t.Context(), b.open(t, ways.All[0]))
	b.Throughput = found
	for _, one := range found {
		t.Logf("%-10s %s %d: %.0f/s, p50 %.2f ms, p99 %.2f ms", one.Target, one.Test, one.Round, one.RPS, one.P50, one.P99)
	}
	if err != nil {
		t.Error(err)
	}
}

func (b *bench) footprint(t *testing.T) {
	found, err := measureFootprint(t.Context(), b.open(t, ways.All[0]))
	b.Footprint = found
	for _, f := range found {
		t.Logf("%s (%s), %s: %.1f MiB, %.2f %% of one CPU over %.0f s", f.Node, f.Role, f.Phase, f.RSS, f.CPU, f.Over)
	}
	if err != nil {
		t.Error(err)
	}
}
