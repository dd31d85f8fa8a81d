package election_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/election"
)

var update = flag.Bool("update", false, "write what the scripts in testdata print")

// TestScripts plays testdata/*.txt. A script is a list of commands, one a line, each followed by
// "----" and what it printed, up to an empty line:
//
//	nodes a b c [holder=a term=5 | fresh]  their electors; time is 0
//	clock 100ms                            time passes for all
//	local b [data=5/10] [unknown] [witness] [reachable] [paused] [bootstrap=a]
//	tick a [learner ...]   claim a [fenced=5]   found a b c   withdraw a
//	release a              propose a b c d
//	deliver [a>b] [renew]  the messages under way that match; "all" also what follows
//	drop [a>b] [renew]     lose them        double [a>b] [renew]  deliver, and keep
//	hold a | save a        what a says waits for its disk | the disk is done
//	crash a | restart a    what was not saved is lost, and not said
//	view a ...             what a knows
//
// A line that a command prints is a message now under way, an error, or a view.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(text), got); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		})
	}
}

func play(t *testing.T, text string) string {
	t.Helper()
	s := &script{nodes: map[election.NodeID]*node{}}
	var out bytes.Buffer
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line == "" || strings.HasPrefix(line, "#") {
			fmt.Fprintln(&out, line)
			continue
		}
		s.printed = nil
		if err := s.do(strings.Fields(line)); err != nil {
			t.Fatalf("line %d: %s: %v", i+1, line, err)
		}
		fmt.Fprintf(&out, "%s\n----\n", line)
		for _, p := range s.printed {
			fmt.Fprintln(&out, p)
		}
		for i+1 < len(lines) && lines[i+1] != "" { // the old output
			i++
		}
	}
	return out.String()
}

type script struct {
	now      election.Time
	nodes    map[election.NodeID]*node
	underWay []letter
	printed  []string
}

type node struct {
	id    election.NodeID
	e     *election.Elector // nil: crashed
	disk  election.State
	local election.Local
	held  bool
	out   []election.Envelope
}

type letter struct {
	from, to election.NodeID
	m        election.Message
}

func (l letter) String() string {
	head := fmt.Sprintf("%s>%s ", l.from, l.to)
	roster := func(r election.Roster) string {
		var ids []string
		for _, v := range r.Voters {
			ids = append(ids, string(v.ID))
		}
		return fmt.Sprintf("roster=%d.%d[%s]", r.Term, r.Version, strings.Join(ids, " "))
	}
	flags := func(on map[string]bool) string {
		var s string
		for _, k := range []string{"bootstrap", "holding"} {
			if on[k] {
				s += " " + k
			}
		}
		return s
	}
	switch m := l.m.(type) {
	case election.Renew:
		return head + fmt.Sprintf("renew term=%d %s", m.Term, roster(m.Roster)) + flags(map[string]bool{"bootstrap": m.Bootstrapping})
	case election.RenewReply:
		if m.Granted {
			return head + fmt.Sprintf("renewed term=%d roster=%d.%d", m.Term, m.RosterTerm, m.RosterVersion) + flags(map[string]bool{"bootstrap": m.Bootstrapping})
		}
		return head + fmt.Sprintf("not-renewed term=%d highest=%d", m.Term, m.Highest)
	case election.Claim:
		s := head + fmt.Sprintf("claim term=%d %s data=%d/%d", m.Term, roster(m.Roster), m.Data.Term, m.Data.Offset)
		if m.Fenced != 0 {
			s += fmt.Sprintf(" fenced=%d", m.Fenced)
		}
		return s + flags(map[string]bool{"bootstrap": m.Bootstrapping, "holding": m.Holding})
	case election.ClaimReply:
		if m.Granted {
			return head + fmt.Sprintf("granted term=%d", m.Term)
		}
		s := head + fmt.Sprintf("denied term=%d highest=%d: %s", m.Term, m.Highest, m.Denied)
		if m.Roster != nil {
			s += " " + roster(*m.Roster)
		}
		return s
	case election.Release:
		return head + fmt.Sprintf("release term=%d", m.Term)
	}
	return head + "?"
}

func (s *script) do(f []string) error {
	switch f[0] {
	case "nodes":
		return s.create(f[1:])
	case "clock":
		d, err := time.ParseDuration(f[1])
		s.now += d
		return err
	case "deliver", "drop", "double":
		return s.carry(f[0], f[1:])
	case "view":
		for _, id := range f[1:] {
			s.view(election.NodeID(id))
		}
		return nil
	}
	n := s.nodes[election.NodeID(f[1])]
	if n == nil {
		return fmt.Errorf("no node %s", f[1])
	}
	switch f[0] {
	case "crash":
		n.e, n.out, n.held = nil, nil, false
		return nil
	case "restart":
		n.e = election.New(n.id, n.disk, s.now)
		return nil
	case "local":
		return s.setLocal(n, f[2:])
	case "hold":
		n.held = true
		return nil
	case "save":
		n.held = false
		s.after(n, nil)
		return nil
	}
	if n.e == nil {
		return fmt.Errorf("%s has crashed", n.id)
	}
	return s.act(n, f)
}

