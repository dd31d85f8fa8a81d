package search

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redisd/redisd/election"
)

// Scenario is where a search begins, and what may happen in it.
type Scenario struct {
	Name string
	// Nodes are all, a first; the first Voters of them are the roster of a's term 1, the others
	// have no cluster. With Founders nobody has one.
	Nodes, Voters int
	Founders      []Bootstrapping
	// Rates are how fast clocks go, in thousandths; all 1000 when empty.
	Rates []int
	// Terms is the highest term, Letters how many may be under way before one must come or be lost.
	Terms, Letters int
	// Deaf: nobody's probes of redis-servers are answered, so rule 6 protects nobody, and a
	// redis-server without a live agent counts for nothing.
	Deaf   bool
	Budget Budget
	// Still: walks keep to the budget, and are so many more instead.
	Still bool
	// Starts are what nodes have and are, where it is not the same for all.
	Starts map[election.NodeID]Start
	// Begin are steps, in the words of traces, after which the search begins.
	Begin []string

	ids       []election.NodeID
	renamings []renaming
}

// Bootstrapping is one attempt to found a cluster.
type Bootstrapping struct {
	By     election.NodeID
	Voters []election.NodeID
}

// Start is what a node begins with.
type Start struct {
	Data, Least election.Data
	Witness     bool
	// Cluster is another one, which it is in; the voters are in its roster.
	Cluster string
}

// renaming is an order of the nodes in which they may be written down.
type renaming struct {
	order []int // which node comes at each place
	at    []int8
	ids   []election.NodeID
}

// name is the place of a node, both counted from 1.
func (r renaming) name(i int8) byte {
	if i == 0 {
		return 0
	}
	return byte(r.at[i-1] + 1)
}

func (s *Scenario) rate(i int) int {
	if len(s.Rates) == 0 {
		return 1000
	}
	return s.Rates[i]
}

// Setup says where the search begins, in words.
func (s *Scenario) Setup() string {
	var ids []string
	for _, id := range s.ids {
		ids = append(ids, string(id))
	}
	text := strings.Join(ids, " ")
	if len(s.Founders) > 0 {
		return "nodes " + text + " fresh"
	}
	text = fmt.Sprintf("nodes %s holder=a term=1, each has heard a's first renewal", strings.Join(ids[:s.Voters], " "))
	if s.Voters < s.Nodes {
		text += "; no voters: " + strings.Join(ids[s.Voters:], " ")
	}
	if len(s.Rates) > 0 {
		text += fmt.Sprintf("; clocks go %v/1000", s.Rates)
	}
	return strings.Join(append([]string{text}, s.Begin...), "\n")
}

// prepare names the nodes and finds out which can be told apart.
func (s *Scenario) prepare() {
	s.ids, s.renamings = nil, nil
	for i := range s.Nodes {
		s.ids = append(s.ids, election.NodeID(rune('a'+i)))
	}
	order := make([]int, s.Nodes)
	for i := range order {
		order[i] = i
	}
	s.permute(order, 0)
}

// permute adds each order of the nodes from the k-th on that changes only who of those alike is
// who.
func (s *Scenario) permute(order []int, k int) {
	if k == s.Nodes {
		r := renaming{order: slices.Clone(order), at: make([]int8, s.Nodes)}
		for at, i := range order {
			r.at[i] = int8(at)
			r.ids = append(r.ids, s.ids[i])
		}
		s.renamings = append(s.renamings, r)
		return
	}
	for j := k; j < s.Nodes; j++ {
		if order[j] != k && !s.interchangeable(order[j], k) {
			continue
		}
		order[k], order[j] = order[j], order[k]
		s.permute(order, k+1)
		order[k], order[j] = order[j], order[k]
	}
}

// interchangeable: i and k begin alike. The holder of the first term is like nobody, and neither
// are bootstrap nodes, who name their clusters.
func (s *Scenario) interchangeable(i, k int) bool {
	if i == k {
		return true
	}
	return len(s.Founders) == 0 && i != 0 && k != 0 && (i < s.Voters) == (k < s.Voters) && s.rate(i) == s.rate(k) &&
		s.Starts[s.ids[i]] == s.Starts[s.ids[k]]
}

// start is the first state, nil when what it begins with cannot be: a holds the lease of term 1 and
// everybody has just heard so.
func (s *Scenario) start() *world {
	if s.ids == nil {
		s.prepare()
	}
	w := &world{left: s.Budget}
	st := election.State{ClusterID: "x", Term: 1, Vote: "a", Holder: "a", HolderTerm: 1}
	var voters []election.Voter
	for i := range s.Voters {
		voters = append(voters, election.Voter{ID: s.ids[i]})
	}
	st.Roster = election.NewRoster(1, voters)
	st.Roster.Term = 1
	for i, id := range s.ids {
		n := &node{up: true}
		if i < s.Voters && len(s.Founders) == 0 {
			n.disk = st
			n.data = election.Data{Term: 1, Offset: 1}
		}
		if from, ok := s.Starts[id]; ok {
			if from.Cluster != "" {
				n.disk = st
				n.disk.ClusterID, n.disk.Vote, n.disk.Holder = from.Cluster, "other", "other"
				n.disk.Roster.Voters = append(slices.Clone(voters), election.Voter{ID: id})
			}
			n.data, n.least, n.witness = from.Data, from.Least, from.Witness
		}
		n.e = election.New(id, n.disk, base)
		w.nodes = append(w.nodes, n)
	}
	if len(s.Founders) > 0 {
		return w
	}
	had := slices.Clone(w.nodes)
	w.left.Beats++
	w, _ = s.do(w, action{kind: tick, node: 0})
	for w != nil && len(w.letters) > 0 {
		w, _ = s.do(w, action{kind: deliver, node: w.letters[0].to, letter: w.letters[0]})
	}
	for i := range w.nodes { // what was heard is no dataset yet
		if i > 0 {
			w.touch(i).data = had[i].data
		}
	}
	w.ghost.winner[1] = 1
	for _, text := range s.Begin {
		if w = s.begin(w, text); w == nil {
			return nil
		}
	}
	w.depth, w.path = 0, nil
	return w
}

// begin takes one step of those before the search.
func (s *Scenario) begin(w *world, text string) *world {
	if after, is := strings.CutPrefix(text, "clock "); is {
		if d, err := time.ParseDuration(after); err == nil {
			w, _ = s.elapse(w, d)
			return w
		}
	}
	if lost, is := strings.CutPrefix(text, "drop "); is { // also where there is room for more
		at := slices.IndexFunc(w.letters, func(l *letter) bool { return s.letterText(l) == lost })
		if at < 0 {
			return nil
		}
		c := w.fork()
		c.letters = slices.Delete(c.letters, at, at+1)
		return c
	}
	for _, a := range s.actions(w) {
		if text == s.text(a) {
			if c, err := s.do(w, a); c != nil && err == nil {
				return c
			}
		}
	}
	return nil
}
