package bench

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redisd/redisd/test/figures"
	"github.com/redisd/redisd/test/ways"
)

const pictureFile = "benchmark.svg"

var page = figures.Page{
	File: "BENCHMARK.md", Begin: "<!-- measured: written by make bench, do not edit -->", End: "<!-- end of measured -->",
}

// publish puts the tables into the page in dir, between its marks, and the picture beside it. With
// partial results there is no page to put them into: they become files of their own.
func publish(r *results, dir string) error {
	if err := os.WriteFile(filepath.Join(dir, pictureFile), []byte(picture(r)), 0o644); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return page.Put(dir, tables(r))
}

// tables is everything that was measured, in Markdown.
func tables(r *results) string {
	var b strings.Builder
	about(&b, r)
	if len(r.Outcomes) > 0 {
		matrix(&b, r)
		unended(&b, r)
	}
	if len(r.Bootstrap) > 0 {
		bootstraps(&b, r)
	}
	if len(r.Throughput) > 0 {
		throughputs(&b, r)
	}
	if len(r.Footprint) > 0 {
		footprints(&b, r)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func about(b *strings.Builder, r *results) {
	m := r.Machine
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(m.Version)) {
		versions = append(versions, name+" "+m.Version[name])
	}
	fmt.Fprintf(b, "Measured on %s by `%s` in %.0f minutes, each fault %d times with redisd and %d times with the others: %d CPUs (%s), kernel %s, load average %s before; hosts with Debian %s. %s.\n\n",
		m.Date, m.Command, math.Ceil(r.Took/60), r.Runs, r.BaselineRuns, m.CPUs, m.CPU, m.Kernel, m.Load, m.Debian, strings.Join(versions, ", "))
}

// figure is something that each outcome has.
type figure struct {
	title string
	intro string
	of    func(outcome) float64
	cell  func(figures.Sample) string
	// late is the figure for the time after the fault was mended; nil: none.
	late func(outcome) float64
	// verified are figures that only an outcome has whose writes could be looked for.
	verified bool
}

var shown = []figure{
	{title: "Write downtime", intro: "The median of the runs, and the shortest and longest.",
		of: func(o outcome) float64 { return o.Downtime }, late: func(o outcome) float64 { return o.AfterMend }, cell: timeCell},
	{title: "Acknowledged writes lost", intro: "The median, and the fewest and most; the client makes a few thousand writes a second.",
		of: func(o outcome) float64 { return float64(o.Lost - o.LostLate) }, late: func(o outcome) float64 { return float64(o.LostLate) }, cell: figures.CountCell, verified: true},
	{title: "How long two nodes took writes at once", intro: "Seen by clients that write to each node itself.",
		of: func(o outcome) float64 { return o.Dual }, cell: timeCell},
	{title: "How long until all was whole again", intro: "Counted from when the fault was mended, or from the fault where there is nothing to mend, until the next fault could come: one primary, the others in sync with it, the address in one place, every Sentinel agreeing.",
		of: func(o outcome) float64 { return o.Whole }, cell: timeCell},
}

func matrix(b *strings.Builder, r *results) {
	used := usedWays(r)
	for _, f := range shown {
		fmt.Fprintf(b, "### %s\n\n%s\n\n| fault |", f.title, f.intro)
		for _, w := range used {
			fmt.Fprintf(b, " %s |", w.Title)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(used)) + "\n")
		for _, fault := range faults {
			row(b, r, f, fault, used, fault.title, f.of)
			if fault.mended != "" && f.late != nil {
				row(b, r, f, fault, used, "… "+fault.mended, f.late)
			}
		}
		b.WriteString("\n")
	}
}

func row(b *strings.Builder, r *results, f figure, fault fault, used []ways.Way, title string, of func(outcome) float64) {
	cells, any := "", false
	for _, w := range used {
		runs := r.of(w.ID, fault.id)
		if f.verified {
			runs = slices.DeleteFunc(runs, func(o outcome) bool { return o.Then == "" })
		}
		cell := "–"
		if s, ok := figures.SampleOf(runs, of); ok {
			cell, any = f.cell(s), true
		}
		cells += " " + cell + " |"
	}
	if any {
		fmt.Fprintf(b, "| %s |%s\n", title, cells)
	}
}

func usedWays(r *results) (used []ways.Way) {
	for _, w := range ways.All {
		if slices.ContainsFunc(r.Outcomes, func(o outcome) bool { return o.Way == w.ID }) {
			used = append(used, w)
		}
	}
	return used
}

// unended lists what a median hides.
func unended(b *strings.Builder, r *results) {
	var lines []string
	for _, o := range r.Outcomes {
		if o.Error != "" {
			lines = append(lines, fmt.Sprintf("- %s, %s, run %d: %s", o.Way, o.Fault, o.Run, o.Error))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "Runs that did not end well (fresh hosts went on with the next):\n\n%s\n\n", strings.Join(lines, "\n"))
	}
}

func bootstraps(b *strings.Builder, r *results) {
	b.WriteString("### From blank hosts to a cluster\n\nFrom the `systemctl enable --now redisd` of the last host.\n\n| | median (range) |\n|---|---|\n")
	for _, line := range []struct {
		title string
		of    func(bootstrap) float64
	}{
		{"first write acknowledged through the VIP", func(b bootstrap) float64 { return b.FirstWrite }},
		{"all whole", func(b bootstrap) float64 { return b.Whole }},
		{"a fourth host: in sync", func(b bootstrap) float64 { return b.InSync }},
		{"… a voter, and known to every Sentinel", func(b bootstrap) float64 { return b.Joined }},
	} {
		if s, ok := figures.SampleOf(r.Bootstrap, line.of); ok {
			fmt.Fprintf(b, "| %s | %s |\n", line.title, timeCell(s))
		}
	}
	b.WriteString("\n")
}

func throughputs(b *strings.Builder, r *results) {
	fmt.Fprintf(b, "### Throughput\n\n`redis-benchmark -c %s -n %s -d 100` from the client's end, all on the CPUs above. Redis alone, and Redis with two "+
		"replicas, run beside redisd on the same hosts, one after the other.\n\n| | SET/s | p99 | GET/s | p99 |\n|---|---|---|---|---|\n", loadConnection, loadRequests)
	for _, target := range targets {
		fmt.Fprintf(b, "| %s |", target.title)
		for _, test := range []string{"SET", "GET"} {
			runs := slices.DeleteFunc(slices.Clone(r.Throughput), func(t throughput) bool { return t.Target != target.id || t.Test != test })
			rate, _ := figures.SampleOf(runs, func(t throughput) float64 { return t.RPS })
			p99, _ := figures.SampleOf(runs, func(t throughput) float64 { return t.P99 })
			fmt.Fprintf(b, " %s | %s |", figures.CountCell(rate), timeCell(p99))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

func footprints(b *strings.Builder, r *results) {
	b.WriteString("### The agent itself\n\n| node | | resident | of one CPU |\n|---|---|---|---|\n")
	for _, f := range r.Footprint {
		fmt.Fprintf(b, "| %s (%s) | %s, %.0f s | %.1f MiB | %.2f %% |\n", f.Node, f.Role, f.Phase, f.Over, f.RSS, f.CPU)
	}
	b.WriteString("\n")
}

// timeCell is a sample of milliseconds.
func timeCell(s figures.Sample) string {
	return s.Cell(func(v float64) string {
		if math.IsInf(v, 1) {
			return fmt.Sprintf("> %.0f s", wholeLimit.Seconds())
		}
		return figures.Duration(v)
	})
}
