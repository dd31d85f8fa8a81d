package elections

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/redisd/redisd/election"
)

const (
	ms = time.Millisecond
	// Bound is how long after the last fault there must be a holder again.
	Bound = 12 * time.Second
	// steadyFor is how long that holder must then stay.
	steadyFor = 3 * time.Second
)

// Result is what a run saw.
type Result struct {
	Seed  uint64
	Steps int
	// Wins counts terms won, Again those that the holder won again, Fenced those won after a remote
	// fence, Rosters the changes of the roster, Crashes the agents that died, Unsaved those that
	// died before their state was on disk.
	Wins, Again, Fenced, Rosters, Crashes, Unsaved, Switchovers int
	Denied                                                      map[election.Denied]int
	// Settled is how long after the last fault there was a holder for good.
	Settled time.Duration
	// Stuck: two bootstraps stopped one another, as they must; an operator decides.
	Stuck bool
	Err   error
}

// world is the hosts, the network between them and the time.
type world struct {
	rng   *rand.Rand
	now   time.Duration
	queue events
	seq   uint64
	hosts []*host
	cut   [][]bool // cut[a][b]: nothing gets from a to b
	f     faults
	quiet bool // the faults are over
	check *checker
	res   Result
	trace io.Writer
}

// faults are how bad a run is; each seed draws its own.
type faults struct {
	until              time.Duration
	expect             int
	loss, double, late float64
	delay              time.Duration
	crashSaving        float64
	drift              float64
	every, eager       time.Duration
	link, isolate      int // how often, against one another
	crash, freeze      int
	power, redis       int
	mend               time.Duration // how long a fault lasts
	changes, churn     bool          // switchovers and changes of the roster, many
	early              bool          // no time to bootstrap the cluster in peace
	slowDisk           bool
	blurred            bool // no two nodes see the same others
}

type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// Run plays one seed. A trace, if one is wanted, is written line by line.
func Run(seed uint64, trace io.Writer) Result {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0x5eed)), trace: trace}
	w.res = Result{Seed: seed, Denied: map[election.Denied]int{}}
	w.check = newChecker(w)
	w.draw()
	for _, h := range w.hosts {
		w.after(w.upTo(500*ms), h.start)
	}
	w.after(0, w.check.watch)
	first := 2 * time.Second
	if w.f.early {
		first = 0
	}
	w.after(first, w.fault)
	w.after(20*ms, w.replicate)
	w.after(10*ms, w.write)
	end := w.f.until + Bound
	w.run(w.f.until)
	w.heal()
	for w.now < end && !w.check.calm() && w.check.err == nil {
		w.run(w.now + 100*ms)
	}
	w.check.settled()
	w.res.Err = w.check.err
	return w.res
}

func (w *world) run(until time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= until && w.check.err == nil {
		ev := heap.Pop(&w.queue).(event)
		w.now = ev.at
		ev.do()
		w.res.Steps++
	}
	w.now = until
}

func (w *world) draw() {
	n := []int{1, 2, 2, 3, 3, 3, 3, 4, 5, 5}[w.rng.IntN(10)] // three are what most have
	extra := 0
	if w.one(0.4) {
		extra = 1 + w.rng.IntN(2)
	}
	w.f = w.profile()
	w.f.expect = n
	w.f.drift = 0.05
	w.f.delay = 200*time.Microsecond + w.upTo(4*ms)
	w.f.eager = 20*ms + w.upTo(300*ms)
	if w.one(0.6) {
		w.f.loss = w.rng.Float64() * 0.4
	}
	if w.one(0.4) {
		w.f.double = w.rng.Float64() * 0.2
	}
	if w.one(0.4) {
		w.f.late = w.rng.Float64() * 0.1
	}
	if w.one(0.4) {
		w.f.crashSaving = w.rng.Float64() * 0.1
	}
	if extra >= n {
		extra = n - 1 // else two clusters can be founded that share no host
	}
	extreme := w.one(0.5) // half of the runs have no clock that is right
	w.cut = make([][]bool, n+extra)
	for i := range n + extra {
		w.cut[i] = make([]bool, n+extra)
		h := &host{w: w, i: i, id: election.NodeID(string(rune('a' + i))), rate: 1, source: -1}
		h.rate += (w.rng.Float64()*2 - 1) * w.f.drift
		if extreme {
			h.rate = 1 + float64(w.rng.IntN(2)*2-1)*w.f.drift
		}
		h.base = time.Hour + w.upTo(100*time.Hour)
		h.lastCut = -time.Hour
		w.hosts = append(w.hosts, h)
	}
}

