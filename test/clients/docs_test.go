package clients

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// programs are those whose settings docs/CLIENTS.md has, by the library's heading.
var programs = map[string]string{
	"redis-py":   "redis-py/client.py",
	"go-redis":   "go-redis/main.go",
	"hiredis":    "hiredis/client.c",
	"ioredis":    "ioredis/client.js",
	"node-redis": "node-redis/client.js",
	"phpredis":   "phpredis/client.php",
}

// TestDocumentedSettings: every setting in docs/CLIENTS.md is one that a program has, word for
// word, between the marks "doc:" and ":doc"; and all that is between such marks is documented.
func TestDocumentedSettings(t *testing.T) {
	text := readFile(t, filepath.Join("..", "..", "docs", page.File))
	if len(programs) != len(libraries())-1 { // redis-py is run in two releases
		t.Errorf("%d programs for %d libraries", len(programs), len(libraries()))
	}
	for heading, program := range programs {
		_, section, found := strings.Cut(text, "\n## "+heading+"\n")
		if !found {
			t.Errorf("%s has no section %s", page.File, heading)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		documented := blocks(section, func(line string) bool { return strings.HasPrefix(line, "```") && line != "```" },
			func(line string) bool { return line == "```" })
		run := blocks(readFile(t, program), func(line string) bool { return hasField(line, "doc:") },
			func(line string) bool { return hasField(line, ":doc") })
		if len(run) == 0 {
			t.Errorf("%s has no marks", program)
		}
		if diff := cmp.Diff(run, documented); diff != "" {
			t.Errorf("%s (-) and section %s (+) differ:\n%s", program, heading, diff)
		}
	}
}

// TestPage: the tables have a place in the page.
func TestPage(t *testing.T) {
	text := readFile(t, filepath.Join("..", "..", "docs", page.File))
	if strings.Count(text, page.Begin) != 1 || strings.Count(text, page.End) != 1 {
		t.Errorf("%s lacks the marks %q and %q", page.File, page.Begin, page.End)
	}
}

// TestLockfilesNameNoRegistry: what is installed does not depend on whose registry it was locked
// with.
func TestLockfilesNameNoRegistry(t *testing.T) {
	locks, err := filepath.Glob("*/package-lock.json")
	if err != nil || len(locks) == 0 {
		t.Fatalf("lock files: %v, %v", locks, err)
	}
	for _, path := range locks {
		text := readFile(t, path)
		if strings.Contains(text, `"resolved"`) || !strings.Contains(text, `"integrity"`) {
			t.Errorf("%s: it names a registry, or pins nothing", path)
		}
	}
}

func hasField(line, field string) bool { return slices.Contains(strings.Fields(line), field) }

// blocks are the texts between marks, sorted, each line without its indentation.
func blocks(text string, begins, ends func(string) bool) (found []string) {
	var block []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case inside && ends(line):
			found = append(found, strings.TrimSpace(strings.Join(block, "\n")))
			block, inside = nil, false
		case inside:
			block = append(block, line)
		case begins(line):
			inside = true
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
