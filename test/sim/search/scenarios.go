package search

import (
	"strings"

	"github.com/redisd/redisd/election"
)

// Scenarios are what is searched: each lets few things happen, so that the orders of them can be
// visited, and together they let everything happen.
func Scenarios() []*Scenario {
	all := append(few(), more()...)
	for _, s := range all {
		if s.Voters == 0 {
			s.Voters = s.Nodes
		}
		s.prepare()
	}
	return all
}

// small: one of few.
func (s *Scenario) small() bool { return strings.HasPrefix(s.Name, "few: ") }

// few are scenarios of a fault or two, small enough that every state of them can be visited: of
// most in each run, of all with more time (-search.for=5m).
func few() []*Scenario {
	return []*Scenario{
		// The last steps of what needs many, in one order.
		{Name: "few: a fence lifted again", Nodes: 3, Terms: 2, Letters: 4, Budget: Budget{Claims: 1, Fences: 1, Crashes: 1, Beats: 1},
			Begin: []string{"clock 150ms", "tick a", "deliver a>b renew term=1", "clock 550ms", "# c fences the redis-server of a",
				"deliver b>a renewed term=1", "crash a", "claim c fenced=1"}},
		{Name: "few: a fence, and a late vote", Nodes: 3, Terms: 2, Letters: 6, Budget: Budget{Claims: 1, Fences: 1, Crashes: 1, Beats: 2},
			Begin: []string{"clock 600ms", "tick a", "deliver a>b renew term=1", "deliver b>a renewed term=1", "clock 450ms",
				"# c fences the redis-server of a", "claim c fenced=1", "tick a", "deliver a>b renew term=1", "deliver b>a renewed term=1", "crash a",
				"clock 1050ms"}},
		{Name: "few: a writer nobody knows of", Nodes: 3, Terms: 3, Letters: 2, Budget: Budget{Claims: 2, Releases: 1, Crashes: 1},
			Begin: []string{"release a", "deliver a>b release term=1", "drop a>c release term=1", "claim b", "drop b>a claim term=2",
				"deliver b>c claim term=2", "deliver c>b granted term=2", "drop b>a renew term=2", "drop b>c renew term=2", "crash b", "clock 700ms"}},
		{Name: "few: two clusters", Nodes: 4, Voters: 3, Terms: 2, Letters: 3, Deaf: true, Budget: Budget{Claims: 1},
			Starts: map[election.NodeID]Start{"d": {Cluster: "y", Data: election.Data{Term: 1, Offset: 1}}}},
		{Name: "few: two bootstrap nodes, a crash", Nodes: 3, Terms: 1, Letters: 2, Deaf: true, Budget: Budget{Bootstraps: 2, Crashes: 1},
			Founders: []Bootstrapping{{"a", []election.NodeID{"a", "b"}}, {"c", []election.NodeID{"b", "c"}}}},
		{Name: "few: a change and a beat", Nodes: 3, Voters: 2, Terms: 1, Letters: 3, Deaf: true, Budget: Budget{Changes: 1, Beats: 1, Waits: 1}},
		// All steps.
		{Name: "few: a claim", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1}},
		{Name: "few: a claim, clocks apart", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Rates: []int{950, 1050, 1050}, Budget: Budget{Claims: 1}},
		{Name: "few: two claims", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 2}},
		{Name: "few: a crash", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1, Crashes: 1}},
		{Name: "few: a freeze", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1, Freezes: 1}},
		{Name: "few: a double", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1, Doubles: 1}},
		{Name: "few: a release", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1, Releases: 1}},
		{Name: "few: a fence and a crash", Nodes: 3, Terms: 2, Letters: 2, Budget: Budget{Claims: 1, Fences: 1, Crashes: 1}},
		{Name: "few: a change of two", Nodes: 3, Voters: 2, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1, Changes: 1}},
		{Name: "few: two bootstrap nodes", Nodes: 3, Terms: 1, Letters: 2, Deaf: true, Budget: Budget{Bootstraps: 2},
			Founders: []Bootstrapping{{"a", []election.NodeID{"a", "b"}}, {"c", []election.NodeID{"b", "c"}}}},
		{Name: "few: a bootstrap node", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Bootstraps: 1, Beats: 1, Doubles: 1},
			Founders: []Bootstrapping{{"a", []election.NodeID{"a", "b", "c"}}}},
		{Name: "few: two nodes, a crash", Nodes: 2, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1, Crashes: 1, Beats: 1}},
		{Name: "few: four nodes", Nodes: 4, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1}},
	}
}