// profile is what mostly goes wrong in this run: what it takes to show a bug is often two faults of
// one kind in quick succession.
func (w *world) profile() faults {
	f := faults{until: 5*time.Second + w.upTo(15*time.Second), slowDisk: w.one(0.2), blurred: w.one(0.2)}
	often := func(least, most time.Duration) { f.every = least + w.upTo(most-least) }
	switch w.rng.IntN(8) {
	case 0: // links that fail in one direction
		f.link, f.isolate, f.redis, f.mend = 90, 5, 5, 900*ms
		often(30*ms, 300*ms)
	case 1: // a holder that is cut off
		f.isolate, f.link, f.mend = 80, 20, 1200*ms
		often(500*ms, 2500*ms)
	case 2: // agents that die or stop, on a sound network
		f.crash, f.freeze, f.redis, f.mend = 40, 40, 20, 1500*ms
		often(200*ms, 2500*ms)
	case 3: // the roster changes all the time
		f.link, f.isolate, f.crash, f.power, f.mend = 20, 50, 20, 10, 1500*ms
		f.changes, f.churn = true, true
		often(300*ms, 2000*ms)
	case 4: // bootstrap, over and over in trouble
		f.link, f.isolate, f.crash, f.power, f.mend = 40, 20, 30, 10, 3*time.Second
		f.blurred, f.early = true, true
		often(20*ms, 400*ms)
	default:
		f.link, f.isolate, f.crash, f.freeze = w.rng.IntN(30), w.rng.IntN(30), w.rng.IntN(30), w.rng.IntN(30)
		f.power, f.redis, f.mend = w.rng.IntN(15), 1+w.rng.IntN(15), 1500*ms
		f.changes = w.one(0.6)
		often(60*ms, 2500*ms)
	}
	return f
}

func (w *world) one(p float64) bool { return w.rng.Float64() < p }

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d) + 1)) }

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{at: w.now + d, seq: w.seq, do: do})
}

func (w *world) logf(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%9.3f ", float64(w.now)/float64(time.Second))
		fmt.Fprintf(w.trace, format+"\n", args...)
	}
}

func (w *world) host(id election.NodeID) *host {
	for _, h := range w.hosts {
		if h.id == id {
			return h
		}
	}
	return nil
}

// linked: packets get from a to b and back.
func (w *world) linked(a, b *host) bool {
	return a.power && b.power && !w.cut[a.i][b.i] && !w.cut[b.i][a.i]
}

func (w *world) send(from *host, env election.Envelope) {
	to := w.host(env.To)
	if to == nil || w.cut[from.i][to.i] || w.one(w.f.loss) {
		return
	}
	n := 1
	if w.one(w.f.double) {
		n = 2
	}
	for range n {
		d := w.f.delay/2 + w.upTo(w.f.delay)
		if w.one(w.f.late) {
			d += w.upTo(1500 * ms)
		}
		w.after(d, func() {
			if !w.cut[from.i][to.i] && to.power && to.agent != nil {
				to.agent.receive(item{msg: env.Message})
			}
		})
	}
}

