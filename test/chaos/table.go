package chaos

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// row is what a kind of fault came to.
type row struct {
	downtime, health []time.Duration
	lost, moved      int
	acked            int
	dual             time.Duration
	violated         int
}

// Table collects what each kind of fault came to.
type Table struct {
	rows  map[string]*row
	order []string
}

// Add adds a round.
func (t *Table) Add(r Round, s Seen, violations int) {
	name := rowName(r)
	if t.rows == nil {
		t.rows = map[string]*row{}
	}
	if t.rows[name] == nil {
		t.rows[name] = &row{}
		t.order = append(t.order, name)
	}
	w := t.rows[name]
	w.downtime = append(w.downtime, s.Downtime)
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

const others = "two of these at once"

func rowName(r Round) string {
	switch {
	case r.Quiet && len(r.Steps) == 1:
		loud := r
		loud.Quiet = false
		return quietly + rowName(loud)
	case r.Name != "":
		return r.Name
	case len(r.Steps) > 1:
		return others
	case r.Steps[0].On == Everyone:
		return r.Steps[0].Kind
	}
	return fmt.Sprintf("%s (%s)", r.Steps[0].Kind, r.Steps[0].On)
}

// names are those of the rows: in the order of the catalogue, and then of the run.
func (t *Table) names() []string {
	rank := map[string]int{others: 1}
	for i, c := range cards() {
		r := Round{Steps: []Step{{Kind: c.kind.name, On: c.on}}}
		rank[rowName(r)] = 2 * (i - len(cards()))
		r.Quiet = true
		rank[rowName(r)] = 2*(i-len(cards())) + 1
	}
	names := slices.Clone(t.order)
	slices.SortStableFunc(names, func(a, b string) int { return rank[a] - rank[b] })
	return names
}

// String is the table in Markdown.
func (t *Table) String() string { return t.markdown(t.names()) }

// parts are the rows of one fault alone, and those of several together.
func (t *Table) parts() (alone, together []string) {
	single := map[string]bool{}
	for _, c := range cards() {
		r := Round{Steps: []Step{{Kind: c.kind.name, On: c.on}}}
		single[rowName(r)] = true
		r.Quiet = true
		single[rowName(r)] = true
	}
	for _, name := range t.names() {
		if single[name] {
			alone = append(alone, name)
		} else {
			together = append(together, name)
		}
	}
	return alone, together
}

func (t *Table) markdown(names []string) string {
	var b strings.Builder
	b.WriteString("| fault | rounds | write downtime, median | max | lost | of acknowledged | two acknowledge | primary moved | healthy after, median | max | violated |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range names {
		w := t.rows[name]
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %d | %d | %d ms | %d | %s | %s | %d |\n", name, len(w.downtime),
			readable(median(w.downtime)), readable(most(w.downtime)), w.lost, w.acked, w.dual.Milliseconds(), w.moved,
			readable(median(w.health)), readable(most(w.health)), w.violated)
	}
	return b.String()
}

// Write writes the rows of single faults and those of several together to a file, each between
// marks of its own: those that the file has already, else at its end.
func (t *Table) Write(path string) error {
	alone, together := t.parts()
	var err error
	if len(alone) > 0 {
		err = place(path, "one at a time", t.markdown(alone))
	}
	if len(together) > 0 {
		err = errors.Join(err, place(path, "two at once", t.markdown(together)))
	}
	return err
}

// place puts a text between the marks of a name in a file.
func place(path, name, text string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write the table: %w", err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, marked := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if !marked || !closed {
		before, after = string(old), ""
	}
	if err := os.WriteFile(path, []byte(before+begin+text+end+after), 0o644); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
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
