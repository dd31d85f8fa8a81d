package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Place is a host, by its part in the cluster when the round begins.
type Place string

// The places.
const (
	Primary   Place = "primary"
	Successor Place = "successor" // the replica that takes over first
	Replica   Place = "replica"   // the one that takes over last
	Everyone  Place = "everyone"
)

// Step is one fault.
type Step struct {
	Kind  string
	On    Place
	After time.Duration // from the beginning of the round
	Then  bool          // After counts from when the step before has been done
	For   time.Duration // 0: a moment, or as long as it takes
}

// String implements fmt.Stringer.
func (s Step) String() string {
	text := s.Kind
	if s.On != Everyone {
		text += " on the " + string(s.On)
	}
	if s.For > 0 {
		text += " for " + s.For.String()
	}
	if s.Then {
		text = "then " + text
	}
	if s.After > 0 {
		text += ", " + s.After.String() + " later"
	}
	return text
}

// Round is one fault or several, after which the cluster must become whole again.
type Round struct {
	Number int // from 1
	Steps  []Step
	Name   string // of a composed one, under which it is in the table
	// Extra is write downtime that its faults have only together.
	Extra time.Duration
	// Quiet: the client hardly writes. A redis-server that has nothing to do looks different to its
	// agent: one that is not answering is idle as well.
	Quiet bool
}

const quietly = "quietly: "

// String implements fmt.Stringer.
func (r Round) String() string {
	var steps []string
	for _, s := range r.Steps {
		steps = append(steps, s.String())
	}
	text := strings.Join(steps, "; and ")
	if r.Quiet {
		text = quietly + text
	}
	return text
}

// Schedule is the faults of a cluster of some nodes.
type Schedule struct {
	Seed   uint64
	Name   string // of one that no seed determines
	Again  string // the command that runs it, then
	Nodes  int
	Rounds []Round
}

func (s Schedule) title() string {
	if s.Name == "" {
		return fmt.Sprintf("seed %d", s.Seed)
	}
	return s.Name
}

// part leaves the rounds that a text like "21-40" asks for.
func (s Schedule) part(text string) (Schedule, error) {
	from, to, err := Part(text)
	if err == nil && from > len(s.Rounds) {
		err = fmt.Errorf("ROUNDS=…:%s: there are %d", text, len(s.Rounds))
	}
	if err != nil {
		return s, err
	}
	s.Rounds = s.Rounds[from-1 : min(to, len(s.Rounds))]
	if s.Again != "" {
		s.Again += ":" + text
	}
	return s, nil
}

const (
	pairEvery  = 0.4                     // of all rounds have two faults, or more
	threeEvery = 0.25                    // of these have three
	quietEvery = 0.3                     // of all rounds have a client that hardly writes
	pairAfter  = 1500 * time.Millisecond // the second comes so much later at most
	maxAtOnce  = 3
	grain      = 100 * time.Millisecond // of the times: a schedule is to be read
)

// New makes the first rounds of the schedule that a seed determines. More rounds of the same seed
// only add to it.
func New(seed uint64, rounds int) Schedule {
	rng := rand.New(rand.NewPCG(seed, 0x7265646973640001))
	s := Schedule{Seed: seed, Nodes: 3}
	switch n := rng.IntN(20); {
	case n == 19:
		s.Nodes = 7
	case n >= 16:
		s.Nodes = 5
	case n >= 14:
		s.Nodes = 4
	}
	d := deck{rng: rng}
	for n := range rounds {
		dealt := []card{d.deal(nil)}
		r := Round{Number: n + 1, Steps: []Step{d.step(dealt[0])}, Quiet: rng.Float64() < quietEvery}
		for more := pairEvery; len(dealt) < maxAtOnce && rng.Float64() < more && !dealt[0].kind.alone; more = threeEvery {
			c := d.deal(dealt)
			next := d.step(c)
			// Half of the time at once: the one while the other is being dealt with.
			if rng.IntN(2) == 0 {
				next.After = upTo(rng, pairAfter)
			}
			dealt, r.Steps = append(dealt, c), append(r.Steps, next)
		}
		s.Rounds = append(s.Rounds, r)
	}
	return s
}

