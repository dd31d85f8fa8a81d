package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/test/figures"
)

func TestParse(t *testing.T) {
	got, err := parse("1700000000123456 err ConnectionError: closed by server")
	want := event{At: time.UnixMicro(1700000000123456), Kind: "err", What: "ConnectionError: closed by server"}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "Traceback (most recent call last):", "12 fine 7", "x ok 7"} {
		if e, err := parse(bad); err == nil {
			t.Errorf("%q was read as %v", bad, e)
		}
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string][2]int64{"7": {7, 7}, "70-79": {70, 79}} {
		if from, to, err := numbers(text); err != nil || from != want[0] || to != want[1] {
			t.Errorf("%q: %d to %d, %v", text, from, to, err)
		}
	}
	for _, bad := range []string{"", "x", "7-", "used 7"} {
		if _, _, err := numbers(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestLongestGap(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	ok := func(ms ...int) (events []event) {
		for _, m := range ms {
			events = append(events, event{At: at(m), Kind: "ok"})
		}
		return events
	}
	for _, c := range []struct {
		what   string
		events []event
		want   int
	}{
		{"none at all", nil, 100},
		{"one in the middle", ok(130), 70},
		{"before the time", ok(20, 90, 110, 150, 190), 40},
		{"at the end", ok(105, 110), 90},
		{"errors do not count", append(ok(110), event{At: at(150), Kind: "err"}), 90},
	} {
		if got := longestGap(c.events, at(100), at(200)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%s: %v, want %d ms", c.what, got, c.want)
		}
	}
}

func TestSight(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	s := sight{began: at(1000), first: at(1040), changed: at(1050), ended: at(3000)}
	listener := &client{mode: "blpop", events: []event{
		{At: at(500), Kind: "ok", What: "element"}, {At: at(1010), Kind: "err", What: "closed"}, {At: at(1015), Kind: "err", What: "refused"},
		{At: at(1100), Kind: "ok", What: "element"},
	}}
	if diff := cmp.Diff(outcome{Mode: "blpop", Errors: 2, FirstError: "closed", Told: -30, Back: 60}, s.of(listener, true)); diff != "" {
		t.Error(diff)
	}
	deaf := &client{mode: "subscribe", events: listener.events[:1]}
	if diff := cmp.Diff(outcome{Mode: "subscribe", Stuck: true, Back: never}, s.of(deaf, false)); diff != "" {
		t.Error(diff)
	}
	writer := &client{mode: "writer", events: []event{{At: at(999), Kind: "ok", What: "1"}, {At: at(2900), Kind: "ok", What: "2"}}}
	if diff := cmp.Diff(outcome{Mode: "writer", Gap: 1901}, s.of(writer, true)); diff != "" {
		t.Error(diff)
	}
}

func TestBesideTables(t *testing.T) {
	r := &results{Runs: 1, Patience: 35, Names: map[string]string{"hiredis": "hiredis 0.14.1", "phpredis": "phpredis 5.3.7"}}
	add := func(way, library string, gap float64, stuck bool) {
		r.Outcomes = append(r.Outcomes, outcome{Way: way, Library: library, Via: "vip", Mode: "writer", Fault: "crash", Gap: gap, Stuck: stuck})
	}
	add("redisd", "hiredis", 20, false)
	add("redisd", "phpredis", 40, false)
	add("keepalived", "hiredis", 2000, false)
	add("keepalived", "phpredis", never, true)
	text := besideTables(r)
	for _, want := range []string{
		"| fault | redisd | Sentinel + keepalived |", "| redis-server killed | 30 ms (20 ms–40 ms) | 2.00 s, **1 of 2 stuck** |",
		"| phpredis 5.3.7 | 40 ms | **1 of 1 stuck** |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "HAProxy") || strings.Contains(text, "by Sentinel") {
		t.Errorf("what was not measured has a table:\n%s", text)
	}
}

// TestPages holds the pages in docs to what is put into them.
func TestPages(t *testing.T) {
	for _, p := range []figures.Page{page, beside, timelines} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", p.File))
		if err == nil {
			_, err = p.Between(string(text), "")
		}
		if err != nil {
			t.Errorf("%s: %v", p.File, err)
		}
	}
}

func TestTables(t *testing.T) {
	r := &results{Runs: 2, Patience: 35, Names: map[string]string{"hiredis": "hiredis 0.14.1"}}
	for run, gap := range []float64{20, 40} {
		r.Outcomes = append(r.Outcomes,
			outcome{Library: "hiredis", Settings: "defaults", Via: "vip", Mode: "writer", Fault: "crash", Run: run, Gap: gap, Acked: 1000, Lost: run},
			outcome{Library: "hiredis", Settings: "defaults", Via: "vip", Mode: "blpop", Fault: "power", Run: run, Back: never, Stuck: true})
	}
	text := tables(r)
	for _, want := range []string{
		"| hiredis 0.14.1 | 30 ms (20 ms–40 ms) |", "**2 of 2 stuck**", "| by the VIP | redis-server killed |",
		"2\u202f000 writes were acknowledged, 1 of them are lost",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "pipeline") || strings.Contains(text, "by Sentinel") {
		t.Errorf("what was not measured has a table:\n%s", text)
	}
}
