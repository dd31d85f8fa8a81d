package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProofs: what docs/GUARANTEES.md names as the proof of a promise is there: tests and their
// parts, files, and kinds of faults.
func TestProofs(t *testing.T) {
	text := read(t, "../docs/GUARANTEES.md")
	code := sources(t)
	tests := regexp.MustCompile("`(Test[A-Za-z]+)(?:/([a-z_{},-]+))?`").FindAllStringSubmatch(text, -1)
	if len(tests) < 20 {
		t.Fatalf("%d tests found in the text: the pattern does not fit any more", len(tests))
	}
	for _, m := range tests {
		if !strings.Contains(code, "func "+m[1]+"(") {
			t.Errorf("%s: there is no such test", m[1])
		}
		for _, part := range strings.Split(strings.Trim(m[2], "{}"), ",") {
			if part != "" && !strings.Contains(code, `t.Run("`+strings.ReplaceAll(part, "_", " ")+`"`) {
				t.Errorf("%s has no part %s", m[1], part)
			}
		}
	}
	for _, m := range regexp.MustCompile("`([a-z]+/[a-z/]*[a-z-]+(?:\\.txtar)?)`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
	for _, m := range regexp.MustCompile(`chaos: ([^;|]+)`).FindAllStringSubmatch(text, -1) {
		for _, kind := range strings.Split(m[1], ",") {
			kind = strings.TrimSpace(kind)
			if !strings.HasPrefix(kind, "every row") && !strings.Contains(code, `ame: "`+kind+`"`) {
				t.Errorf("chaos has no fault %q", kind)
			}
		}
	}
}

// sources are all Go files of the module in one text.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			all.WriteString(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
