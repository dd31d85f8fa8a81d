package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestScheduleIsTheSeeds(t *testing.T) {
	for seed := range uint64(50) {
		long := New(seed, 80)
		if d := cmp.Diff(long, New(seed, 80)); d != "" {
			t.Fatalf("seed %d: two schedules:\n%s", seed, d)
		}
		if d := cmp.Diff(long.Rounds[:10], New(seed, 10).Rounds); d != "" {
			t.Fatalf("seed %d: more rounds change the first ones:\n%s", seed, d)
		}
	}
	if cmp.Equal(New(1, 10), New(2, 10)) {
		t.Error("two seeds, one schedule")
	}
}

func TestScheduleHasEverything(t *testing.T) {
	const enough = 120
	sizes, singles, pairs, triples := map[int]int{}, 0, 0, 0
	for seed := range uint64(60) {
		s := New(seed, enough)
		sizes[s.Nodes]++
		seen := map[string]bool{}
		for _, r := range s.Rounds {
			for _, step := range r.Steps {
				seen[step.Kind] = true
				if k := kindOf(step.Kind); k == nil || step.For < k.least || step.For > k.most || !slices.Contains(k.on, step.On) {
					t.Errorf("seed %d round %d: %+v is not as the catalogue has it", seed, r.Number, step)
				}
			}
			alone := slices.ContainsFunc(r.Steps, func(s Step) bool { return kindOf(s.Kind).alone })
			switch {
			case len(r.Steps) == 1:
				singles++
			case alone:
				t.Errorf("seed %d round %d: %s: one of them is to be alone", seed, r.Number, r)
			case len(r.Steps) == 2:
				pairs++
			default:
				triples++
			}
		}
		if len(seen) != len(kinds) {
			t.Errorf("seed %d: %d of %d kinds in %d rounds", seed, len(seen), len(kinds), enough)
		}
	}
	if sizes[3] < sizes[4]+sizes[5]+sizes[7] || sizes[4] == 0 || sizes[5] == 0 || sizes[7] == 0 {
		t.Errorf("nodes of clusters: %v", sizes)
	}
	if triples == 0 || pairs < triples || singles < pairs {
		t.Errorf("%d rounds of one fault, %d of two, %d of three", singles, pairs, triples)
	}
}

func TestEveryKindCanBeDone(t *testing.T) {
	for _, k := range kinds {
		if injectors[k.name] == nil {
			t.Errorf("nobody knows how to do %q", k.name)
		}
	}
	if len(injectors) != len(kinds) {
		t.Errorf("%d ways to do %d kinds", len(injectors), len(kinds))
	}
	for _, r := range Short().Rounds {
		for _, step := range r.Steps {
			if k := kindOf(step.Kind); k == nil || !slices.Contains(k.on, step.On) {
				t.Errorf("the short schedule has %+v, the catalogue has not", step)
			}
		}
	}
}

func TestGoTogether(t *testing.T) {
	on := func(name string, place Place) card { return card{kindOf(name), place} }
	for _, c := range []struct {
		a, b card
		want bool
	}{
		{on("redis-server killed", Primary), on("agent killed", Primary), true},
		{on("redis-server killed", Primary), on("redis-server hangs", Primary), false},
		{on("redis-server killed", Primary), on("redis-server killed", Successor), true},
		{on("power loss", Primary), on("agent killed", Primary), false},
		{on("power loss", Primary), on("power loss", Replica), true},
		{on("disk full", Primary), on("disk hangs", Primary), false}, // filling it would hang this process
		{on("blackout", Everyone), on("agent killed", Primary), false},
		{on("switchover", Primary), on("reboot", Primary), false},
		{on("switchover", Primary), on("disk full", Primary), true},
		{on("full resync", Replica), on("rewrite after a full copy", Successor), false},
		{on("clients paused", Primary), on("fence set", Primary), true},
	} {
		if got := goTogether(c.a, c.b); got != c.want {
			t.Errorf("%s on the %s and %s on the %s: %v", c.a.kind.name, c.a.on, c.b.kind.name, c.b.on, got)
		}
		if goTogether(c.b, c.a) != c.want {
			t.Errorf("%s and %s: the order makes a difference", c.a.kind.name, c.b.kind.name)
		}
	}
}

func TestPart(t *testing.T) {
	for text, want := range map[string][2]int{"20": {1, 20}, "7-9": {7, 9}, "3-3": {3, 3}, "": {}, "0": {}, "9-7": {}, "x": {}, "-3": {}} {
		from, n, err := Part(text)
		if [2]int{from, n} != want || (err != nil) != (want == [2]int{}) {
			t.Errorf("Part(%q) = %d, %d, %v", text, from, n, err)
		}
	}
}

