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
	// Why only the tests beside the code can notice, if so.
	Why string
	// From is the first seed of walks, or of the simulation of nodes, where many go before.
	From string
	// Class is what the simulation of nodes plays, which is asked about this mutant wherever it is.
	Class string
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
		case key == "why":
			m.Why = value
		case key == "from":
			m.From = value
		case key == "class":
			m.Class = value
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
	if m.Why != "" {
		fmt.Fprintf(&b, "why: %s\n", m.Why)
	}
	if m.From != "" {
		fmt.Fprintf(&b, "from: %s\n", m.From)
	}
	if m.Class != "" {
		fmt.Fprintf(&b, "class: %s\n", m.Class)
	}
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

// Quickest are the judges that caught m, the one that will be done soonest first.
func (m Mutant) Quickest() []judge {
	var by []judge
	for _, j := range judges {
		if caught(m.Said[j.name]) {
			by = append(by, j)
		}
	}
	slices.SortStableFunc(by, func(a, b judge) int { return m.cost(a) - m.cost(b) })
	return by
}

// cost is how long it takes to ask j again, in tenths of a second. A schedule of a known seed is
// nothing.
func (m Mutant) cost(j judge) int {
	how := caughtHow.FindStringSubmatch(m.Said[j.name])
	if how == nil {
		return 1 << 30
	}
	if how[2] != "" {
		return j.build
	}
	var seconds float64
	if _, err := fmt.Sscan(how[1], &seconds); err != nil {
		return 1 << 30
	}
	return j.build + int(seconds*10)
}
