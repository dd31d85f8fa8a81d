package reconcile_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/reconcile"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// TestScripts runs the scripts in testdata. Each section of a file is a case: it says from which
// situation of base.txtar it starts, which fields differ, and below "=>" what is planned. After an
// empty line the case goes on from there, with further differences.
func TestScripts(t *testing.T) {
	bases := situations(t)
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 2 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		intro, sections := readFile(t, path)
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			for i, c := range sections {
				t.Run(c.name, func(t *testing.T) {
					got := runCase(t, bases, c.text)
					if *update {
						sections[i].text = got
						return
					}
					if diff := cmp.Diff(c.text, got); diff != "" {
						t.Errorf("the plan differs (-want +got); -update rewrites it:\n%s", diff)
					}
				})
			}
		})
		if *update {
			for _, c := range sections {
				intro += "-- " + c.name + " --\n" + c.text
			}
			if err := os.WriteFile(path, []byte(intro), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

type situation struct {
	o reconcile.Observed
	d reconcile.Desired
}

// situations reads base.txtar.
func situations(t testing.TB) map[string]situation {
	t.Helper()
	bases := map[string]situation{}
	_, sections := readFile(t, "testdata/base.txtar")
	for _, c := range sections {
		var s situation
		text, _, _ := strings.Cut(c.text, "=>")
		if err := reconcile.Change(&s.o, &s.d, text); err != nil {
			t.Fatalf("base %s: %v", c.name, err)
		}
		bases[c.name] = s
	}
	return bases
}

// section is a part of a file in the txtar format, below a line "-- NAME --".
type section struct{ name, text string }

func readFile(t testing.TB, path string) (intro string, sections []section) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	part := &intro
	for line := range strings.Lines(string(text)) {
		name, marker := strings.CutPrefix(strings.TrimRight(line, "\n"), "-- ")
		if name, ends := strings.CutSuffix(name, " --"); marker && ends {
			sections = append(sections, section{name: name})
			part = &sections[len(sections)-1].text
			continue
		}
		*part += line
	}
	return intro, sections
}

// runCase returns the text of the case with the actions as they are planned now.
func runCase(t *testing.T, bases map[string]situation, text string) string {
	t.Helper()
	var out bytes.Buffer
	var s situation
	planned := false // the lines up to the next empty one are actions
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		base, isBase := strings.CutPrefix(line, "base: ")
		switch {
		case line == "=>":
			planned = true
			out.WriteString("=>\n" + actions(s))
		case line == "":
			planned = false
			out.WriteString("\n")
		case planned:
		case isBase:
			var known bool
			if s, known = bases[base]; !known {
				t.Fatalf("there is no situation %q in base.txtar", base)
			}
			out.WriteString(line + "\n")
		default:
			if err := reconcile.Change(&s.o, &s.d, line); err != nil {
				t.Fatal(err)
			}
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

func actions(s situation) string {
	var b strings.Builder
	for _, a := range reconcile.Plan(s.o, s.d) {
		b.WriteString(a.String() + "\n")
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}