// fault breaks something, and sees to it that it is mended some time.
func (w *world) fault() {
	if w.quiet {
		return
	}
	w.after(w.f.every/4+w.upTo(w.f.every), w.fault)
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	if holder := w.host(w.check.steady); holder != nil && w.one(0.5) {
		h = holder
	}
	mend := 50*ms + w.upTo(w.f.mend)
	if w.one(0.2) {
		mend += w.upTo(4 * time.Second)
	}
	f := w.f
	p := w.rng.IntN(f.link + f.isolate + f.crash + f.freeze + f.power + f.redis)
	hit := func(weight int) bool { p -= weight; return p < 0 }
	switch {
	case hit(f.link):
		o := w.hosts[w.rng.IntN(len(w.hosts))]
		if w.one(0.5) {
			h, o = o, h
		}
		w.setCut(h, o, true)
		w.after(mend, func() { w.setCut(h, o, false) })
	case hit(f.isolate):
		in := w.one(0.8)
		w.isolate(h, in, !in || w.one(0.8), mend)
	case hit(f.crash):
		if h.agent != nil {
			h.crash("at random")
		}
	case hit(f.freeze):
		if h.agent != nil {
			h.agent.freeze(20*ms + mend)
		}
	case hit(f.power):
		if h.power {
			h.powerLoss()
		}
	case h.redis.up:
		h.redisDies()
	}
}

// isolate cuts a host off from all others, in one direction or both.
func (w *world) isolate(h *host, in, out bool, mend time.Duration) {
	w.logf("cut %s in %v out %v for %v", h.id, in, out, mend)
	set := func(cut bool) {
		for _, o := range w.hosts {
			if out {
				w.setCut(h, o, cut)
			}
			if in {
				w.setCut(o, h, cut)
			}
		}
	}
	set(true)
	w.after(mend, func() { set(false) })
}

func (w *world) setCut(a, b *host, cut bool) {
	if a == b || w.cut[a.i][b.i] == cut {
		return
	}
	w.cut[a.i][b.i] = cut
	a.lastCut, b.lastCut = w.now, w.now
	w.logf("link %s>%s cut=%v", a.id, b.id, cut)
}

// heal ends the faults: the clocks still drift, a message is lost at times.
func (w *world) heal() {
	w.quiet = true
	w.logf("faults end")
	for _, a := range w.hosts {
		for _, b := range w.hosts {
			w.setCut(a, b, false)
		}
	}
	w.f.loss, w.f.double, w.f.late = min(w.f.loss, 0.01), min(w.f.double, 0.01), 0
	w.f.crashSaving, w.f.slowDisk = 0, false
	w.loseOne()
	for _, h := range w.hosts {
		if h.agent != nil && h.agent.frozen() {
			h.agent.frozenUntil = w.now
			w.after(0, h.agent.thaw)
		}
	}
}

// loseOne takes a host away for good when every roster on any disk has a majority without it, and
// each of that majority has data: they must do without.
func (w *world) loseOne() {
	gone := w.hosts[w.rng.IntN(len(w.hosts))]
	if w.one(0.3) {
		return
	}
	for _, h := range w.hosts {
		r := h.disk.Roster
		if h.agent != nil {
			r = h.agent.e.View(h.local()).Roster
		}
		n := len(r.Voters)
		if r.Has(gone.id) {
			n--
		}
		if h != gone && (h.disk.ClusterID == "" || h.disk.Bootstrapping || h.redis.data.Term == 0) || n < r.Majority() {
			return
		}
	}
	w.logf("%s is lost", gone.id)
	gone.power, gone.lost, gone.agent, gone.redis = false, true, nil, redis{}
}

// replicate moves data from primaries to replicas.
func (w *world) replicate() {
	w.after(20*ms, w.replicate)
	for _, h := range w.hosts {
		if h.agent != nil {
			if s := w.host(h.agent.e.View(h.local()).Holder); s != nil {
				h.source = s.i
			}
		}
		if !h.redis.up || h.redis.primaryOf != 0 || h.source < 0 || h.source == h.i {
			continue
		}
		s := w.hosts[h.source]
		if !s.redis.up || s.redis.primaryOf == 0 || !w.linked(h, s) || w.one(0.1) {
			continue
		}
		have, all := h.redis.data, s.redis.data
		if have.Term == all.Term && have.Offset < all.Offset {
			all.Offset -= w.rng.Int64N(all.Offset - have.Offset + 1)
		}
		h.redis.data = all
	}
}

// write is a client that writes wherever it may.
func (w *world) write() {
	w.after(10*ms, w.write)
	for _, h := range w.hosts {
		if h.writable() {
			h.redis.data.Offset += 1 + w.rng.Int64N(50)
		}
	}
}
