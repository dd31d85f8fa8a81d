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

// TestMutantsNoticed: something notices each mutant, and if that is nothing but the tests beside
// the code, the table says why.
func TestMutantsNoticed(t *testing.T) {
	for _, m := range all(t) {
		by := m.Quickest()
		if len(by) == 0 {
			t.Errorf("nobody has caught %s", m.Name)
		}
		if alone := len(by) == 1 && by[0].name == "unit"; alone != (m.Why != "") {
			t.Errorf("%s: only the tests beside the code notice: %v; why: %q", m.Name, alone, m.Why)
		}
	}
}

// TestMutants builds each mutant and asks the judge that is quickest by the table, and only what it
// failed then; should it pass, all that caught it, in full. With -update all judges are asked, and
// the table is written.
func TestMutants(t *testing.T) {
	t.Run("all", func(t *testing.T) { // until they have all ended
		for _, m := range all(t) {
			if !strings.Contains(m.Name, *only) {
				continue
			}
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				if *update {
					askAll(t, m)
					return
				}
				askQuickest(t, m)
			})
		}
	})
	if *update {
		if err := os.WriteFile(table, []byte(markdown(all(t))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func askQuickest(t *testing.T, m Mutant) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	b, err := newBuild(m, root(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var ask []judge
	for i, j := range m.Quickest() {
		if i == 0 {
			ask = append(ask, j.again(m))
		}
		ask = append(ask, j.about(m))
	}
	for _, j := range ask {
		said, err := b.ask(ctx, j)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", j.name, said)
		if caught(said) {
			return
		}
	}
	t.Errorf("none of %d judges catches it", len(ask))
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
		said, err := b.ask(ctx, j.about(m))
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
	fmt.Fprintf(&b, "# Mutants: what notices when one of %d rules is missing\n\n", len(list))
	b.WriteString("Written by `go test ./test/sim/mutants -run 'TestMutants$' -timeout 0 -update`, which asks every judge about every mutant.\n" +
		"Each line is the shipped code with one rule taken away (`mutants/testdata`), and how soon each judge failed: the tests and\n" +
		"scripts beside the code; the search of all states, up to 20 000 of each small scenario and 1000 of the others; 100 or 1000 random\n" +
		"walks in each of the others, and what a fair schedule makes of where they end; 300 schedules of electors; schedules of nodes for\n" +
		"15 s; either from a later seed where many go before (`from:`), and without any class but the one that is named (`class:`). A dash: not within that. A seed is the one that failed. In italics:\n" +
		"why only the tests beside the code notice. `go test ./test/sim/mutants` asks the quickest judge about every mutant, only for what\n" +
		"it found.\n")
	for from := 0; from < len(list); {
		dir := filepath.Dir(list[from].File)
		to := from
		for to < len(list) && filepath.Dir(list[to].File) == dir {
			to++
		}
		section(&b, dir, list[from:to])
		from = to
	}
	return b.String()
}

// section is the table of the mutants of one package.
func section(b *strings.Builder, dir string, list []Mutant) {
	var asked []judge
	var counts []string
	alone := 0
	for _, m := range list {
		if m.Why != "" {
			alone++
		}
	}
	for _, j := range judges {
		if !slices.ContainsFunc(list, j.judges) {
			continue
		}
		n := 0
		for _, m := range list {
			if caught(m.Said[j.name]) {
				n++
			}
		}
		asked = append(asked, j)
		counts = append(counts, fmt.Sprintf("%s %d", j.name, n))
	}
	fmt.Fprintf(b, "\n## %s: %d, caught by %s; only by the first %d\n\n| mutant | without the rule |", dir, len(list), strings.Join(counts, ", "), alone)
	line := "\n|---|---|"
	for _, j := range asked {
		fmt.Fprintf(b, " %s |", j.name)
		line += "---|"
	}
	b.WriteString(line + "\n")
	for _, m := range list {
		rule := m.Rule
		if m.Why != "" {
			rule += " *" + m.Why + "*"
		}
		fmt.Fprintf(b, "| %s | %s |", m.Name, rule)
		for _, j := range asked {
			cell, _, _ := strings.Cut(strings.TrimPrefix(m.Said[j.name], "caught in "), ":")
			switch {
			case m.Said[j.name] == "" && j.judges(m):
				cell = "?"
			case m.Said[j.name] == "":
			case !caught(m.Said[j.name]):
				cell = "–"
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteString("\n")
	}
}
