package search

import (
	"flag"
	"strings"
	"testing"
	"time"
)

var (
	only   = flag.String("search.only", "", "the scenarios whose names contain this")
	nodes  = flag.Int("search.nodes", 0, "the scenarios of so many nodes")
	depth  = flag.Int("search.depth", 0, "so many steps at most")
	terms  = flag.Int("search.terms", 0, "so many terms, instead of each scenario's")
	claims = flag.Int("search.claims", 0, "so many claims, instead of each scenario's")
	lasts  = flag.Duration("search.for", 0, "so long for each scenario")
	walks  = flag.Uint64("search.walks", 400, "so many walks at random in each scenario")
	states = flag.Int("search.states", 400_000, "so many states of each small scenario, a twentieth of the others")
	from   = flag.Uint64("search.from", 1, "the seed of the first walk")
)

func chosen() []*Scenario {
	var out []*Scenario
	for _, s := range Scenarios() {
		if !strings.Contains(s.Name, *only) || *nodes != 0 && s.Nodes != *nodes {
			continue
		}
		if *terms != 0 {
			s.Terms = min(*terms, mostTerms-1)
		}
		if *claims != 0 {
			s.Budget.Claims = int8(*claims)
		}
		out = append(out, s)
	}
	return out
}

func report(t *testing.T, r Result) {
	t.Helper()
	if r.Err != nil {
		t.Fatalf("%s: %v\n%s", r.Scenario, r.Err, strings.Join(r.Trace, "\n"))
	}
}

// TestBegin: what scenarios begin with is possible. Searches pass over what is not, as it is no
// fault of the election when a mutant has no such moment.
func TestBegin(t *testing.T) {
	for _, s := range Scenarios() {
		if s.start() == nil {
			t.Errorf("%s: not all of %q can be done", s.Name, s.Begin)
		}
	}
}

// TestSearch visits every state of each scenario, within its bounds.
func TestSearch(t *testing.T) {
	for _, s := range chosen() {
		t.Run(s.Name, func(t *testing.T) {
			l := Limits{States: *states, Depth: *depth}
			if !s.small() {
				l.States /= 20
			}
			if *lasts != 0 {
				l.For, l.States = *lasts, 0
			}
			r := Run(s, l)
			t.Log(r)
			report(t, r)
		})
	}
}

// TestWalks goes far where the search cannot see everything.
func TestWalks(t *testing.T) {
	for _, s := range chosen() {
		if s.small() {
			continue // the search sees all of it
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			steps, began := 0, time.Now()
			roaming := s.Roaming()
			n := *walks
			if s.Still {
				n *= 10
			}
			for i := range n {
				r := Walk(roaming, *from+i, Limits{Depth: 300})
				steps += r.Transitions
				if r.Err != nil {
					t.Logf("seed %d, after %d steps", *from+i, steps)
				}
				report(t, r)
			}
			t.Logf("%d walks, %d steps in %v", n, steps, time.Since(began).Round(time.Millisecond))
		})
	}
}