func (s *script) act(n *node, f []string) error {
	var rest []election.NodeID
	var voters []election.Voter
	for _, id := range f[2:] {
		rest = append(rest, election.NodeID(id))
		voters = append(voters, election.Voter{ID: election.NodeID(id)})
	}
	switch f[0] {
	case "tick":
		s.after(n, n.e.Tick(s.now, rest))
	case "claim":
		var fenced uint64
		if len(f) > 2 {
			var err error
			if fenced, err = strconv.ParseUint(strings.TrimPrefix(f[2], "fenced="), 10, 64); err != nil {
				return err
			}
		}
		out := n.e.Claim(s.now, n.local, election.Term(fenced))
		if v := n.e.View(s.now); len(out) == 0 && v.Denials[n.id] != "" {
			s.printf("%s denies itself: %s", n.id, v.Denials[n.id])
		}
		s.after(n, out)
	case "found":
		local := n.local
		local.BootstrapNode = n.id
		s.after(n, n.e.Bootstrap(s.now, local, "cluster-of-"+f[1], append(voters, election.Voter{ID: n.id})))
	case "withdraw":
		s.after(n, n.e.Withdraw(s.now))
	case "release":
		s.after(n, n.e.Release(s.now, "asked"))
	case "propose":
		if err := n.e.Propose(s.now, voters); err != nil {
			s.printf("error: %v", err)
			return nil
		}
		s.after(n, n.e.Tick(s.now, nil))
	default:
		return fmt.Errorf("no such command")
	}
	return nil
}

func (s *script) printf(format string, args ...any) {
	s.printed = append(s.printed, fmt.Sprintf(format, args...))
}

// after puts what a node said under way once its disk is done.
func (s *script) after(n *node, out []election.Envelope) {
	n.out = append(n.out, out...)
	if n.held {
		return
	}
	if st, unsaved := n.e.Unsaved(); unsaved {
		n.disk = st
		n.e.Saved()
	}
	for _, env := range n.out {
		l := letter{n.id, env.To, env.Message}
		s.underWay = append(s.underWay, l)
		s.printf("%s", l)
	}
	n.out = nil
}

func (s *script) create(f []string) error {
	var ids []election.NodeID
	st := election.State{ClusterID: "cluster"}
	for _, w := range f {
		k, v, ok := strings.Cut(w, "=")
		switch {
		case w == "fresh":
			st.ClusterID = ""
		case !ok:
			ids = append(ids, election.NodeID(w))
		case k == "holder":
			st.Holder, st.Vote = election.NodeID(v), election.NodeID(v)
		case k == "term":
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				return err
			}
			st.Term, st.HolderTerm = election.Term(n), election.Term(n)
		}
	}
	if st.ClusterID != "" {
		var voters []election.Voter
		for _, id := range ids {
			voters = append(voters, election.Voter{ID: id})
		}
		st.Roster = election.NewRoster(1, voters)
		st.Roster.Term = st.Term
	}
	for _, id := range ids {
		n := &node{id: id, disk: st, e: election.New(id, st, 0)}
		n.local = election.Local{Candidate: true, Data: election.Data{Term: st.Term, Offset: 10}}
		s.nodes[id] = n
	}
	return nil
}

func (s *script) setLocal(n *node, f []string) error {
	n.local = election.Local{Candidate: true, Data: n.local.Data}
	for _, w := range f {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "data":
			if _, err := fmt.Sscanf(v, "%d/%d", &n.local.Data.Term, &n.local.Data.Offset); err != nil {
				return err
			}
		case "witness":
			n.local.Candidate = false
		case "reachable":
			n.local.Reachable = true
		case "paused":
			n.local.Paused = true
		case "bootstrap":
			n.local.BootstrapNode = election.NodeID(v)
		default:
			return fmt.Errorf("no such word: %s", w)
		}
	}
	return nil
}

func (s *script) carry(how string, f []string) error {
	all := slices.Contains(f, "all")
	matches := func(l letter) bool {
		return !slices.ContainsFunc(f, func(w string) bool {
			return w != "all" && !slices.Contains(strings.Fields(l.String()), w)
		})
	}
	for {
		var now, keep []letter
		for _, l := range s.underWay {
			if matches(l) {
				now = append(now, l)
			}
			if !matches(l) || how == "double" {
				keep = append(keep, l)
			}
		}
		s.underWay = keep
		if how != "drop" {
			for _, l := range now {
				if n := s.nodes[l.to]; n != nil && n.e != nil {
					s.after(n, n.e.Step(s.now, l.m, n.local))
				}
			}
		}
		if !all || len(now) == 0 {
			return nil
		}
	}
}

func (s *script) view(id election.NodeID) {
	n := s.nodes[id]
	if n == nil || n.e == nil {
		s.printf("%s: crashed", id)
		return
	}
	v := n.e.View(s.now)
	line := fmt.Sprintf("%s: term=%d holder=%s/%d roster=%d.%d", id, v.Term, v.Holder, v.HolderTerm, v.Roster.Term, v.Roster.Version)
	for _, x := range v.Roster.Voters {
		line += " " + string(x.ID)
	}
	if v.Lease {
		line += fmt.Sprintf(" lease=%v", v.LeaseUntil-s.now)
	}
	for _, x := range []struct {
		name string
		on   bool
	}{{"released", v.Released}, {"claiming", v.Claiming}, {"nudged", v.Nudged}, {"overtaken", v.Overtaken}, {"bootstrap", v.Bootstrapping}} {
		if x.on {
			line += " " + x.name
		}
	}
	s.printf("%s", line)
}
