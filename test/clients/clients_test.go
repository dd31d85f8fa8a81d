package clients

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/test/figures"
	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/ways"
)

// mayLose is how many acknowledged writes a client may lose with a primary that is gone: what had
// not reached a replica, some 400 a second being made.
const mayLose = 100

// plan is what is measured.
type plan struct {
	results
	dir       string
	libraries []library
	settings  []string
	vias      []string
	modes     []string
	faults    []fault
}

func TestClients(t *testing.T) {
	if old := os.Getenv("CLIENTS_RENDER"); old != "" {
		paths := strings.Split(old, ",")
		r, err := load(paths...)
		if err == nil {
			err = page.Put(cmp.Or(os.Getenv("CLIENTS_DOCS"), filepath.Dir(paths[0])), tables(r))
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	lab.Require(t)
	p := newPlan(t)
	began := time.Now()
	for _, via := range p.vias {
		for _, together := range groups {
			chosen := slices.DeleteFunc(slices.Clone(together), func(mode string) bool { return !slices.Contains(p.modes, mode) })
			if len(chosen) > 0 {
				for _, settings := range p.settings {
					t.Run(settings+"/"+via+"/"+strings.Join(chosen, ","), func(t *testing.T) { p.measure(t, ways.All[0], settings, via, chosen) })
				}
			}
		}
	}
	p.Took = time.Since(began).Seconds()
	docs := os.Getenv("CLIENTS_DOCS")
	if docs == "" || p.Partial || t.Failed() {
		docs = p.dir
	}
	if err := errors.Join(p.save(p.dir), page.Put(docs, tables(&p.results))); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %v; results are in %s, tables in %s", time.Since(began).Round(time.Second), p.dir, docs)
}

// TestBeside measures the same libraries on redisd and on manual set-ups.
func TestBeside(t *testing.T) {
	if old := os.Getenv("CLIENTS_RENDER"); old != "" {
		r, err := load(strings.Split(old, ",")...)
		if err == nil {
			err = beside.Put(cmp.Or(os.Getenv("BENCH_DOCS"), "."), besideTables(r))
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if os.Getenv("REDISD_BENCH") == "" {
		t.Skip("a measurement, not a test: make bench")
	}
	t.Setenv("CLIENTS", "all")
	p := newPlan(t)
	began := time.Now()
	together := []string{"writer", "blpop"}
	for i, w := range figures.Choose(t, "BENCH_WAYS", ways.All, func(w ways.Way) string { return w.ID }) {
		for _, via := range p.vias {
			if via == "vip" || i < 2 { // what is asked is the same Sentinel in all manual set-ups
				t.Run(w.ID+"/"+via, func(t *testing.T) { p.measure(t, w, "defaults", via, together) })
			}
		}
	}
	docs := cmp.Or(os.Getenv("BENCH_DOCS"), p.dir)
	if p.Partial || t.Failed() {
		docs = p.dir
	}
	if err := errors.Join(p.save(p.dir), beside.Put(docs, besideTables(&p.results))); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %v; results are in %s, tables in %s", time.Since(began).Round(time.Second), p.dir, docs)
}

// TestTimelines records what the wire of one client sees of some faults.
func TestTimelines(t *testing.T) {
	if os.Getenv("CLIENTS") != "all" {
		t.Skip("a picture, not a test: make clients")
	}
	p := newPlan(t)
	b := openBench(t, ways.All[0], "defaults", time.Duration(p.Patience*float64(time.Second)))
	i := slices.IndexFunc(p.libraries, func(l library) bool { return l.id == "hiredis" })
	if i < 0 {
		t.Skip("hiredis, whose wire it is, is not among the libraries")
	}
	b.add(p.libraries[i], "vip", "writer")
	b.mustBeAlive(t.Context())
	var text strings.Builder
	for _, f := range faults {
		if f.stays || f.id == "reboot" || f.id == "cut" { // the same as stop, as power loss
			continue
		}
		one, err := b.timeline(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(one)
		text.WriteString(one)
	}
	if err := timelines.Put(cmp.Or(os.Getenv("CLIENTS_DOCS"), p.dir), text.String()); err != nil {
		t.Fatal(err)
	}
}

// newPlan is the short set, or what the environment asks for.
func newPlan(t *testing.T) *plan {
	all := os.Getenv("CLIENTS") == "all"
	normal := plan{libraries: libraries(), settings: settings[:1], vias: vias, modes: allModes(), faults: faults}
	runs, patience := 3, 35
	if !all {
		normal.libraries = slices.DeleteFunc(libraries(), func(l library) bool { return l.npm })
		normal.settings = settings[1:]
		normal.modes = groups[0]
		normal.faults = slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return f.id != "switchover" && f.id != "crash" })
		runs, patience = 1, 20
	}
	word := func(s string) string { return s }
	p := &plan{
		libraries: choose(t, "CLIENTS_LIBRARIES", libraries(), normal.libraries, func(l library) string { return l.id }),
		settings:  choose(t, "CLIENTS_SETTINGS", settings, normal.settings, word),
		vias:      choose(t, "CLIENTS_VIA", vias, normal.vias, word),
		modes:     choose(t, "CLIENTS_MODES", allModes(), normal.modes, word),
		faults:    choose(t, "CLIENTS_FAULTS", faults, normal.faults, func(f fault) string { return f.id }),
		dir:       cmp.Or(os.Getenv("CLIENTS_OUT"), filepath.Join(os.TempDir(), fmt.Sprintf("redisd-clients-%d", os.Getpid()))),
	}
	p.results = results{
		Machine: figures.Describe("make clients"), Names: map[string]string{}, Runs: figures.Number(t, "RUNS", runs),
		Patience: float64(figures.Number(t, "CLIENTS_PATIENCE", patience)),
	}
	p.Partial = len(p.libraries) < len(libraries()) || len(p.vias) < len(vias) || len(p.modes) < len(allModes()) || len(p.faults) < len(faults)
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	goProgram := buildGo(t)
	for i, l := range p.libraries {
		name, err := l.name(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.Names[l.id] = name
		if l.program[0] == built {
			p.libraries[i].program = []string{goProgram}
		}
	}
	return p
}

// choose takes what the environment names, and else what is normal.
func choose[T any](t *testing.T, variable string, all, normal []T, id func(T) string) []T {
	if os.Getenv(variable) == "" {
		return normal
	}
	return figures.Choose(t, variable, all, id)
}

// measure plays all faults under the clients that find the primary in one way and do these things.
func (p *plan) measure(t *testing.T, way ways.Way, settings, via string, together []string) {
	ctx := t.Context()
	b := openBench(t, way, settings, time.Duration(p.Patience*float64(time.Second)))
	p.Machine.AddVersions(ctx, b.running.Nodes[0])
	for _, l := range p.libraries {
		for _, mode := range together {
			if via == "vip" || l.sentinel {
				b.add(l, via, mode)
			}
		}
	}
	began := time.Now()
	b.mustBeAlive(ctx)
	t.Logf("%d clients are at work after %v", len(b.clients), time.Since(began).Round(100*time.Millisecond))
	for run := range p.Runs {
		for _, f := range p.faults {
			if !f.applies(way) {
				continue
			}
			began := time.Now()
			found, err := b.play(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range found {
				o.Run = run + 1
				p.Outcomes = append(p.Outcomes, o)
				if way.ID == ways.All[0].ID { // the others may do as they like
					p.check(t, f, o)
				}
			}
			t.Logf("%s %d, took %v:\n%s", f.id, run+1, time.Since(began).Round(100*time.Millisecond), lines(found))
			if err := p.save(p.dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// check holds what must be so whatever else a library does: what was acknowledged is kept, and who
// is set as docs/CLIENTS.md says comes back.
func (p *plan) check(t *testing.T, f fault, o outcome) {
	if o.Lost > mayLose || f.planned && o.Lost > 0 {
		t.Errorf("%s, %s %s by %s: %d of %d acknowledged writes are lost", f.id, o.Library, o.Mode, o.Via, o.Lost, o.Acked)
	}
	if o.Settings == "documented" && o.Stuck {
		t.Errorf("%s, %s %s by %s: not back after %.0f s", f.id, o.Library, o.Mode, o.Via, p.Patience)
	}
}
