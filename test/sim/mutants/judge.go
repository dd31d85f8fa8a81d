package mutants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// judge is a test that may notice a mutant.
type judge struct {
	name string
	pkg  string // empty: the package of the mutant's file
	args []string
	// build is about how long the judge takes to build, in tenths of a second.
	build int
	// of are the directories whose mutants it is asked about.
	of []string
}

// judges are asked in this order. Their bounds are such that all of them about all mutants is a
// matter of half an hour.
var judges = []judge{
	{name: "unit", build: 15, args: []string{"-test.skip=TestSimulated|^Fuzz", "-test.timeout=60s"}},
	{name: "search", build: 13, pkg: "test/sim/search", args: []string{"-test.run=TestSearch", "-test.failfast", "-search.states=20000"}, of: []string{"election"}},
	{name: "walks", build: 13, pkg: "test/sim/search", args: []string{"-test.run=TestWalks", "-test.failfast", "-search.walks=100"}, of: []string{"election"}},
	{name: "elections", build: 20, pkg: "test/sim/elections", args: []string{"-test.run=TestElection", "-sim.first", "-sim.seeds=300"}, of: []string{"election"}},
	{name: "nodes", build: 40, pkg: "test/sim/nodes", args: []string{"-test.run=TestCluster", "-sim.only=plain", "-sim.first", "-sim.for=15s"}, of: []string{"reconcile", "node"}},
}

// about is j with what is asked about m: schedules begin with the seed that is known.
func (j judge) about(m Mutant) judge {
	if m.Class != "" && j.name == "nodes" {
		j.args = append(slices.Clone(j.args), "-sim.only="+m.Class)
	}
	switch {
	case m.From != "" && j.name == "nodes":
		j.args = append(slices.Clone(j.args), "-sim.from="+m.From)
	case m.From != "" && j.name == "walks":
		j.args = append(slices.Clone(j.args), "-search.from="+m.From)
	case j.name == "unit" && filepath.Dir(m.File) == "reconcile":
		j.args = append(slices.Clone(j.args), "-rapid.nofailfile", "-rapid.seed=1") // what fails here is no find
	}
	return j
}

var caughtHow = regexp.MustCompile(`^caught in ([0-9.]+)s(?:, seed (\d+))?: (.*)$`)

// again is j asked only what m failed the last time: the scenario, the seed.
func (j judge) again(m Mutant) judge {
	how := caughtHow.FindStringSubmatch(m.Said[j.name])
	if how == nil {
		return j
	}
	seed, why := how[2], how[3]
	var more []string
	switch scenario := scenarioOf(why); j.name {
	case "search":
		more = []string{"-search.only=" + scenario}
	case "walks":
		more = []string{"-search.only=" + scenario, "-search.walks=1", "-search.from=" + seed}
	case "elections", "nodes":
		if seed != "" {
			more = []string{"-sim.for=0", "-sim.seeds=1", "-sim.from=" + seed}
		}
	}
	j = j.about(m)
	j.args = append(slices.Clone(j.args), more...)
	return j
}

// scenarioOf is the first of what a search says: "few: a crash: ..." or "crash: ...".
func scenarioOf(why string) string {
	few, rest, _ := strings.Cut(why, ": ")
	if few == "few" {
		name, _, _ := strings.Cut(rest, ": ")
		return few + ": " + name
	}
	return few
}

func (j judge) judges(m Mutant) bool {
	if j.of == nil || j.name == "nodes" && m.Class != "" {
		return true
	}
	for _, dir := range j.of {
		if filepath.Dir(m.File) == dir {
			return true
		}
	}
	return false
}

// build is a mutant in a directory of its own, with the test binaries made of it.
type build struct {
	m       Mutant
	root    string // of the module
	dir     string
	overlay string
}

func newBuild(m Mutant, root, dir string) (*build, error) {
	src, err := m.Source(root)
	if err != nil {
		return nil, err
	}
	b := &build{m: m, root: root, dir: dir, overlay: filepath.Join(dir, "overlay.json")}
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, []byte(src), 0o644); err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, m.File): changed}})
	if err != nil {
		return nil, err
	}
	return b, os.WriteFile(b.overlay, text, 0o644)
}

// ask builds the judge's test with the mutant, once a package, and runs it. What it says is "caught
// in 1.2s: why" or "not in 6.0s".
func (b *build) ask(ctx context.Context, j judge) (string, error) {
	pkg := j.pkg
	if pkg == "" {
		pkg = filepath.Dir(b.m.File)
	}
	bin := filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "-")+".test")
	if _, err := os.Stat(bin); err != nil {
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-buildvcs=false", "-ldflags=-s -w", "-overlay", b.overlay, "-o", bin, "./"+pkg)
		cmd.Dir = b.root
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s with mutant %s: %w\n%s", pkg, b.m.Name, err, out)
		}
	}
	cmd := exec.CommandContext(ctx, bin, j.args...)
	cmd.Dir = filepath.Join(b.root, pkg)
	cmd.WaitDelay = 5 * time.Second
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil:
		return fmt.Sprintf("not in %.1fs", took.Seconds()), nil
	case !errors.As(err, &exit):
		return "", fmt.Errorf("ask %s about mutant %s: %w", j.name, b.m.Name, err)
	}
	how := fmt.Sprintf("caught in %.1fs", took.Seconds())
	if seed := ofSeed.FindStringSubmatch(string(out)); seed != nil && j.pkg != "" {
		how += ", seed " + seed[1]
	}
	return how + ": " + why(string(out)), nil
}

// ofSeed is what walks and simulations say of the schedule that failed.
var ofSeed = regexp.MustCompile(`seed (\d+)[,:]`)

// why is the first thing that a test complained of.
func why(out string) string {
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if _, text, ok := strings.Cut(line, ".go:"); ok && !strings.Contains(line, "states/s") && !strings.Contains(line, " walks, ") && !strings.Contains(line, "[rapid]") && !strings.Contains(line, "seed 0") {
			if _, text, ok = strings.Cut(text, ": "); ok && !strings.HasPrefix(text, "seed ") || strings.Contains(text, ": at ") {
				text, _, _ = strings.Cut(text, " (go test")
				return text
			}
		}
	}
	return "it failed"
}
