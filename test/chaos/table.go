package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is what a kind of fault came to.
type row struct {
	standstill, health []time.Duration
	lost, moved        int
	acked              int
	dual               time.Duration
	violated           int
}

// Table collects what each kind of fault came to.
type Table struct {
	rows map[string]*row
}

// Add adds a round.
func (t *Table) Add(r Round, s Seen, violations int) {
	name := r.Steps[0].Kind
	if on := r.Steps[0].On; on != Everyone {
		name += " (" + string(on) + ")"
	}
	if len(r.Steps) > 1 {
		name = "two of these at once"
	}
	if t.rows == nil {
		t.rows = map[string]*row{}
	}
	if t.rows[name] == nil {
		t.rows[name] = &row{}
	}
	w := t.rows[name]
	w.standstill = append(w.standstill, s.Standstill)
	if s.Healthy {
		w.health = append(w.health, s.TimeToHealth)
	}
	w.lost += len(s.Lost)
	w.acked += s.Acked
	w.dual = max(w.dual, s.Dual)
	if s.Before != s.After {
		w.moved++
	}
	if violations > 0 {
		w.violated++
	}
}

// String is the table in Markdown.
func (t *Table) String() string {
	var b strings.Builder
	b.WriteString("| fault | rounds | stand-still, median | max | lost | of acknowledged | two acknowledge | primary moved | healthy after, median | max | violated |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	var names []string
	for name := range t.rows {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		w := t.rows[name]
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %d | %d | %d ms | %d | %s | %s | %d |\n", name, len(w.standstill),
			readable(median(w.standstill)), readable(most(w.standstill)), w.lost, w.acked, w.dual.Milliseconds(), w.moved,
			readable(median(w.health)), readable(most(w.health)), w.violated)
	}
	return b.String()
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func most(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Max(all)
}

// readable has as many digits as mean anything.
func readable(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
