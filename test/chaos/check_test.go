package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return noon.Add(d) }

const ms = time.Millisecond

// faultAt is a step that was done at noon in 10 ms, and undone when its time was over.
func faultAt(kind string, on Place, host string, lasts time.Duration) Fault {
	k := Fault{Step: Step{Kind: kind, On: on, For: lasts}, Host: host, Begin: noon, Done: at(10 * ms)}
	if lasts > 0 {
		k.Mending, k.Mended = at(lasts), at(lasts+10*ms)
	}
	return k
}

// fine is a round in which nothing went wrong: a was primary, and still is.
func fine(faults ...Fault) Seen {
	return Seen{
		Faults: faults, Before: "a", After: "a", Healthy: true, Downtime: 100 * ms, Acked: 1000,
		Nodes: []Node{{Name: "a", PID: 1}, {Name: "b", PID: 2}, {Name: "c", PID: 3}},
		Then:  []Node{{Name: "a", PID: 1}, {Name: "b", PID: 2}, {Name: "c", PID: 3}},
	}
}

func TestCheck(t *testing.T) {
	crash := faultAt("redis-server killed", Primary, "a", 0)
	power := faultAt("power loss", Primary, "a", 5*sec)
	split := faultAt("cut from the other nodes", Primary, "a", 9*sec)
	agent := faultAt("agent killed", Primary, "a", 0)
	hang := faultAt("agent hangs", Primary, "a", 9*sec)
	asleep := faultAt("host paused", Primary, "a", 4*sec)
	move := faultAt("switchover", Primary, "a", 0)
	slow := faultAt("5 % loss", Primary, "a", 9*sec)
	script := Fault{Step: Step{Kind: "busy script", On: Primary, For: 3 * sec}, Host: "a", Begin: noon, Done: at(3 * sec)}
	dark := faultAt("blackout", Everyone, "", 2*sec)
	lost := func(by string, acked, last time.Duration) func(*Seen) {
		return func(s *Seen) { s.Lost = append(s.Lost, LostWrite{At: at(acked), By: by, Until: at(last)}) }
	}
	held := func(host string, from, to time.Duration) func(*Seen) {
		return func(s *Seen) { s.Held = append(s.Held, Held{host, at(from), at(to)}) }
	}
	overlap := func(when time.Duration) func(*Seen) {
		return func(s *Seen) { s.Overlaps = append(s.Overlaps, Overlap{at(when), []string{"a", "b"}}) }
	}
	moved := func(s *Seen) { s.After = "b" }
	restarted := func(s *Seen) { s.Then[0].PID = 9 }
	for _, c := range []struct {
		name   string
		faults []Fault
		seen   func(*Seen)
		want   string // how the violations begin, "" for none
	}{
		{"nothing", []Fault{crash}, func(*Seen) {}, ""},
		{"two primaries", []Fault{crash}, func(s *Seen) { s.Dual = ms }, "S1"},
		{"an older round", []Fault{crash}, func(s *Seen) { s.Older = []string{"x"} }, "S2"},
		{"a replica", []Fault{crash}, func(s *Seen) { s.Differ = []string{"x"} }, "S2"},
		{"not whole", []Fault{crash}, func(s *Seen) { s.Healthy = false }, "not whole"},
		{"an error", []Fault{{Step: move.Step, Host: "a", Begin: noon, Err: errors.New("no")}}, func(*Seen) {}, "switchover"},
		{"an error beside another fault", []Fault{crash, {Step: move.Step, Host: "a", Begin: noon, Err: errors.New("no")}}, func(*Seen) {}, ""},

		{"crash, last moments", []Fault{crash}, lost("a", -45*ms, 5*ms), ""},
		{"crash, earlier", []Fault{crash}, lost("a", -60*ms, -20*ms), "S1/S3"},
		{"crash, but it went on for long", []Fault{crash}, lost("a", -40*ms, 150*ms), "S1/S3"},
		{"crash, another node's", []Fault{crash}, lost("b", -40*ms, 0), "S1/S3"},
		{"crash, who knows whose", []Fault{crash}, lost("", -40*ms, 0), ""},
		{"crash, much later", []Fault{crash}, lost("a", sec, sec), "S1/S3"},
		{"power, last moments", []Fault{power}, lost("a", -40*ms, 0), ""},
		{"power, while off", []Fault{power}, lost("a", 3*sec, 3*sec), "S1/S3"},
		{"power, but another one was primary meanwhile", []Fault{power}, func(s *Seen) {
			s.Lost = []LostWrite{{At: at(0), By: "a", Until: at(0), Since: "b"}}
		}, "S1: "},
		{"blackout", []Fault{dark}, lost("b", -1900*ms, 0), ""},
		{"blackout, more than the disks may lack", []Fault{dark}, lost("b", -2100*ms, 0), "S1/S3"},
		{"cut, until the lease lapses", []Fault{split}, lost("a", 700*ms, 701*ms), ""},
		{"cut, after that", []Fault{split}, lost("a", 720*ms, 721*ms), "S1/S3"},
		{"slow network and a crash", []Fault{slow, crash}, lost("a", -600*ms, 0), ""},
		{"slow network alone", []Fault{slow}, lost("a", -100*ms, 0), "S3"},
		{"agent", []Fault{agent}, lost("a", 0, 0), "S3"},
		{"switchover", []Fault{move}, lost("a", -ms, 0), "S3"},

		{"two primaries, one cut off and its agent hangs", []Fault{split, hang}, func(s *Seen) { s.Dual, s.DualNodes = 2*sec, []string{"b", "a"} }, ""},
		{"the same for too long", []Fault{split, hang}, func(s *Seen) { s.Dual, s.DualNodes = 4*sec, []string{"b", "a"} }, "S1"},
		{"two primaries, one cut off and its agent killed", []Fault{split, agent}, func(s *Seen) { s.Dual, s.DualNodes = ms, []string{"b", "a"} }, "S1"},
		{"two primaries, the agent of neither hangs", []Fault{split, hang}, func(s *Seen) { s.Dual, s.DualNodes = ms, []string{"b", "c"} }, "S1"},
		{"cut, its agent hangs, another one was primary", []Fault{split, hang}, func(s *Seen) {
			s.Lost = []LostWrite{{At: at(3 * sec), By: "a", Until: at(3100 * ms), Since: "b"}}
		}, ""},
		{"the same, later", []Fault{split, hang}, func(s *Seen) {
			s.Lost = []LostWrite{{At: at(4 * sec), By: "a", Until: at(4 * sec), Since: "b"}}
		}, "S1"},

		{"a host wakes up", []Fault{asleep}, func(s *Seen) { s.Dual, s.DualNodes = 100*ms, []string{"b", "a"} }, ""},
		{"a host wakes up for too long", []Fault{asleep}, func(s *Seen) { s.Dual, s.DualNodes = 200*ms, []string{"b", "a"} }, "S1"},
		{"a host wakes up, others disagree", []Fault{asleep}, func(s *Seen) { s.Dual, s.DualNodes = ms, []string{"b", "c"} }, "S1"},
		{"a host wakes up, and what it took then", []Fault{asleep}, func(s *Seen) {
			s.Lost = []LostWrite{{At: at(4050 * ms), By: "a", Until: at(4050 * ms), Since: "b"}}
		}, ""},
		{"a host wakes up, and what it took later", []Fault{asleep}, func(s *Seen) {
			s.Lost = []LostWrite{{At: at(4200 * ms), By: "a", Until: at(4200 * ms), Since: "b"}}
		}, "S1"},

		{"VIP twice", []Fault{crash}, overlap(sec), "S4"},
		{"VIP twice, one cut off with its agent alive", []Fault{split}, overlap(sec), "S4"},
		{"VIP twice, one cut off and its agent hangs", []Fault{split, hang}, overlap(2 * sec), ""},
		{"VIP twice, one cut off and its agent killed, healed", []Fault{split, agent}, overlap(11 * sec), "S4"},
		{"VIP twice, of one that has handed over", []Fault{move}, func(s *Seen) {
			s.Handovers, s.Overlaps = []Handover{{"a", at(50 * ms)}}, []Overlap{{at(300 * ms), []string{"a", "b"}}}
		}, ""},
		{"VIP twice, of one that handed over long ago", []Fault{move}, func(s *Seen) {
			s.Handovers, s.Overlaps = []Handover{{"a", at(50 * ms)}}, []Overlap{{at(450 * ms), []string{"a", "b"}}}
		}, "S4"},
		{"VIP twice, before it has handed over", []Fault{move}, func(s *Seen) {
			s.Handovers, s.Overlaps = []Handover{{"a", at(450 * ms)}}, []Overlap{{at(300 * ms), []string{"a", "b"}}}
		}, "S4"},
		{"VIP twice, and another one has handed over", []Fault{move}, func(s *Seen) {
			s.Handovers, s.Overlaps = []Handover{{"c", at(50 * ms)}}, []Overlap{{at(60 * ms), []string{"a", "b"}}}
		}, "S4"},
		{"VIP twice, agent hangs", []Fault{hang}, overlap(2 * sec), "S4"},
		{"VIP kept", []Fault{split}, held("a", -sec, 4*sec), "S4"},
		{"VIP let go", []Fault{split}, held("a", -sec, 900*ms), ""},
		{"VIP kept, agent hangs", []Fault{split, hang}, held("a", -sec, 6*sec), ""},
		{"VIP back after healing", []Fault{split}, held("a", 9100*ms, 12*sec), ""},
		{"VIP held by another", []Fault{split}, held("b", sec, 12*sec), ""},

		{"redis-server ended with its agent", []Fault{agent}, restarted, "S5"},
		{"redis-server ended by the fault", []Fault{crash}, restarted, ""},
		{"redis-server ended elsewhere", []Fault{faultAt("redis-server killed", Successor, "b", 0)}, restarted, "S5"},

		{"false failover", []Fault{agent}, moved, "false failover"},
		{"false failover for a replica", []Fault{faultAt("power loss", Replica, "c", sec)}, moved, "false failover"},
		{"failover", []Fault{crash}, moved, ""},
		{"false failover with a second fault", []Fault{agent, faultAt("redis-server killed", Successor, "b", 0)}, moved, "false failover"},
		{"failover with a second fault", []Fault{agent, crash}, moved, ""},
		{"switched over", []Fault{move}, moved, ""},

		{"sat out", []Fault{split}, func(s *Seen) { s.Downtime = 9 * sec }, "write downtime"},
		{"a disk that hangs", []Fault{faultAt("disk hangs", Primary, "a", 15*sec)}, func(s *Seen) { s.Downtime = 5 * sec }, ""},
		{"a disk that hangs, sat out", []Fault{faultAt("disk hangs", Primary, "a", 15*sec)}, func(s *Seen) { s.Downtime = 7 * sec }, "write downtime"},
		{"blackout sat out", []Fault{dark}, func(s *Seen) { s.Downtime = 6 * sec }, ""},
		{"a crash takes too long", []Fault{crash}, func(s *Seen) { s.Downtime = 500 * ms }, "write downtime"},
		{"a replica's crash is felt", []Fault{faultAt("redis-server killed", Successor, "b", 0)}, func(s *Seen) { s.Downtime = 350 * ms }, "write downtime"},
		{"two crashes", []Fault{crash, faultAt("redis-server killed", Successor, "b", 0)}, func(s *Seen) { s.Downtime = 450 * ms }, ""},
		{"two replicas' crashes are felt", []Fault{faultAt("redis-server killed", Replica, "c", 0), faultAt("redis-server killed", Successor, "b", 0)},
			func(s *Seen) { s.Downtime = 350 * ms }, "write downtime"},
		{"a majority is away", []Fault{power, faultAt("power loss", Replica, "c", 8*sec)}, func(s *Seen) { s.Downtime = 10 * sec }, ""},
		{"a majority is back long since", []Fault{power, faultAt("power loss", Replica, "c", 8*sec)}, func(s *Seen) { s.Downtime = 14 * sec }, "write downtime"},
		{"a composed round of its own", []Fault{crash}, func(s *Seen) { s.Downtime, s.Extra = 3*sec, 3*sec }, ""},
		{"a script", []Fault{script}, func(s *Seen) { s.Downtime = 3200 * ms }, ""},
		{"a script and more", []Fault{script}, func(s *Seen) { s.Downtime = 3500 * ms }, "write downtime"},

		{"whole at last", []Fault{crash}, func(s *Seen) { s.TimeToHealth = 13 * sec }, "whole again only"},
		{"whole after a blackout", []Fault{dark}, func(s *Seen) { s.TimeToHealth = 13 * sec }, ""},
		{"a setting", []Fault{crash}, func(s *Seen) { s.Settings = []string{"x"} }, "owned"},
		{"the VIP leads nowhere", []Fault{crash}, func(s *Seen) { s.VIP = "x" }, "S4"},

		{"killed for nothing", []Fault{agent}, func(s *Seen) { s.Killed = []Kill{{"a", at(sec), "x"}} }, "S5"},
		{"killed since it hangs", []Fault{faultAt("redis-server hangs", Primary, "a", 3*sec)}, func(s *Seen) { s.Killed = []Kill{{"a", at(sec), "x"}} }, ""},
		{"another one is killed", []Fault{faultAt("redis-server hangs", Primary, "a", 3*sec)}, func(s *Seen) { s.Killed = []Kill{{"b", at(sec), "x"}} }, "S5"},

		{"an agent crashes", []Fault{hang}, func(s *Seen) { s.Crashed = []Crash{{Host: "a", Why: "code=exited"}} }, "the agent of a"},
		{"an agent hangs by itself", []Fault{crash}, func(s *Seen) { s.Crashed = []Crash{{Host: "a", Watchdog: true}} }, "the agent of a"},
		{"another one hangs", []Fault{hang}, func(s *Seen) { s.Crashed = []Crash{{Host: "b", Watchdog: true}} }, "the agent of b"},
		{"an agent hangs", []Fault{hang}, func(s *Seen) { s.Crashed = []Crash{{Host: "a", Watchdog: true}} }, ""},
		{"killed since it cannot be fenced", []Fault{split, script}, func(s *Seen) { s.Killed = []Kill{{"a", at(sec), "x"}} }, ""},
		{"killed since it is alone and cannot be fenced", []Fault{script, faultAt("network silent", Successor, "b", 3*sec), faultAt("reboot", Replica, "c", 3*sec)},
			func(s *Seen) { s.Killed = []Kill{{"a", at(sec), "x"}}; s.After = "b" }, ""},
		{"killed though there is a majority", []Fault{script, faultAt("network silent", Successor, "b", 3*sec)}, func(s *Seen) { s.Killed = []Kill{{"a", at(sec), "x"}} }, "S5"},
		{"killed though it could be fenced", []Fault{agent, script}, func(s *Seen) { s.Killed = []Kill{{"a", at(sec), "x"}} }, "S5"},
		{"what a replica had", []Fault{crash}, func(s *Seen) { s.Waited = 1 }, "S3"},
		{"what a replica had that is gone, too", []Fault{crash, faultAt("redis-server killed", Successor, "b", 0)}, func(s *Seen) { s.Waited = 1 }, ""},

		{"an old primary goes on", []Fault{crash}, func(s *Seen) {
			s.Usurped = []Usurped{{Host: "a", Primary: "b", Since: at(sec), First: at(2 * sec), Last: at(2 * sec)}}
		}, "S1"},
		{"an old primary goes on, its agent hangs and it is cut off", []Fault{split, hang},
			func(s *Seen) {
				s.Usurped = []Usurped{{Host: "a", Primary: "b", Since: at(sec), First: at(2 * sec), Last: at(3 * sec)}}
			}, ""},
		{"the same for too long", []Fault{split, hang},
			func(s *Seen) {
				s.Usurped = []Usurped{{Host: "a", Primary: "b", Since: at(sec), First: at(2 * sec), Last: at(5 * sec)}}
			}, "S1"},
		{"a host wakes up after another became the primary", []Fault{asleep},
			func(s *Seen) {
				s.Usurped = []Usurped{{Host: "a", Primary: "b", Since: at(sec), First: at(4010 * ms), Last: at(4100 * ms)}}
			}, ""},

		{"blackout, too long", []Fault{dark}, func(s *Seen) { s.Downtime = 40 * sec }, "write downtime"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fine(c.faults...)
			c.seen(&s)
			got := strings.Join(Check(s), "\n")
			if (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestUsurped(t *testing.T) {
	reigns := []Reign{{"a", 1, at(0)}, {"b", 2, at(sec)}, {"a", 3, at(5 * sec)}}
	write := func(host string, sent, acked time.Duration) ack { return ack{host, at(sent), at(acked)} }
	for _, c := range []struct {
		name string
		acks []ack
		want int
	}{
		{"none", nil, 0},
		{"the primary's", []ack{write("a", 10*ms, 11*ms), write("b", 1100*ms, 1101*ms), write("a", 5100*ms, 5101*ms)}, 0},
		{"sent before, acknowledged after", []ack{write("a", 990*ms, 1100*ms)}, 0},
		{"sent after", []ack{write("a", 1001*ms, 1002*ms)}, 1},
		{"long after, once", []ack{write("b", 1100*ms, 1101*ms), write("a", 3*sec, 3001*ms), write("b", 3200*ms, 3201*ms)}, 1},
		{"before its agent has said so", []ack{write("b", 900*ms, 901*ms)}, 0},
		{"before anybody has said so", []ack{write("c", -sec, -sec)}, 0},
		{"who is never the primary", []ack{write("c", 2*sec, 2*sec), write("c", 2100*ms, 2100*ms)}, 1},
		{"not known", []ack{write("", 2*sec, 2*sec)}, 0},
	} {
		if got := usurped(c.acks, reigns); len(got) != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestChronicle(t *testing.T) {
	const journal = `2026-11-21T21:04:50.123456+0000 redisd[71]: level=INFO msg="lease held: this node is the primary" term=7
2026-11-21T21:04:51.000000+0000 redisd[71]: level=WARN msg="redis-server is killed" why="no answer for 500ms"
2026-11-21T21:04:52.000000+0000 redisd[71]: level=WARN msg="lease lost" term=7 released=true
2026-11-21T21:04:53.000000+0000 systemd[1]: redisd.service: Main process exited, code=killed, status=9/KILL
2026-11-21T21:04:54.000000+0000 systemd[1]: redisd.service: Main process exited, code=exited, status=2/INVALIDARGUMENT
2026-11-21T21:04:55.000000+0000 systemd[1]: redisd.service: Watchdog timeout (limit 2s)!
2026-11-21T21:04:56.000000+0000 systemd[1]: redisd.service: Main process exited, code=killed, status=11/SEGV
2026-11-21T21:04:57.000000+0000 redisd[71]: level=INFO msg="handed over" node=a to=b
2026-11-21T21:04:58.000000+0000 redisd[71]: level=WARN msg="action did not work; it is tried again as long as it is needed" node=a action="release lease: handed over to b" error="save the election's state: read-only file system"
2026-11-21T21:04:59.000000+0000 redisd[71]: level=WARN msg="action did not work; it is tried again as long as it is needed" node=a action="release lease: handed over to b" error="not in sync"
no stamp
`
	said := chronicle("a", journal)
	reigns, kills, crashes := said.reigns, said.kills, said.crashes
	if h := said.handovers; len(h) != 2 || h[0].At.Second() != 57 || h[1].At.Second() != 58 {
		t.Errorf("%+v", said.handovers)
	}
	if len(crashes) != 3 || crashes[0].Watchdog || !crashes[1].Watchdog || crashes[2].Watchdog {
		t.Errorf("%+v", crashes)
	}
	if len(reigns) != 1 || reigns[0].Term != 7 || reigns[0].At.Nanosecond() != 123456000 || len(kills) != 1 || kills[0].Why != "no answer for 500ms" {
		t.Errorf("%v %v", reigns, kills)
	}
}

func TestTable(t *testing.T) {
	var table Table
	add := func(r Round, s Seen, violations ...string) { table.Add(Schedule{}.result(r, s, violations)) }
	one := Round{Number: 1, Steps: []Step{{Kind: "power loss", On: Primary}}}
	for _, still := range []time.Duration{700 * ms, 900 * ms, 2 * sec} {
		add(one, Seen{Before: "a", After: "b", Downtime: still, Healthy: true, TimeToHealth: sec, Acked: 10, Lost: make([]LostWrite, 2)})
	}
	add(Round{Steps: []Step{{Kind: "agent killed"}, {Kind: "agent killed"}}}, Seen{Before: "a", After: "a"}, "x")
	add(Round{Name: "full and lost", Steps: make([]Step, 2)}, Seen{Before: "a", After: "a", Downtime: 100 * ms, Acked: 1, Healthy: true, TimeToHealth: sec})
	for _, want := range []string{
		"| power loss (primary) | 3 | 900 ms | 2.0 s | 6 | 30 | 0 ms | 3 | 1.0 s | 1.0 s | 0 |",
		"| full and lost | 1 | 100 ms | 100 ms | 0 | 1 | 0 ms | 0 | 1.0 s | 1.0 s | 0 |",
		"| two of these at once | 1 | 0 ms | 0 ms | 0 | 0 | 0 ms | 0 | 0 ms | 0 ms | 1 |",
	} {
		if !strings.Contains(table.String(), want+"\n") {
			t.Errorf("no line %s in\n%s", want, &table)
		}
	}
}

func TestTableWrite(t *testing.T) {
	var table Table
	for _, kind := range []string{"switchover", "agent killed"} {
		table.Add(Result{Row: rowName(Round{Steps: []Step{{Kind: kind, On: Primary}}})})
	}
	if text := table.String(); strings.Index(text, "agent killed") > strings.Index(text, "switchover") {
		t.Errorf("not in the order of the catalogue:\n%s", text)
	}
	table.Add(Result{Row: "both"})
	marked := func(alone, together string) string {
		return "<!-- one at a time -->\n" + alone + "<!-- end of one at a time -->\n" +
			"<!-- two at once -->\n" + together + "<!-- end of two at once -->\n"
	}
	names := table.names()
	want := marked(table.markdown(names[:2]), table.markdown(names[2:]))
	path := filepath.Join(t.TempDir(), "faults.md")
	for _, c := range []struct{ old, want string }{
		{"", want},
		{"no marks\n", "no marks\n" + want},
		{"a\n" + marked("old\n", "older\n") + "b\n", "a\n" + want + "b\n"},
	} {
		if err := os.WriteFile(path, []byte(c.old), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := table.Write(path); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != c.want {
			t.Errorf("%q became\n%s\nwant\n%s", c.old, got, c.want)
		}
	}
}

func TestRecord(t *testing.T) {
	record := Record(filepath.Join(t.TempDir(), "rounds"))
	if all, err := record.Results(); len(all) > 0 || err != nil {
		t.Fatalf("%v, %v", all, err)
	}
	want := []Result{
		{Schedule: "seed 1", Nodes: 3, Row: "switchover (primary)", Downtime: 20 * ms, Healthy: true, Moved: true},
		{Schedule: "catalogue", Nodes: 5, Row: "blackout", Violations: []string{"not whole again: \"x\"\ny"}},
	}
	for _, r := range want {
		if err := record.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := record.Results()
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
}
