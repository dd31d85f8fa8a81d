// Package test holds the rules of the repository's layout as tests.
package test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const module = "github.com/redisd/redisd/"

// allowed says which packages of this module each package may import, beside internal/..., which
// everybody may. A package that is not here fails the test.
var allowed = map[string][]string{
	"cmd/redisd": {"agent", "config", "confgen", "redis", "supervisor", "vip"},
	"agent":      {"config", "confgen", "election", "gossip", "node", "reconcile", "redis", "supervisor", "vip"},
	"node":       {"election", "reconcile"},

	"config": {}, "confgen": {}, "election": {}, "gossip": {}, "reconcile": {}, "redis": {}, "supervisor": {}, "vip": {},
	"internal/atomicfile": {}, "internal/directive": {}, "internal/feature": {}, "internal/oldconf": {}, "internal/secret": {}, "internal/slotfile": {},

	"packaging/deb": {},
	"test":          {}, "test/lab": {"test/lab/writer"}, "test/lab/writer": {}, "test/lab/cmd/lab": {"test/lab"},
	"test/cluster":       {"agent", "test/lab", "test/lab/writer"},
	"test/e2e":           {"agent", "test/cluster", "test/lab", "test/lab/writer"},
	"test/sim/elections": {"election", "test/sim/seeds"},
	"test/sim/nodes":     {"election", "node", "reconcile", "test/sim/seeds"},
	"test/sim/seeds":     {},
	"test/sim/search":    {"election"},
	"test/sim/mutants":   {},
	"test/powerloss":     {},
	"test/ways":          {"agent", "test/cluster", "test/lab", "test/lab/writer"},
	"test/bench":         {"agent", "test/cluster", "test/figures", "test/lab", "test/lab/writer", "test/ways"},
	"test/clients":       {"test/figures", "test/lab", "test/lab/writer", "test/ways"}, "test/clients/go-redis": {},
	"test/figures": {"test/lab"},
	"test/chaos":   {"agent", "test/cluster", "test/lab", "test/lab/writer"},
	"test/vm":      {"test/lab"},
}

// onlyStandard are the packages that use nothing but the standard library: what they decide depends
// on nobody's release.
var onlyStandard = []string{"election", "reconcile", "node", "confgen", "internal/directive"}

type goPackage struct {
	ImportPath string
	Dir        string
	Doc        string
	GoFiles    []string
	Imports    []string
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s is not in the table of allowed imports: add it, with what it may import", name)
			continue
		}
		for _, imp := range p.Imports {
			own, inside := strings.CutPrefix(imp, module)
			switch {
			case inside && !slices.Contains(may, own) && !strings.HasPrefix(own, "internal/"):
				t.Errorf("%s imports %s, which it may not", name, own)
			case !inside && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") && slices.Contains(onlyStandard, name):
				t.Errorf("%s imports %s: it is to use the standard library alone", name, imp)
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && len(p.Doc) == 0 {
			t.Errorf("package %s has no doc comment", p.ImportPath)
		}
	}
}

// TestNoGlobals keeps logging and exiting where they belong: a logger is passed in, and only main
// ends the process.
func TestNoGlobals(t *testing.T) {
	for _, p := range packages(t) {
		if strings.Contains(p.ImportPath, "/test") {
			continue
		}
		for _, file := range p.GoFiles {
			path := filepath.Join(p.Dir, file)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), path, src, parser.SkipObjectResolution); err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"log.Fatal", "log.Print", "slog.SetDefault", "slog.Info(", "slog.Warn("} {
				if strings.Contains(string(src), word) {
					t.Errorf("%s uses %s", path, word)
				}
			}
			if strings.Contains(string(src), "os.Exit") && file != "main.go" {
				t.Errorf("%s ends the process; only main may", path)
			}
		}
	}
}

// commentWidth is where comments wrap, a tab counted as four columns.
const commentWidth = 100

// TestCommentWidth keeps comments as wide as one another.
func TestCommentWidth(t *testing.T) {
	for _, p := range packages(t) {
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(string(src), "\n") {
				text := strings.TrimLeft(line, "\t")
				width := utf8.RuneCountInString(text) + 4*(len(line)-len(text))
				// A line that cannot be broken, and a table or an example, stay as they are.
				if strings.HasPrefix(text, "// ") && !strings.HasPrefix(text, "//  ") && strings.Contains(text[3:], " ") && width > commentWidth {
					t.Errorf("%s:%d: a comment %d columns wide: wrap it at %d", path, i+1, width, commentWidth)
				}
			}
		}
	}
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("only %d packages found", len(list))
	}
	return list
}