func TestCatalogue(t *testing.T) {
	once, twice := Catalogue(1), Catalogue(2)
	if len(once.Rounds) != len(cards())+len(quiet())+len(composed) || len(twice.Rounds) != 2*len(once.Rounds) {
		t.Fatalf("%d rounds, and %d", len(once.Rounds), len(twice.Rounds))
	}
	for i, r := range twice.Rounds {
		if r.Number != i+1 || r.String() != once.Rounds[i%len(once.Rounds)].String() {
			t.Errorf("round %d: %d %s", i+1, r.Number, r)
		}
		for _, step := range r.Steps {
			if k := kindOf(step.Kind); k == nil || step.For < k.least || step.For > k.most || !slices.Contains(k.on, step.On) {
				t.Errorf("%s: %+v is not as the catalogue has it", r, step)
			}
		}
		if (len(r.Steps) > 1) != (r.Name != "") || r.Steps[0].Then {
			t.Errorf("%s: named %q", r, r.Name)
		}
	}
	for pattern, want := range map[string]int{"": len(once.Rounds), "^power loss on the primary for 5": 1, "while a replica": 1, "no such": 0, "(": 0} {
		s, err := once.Only(pattern)
		if (err != nil) != (want == 0) || want > 0 && len(s.Rounds) != want {
			t.Errorf("ONLY=%s: %d rounds, %v", pattern, len(s.Rounds), err)
		}
	}
	for text, want := range map[string]int{"each": 1, "each*3": 3, "20": 0, "": 0, "each3": -1, "each*": -1, "each*0": -1} {
		if n, err := Times(text); (err != nil) != (want < 0) || want >= 0 && n != want {
			t.Errorf("Times(%q) = %d, %v", text, n, err)
		}
	}
}

func TestParseRound(t *testing.T) {
	rounds := Catalogue(1).Rounds
	for seed := range uint64(20) {
		rounds = append(rounds, New(seed, 50).Rounds...)
	}
	for _, r := range rounds {
		got, err := ParseRound(r.String())
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(r.Steps, got.Steps); d != "" || r.Quiet != got.Quiet {
			t.Errorf("%s:\n%s", r, d)
		}
	}
	for _, r := range composed {
		if got, err := ParseRound(r.Name); err != nil || !cmp.Equal(got, r) {
			t.Errorf("%s is %v, %v", r.Name, got, err)
		}
	}
	for _, text := range []string{"", "rain", "power loss on the primary for ever", "power loss on the primary, soon later", "power loss on the primary; and rain"} {
		if r, err := ParseRound(text); err == nil {
			t.Errorf("%q is %v", text, r)
		}
	}
	if _, err := Found(); err != nil {
		t.Error(err)
	}
}

func TestAsked(t *testing.T) {
	env := func(values map[string]string) func(string) string {
		return func(name string) string { return values[name] }
	}
	s, err := wanted(env(map[string]string{"SEED": "3", "ROUNDS": "2-4", "NODES": "7"}))
	if err != nil || s.Nodes != 7 || len(s.Rounds) != 3 || replay(s, s.Rounds[2]) != "make chaos SEED=3 ROUNDS=2-4 NODES=7" {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = wanted(env(map[string]string{"ROUNDS": "each:21-40", "NODES": "5"}))
	if err != nil || len(s.Rounds) != 20 || s.Rounds[0].Number != 21 || replay(s, s.Rounds[0]) != "make chaos ROUNDS=each:21-40 NODES=5" {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = wanted(env(map[string]string{"PLAY": "agent killed on the primary\npower loss on the replica for 3s"}))
	if err != nil || len(s.Rounds) != 2 || s.Rounds[1].Number != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []map[string]string{{"NODES": "2"}, {"NODES": "x"}, {"PLAY": "rain"}, {"SEED": "x"}, {"ROUNDS": "each:9-7"}, {"ROUNDS": "found:999-1000"}} {
		if s, err := wanted(env(bad)); err == nil {
			t.Errorf("%v is %+v", bad, s)
		}
	}
}

func TestStepString(t *testing.T) {
	r := Round{Steps: []Step{
		{Kind: "power loss", On: Primary, For: 2 * time.Second},
		{Kind: "agent killed", On: Successor, After: 300 * time.Millisecond},
		{Kind: "switchover", On: Primary, After: sec, Then: true},
	}}
	const want = "power loss on the primary for 2s; and agent killed on the successor, 300ms later; " +
		"and then switchover on the primary, 1s later"
	if got := r.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
