package clients

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redisd/redisd/test/figures"
	"github.com/redisd/redisd/test/ways"
)

// beside is where the figures of clients go that compare redisd with manual set-ups.
var beside = figures.Page{
	File: "BENCHMARK.md", Begin: "<!-- clients: written by make bench, do not edit -->", End: "<!-- end of clients -->",
}

// summary is a figure of all libraries together, fault by fault.
type summary struct {
	title, intro, mode string
	of                 func(outcome) float64
}

var summaries = []summary{
	{"A writer, without an acknowledged write", "One write after the other, 2.5 ms between them.", "writer", gap},
	{"BLPOP 0, until it has an element of the new primary", "Counted from the new primary's first write.", "blpop", back},
}

// besideTables is what clients saw of redisd and of the others, in Markdown.
func besideTables(r *results) string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "Measured on %s by `make bench`, each fault %d times, %d libraries at the same time, with their defaults: %d CPUs (%s), kernel %s, load average %s before. "+
		"The median over the libraries of each one's own median (the quickest and the slowest library); a client that was not back after %.0f s is *stuck*, and counts by that alone.\n\n",
		m.Date, r.Runs, len(r.Names), m.CPUs, m.CPU, m.Kernel, m.Load, r.Patience)
	for _, s := range summaries {
		for _, via := range vias {
			s.write(&b, r, via)
		}
	}
	b.WriteString("Library by library, a writer by the service's address:\n\n")
	for _, f := range faults {
		detail(&b, r, f)
	}
	return b.String()
}

func (s summary) write(b *strings.Builder, r *results, via string) {
	part := *r
	part.Outcomes = r.of(func(o outcome) bool { return o.Mode == s.mode && o.Via == via })
	used := usedWays(&part)
	if len(used) == 0 {
		return
	}
	fmt.Fprintf(b, "#### %s, by %s\n\n%s\n\n", s.title, map[string]string{"vip": "the service's address", "sentinel": "Sentinel"}[via], s.intro)
	header(b, "fault", used)
	for _, f := range faults {
		cells, any := "", false
		for _, w := range used {
			cell, ok := s.cell(&part, f, w)
			any = any || ok
			cells += " " + cell + " |"
		}
		if any {
			fmt.Fprintf(b, "| %s |%s\n", f.title, cells)
		}
	}
	b.WriteString("\n")
}

// cell has the median of the libraries' medians, and how many runs of clients were stuck.
func (s summary) cell(r *results, f fault, w ways.Way) (cell string, ok bool) {
	var medians []outcome
	runs, stuck := 0, 0
	for id := range r.Names {
		of := r.of(func(o outcome) bool { return o.Library == id && o.Fault == f.id && o.Way == w.ID })
		back := slices.DeleteFunc(slices.Clone(of), func(o outcome) bool { return o.Stuck })
		runs, stuck = runs+len(of), stuck+len(of)-len(back)
		if sample, ok := figures.SampleOf(back, s.of); ok {
			medians = append(medians, outcome{Gap: sample.Median, Back: sample.Median})
		}
	}
	cell = "–"
	if sample, ok := figures.SampleOf(medians, s.of); ok {
		cell = timeCell(sample)
	}
	return cell + stuckOf(stuck, runs), runs > 0
}

// detail is a table of one fault, the libraries down and the ways across.
func detail(b *strings.Builder, r *results, f fault) {
	part := *r
	part.Outcomes = r.of(func(o outcome) bool { return o.Mode == "writer" && o.Via == "vip" && o.Fault == f.id })
	used := usedWays(&part)
	if len(used) == 0 {
		return
	}
	header(b, f.title, used)
	for _, id := range slices.Sorted(maps.Keys(r.Names)) {
		fmt.Fprintf(b, "| %s |", r.Names[id])
		for _, w := range used {
			of := part.of(func(o outcome) bool { return o.Library == id && o.Way == w.ID })
			fmt.Fprintf(b, " %s |", sampleCell(of, gap, timeCell))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

func usedWays(r *results) (used []ways.Way) {
	for _, w := range ways.All {
		if slices.ContainsFunc(r.Outcomes, func(o outcome) bool { return o.Way == w.ID }) {
			used = append(used, w)
		}
	}
	return used
}

func header(b *strings.Builder, first string, used []ways.Way) {
	fmt.Fprintf(b, "| %s |", first)
	for _, w := range used {
		fmt.Fprintf(b, " %s |", w.Title)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(used)) + "\n")
}

// sampleCell is a figure of some runs of one client.
func sampleCell(runs []outcome, of func(outcome) float64, cell func(figures.Sample) string) string {
	back := slices.DeleteFunc(slices.Clone(runs), func(o outcome) bool { return o.Stuck })
	text := ""
	if sample, ok := figures.SampleOf(back, of); ok {
		text = cell(sample)
	}
	return cmp.Or(strings.TrimPrefix(text+stuckOf(len(runs)-len(back), len(runs)), ", "), "–")
}

func stuckOf(stuck, runs int) string {
	if stuck == 0 {
		return ""
	}
	return fmt.Sprintf(", **%d of %d stuck**", stuck, runs)
}
