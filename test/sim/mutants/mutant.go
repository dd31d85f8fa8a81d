package mutants

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mutant is one rule taken away.
type Mutant struct {
	Name, Rule string
	File       string // in this module
	Old, New   string
	// Said is what judges said last, by their names.
	Said map[string]string
}

const (
	oldMark = "-- old --\n"
	newMark = "-- new --\n"
)

// Read returns the mutant in a file.
func Read(path string) (Mutant, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Mutant{}, err
	}
	m := Mutant{Name: strings.TrimSuffix(filepath.Base(path), ".txt"), Said: map[string]string{}}
	head, rest, ok := strings.Cut(string(b), oldMark)
	was, is, both := strings.Cut(rest, newMark)
	if !ok || !both {
		return m, fmt.Errorf("read %s: it has no old and new text", path)
	}
	m.Old, m.New = strings.TrimSuffix(was, "\n"), strings.TrimSuffix(is, "\n")
	for line := range strings.Lines(head) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case !ok:
			return m, fmt.Errorf("read %s: %q is not key: value", path, line)
		case key == "rule":
			m.Rule = value
		case key == "file":
			m.File = value
		default:
			m.Said[key] = value
		}
	}
	if m.Rule == "" || m.File == "" || m.Old == "" {
		return m, fmt.Errorf("read %s: rule, file or old text is missing", path)
	}
	return m, nil
}

// String is m as its file has it.
func (m Mutant) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rule: %s\nfile: %s\n", m.Rule, m.File)
	for _, j := range judges {
		if said := m.Said[j.name]; said != "" {
			fmt.Fprintf(&b, "%s: %s\n", j.name, said)
		}
	}
	end := func(s string) string {
		if s == "" {
			return ""
		}
		return s + "\n"
	}
	return b.String() + oldMark + end(m.Old) + newMark + end(m.New)
}

// Source returns the changed text of m's file in the module at root.
func (m Mutant) Source(root string) (string, error) {
	b, err := os.ReadFile(filepath.Join(root, m.File))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(b), m.Old); n != 1 {
		return "", fmt.Errorf("mutant %s: its old text is %d times in %s, not once: the code has changed, and the mutant is to follow", m.Name, n, m.File)
	}
	return strings.Replace(string(b), m.Old, m.New, 1), nil
}

// caught says whether a judge noticed.
func caught(said string) bool { return strings.HasPrefix(said, "caught") }

// Quickest are the judges that caught m, in the order in which they are best asked again: a walk
// that takes seconds goes before the tests beside the code, as it shows that the rule matters and
// not only that it is there. The search comes last: how far it comes in its time depends on the
// machine.
func (m Mutant) Quickest() []string {
	var by []string
	for _, j := range judges {
		if caught(m.Said[j.name]) {
			by = append(by, j.name)
		}
	}
	rank := func(name string) int {
		switch {
		case name == "search":
			return 1 << 29
		case name == "unit":
			return 30
		}
		return cost(m.Said[name])
	}
	slices.SortStableFunc(by, func(a, b string) int { return rank(a) - rank(b) })
	return by
}

// cost is how long a judge took, in tenths of a second.
func cost(said string) int {
	var seconds float64
	if _, err := fmt.Sscanf(said, "caught in %fs", &seconds); err != nil {
		return 1 << 30
	}
	return int(seconds * 10)
}
