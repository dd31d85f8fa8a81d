package agent

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redisd/redisd/node"
)

// keepRequests is how many requests a node remembers after they ended, for whoever asks late how
// they went.
const keepRequests = 8

// Step is something that a switchover has done.
type Step struct {
	// Name is "checked", "held", "drained", "released", "promoted", "clients_closed",
	// "vip_dropped", "vip_held", "follows" or "undone"; Text says it in words.
	Name string `json:"name"`
	Text string `json:"text"`
	// AtMS is when, in milliseconds after the request.
	AtMS float64 `json:"at_ms"`
}

// request is an operator's request to move the primary. What became of it is told to those who know
// its number, and to nobody else.
type request struct {
	id      string
	to      string // the node's ID
	name    string // and name
	by      string // the node on which it was made
	asked   time.Duration
	timeout time.Duration

	handed chan node.HandoverEnded // how its handover went
	cancel chan struct{}           // closed by whoever takes it back

	mu        sync.Mutex
	cancelled bool // cancel is closed
	steps     []Step
	fenced    fencePoint
	result    *Moved
	problem   string
	finished  bool
	changed   chan struct{} // closed and replaced when something was added
}

// fencePoint is where the history of an old primary ended.
type fencePoint struct {
	// Since is when the fence was ordered, on the clock of the old primary's agent.
	Since  time.Duration `json:"since"`
	ReplID string        `json:"repl_id"`
	Offset int64         `json:"offset"`
}

func newRequest(id, to, name, by string, timeout time.Duration) *request {
	return &request{
		id: id, to: to, name: name, by: by, asked: now(), timeout: timeout,
		handed: make(chan node.HandoverEnded, 1), cancel: make(chan struct{}), changed: make(chan struct{}),
	}
}

// step notes that something was done.
func (r *request) step(name, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished {
		return
	}
	r.steps = append(r.steps, Step{Name: name, Text: fmt.Sprintf(format, args...), AtMS: millis(now() - r.asked)})
	r.tell()
}

// tell wakes those who wait for news; r.mu is held.
func (r *request) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *request) fence() fencePoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fenced
}

// takeBack asks for the request to be cancelled; whether that still can be is seen by who carries
// it through.
func (r *request) takeBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.cancelled {
		r.cancelled = true
		close(r.cancel)
	}
}

// finish notes how it ended.
func (r *request) finish(m Moved, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.problem = err.Error()
	}
	m.Steps = r.steps
	r.result, r.finished = &m, true
	r.tell()
}

// progress is what is new after the first seen steps, and a channel that is closed when there is
// more.
func (r *request) progress(seen int) (p progress, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p = progress{Known: true, Fenced: r.fenced}
	if seen < len(r.steps) {
		p.Steps = slices.Clone(r.steps[seen:])
	}
	if r.finished {
		p.Finished, p.Problem, p.Result = true, r.problem, r.result
	}
	return p, r.changed
}

func (r *request) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.finished
}

// requests are those made on this node, one after the other.
type requests struct {
	site *site

	mu      sync.Mutex
	list    []*request // the last one may be under way
	refused string     // the number of a request that was cancelled before it came in
}

// busy says that a request is under way.
func (rs *requests) busy() error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.busyLocked()
}

func (rs *requests) busyLocked() error {
	if n := len(rs.list); n > 0 && !rs.list[n-1].over() {
		c := rs.list[n-1]
		return fmt.Errorf("a switchover to %s, started on %s %.1f s ago, is under way: wait for its end", c.name, c.by, (now() - c.asked).Seconds())
	}
	return nil
}

// make notes a request: one at a time.
func (rs *requests) make(r *request) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if err := rs.busyLocked(); err != nil {
		return err
	}
	if r.id == rs.refused {
		return errCancelled
	}
	rs.list = append(rs.list, r)
	if n := len(rs.list) - keepRequests; n > 0 {
		rs.list = slices.Delete(rs.list, 0, n)
	}
	return nil
}

// errCancelled: the answer to the request was waited for in vain.
var errCancelled = errors.New("the switchover was cancelled before it began")

// refuse keeps a request of that number from being made.
func (rs *requests) refuse(id string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.refused = id
}

// find returns the request of that number; nil: there is none.
func (rs *requests) find(id string) *request {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.list {
		if r.id == id && id != "" {
			return r
		}
	}
	return nil
}

// step notes that something was done for the request of that number. A handover that nobody
// requested has none to note it in.
func (rs *requests) step(id, name, format string, args ...any) {
	if r := rs.find(id); r != nil {
		r.step(name, format, args...)
	}
}

// stopsWrites notes when the fence was ordered.
func (rs *requests) stopsWrites(id string, at time.Duration) {
	if r := rs.find(id); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fenced.Since = at
	}
}

// stopped notes how far the history had come when no write came in any more.
func (rs *requests) stopped(id, replID string, offset int64) {
	if r := rs.find(id); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fenced.ReplID, r.fenced.Offset = replID, offset
	}
}

// take notes what the node says of a handover.
func (rs *requests) take(e node.Event) {
	switch e := e.(type) {
	case node.LeaseReleased:
		if e.Request != "" {
			rs.step(e.Request, "released", "lease released by %s", rs.site.name())
		}
	case node.HandoverEnded:
		if r := rs.find(e.Request); r != nil {
			r.handed <- e // there is one handover for a request
		}
	}
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