// Short is the schedule of an ordinary test run: what matters most, in a few minutes.
func Short() Schedule {
	return Schedule{Name: "short", Again: "make chaos", Nodes: 3, Rounds: []Round{
		{Number: 1, Steps: []Step{{Kind: "redis-server killed", On: Primary}}},
		{Number: 2, Steps: []Step{{Kind: "power loss", On: Primary, For: 3 * time.Second}}},
		{Number: 3, Steps: []Step{{Kind: "network silent", On: Primary, For: 4 * time.Second}}},
		{Number: 4, Steps: []Step{{Kind: "redis-server hangs", On: Primary, For: 3 * time.Second}}},
		{Number: 5, Steps: []Step{{Kind: "switchover", On: Primary}, {Kind: "redis-sentinel killed", On: Successor}}},
		{Number: 6, Steps: []Step{{Kind: "sends to no other node", On: Primary, For: 4 * time.Second}}},
		{Number: 7, Steps: []Step{{Kind: "agent killed", On: Primary}, {Kind: "redis-server killed", On: Successor}}},
		{Number: 8, Steps: []Step{{Kind: "hears no other node", On: Primary, For: 4 * time.Second}}},
		{Number: 9, Steps: []Step{{Kind: "disk hangs", On: Primary, For: 8 * time.Second}}},
		{Number: 10, Steps: []Step{{Kind: "blackout", On: Everyone, For: time.Second}}},
	}}
}

// Part is the rounds that a text like "20" (so many) or "7-9" asks for; n is how many rounds a
// schedule needs to have them.
func Part(text string) (from, n int, err error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		first, last = "1", text
	}
	from, err1 := strconv.Atoi(first)
	n, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil || from < 1 || n < from {
		return 0, 0, fmt.Errorf("ROUNDS=%s: neither a number nor, like 7-9, a range", text)
	}
	return from, n, nil
}

// card is a kind of fault at a place.
type card struct {
	kind *kind
	on   Place
}

// deck deals every card once before any comes again, so that a run of moderate length has seen them
// all.
type deck struct {
	rng  *rand.Rand
	left []card
}

// deal returns the next card that goes with all of the others.
func (d *deck) deal(with []card) card {
	for {
		i := slices.IndexFunc(d.left, func(c card) bool {
			return !slices.ContainsFunc(with, func(other card) bool { return !goTogether(other, c) })
		})
		if i >= 0 {
			c := d.left[i]
			d.left = slices.Delete(d.left, i, i+1)
			return c
		}
		more := cards()
		d.rng.Shuffle(len(more), func(i, j int) { more[i], more[j] = more[j], more[i] })
		d.left = append(d.left, more...)
	}
}

func (d *deck) step(c card) Step {
	s := Step{Kind: c.kind.name, On: c.on}
	if k := c.kind; k.most > 0 {
		s.For = k.least + upTo(d.rng, k.most-k.least)
	}
	return s
}

func upTo(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most/grain)+1)) * grain
}

func cards() []card {
	var all []card
	for i := range kinds {
		for _, on := range kinds[i].on {
			all = append(all, card{&kinds[i], on})
		}
	}
	return all
}

// goTogether: undoing the one does not undo the other, and neither takes away what the other one
// needs.
func goTogether(a, b card) bool {
	switch {
	case a.kind.alone || b.kind.alone, a.kind.copies() && b.kind.copies():
		return false
	case a.on != b.on:
		return true
	}
	return a.kind.touches != b.kind.touches && a.kind.touches != theHost && b.kind.touches != theHost
}

// copies: both have the primary give a copy away, and each would take the other's setting for what
// was there before.
func (k *kind) copies() bool { return k.touches == theCopy }
