package bench

import (
	"encoding/xml"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/test/figures"
)

func TestCells(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{timeCell(figures.Sample{Median: 6.25, Low: 4.1, High: 31.4}), "6.2 ms (4.1 ms–31 ms)"},
		{timeCell(figures.Sample{Median: 999.4, Low: 999.4, High: 999.6}), "999 ms (999 ms–1.00 s)"},
		{timeCell(figures.Sample{Median: 2345, Low: 2345, High: 20_800}), "2.35 s (2.35 s–20.8 s)"},
		{timeCell(figures.Sample{Median: 0, Low: 0, High: 0}), "0"},
		{timeCell(figures.Sample{Median: 14_000, Low: 12_000, High: math.Inf(1)}), "14.0 s (12.0 s–> 60 s)"},
		{figures.CountCell(figures.Sample{Median: 0, Low: 0, High: 1_234_567}), "0 (0–1\u202f234\u202f567)"},
		{figures.CountCell(figures.Sample{Median: 999, Low: 999, High: 999}), "999"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestReadBenchmark(t *testing.T) {
	const printed = `WARNING: Could not fetch server CONFIG
"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"SET","91185.41","0.377","0.104","0.375","0.559","0.967","2.127"
"GET","96618.36","0.323","0.088","0.327","0.455","0.591","1.103"
`
	got, err := readBenchmark(printed)
	if err != nil {
		t.Fatal(err)
	}
	want := []throughput{{Test: "SET", RPS: 91185.41, P50: 0.375, P99: 0.967}, {Test: "GET", RPS: 96618.36, P50: 0.327, P99: 0.591}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "Could not connect", "\"test\",\"rps\"\n\"SET\",\"1\"\n"} {
		if got, err := readBenchmark(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

// someResults are of two ways and three faults, one of which one way has not ended.
func someResults() *results {
	return &results{
		Machine: figures.Machine{Date: "2026-01-02", Command: "make bench", CPU: "A CPU", CPUs: 2, Kernel: "6.1", Load: "0.10", Debian: "12.5",
			Version: map[string]string{"redisd": "0.1.0", "haproxy": "2.6.12"}},
		Runs: 2, BaselineRuns: 2, Took: 61,
		Outcomes: []outcome{
			{Way: "redisd", Fault: "kill", Run: 1, Then: "b", Downtime: 20, Acked: 1000, Whole: 1000, Record: "."},
			{Way: "redisd", Fault: "kill", Run: 2, Then: "c", Downtime: 40, Acked: 1000, Whole: 1200, Record: "."},
			{Way: "haproxy", Fault: "kill", Run: 1, Then: "a", Downtime: 3000, Acked: 1000, Lost: 2853, Dual: 9000, Whole: 4000, Record: "."},
			{Way: "haproxy", Fault: "kill", Run: 2, Downtime: 47_000, Acked: 1000, Whole: -1, Error: "no write is acknowledged", Record: "."},
			{Way: "redisd", Fault: "cut", Run: 1, Then: "b", Downtime: 700, AfterMend: 3, Acked: 1000, Whole: 900, Record: "."},
			{Way: "haproxy", Fault: "cut", Run: 1, Then: "b", Downtime: 4000, AfterMend: 250, Acked: 1000, Lost: 7, LostLate: 5, Whole: 11_000, Record: "."},
			{Way: "redisd", Fault: "agent-kill", Run: 1, Error: "it was not whole before the fault"},
		},
		Bootstrap:  []bootstrap{{Run: 1, FirstWrite: 800, Whole: 2000, InSync: 600, Joined: 2100}},
		Throughput: []throughput{{Target: "bare", Test: "SET", RPS: 91185, P99: 0.97}, {Target: "redisd", Test: "SET", RPS: 50251, P99: 2.8}},
		Footprint:  []footprint{{Node: "a", Role: "primary", Phase: "idle", RSS: 19.4, CPU: 0.71, Over: 60}},
	}
}

func TestTables(t *testing.T) {
	got := tables(someResults())
	for _, want := range []string{
		"2 CPUs (A CPU)", "haproxy 2.6.12, redisd 0.1.0.",
		"| fault | redisd | Sentinel + HAProxy |\n",
		"| redis-server killed | 30 ms (20 ms–40 ms) | 25.0 s (3.00 s–47.0 s) |\n",
		"| … healed after 15 s | 3.0 ms | 250 ms |\n",
		"| redis-server killed | 0 | 2\u202f853 |\n", // nobody could look for the writes of the other run
		"| network of the host cut | 0 | 2 |\n| … healed after 15 s | 0 | 5 |\n",
		"| redis-server killed | 1.10 s (1.00 s–1.20 s) | > 60 s (4.00 s–> 60 s) |\n",
		"- haproxy, kill, run 2: no write is acknowledged\n",
		"| Redis alone | 91\u202f185 | 1.0 ms |",
		"| a (primary) | idle, 60 s | 19.4 MiB | 0.71 % |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not there: %s", want)
		}
	}
	if strings.Contains(got, "agent killed") || strings.Contains(got, "power loss") {
		t.Error("there is a row of a fault without figures")
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestPicture(t *testing.T) {
	got := picture(someResults())
	elements := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(got)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("no XML: %v\n%s", err, got)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
		}
	}
	// Paper, two in the legend, four bars; six lines of the grid and the ranges.
	if elements["rect"] != 7 || elements["line"] != 10 {
		t.Errorf("elements %v", elements)
	}
	for _, want := range []string{">30 ms<", ">25.0 s, 2\u202f853 lost<", ">healed after 15 s<"} {
		if !strings.Contains(got, want) {
			t.Errorf("not there: %s", want)
		}
	}
	if along(1) != 0 || along(0) != 0 || along(1000) != 3*decade || along(math.Inf(1)) != decades*decade {
		t.Error("the scale is wrong")
	}
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	r := someResults()
	if err := publish(r, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tables.md")); err != nil {
		t.Error(err)
	}
	path := filepath.Join(dir, page.File)
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n" + page.Begin + "\nold\n" + page.End + "\nafter\n")
	for range 2 { // twice gives the same
		if err := publish(r, dir); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "before\n" + page.Begin + "\n\n" + tables(r) + "\n" + page.End + "\nafter\n"; string(got) != want {
		t.Error(cmp.Diff(want, string(got)))
	}
	write("no marks")
	if err := publish(r, dir); err == nil {
		t.Error("a page without marks was written to")
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	want := someResults()
	if err := want.save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := load(filepath.Join(dir, resultsFile))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestPage holds the page in docs to what publish needs.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page.File))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := page.Between(string(text), ""); err != nil {
		t.Error(err)
	}
}
