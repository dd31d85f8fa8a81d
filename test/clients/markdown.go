package clients

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redisd/redisd/test/figures"
)

var page = figures.Page{
	File: "CLIENTS.md", Begin: "<!-- measured: written by make clients, do not edit -->", End: "<!-- end of measured -->",
}

// table is one figure of those clients that have it.
type table struct {
	title, intro string
	modes        []string
	of           func(outcome) float64
	cell         func(figures.Sample) string
}

var shown = []table{
	{"A writer, without an acknowledged write", "One write after the other, 2.5 ms between them; the longest time from one acknowledgement to the next.",
		[]string{"writer"}, gap, timeCell},
	{"Errors that the writer's application was shown", "Each is one call that failed.", []string{"writer"}, func(o outcome) float64 { return float64(o.Errors) }, figures.CountCell},
	{"Transactions (MULTI/EXEC), without an acknowledged one", "", []string{"multi"}, gap, timeCell},
	{"Pipelines of ten writes, without an acknowledged one", "", []string{"pipeline"}, gap, timeCell},
	{"BLPOP 0: until it has an element of the new primary", "Counted from the new primary's first write, which comes before the element.", []string{"blpop"}, back, timeCell},
	{"SUBSCRIBE: until it has a message of the new primary", "Counted from the new primary's first write; a message is published every 20 ms.", []string{"subscribe"}, back, timeCell},
	{"Eight idle connections, used after the change", "Until each has written once.", []string{"pool"}, back, timeCell},
}

func gap(o outcome) float64 { return o.Gap }

// back is not before the new primary's first write that the harness saw: in a planned change a
// listener may well be quicker than its writer.
func back(o outcome) float64 {
	if o.Back == never {
		return never
	}
	return max(0, o.Back)
}

// tables is everything that was measured, in Markdown.
func tables(r *results) string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "Measured on %s by `%s`, each fault %d times, all libraries at the same time: %d CPUs (%s), kernel %s, load average %s before; "+
		"redisd %s, %s. Median (range) of the runs in which it came back; who was not back after %.0f s is *stuck*.\n\n",
		m.Date, m.Command, r.Runs, m.CPUs, m.CPU, m.Kernel, m.Load, m.Version["redisd"], "redis-server "+m.Version["redis-server"], r.Patience)
	for _, set := range settings {
		part := *r
		part.Outcomes = r.of(func(o outcome) bool { return o.Settings == set })
		if len(part.Outcomes) > 0 {
			b.WriteString(map[string]string{"defaults": "## Measured with the libraries' defaults\n\n", "documented": "## Measured with the settings above\n\n"}[set])
		}
		for _, t := range shown {
			t.write(&b, &part)
		}
	}
	lost, twice, acked := 0, 0, 0
	for _, o := range r.Outcomes {
		lost, twice, acked = lost+o.Lost, twice+o.Twice, acked+o.Acked
	}
	fmt.Fprintf(&b, "%s writes were acknowledged, %s of them are lost; %s are there twice, because the library sent them again.\n",
		figures.Grouped(int64(acked)), figures.Grouped(int64(lost)), figures.Grouped(int64(twice)))
	return b.String()
}

func (t table) write(b *strings.Builder, r *results) {
	wanted := func(o outcome) bool { return slices.Contains(t.modes, o.Mode) }
	if len(r.of(wanted)) == 0 {
		return
	}
	fmt.Fprintf(b, "### %s\n\n%s\n\n", t.title, t.intro)
	for _, via := range vias {
		var used []fault
		for _, f := range faults {
			if len(r.of(func(o outcome) bool { return wanted(o) && o.Via == via && o.Fault == f.id })) > 0 {
				used = append(used, f)
			}
		}
		if len(used) == 0 {
			continue
		}
		fmt.Fprintf(b, "| by %s |", map[string]string{"vip": "the VIP", "sentinel": "Sentinel"}[via])
		for _, f := range used {
			fmt.Fprintf(b, " %s |", f.title)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(used)) + "\n")
		for _, id := range slices.Sorted(maps.Keys(r.Names)) {
			t.row(b, r, id, via, used)
		}
		b.WriteString("\n")
	}
}

func (t table) row(b *strings.Builder, r *results, id, via string, used []fault) {
	cells, any := "", false
	for _, f := range used {
		runs := r.of(func(o outcome) bool {
			return slices.Contains(t.modes, o.Mode) && o.Library == id && o.Via == via && o.Fault == f.id
		})
		cell := sampleCell(runs, t.of, t.cell)
		any = any || len(runs) > 0
		cells += " " + cell + " |"
	}
	if any {
		fmt.Fprintf(b, "| %s |%s\n", r.Names[id], cells)
	}
}

// timeCell is a sample of milliseconds.
func timeCell(s figures.Sample) string { return s.Cell(figures.Duration) }

// lines is what a run has found, for the test's own output.
func lines(found []outcome) string {
	var b strings.Builder
	for _, o := range found {
		fmt.Fprintf(&b, "    %-10s %-9s %-9s ", o.Library, o.Via, o.Mode)
		switch {
		case o.Stuck:
			b.WriteString("STUCK")
		case writes(o.Mode):
			fmt.Fprintf(&b, "gap %7.1f ms, %d acknowledged, %d lost, %d twice", o.Gap, o.Acked, o.Lost, o.Twice)
		default:
			fmt.Fprintf(&b, "told %7.1f ms, back %7.1f ms", o.Told, o.Back)
		}
		fmt.Fprintf(&b, ", %d errors %.80s\n", o.Errors, o.FirstError)
	}
	if len(found) > 0 {
		fmt.Fprintf(&b, "    service %.1f ms", found[0].Service)
	}
	return b.String()
}
