package search

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound a search from without; zero is no limit.
type Limits struct {
	Depth  int           // steps from the start
	States int           // that have been seen
	For    time.Duration // by the clock on the wall
}

// Result is what a search saw.
type Result struct {
	Scenario            string
	States, Transitions int
	// Depth: every state up to so many steps from the start was seen.
	Depth int
	// Complete: there was nothing left to visit.
	Complete bool
	// Unbegun: what the scenario begins with is not possible.
	Unbegun bool
	Took    time.Duration
	Err     error    // what is violated
	Trace   []string // and how, as short as could be found
}

func (r Result) String() string {
	how := fmt.Sprintf("complete to depth %d only: a limit was met", r.Depth)
	if r.Complete {
		how = fmt.Sprintf("complete, depth %d", r.Depth)
	}
	return fmt.Sprintf("%s: %d states, %d transitions in %v (%.0f states/s), %s", r.Scenario, r.States, r.Transitions,
		r.Took.Round(time.Millisecond), float64(r.States)/r.Took.Seconds(), how)
}

// visited is the set of states by their sums: 64 bits, so one in four million searches of a million
// states takes two states for one.
type visited [64]struct {
	mu  sync.Mutex
	set map[uint64]struct{}
}

func (v *visited) add(sum uint64) bool {
	s := &v[sum%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, was := s.set[sum]; was {
		return false
	}
	s.set[sum] = struct{}{}
	return true
}

// search is one under way: breadth first, a level after the other, on all processors.
type search struct {
	s           *Scenario
	limits      Limits
	until       time.Time
	seen        visited
	states      atomic.Int64
	transitions atomic.Int64
	stopped     atomic.Bool // by a limit
	mu          sync.Mutex
	failed      *world
	err         error
}

// Run searches all states of s within the limits, or up to the first violation.
func Run(s *Scenario, limits Limits) Result {
	began := time.Now()
	r := &search{s: s, limits: limits}
	if limits.For > 0 {
		r.until = began.Add(limits.For)
	}
	for i := range r.seen {
		r.seen[i].set = map[uint64]struct{}{}
	}
	first := s.start()
	if first == nil {
		return Result{Scenario: s.Name, Unbegun: true}
	}
	r.seen.add(first.sum(s))
	r.states.Add(1)
	level := []*world{first}
	res := Result{Scenario: s.Name}
	for len(level) > 0 && r.err == nil && !r.stopped.Load() && (limits.Depth == 0 || res.Depth < limits.Depth) {
		level = r.expand(level)
		if !r.stopped.Load() {
			res.Depth++
		}
	}
	res.Complete = len(level) == 0 && r.err == nil && !r.stopped.Load()
	res.States, res.Transitions, res.Took = int(r.states.Load()), int(r.transitions.Load()), time.Since(began)
	if r.err != nil {
		res.Trace, res.Err = s.shorten(r.failed.path, r.err)
	}
	return res
}

// expand returns the states one step after those of a level that were not seen before.
func (r *search) expand(level []*world) []*world {
	const share = 64
	var at atomic.Int64
	var wg sync.WaitGroup
	next := make([][]*world, runtime.GOMAXPROCS(0))
	for k := range next {
		wg.Go(func() {
			for !r.stopped.Load() {
				from := int(at.Add(share)) - share
				if from >= len(level) {
					return
				}
				for i := from; i < min(from+share, len(level)); i++ {
					next[k] = r.visit(level[i], next[k])
					level[i] = nil // its successors share what they need of it
				}
				if !r.until.IsZero() && time.Now().After(r.until) || r.limits.States > 0 && int(r.states.Load()) > r.limits.States {
					r.stopped.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return slices.Concat(next...)
}

func (r *search) visit(w *world, next []*world) []*world {
	for _, a := range r.s.actions(w) {
		c, err := r.s.do(w, a)
		if c == nil {
			continue
		}
		r.transitions.Add(1)
		if err != nil {
			r.mu.Lock()
			if r.err == nil {
				r.failed, r.err = c, err
			}
			r.mu.Unlock()
			r.stopped.Store(true)
			return next
		}
		if r.seen.add(c.sum(r.s)) {
			r.states.Add(1)
			next = append(next, c)
		}
	}
	return next
}

// weights are how likely a walk takes a step of a kind: what goes wrong seldom, and the rest often
// enough to get anywhere.
var weights = [len(kinds)]int{deliver: 24, double: 2, drop: 4, advance: 6, wait: 3, tick: 8, claim: 6, withdraw: 2, fence: 3, release: 1, handOver: 1,
	propose: 4, crash: 1, restart: 6, freeze: 1, thaw: 3, die: 1, write: 2, found: 6}

// soon is how many steps at most a short walk takes.
const soon = 40

// Walk goes on from the start at random, within the limit of depth.
func Walk(s *Scenario, seed uint64, limits Limits) Result {
	began := time.Now()
	rng := rand.New(rand.NewPCG(seed, 0x3a11))
	w := s.start()
	res := Result{Scenario: s.Name}
	if w == nil {
		res.Unbegun = true
		return res
	}
	if s.Still && rng.IntN(2) == 0 {
		limits.Depth = 1 + rng.IntN(soon) // before all is said: what is lost then is for settle
	}
	for res.Depth < limits.Depth {
		c, err := s.stride(w, rng)
		if c == nil {
			break
		}
		res.Depth++
		res.Transitions++
		if err != nil {
			res.Trace, res.Err = s.shorten(c.path, err)
			break
		}
		w = c
	}
	if res.Err == nil {
		if err := s.settle(w, rng); err != nil {
			res.Err, res.Trace = err, s.lines(w.path.steps())
		}
	}
	res.Took = time.Since(began)
	return res
}

// stride takes one step at random, nil when there is none.
func (s *Scenario) stride(w *world, rng *rand.Rand) (*world, error) {
	for all := s.actions(w); len(all) > 0; {
		sum := 0
		for _, a := range all {
			sum += weight(a)
		}
		at, p := 0, rng.IntN(sum)
		for p >= weight(all[at]) {
			p -= weight(all[at])
			at++
		}
		if c, err := s.do(w, all[at]); c != nil {
			return c, err
		}
		all = slices.Delete(all, at, at+1)
	}
	return nil, nil
}

func weight(a action) int {
	if a.ending != whole {
		return 1
	}
	return weights[a.kind]
}

// shorten leaves out of a path what the violation does not need.
func (s *Scenario) shorten(p *path, violated error) ([]string, error) {
	steps, err := s.replay(p.steps())
	if err == nil {
		return s.lines(p.steps()), violated
	}
	for size := len(steps) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(steps); {
			fewer, e := s.replay(slices.Concat(steps[:at:at], steps[at+size:]))
			if e == nil || len(fewer) >= len(steps) {
				at += size
				continue
			}
			steps, err = fewer, e
		}
	}
	return s.lines(steps), err
}

func (p *path) steps() []action {
	var steps []action
	for ; p != nil; p = p.before {
		steps = append(steps, p.did)
	}
	slices.Reverse(steps)
	return steps
}

func (s *Scenario) lines(steps []action) []string {
	lines := []string{"# " + s.Setup()}
	for _, a := range steps {
		lines = append(lines, s.text(a))
	}
	return lines
}

// replay takes the steps that are possible, and returns them up to the violation.
func (s *Scenario) replay(steps []action) (did []action, err error) {
	w := s.start()
	for _, want := range steps {
		all := s.actions(w)
		at := slices.IndexFunc(all, func(a action) bool { return s.alike(a, want) && same(a.letter, want.letter) })
		if at < 0 {
			at = slices.IndexFunc(all, func(a action) bool { return s.alike(a, want) })
		}
		if at < 0 {
			continue
		}
		c, err := s.do(w, all[at])
		if c == nil {
			continue
		}
		did = append(did, c.path.did)
		if err != nil {
			return did, err
		}
		w = c
	}
	return did, nil
}

// same: of letters with the same text, the very one.
func same(a, b *letter) bool { return a == nil || reflect.DeepEqual(a.m, b.m) }

func (s *Scenario) alike(a, b action) bool {
	if a.kind != b.kind || a.node != b.node || a.ending != b.ending {
		return false
	}
	if a.kind == advance || a.kind == wait {
		return true
	}
	return a.arg == b.arg && (a.letter == nil || s.letterText(a.letter) == s.letterText(b.letter))
}
