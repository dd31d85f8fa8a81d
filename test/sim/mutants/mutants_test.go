package mutants

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	update  = flag.Bool("update", false, "ask all judges about all mutants, and write down what they say")
	only    = flag.String("mutants.only", "", "the mutants whose names contain this")
	which   = flag.String("mutants.judges", "", "ask only these, with commas between")
	unasked = flag.Bool("mutants.new", false, "with -update: ask only who has not said anything")
	lasts   = flag.Duration("mutants.for", 150*time.Second, "begin no other mutant after so long")
)

const table = "../MUTANTS.md"

func all(t *testing.T) []Mutant {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no mutants: %v", err)
	}
	var out []Mutant
	for _, file := range files {
		m, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b Mutant) int {
		return strings.Compare(filepath.Dir(a.File)+a.Rule, filepath.Dir(b.File)+b.Rule)
	})
	return out
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestMutantsApply: the text that a mutant changes is there, once.
func TestMutantsApply(t *testing.T) {
	for _, m := range all(t) {
		if _, err := m.Source(root(t)); err != nil {
			t.Error(err)
		}
	}
}

// TestMutants builds each mutant and asks the judge that was quickest when the table was written;
// with -update all of them, and writes the table.
func TestMutants(t *testing.T) {
	began := time.Now()
	for i, m := range all(t) {
		if !strings.Contains(m.Name, *only) {
			continue
		}
		if !*update && time.Since(began) > *lasts {
			t.Logf("after %v the mutants from the %d-th on were not tried: -mutants.for=1h tries all", *lasts, i+1)
			break
		}
		t.Run(m.Name, func(t *testing.T) {
			if *update {
				askAll(t, m)
				return
			}
			askQuickest(t, m)
		})
	}
	if *update {
		if err := os.WriteFile(table, []byte(markdown(all(t))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func askQuickest(t *testing.T, m Mutant) {
	by := m.Quickest()
	if len(by) == 0 {
		t.Skip("known: nobody has caught it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	b, err := newBuild(m, root(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range by {
		j := judges[slices.IndexFunc(judges, func(j judge) bool { return j.name == name })]
		said, err := b.ask(ctx, j)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", name, said)
		if caught(said) {
			return
		}
	}
	t.Errorf("none of %v catches it any more", by)
}

func askAll(t *testing.T, m Mutant) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	b, err := newBuild(m, root(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range judges {
		if !j.judges(m) || *which != "" && !slices.Contains(strings.Split(*which, ","), j.name) {
			continue
		}
		if *unasked && m.Said[j.name] != "" {
			continue
		}
		said, err := b.ask(ctx, j)
		if err != nil {
			t.Error(err)
			return
		}
		t.Logf("%s: %s", j.name, said)
		m.Said[j.name] = said
	}
	if err := os.WriteFile(filepath.Join("testdata", m.Name+".txt"), []byte(m.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func markdown(list []Mutant) string {
	var b strings.Builder
	b.WriteString("# Mutants: what notices when a rule is missing\n\n" +
		"Written by `go test ./test/sim/mutants -update -timeout 0`. Each line is the shipped code with one rule taken away\n" +
		"(`mutants/testdata`), and how soon each judge failed: the tests and scripts beside the code, the search of all states within\n" +
		"some 10 000 each scenario, random walks in the same scenarios, random schedules. A dash: not within the time\n" +
		"given; a question mark: not asked.\n")
	var dir string
	for _, m := range list {
		if d := filepath.Dir(m.File); d != dir {
			dir = d
			fmt.Fprintf(&b, "\n## %s\n\n| mutant | without the rule |", dir)
			line := "\n|---|---|"
			for _, j := range judges {
				if j.judges(m) {
					fmt.Fprintf(&b, " %s |", j.name)
					line += "---|"
				}
			}
			b.WriteString(line + "\n")
		}
		fmt.Fprintf(&b, "| %s | %s |", m.Name, m.Rule)
		for _, j := range judges {
			if j.judges(m) {
				cell, _, _ := strings.Cut(strings.TrimPrefix(m.Said[j.name], "caught in "), ":")
				switch {
				case m.Said[j.name] == "":
					cell = "?"
				case !caught(m.Said[j.name]):
					cell = "–"
				}
				fmt.Fprintf(&b, " %s |", cell)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
