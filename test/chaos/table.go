package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Result is what a round came to, as it is kept.
type Result struct {
	Schedule   string
	Nodes      int
	Row, Round string
	Downtime   time.Duration // of writes
	Healthy    bool
	Health     time.Duration // after which it was healthy again
	Lost       int
	Acked      int
	Dual       time.Duration
	Moved      bool
	Violations []string
}

func (s Schedule) result(r Round, seen Seen, violations []string) Result {
	return Result{
		Schedule: s.title(), Nodes: s.Nodes, Row: rowName(r), Round: r.String(), Downtime: seen.Downtime, Healthy: seen.Healthy,
		Health: seen.TimeToHealth, Lost: len(seen.Lost), Acked: seen.Acked, Dual: seen.Dual, Moved: seen.Before != seen.After,
		Violations: violations,
	}
}

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
func (t *Table) Add(r Result) {
	if t.rows == nil {
		t.rows = map[string]*row{}
	}
	if t.rows[r.Row] == nil {
		t.rows[r.Row] = &row{}
		t.order = append(t.order, r.Row)
	}
	w := t.rows[r.Row]
	w.downtime = append(w.downtime, r.Downtime)
	if r.Healthy {
		w.health = append(w.health, r.Health)
	}
	w.lost += r.Lost
	w.acked += r.Acked
	w.dual = max(w.dual, r.Dual)
	if r.Moved {
		w.moved++
	}
	if len(r.Violations) > 0 {
		w.violated++
	}
}

// Record is a file that gets a line for each round of several runs, of which one table is made.
type Record string

// Results are those that it has; a file that is not there has none.
func (f Record) Results() (all []Result, err error) {
	text, err := os.ReadFile(string(f))
	if f == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		var r Result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("read the record: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// Add adds one.
func (f Record) Add(r Result) error {
	if f == "" {
		return nil
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record a round: %w", err)
	}
	file, err := os.OpenFile(string(f), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("record a round: %w", err)
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
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
