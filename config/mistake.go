package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redisd/redisd/internal/directive"
)

// A Mistake is one thing that is wrong with a configuration.
type Mistake struct {
	Where   string // "FILE:LINE", an environment variable, or "default"
	Key     string // "redis.port"; "" if it is about the file as a whole
	Problem string // which value is invalid, and what it must be

	line int // to sort by
}

func (m *Mistake) Error() string {
	text := m.Problem
	if m.Key != "" {
		text = m.Key + ": " + text
	}
	if m.Where != "" {
		text = m.Where + ": " + text
	}
	return text
}

// mistakes collects them. A key that has one gets no second: what follows from a wrong value is not
// worth telling.
type mistakes struct {
	source source
	lines  map[string]int
	list   []*Mistake
	keys   map[string]bool
}

func (m *mistakes) add(key, format string, args ...any) {
	if m.keys[key] {
		return
	}
	if m.keys == nil {
		m.keys = map[string]bool{}
	}
	m.keys[key] = true
	where, ok := m.source.at[key]
	if !ok && m.source.file != "" {
		where = m.source.file // something that is missing from it
	}
	m.list = append(m.list, &Mistake{Where: where, Key: key, Problem: fmt.Sprintf(format, args...), line: m.lines[key]})
}

// err joins them in the order of the file; those of the environment come first.
func (m *mistakes) err() error {
	slices.SortStableFunc(m.list, func(a, b *Mistake) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.Key, b.Key))
	})
	errs := make([]error, len(m.list))
	for i, one := range m.list {
		errs[i] = one
	}
	return errors.Join(errs...)
}

// literalTOML describes a value of TOML in the words of TOML.
func literalTOML(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case int64, bool, float64:
		return fmt.Sprint(v)
	case []any, []map[string]any:
		return "(a list)"
	case map[string]any:
		return "(a table)"
	case time.Time:
		return "(a date)"
	}
	return fmt.Sprintf("%v", v)
}

// nearest returns the candidate that a misspelt name most likely means, "" if none is within that
// many slips. Two names that differ in case, dashes and underscores only are the same.
func nearest(name string, candidates []string, slips int) string {
	best := ""
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(fold(name), fold(c)); c != name && d <= slips {
			best, slips = c, d-1
		}
	}
	return best
}

func fold(name string) string { return strings.ReplaceAll(strings.ToLower(name), "-", "_") }

// distance counts the insertions, deletions, replacements and swaps of neighbours that turn a into
// b (the optimal string alignment distance).
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows = [3][]int{last, row, before}
	}
	return rows[1][len(b)]
}

// unknownKey says what a key that does not exist may have meant.
func unknownKey(section, name string, known map[string]bool) string {
	if n := nearest(name, slices.Collect(maps.Keys(known)), min(len(name)/3, 3)); n != "" {
		return fmt.Sprintf("there is no such key; did you mean %q?", n)
	}
	if in := sectionOf(name); in != "" && in != section {
		return fmt.Sprintf("there is no such key here; it belongs in [%s]", in)
	}
	if section == "redis" || section == "" {
		if reason, owned := directive.Owned(name); owned {
			return "there is no such key; it is a directive of redis.conf, which redisd sets itself: " + reason
		}
		if directive.Known(name) {
			return "there is no such key here; it is a directive of redis.conf and belongs in [redis.directives]"
		}
	}
	return "there is no such key; allowed are " + listed(slices.Sorted(maps.Keys(known)))
}

// sectionOf returns the section that has a key of this name, if only one has.
func sectionOf(name string) string {
	in := ""
	for _, k := range keys {
		if section, n, _ := strings.Cut(k.name, "."); n == name {
			if in != "" {
				return ""
			}
			in = section
		}
	}
	return in
}

func listed(names []string) string { return strings.Join(names, ", ") }
