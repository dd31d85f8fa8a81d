package nodes

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
)

const (
	ms = time.Millisecond
	us = time.Microsecond
	// most is how many hosts there are at most.
	most = 5
)

// world is the hosts, the network between them and the time.
type world struct {
	src   rand.PCG
	rng   *rand.Rand
	side  dice // of what the classes add
	on    Class
	now   time.Duration
	queue queue
	hosts []*host
	// cut[a][b]: nothing gets from a to b. blocked[a]: a's redis-server takes no connection from
	// other hosts.
	cut     [most][most]bool
	blocked [most]bool
	late    []lateCommand
	p       profile
	quiet   bool // the faults are over
	gens    uint32
	// requests counts the operators' to move the primary.
	requests int
	check    checker
	res      Result
	trace    io.Writer
}

// event is something that happens at a time: to the agent gen of a host, or to the world. The
// frequent kinds need no closure.
type event struct {
	at   time.Duration
	seq  uint32
	gen  uint32 // of the agent it is for
	kind kind
	host uint8
	tcp  bool
	// epoch is what its receiver learns from it.
	epoch election.Term
	do    func()
	msg   election.Message
}

type kind uint8

const (
	evWorld   kind = iota // do, whoever lives
	evAgent               // do, for an agent
	evTimer               // an agent's
	evMessage             // from another agent
)

// queue is a binary heap of events.
type queue struct {
	list []event
	seq  uint32
}

func before(a, b *event) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.list = append(q.list, e)
	i := len(q.list) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !before(&e, &q.list[up]) {
			break
		}
		q.list[i] = q.list[up]
		i = up
	}
	q.list[i] = e
}

func (q *queue) pop() event {
	top := q.list[0]
	last := len(q.list) - 1
	e := q.list[last]
	q.list[last] = event{}
	q.list = q.list[:last]
	i := 0
	for {
		down := 2*i + 1
		if down >= last {
			break
		}
		if down+1 < last && before(&q.list[down+1], &q.list[down]) {
			down++
		}
		if !before(&q.list[down], &e) {
			break
		}
		q.list[i] = q.list[down]
		i = down
	}
	if last > 0 {
		q.list[i] = e
	}
	return top
}

// after has the world do something.
func (w *world) after(d time.Duration, do func()) {
	w.queue.push(event{at: w.now + d, kind: evWorld, do: do})
}

// run plays until a time, or the first violation.
func (w *world) run(until time.Duration) {
	for len(w.queue.list) > 0 && w.queue.list[0].at <= until && w.check.err == nil {
		e := w.queue.pop()
		w.now = e.at
		w.res.Steps++
		w.deliver(e)
	}
	w.now = max(w.now, until)
}

func (w *world) deliver(e event) {
	if e.kind == evWorld {
		e.do()
		return
	}
	a := w.hosts[e.host].agent
	switch {
	case a == nil, e.kind != evMessage && a.gen != e.gen:
	case a.frozen:
		if e.kind != evMessage || len(a.held) < inboxMost {
			a.held = append(a.held, e)
		}
	default:
		a.handle(e)
	}
}

func (w *world) one(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *world) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Uint64N(uint64(d)))
}

// between is a duration from least to most.
func (w *world) between(least, most time.Duration) time.Duration { return least + w.upTo(most-least) }

func (w *world) logf(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%9.4f ", w.now.Seconds())
		fmt.Fprintf(w.trace, format+"\n", args...)
	}
}

// linked: packets get from a to b and back.
func (w *world) linked(a, b *host) bool {
	return a == b || a.power && b.power && !a.stands && !b.stands && !w.cut[a.i][b.i] && !w.cut[b.i][a.i]
}

// reaches: a connection from a to b's redis-server works.
func (w *world) reaches(a, b *host) bool { return a == b || w.linked(a, b) && !w.blocked[b.i] }

// send carries a message between agents: a packet, and for what must not be lost a second time over
// TCP.
func (w *world) send(from *host, s node.Send) {
	to := w.host(string(s.To))
	if to == nil || to == from || to.deaf || from.deaf {
		return
	}
	if !w.cut[from.i][to.i] && !w.one(w.p.loss) {
		d := w.p.delay/2 + w.upTo(w.p.delay)
		if w.one(w.p.lateness) {
			d += w.upTo(800 * ms)
		}
		w.post(from, to, s.Message, d, false)
		if w.one(w.p.double) {
			w.post(from, to, s.Message, d+w.upTo(300*ms), false)
		}
	}
	if s.Reliable && w.linked(from, to) {
		d := w.p.delay + w.upTo(2*w.p.delay)
		if w.one(w.p.loss) {
			d += 200 * ms // the kernel sends it again
		}
		w.post(from, to, s.Message, d, true)
	}
}

func (w *world) post(from, to *host, m election.Message, d time.Duration, tcp bool) {
	w.queue.push(event{at: w.now + d, kind: evMessage, host: uint8(to.i), msg: m, tcp: tcp, epoch: from.shows(m)})
}

// host is the host of an ID or an address, both of which begin with its letter, but for a bracket.
func (w *world) host(name string) *host {
	name = strings.TrimPrefix(name, "[")
	if name == "" {
		return nil
	}
	if i := int(name[0]) - 'a'; i >= 0 && i < len(w.hosts) {
		return w.hosts[i]
	}
	return nil
}

// lateCommand is one that was sent into a cut: the kernel sends it again when the link is back,
// although its sender has given up.
type lateCommand struct {
	from, to *host
	run      int
	do       func(*server) bool
}

// setCut changes what the network lets through.
func (w *world) setCut(a, b *host, cut bool) {
	if a == b || w.cut[a.i][b.i] == cut {
		return
	}
	w.flow()
	w.cut[a.i][b.i] = cut
	a.cutAt, b.cutAt = w.now, w.now
	w.logf("link %s>%s cut=%v", a.id, b.id, cut)
	if !cut {
		w.deliverLate()
	}
}

func (w *world) deliverLate() {
	kept := w.late[:0]
	for _, c := range w.late {
		switch r := &c.to.redis; {
		case !w.reaches(c.from, c.to):
			kept = append(kept, c)
		case r.up && r.run == c.run:
			w.after(w.upTo(200*ms), func() {
				if r.up && r.run == c.run {
					w.arrive(c.to, c.do, nil, c.from.i, 0)
				}
			})
		}
	}
	w.late = kept
}

// size is how many hosts there are.
func (w *world) size() int {
	n := len(w.hosts)
	if n > 0 && w.hosts[n-1].gone {
		n--
	}
	return n
}