// more are scenarios of several faults at once: visited as far as a limit goes, and the ones in
// which walks go further.
func more() []*Scenario {
	some := election.Data{Term: 1, Offset: 1}
	most := election.Data{Term: 1, Offset: 2}
	return []*Scenario{
		// The lease, and who wins it next. With clocks 5 % off, in the way that is worst.
		{Name: "lapse", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1, Beats: 1}},
		{Name: "lapse, clocks apart", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Rates: []int{950, 1050, 1050}, Budget: Budget{Claims: 2}},
		{Name: "rivals", Nodes: 3, Terms: 3, Letters: 2, Deaf: true, Budget: Budget{Claims: 2}},
		{Name: "again", Nodes: 3, Terms: 4, Letters: 3, Deaf: true, Budget: Budget{Claims: 3}},
		{Name: "crash", Nodes: 3, Terms: 3, Letters: 2, Deaf: true, Budget: Budget{Claims: 2, Crashes: 2, Doubles: 1}},
		{Name: "freeze", Nodes: 3, Terms: 3, Letters: 2, Deaf: true, Budget: Budget{Claims: 2, Freezes: 1, Waits: 1}},
		{Name: "release", Nodes: 3, Terms: 2, Letters: 3, Deaf: true, Budget: Budget{Claims: 1, Releases: 1, Doubles: 1}},
		{Name: "fence", Nodes: 3, Terms: 3, Letters: 2, Budget: Budget{Claims: 2, Fences: 1, Crashes: 1, Waits: 1}},
		{Name: "writer without an agent", Nodes: 3, Terms: 3, Letters: 2, Budget: Budget{Claims: 2, Releases: 1, Crashes: 1}},
		{Name: "dead redis-server", Nodes: 3, Terms: 3, Letters: 2, Budget: Budget{Claims: 2, Crashes: 1, Deaths: 1, Releases: 1}},
		{Name: "data", Nodes: 3, Terms: 3, Letters: 2, Deaf: true, Budget: Budget{Claims: 2, Writes: 1},
			Starts: map[election.NodeID]Start{"a": {Data: most}, "b": {Data: most}, "c": {Data: some}}},
		{Name: "empty, and a witness", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 2},
			Starts: map[election.NodeID]Start{"a": {Data: some}, "b": {Data: some, Witness: true}, "c": {}}},
		{Name: "what is known of data", Nodes: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 2},
			Starts: map[election.NodeID]Start{"a": {Data: most}, "b": {Data: some, Least: most, Witness: true}, "c": {Data: some}}},
		// Rosters that grow and shrink.
		{Name: "a change of three", Nodes: 4, Voters: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1, Changes: 1}},
		{Name: "two and two to come", Nodes: 4, Voters: 2, Terms: 3, Letters: 3, Deaf: true, Budget: Budget{Claims: 2, Changes: 2}},
		{Name: "three that change", Nodes: 4, Terms: 3, Voters: 3, Letters: 3, Deaf: true, Budget: Budget{Claims: 2, Changes: 2}},
		{Name: "four, and two to come", Nodes: 6, Voters: 4, Terms: 4, Letters: 3, Deaf: true, Budget: Budget{Claims: 2, Changes: 2}},
		// A voter is lost, and another comes in its place; the order is free.
		{Name: "an exchange", Nodes: 4, Voters: 3, Terms: 2, Letters: 3, Deaf: true, Budget: Budget{Claims: 1, Changes: 2, Crashes: 1, Beats: 2}},
		{Name: "an exchange, half done", Nodes: 4, Voters: 3, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1, Changes: 2, Crashes: 1, Beats: 1},
			Begin: []string{"crash c", "clock 150ms", "tick a", "deliver a>b renew term=1", "deliver b>a renewed term=1", "propose a with or without c"}},
		{Name: "an exchange of five", Nodes: 6, Voters: 5, Terms: 3, Letters: 3, Deaf: true, Still: true, Budget: Budget{Claims: 1, Changes: 2, Crashes: 1, Beats: 4, Waits: 1}},
		// Bugs that need few things in one order: many walks, with nothing else in them.
		{Name: "a fence lifted again", Nodes: 3, Terms: 2, Letters: 2, Still: true, Budget: Budget{Claims: 1, Fences: 1, Crashes: 1, Beats: 2, Waits: 2}},
		{Name: "a writer nobody knows of", Nodes: 3, Terms: 3, Letters: 2, Still: true, Budget: Budget{Claims: 2, Releases: 1, Crashes: 1}},
		{Name: "a roster that two change", Nodes: 6, Voters: 4, Terms: 2, Letters: 3, Deaf: true, Still: true, Budget: Budget{Claims: 1, Changes: 2}},
		{Name: "a voter without its redis-server", Nodes: 3, Terms: 2, Letters: 2, Still: true, Budget: Budget{Claims: 1, Writes: 1, Releases: 1, Deaths: 1, Beats: 1}},
		// Who never claims learns from others, and others from it: what settle is for.
		{Name: "a witness that missed something", Nodes: 3, Terms: 3, Letters: 3, Still: true, Budget: Budget{Claims: 2, Releases: 1, Beats: 1, Waits: 2},
			Starts: map[election.NodeID]Start{"a": {Data: some}, "b": {Data: some, Witness: true}, "c": {Data: some}}},
		{Name: "a bootstrap node that dies", Nodes: 3, Terms: 2, Letters: 4, Deaf: true, Still: true, Budget: Budget{Bootstraps: 1, Beats: 3, Waits: 2},
			Starts:   map[election.NodeID]Start{"a": {Data: some}, "b": {Data: some}, "c": {Data: some}},
			Founders: []Bootstrapping{{"a", []election.NodeID{"a", "b", "c"}}}},
		// Bootstrapping.
		{Name: "bootstrap nodes of two", Nodes: 3, Terms: 2, Letters: 3, Deaf: true, Budget: Budget{Bootstraps: 2, Claims: 1, Crashes: 1},
			Founders: []Bootstrapping{{"a", []election.NodeID{"a", "b"}}, {"c", []election.NodeID{"b", "c"}}}},
		{Name: "bootstrap nodes of three", Nodes: 4, Terms: 2, Letters: 3, Deaf: true, Budget: Budget{Bootstraps: 2, Claims: 1},
			Founders: []Bootstrapping{{"a", []election.NodeID{"a", "b", "c"}}, {"d", []election.NodeID{"b", "c", "d"}}}},
		{Name: "a bootstrap node, written to, and empties", Nodes: 3, Terms: 2, Letters: 4, Deaf: true, Budget: Budget{Bootstraps: 1, Claims: 1, Beats: 3},
			Founders: []Bootstrapping{{"a", []election.NodeID{"a", "b", "c"}}}},
		// All at once.
		{Name: "all", Nodes: 3, Voters: 3, Terms: 3, Letters: 3, Budget: Budget{Doubles: 1, Crashes: 1, Freezes: 1, Fences: 1, Changes: 1, Releases: 1, Waits: 1, Deaths: 1, Writes: 1, Claims: 2, Beats: 1}},
		{Name: "all, and one to come", Nodes: 4, Voters: 3, Terms: 3, Letters: 3, Deaf: true, Budget: Budget{Doubles: 1, Crashes: 1, Freezes: 1, Changes: 1, Releases: 1, Waits: 1, Deaths: 1, Writes: 1, Claims: 2, Beats: 1}},
		{Name: "five nodes", Nodes: 5, Terms: 2, Letters: 2, Deaf: true, Budget: Budget{Claims: 1}},
		{Name: "two nodes", Nodes: 2, Terms: 3, Letters: 2, Deaf: true, Budget: Budget{Claims: 2, Crashes: 1, Doubles: 1}},
	}
}

// Roaming is s with so much more of what happens in it that only walks get about.
func (s *Scenario) Roaming() *Scenario {
	r := *s
	if s.Still {
		return &r
	}
	b := &r.Budget
	for _, n := range []*int8{&b.Doubles, &b.Crashes, &b.Freezes, &b.Fences, &b.Changes, &b.Releases, &b.Deaths, &b.Writes, &b.Claims} {
		*n *= 4
	}
	b.Beats, b.Waits = 40, 20
	r.Terms, r.Letters = mostTerms-1, s.Letters+4
	return &r
}
