package agent

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// keepWishes is how many wishes a node remembers after they ended, for whoever
// asks late how they went.
const keepWishes = 8

// Step is something that a switchover has done.
type Step struct {
	// Name is "checked", "fenced", "drained", "vip_dropped", "released", "promoted",
	// "vip_held", "follows" or "undone"; Text says it in words.
	Name string `json:"name"`
	Text string `json:"text"`
	// AtMS is when, in milliseconds after the wish.
	AtMS float64 `json:"at_ms"`
}

// wishState is how far a wish has come. From wishAsked it can be taken back; once a
// handover has begun it cannot.
type wishState int

const (
	wishAsked wishState = iota
	wishBegun
	wishWithdrawn
)

// wish is one person's wish to move the primary. What became of it is told to those
// who know its number, and to nobody else.
type wish struct {
	id      string
	to      string // the node's ID
	name    string // and name
	by      string // the node on which it was uttered
	asked   time.Duration
	timeout time.Duration

	handed chan error    // how its handover went
	cancel chan struct{} // closed by whoever takes it back

	mu       sync.Mutex
	state    wishState
	given    bool // cancel is closed
	steps    []Step
	fenced   fencePoint
	result   *Moved
	problem  string
	finished bool
	changed  chan struct{} // closed and replaced when something was added
}

// fencePoint is where the history of an old primary ended.
type fencePoint struct {
	// Since is when the fence was ordered, on the clock of the old primary's agent.
	Since  time.Duration `json:"since"`
	ReplID string        `json:"repl_id"`
	Offset int64         `json:"offset"`
}

func newWish(id, to, name, by string, timeout time.Duration) *wish {
	return &wish{
		id: id, to: to, name: name, by: by, asked: now(), timeout: timeout,
		handed: make(chan error, 1), cancel: make(chan struct{}), changed: make(chan struct{}),
	}
}

// step notes that something was done. A handover that nobody wished has no wish to
// note it in.
func (w *wish) step(name, format string, args ...any) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, Step{Name: name, Text: fmt.Sprintf(format, args...), AtMS: millis(now() - w.asked)})
	w.tell()
}

// tell wakes those who wait for news; w.mu is held.
func (w *wish) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// stopsWrites notes when the fence was ordered.
func (w *wish) stopsWrites(at time.Duration) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fenced.Since = at
}

// stopped notes how far the history had come when no write came in any more.
func (w *wish) stopped(replID string, offset int64) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fenced.ReplID, w.fenced.Offset = replID, offset
}

func (w *wish) fence() fencePoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fenced
}

// takeBack asks for the wish to be taken back; whether that still can be is seen
// by who carries it through.
func (w *wish) takeBack() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.given {
		w.given = true
		close(w.cancel)
	}
}

// finish notes how it ended.
func (w *wish) finish(m Moved, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.problem = err.Error()
	}
	m.Steps = w.steps
	w.result, w.finished = &m, true
	w.tell()
}

// progress is what is new after the first seen steps, and a channel that is closed
// when there is more.
func (w *wish) progress(seen int) (p progress, more <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p = progress{Known: true, Fenced: w.fenced}
	if seen < len(w.steps) {
		p.Steps = slices.Clone(w.steps[seen:])
	}
	if w.finished {
		p.Finished, p.Problem, p.Result = true, w.problem, w.result
	}
	return p, w.changed
}

func (w *wish) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.finished
}

// wishes are those made on this node, one after the other, and what handovers have
// come to, wished or not.
type wishes struct {
	mu       sync.Mutex
	list     []*wish // the last one may be under way
	refused  string  // the number of a wish that was taken back before it came in
	failures int
	triedAt  time.Duration
}

// current is the wish that is not finished, nil if there is none; ws.mu is held.
func (ws *wishes) current() *wish {
	if n := len(ws.list); n > 0 && !ws.list[n-1].over() {
		return ws.list[n-1]
	}
	return nil
}

// busy says that a wish is under way.
func (ws *wishes) busy() error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.busyLocked()
}

func (ws *wishes) busyLocked() error {
	if c := ws.current(); c != nil {
		return fmt.Errorf("a switchover to %s, started on %s %.1f s ago, is under way: wait for its end", c.name, c.by, (now() - c.asked).Seconds())
	}
	return nil
}

// make notes a wish: one at a time.
func (ws *wishes) make(w *wish) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if err := ws.busyLocked(); err != nil {
		return err
	}
	if w.id == ws.refused {
		return errTakenBack
	}
	ws.list = append(ws.list, w)
	if n := len(ws.list) - keepWishes; n > 0 {
		ws.list = slices.Delete(ws.list, 0, n)
	}
	ws.failures, ws.triedAt = 0, 0
	return nil
}

// errTakenBack: the answer to the wish was waited for in vain.
var errTakenBack = errors.New("the switchover was taken back before it began")

// refuse keeps a wish of that number from being made.
func (ws *wishes) refuse(id string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.refused = id
}

// begin gives the wish to the handover that carries it out; nil when nobody wishes
// the primary to go there (any more).
func (ws *wishes) begin(to string) *wish {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.current()
	if w == nil || w.to != to || !w.move(wishAsked, wishBegun) {
		return nil
	}
	return w
}

// withdraw takes a wish back, and reports whether nothing was done for it and
// nothing will be.
func (w *wish) withdraw() bool { return w.move(wishAsked, wishWithdrawn) }

func (w *wish) move(from, to wishState) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != from {
		return false
	}
	w.state = to
	return true
}

// tried notes the outcome of a handover, for w if it was wished.
func (ws *wishes) tried(w *wish, err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.triedAt = now()
	if err != nil {
		ws.failures++
	} else {
		ws.failures = 0
	}
	if w != nil {
		w.handed <- err
	}
}

// forget drops the failures so far: what failed for another reason, long ago, is no
// reason not to try now.
func (ws *wishes) forget() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.failures = 0
}

// find returns the wish of that number.
func (ws *wishes) find(id string) *wish {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.list {
		if w.id == id {
			return w
		}
	}
	return nil
}

func (ws *wishes) observed() (active bool, to string, failures int, at time.Duration) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w := ws.current(); w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		active, to = w.state == wishAsked, w.to
	}
	return active, to, ws.failures, ws.triedAt
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
