package bench

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"github.com/redisd/redisd/test/figures"
	"github.com/redisd/redisd/test/ways"
)

// The picture's measures, in pixels.
const (
	picWidth   = 900
	leftEdge   = 265 // of the bars: titles are left of it
	decade     = 102 // width of a factor of ten
	decades    = 5   // 1 ms to 100 s
	topEdge    = 74  // of the first group: heading and legend are above it
	barHeight  = 12
	barStep    = 15
	groupSpace = 14
	footSpace  = 40
)

const style = `
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.head { font-size: 16px; font-weight: 600 }
.small { font-size: 11px }
.axis { font-size: 11px; fill: #656d76; text-anchor: middle }
.title { text-anchor: end }
.paper { fill: #ffffff }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.range { stroke: #1f2328; stroke-width: 1; opacity: .55 }
.redisd { fill: #d6322d }
.address { fill: #5b7a99 }
.keepalived { fill: #8aa4bd }
.haproxy { fill: #b9cad9 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.axis { fill: #9198a1 }
.paper { fill: #0d1117 }
.grid { stroke: #30363d }
.range { stroke: #e6edf3 }
.haproxy { fill: #46586b }
}
`

// picture draws the write downtime, a group of bars for each fault, on a logarithmic scale. What
// was lost stands beside the bar.
func picture(r *results) string {
	used := usedWays(r)
	var body strings.Builder
	y := topEdge
	for _, f := range faults {
		y = group(&body, r, f, used, y)
	}
	bottom := y - groupSpace + 6
	height := bottom + footSpace

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="Write downtime, fault by fault">`+"\n",
		picWidth, height)
	fmt.Fprintf(&b, "<style>%s</style>\n<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", style, picWidth, height)
	b.WriteString(`<text class="head" x="16" y="26">Write downtime (median; the line is the range)</text>` + "\n")
	legend(&b, used)
	axis(&b, bottom)
	b.WriteString(body.String())
	b.WriteString("</svg>\n")
	return b.String()
}

func legend(b *strings.Builder, used []ways.Way) {
	x := 16
	for _, w := range used {
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="40" width="12" height="12" rx="2"/><text x="%d" y="51">%s</text>`+"\n", w.ID, x, x+18, html.EscapeString(w.Title))
		x += 40 + 8*len(w.Title)
	}
}

func axis(b *strings.Builder, bottom int) {
	for i, label := range []string{"1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"} {
		x := leftEdge + i*decade
		fmt.Fprintf(b, `<line class="grid" x1="%[1]d" y1="%[2]d" x2="%[1]d" y2="%[3]d"/><text class="axis" x="%[1]d" y="%[4]d">%[5]s</text>`+"\n",
			x, topEdge-6, bottom, bottom+18, label)
	}
}

// group draws the bars of a fault from y on and returns where the next begins.
func group(b *strings.Builder, r *results, f fault, used []ways.Way, y int) int {
	var bars strings.Builder
	next := y
	for _, w := range used {
		runs := r.of(w.ID, f.id)
		downtime, ok := figures.SampleOf(runs, func(o outcome) float64 { return max(o.Downtime, o.AfterMend) })
		if !ok {
			continue
		}
		bar(&bars, w, downtime, lostLabel(runs), next)
		next += barStep
	}
	if next == y {
		return y
	}
	middle := float64(y+next-barStep+barHeight)/2 + 4
	if f.mended == "" {
		fmt.Fprintf(b, `<text class="title" x="%d" y="%.0f">%s</text>`+"\n", leftEdge-10, middle, html.EscapeString(f.title))
	} else {
		fmt.Fprintf(b, `<text class="title" x="%[1]d" y="%.0[2]f">%[3]s</text><text class="title small" x="%[1]d" y="%.0[4]f">%[5]s</text>`+"\n",
			leftEdge-10, middle-7, html.EscapeString(f.title), middle+8, html.EscapeString(f.mended))
	}
	b.WriteString(bars.String())
	return next + groupSpace
}

func bar(b *strings.Builder, w ways.Way, s figures.Sample, note string, y int) {
	fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, w.ID, leftEdge, y, max(2, along(s.Median)), barHeight)
	fmt.Fprintf(b, `<line class="range" x1="%.1[1]f" y1="%[3]d" x2="%.1[2]f" y2="%[3]d"/>`, leftEdge+along(s.Low), leftEdge+along(s.High), y+barHeight/2)
	fmt.Fprintf(b, `<text class="small" x="%.1f" y="%d">%s</text>`+"\n", leftEdge+max(along(s.Median), along(s.High))+6, y+barHeight-2, html.EscapeString(figures.Duration(s.Median)+note))
}

func lostLabel(runs []outcome) string {
	runs = slices.DeleteFunc(slices.Clone(runs), func(o outcome) bool { return o.Then == "" })
	lost, ok := figures.SampleOf(runs, func(o outcome) float64 { return float64(o.Lost) })
	if !ok || lost.Median < 1 {
		return ""
	}
	return fmt.Sprintf(", %s lost", figures.Grouped(int64(math.Round(lost.Median))))
}

// along is how far from the left edge a time of so many milliseconds is.
func along(v float64) float64 {
	return min(decades, max(0, math.Log10(max(v, 1)))) * decade
}
