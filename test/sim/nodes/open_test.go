package nodes

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// defect is a line of testdata/open.txt or cured.txt.
type defect struct {
	seed  uint64
	class Class
	says  string // a part of the checker's word
}

func defects(t *testing.T, path string) []defect {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []defect
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(line, "|", 4)
		if len(f) != 4 {
			t.Fatalf("%q is no seed, class, error and sentence", line)
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		seed, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		class, err := ParseClass(f[1])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, defect{seed, class, f[2]})
	}
	return list
}

// TestOpenDefects plays what testdata/open.txt lists: each still shows its defect, and only with
// its class.
func TestOpenDefects(t *testing.T) {
	shown := Class(0)
	for _, d := range defects(t, "testdata/open.txt") {
		shown |= d.class
		switch r := Run(d.seed, Options{Only: d.class}); {
		case r.Err == nil:
			t.Errorf("seed %d with %q passes: move its line to cured.txt, and when no line of the class is left, take the class out of Known", d.seed, d.class)
		case !strings.Contains(r.Err.Error(), d.says):
			t.Errorf("seed %d with %q no longer shows that %q, but: %v", d.seed, d.class, d.says, r.Err)
		}
		if r := Run(d.seed, Options{Only: Plain}); r.Err != nil {
			t.Errorf("seed %d fails without its class: %v", d.seed, r.Err)
		}
	}
	if shown != Known {
		t.Errorf("open.txt shows %v, and Known are %v", shown, Known)
	}
}

// TestCuredDefects plays what was once in open.txt.
func TestCuredDefects(t *testing.T) {
	for _, d := range defects(t, "testdata/cured.txt") {
		if r := Run(d.seed, Options{Only: d.class}); r.Err != nil {
			t.Errorf("seed %d with %q: %v", d.seed, d.class, r.Err)
		}
	}
}
