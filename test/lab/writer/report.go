package writer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Gap is a time, on the clock of the record, in which no write was acknowledged: from one
// acknowledgement to the next.
type Gap struct{ From, To time.Duration }

// Length of the gap.
func (g Gap) Length() time.Duration { return g.To - g.From }

// Mark is something that was done to the cluster.
type Mark struct {
	At   time.Duration
	What string
}

// Report is the record of a run. It counts as service from the first acknowledgement on.
type Report struct {
	Started time.Time
	Ended   time.Duration
	Nodes   []string // whoever acknowledged, by run id; 0 stands for unknown
	Errors  map[string]int
	Marks   []Mark

	// OwnStalls are times in which the measuring process itself did not get to run. What of a gap
	// is covered by them says nothing about the cluster.
	OwnStalls []Gap

	lanes []laneRecord
}

type laneRecord struct {
	key  string
	kind laneKind
	sent uint32
	acks []Ack
}

func (w *Writer) report() *Report {
	r := &Report{Started: w.start, Ended: w.Now(), Errors: w.errorCounts()}
	w.mu.Lock()
	r.Nodes, r.Marks, r.OwnStalls = slices.Clone(w.nodes), slices.Clone(w.marks), slices.Clone(w.stalls)
	w.mu.Unlock()
	for _, l := range w.lanes {
		l.mu.Lock()
		r.lanes = append(r.lanes, laneRecord{key: l.key, kind: l.kind, sent: l.seq, acks: slices.Clone(l.acks)})
		l.mu.Unlock()
	}
	return r
}

// Acked is how many writes were acknowledged, to anyone.
func (r *Report) Acked() (n int) {
	for _, l := range r.lanes {
		n += len(l.acks)
	}
	return n
}

// Gaps are all times longer than over in which no write was acknowledged to anyone at the Addrs, in
// their order; the last may reach to the end of the run.
func (r *Report) Gaps(over time.Duration) []Gap {
	return r.gaps(over, func(k laneKind) bool { return k != directLane })
}

// ClientGaps are Gaps as the workers had them, who keep their connections and wait for their
// timeouts: what an ordinary client sees of it.
func (r *Report) ClientGaps(over time.Duration) []Gap {
	return r.gaps(over, func(k laneKind) bool { return k == workerLane })
}

func (r *Report) gaps(over time.Duration, counts func(laneKind) bool) []Gap {
	var times []time.Duration
	for _, l := range r.lanes {
		if !counts(l.kind) {
			continue
		}
		for _, a := range l.acks {
			times = append(times, a.Acked)
		}
	}
	if len(times) == 0 {
		return []Gap{{0, r.Ended}}
	}
	slices.Sort(times)
	var gaps []Gap
	for i, t := range times {
		next := r.Ended
		if i+1 < len(times) {
			next = times[i+1]
		}
		if next-t > over {
			gaps = append(gaps, Gap{t, next})
		}
	}
	return gaps
}

// Downtime is the longest of Gaps.
func (r *Report) Downtime() Gap { return longest(r.Gaps(0)) }

// ClientDowntime is the longest of ClientGaps.
func (r *Report) ClientDowntime() Gap { return longest(r.ClientGaps(0)) }

// DowntimeBetween is the longest of Gaps that touches the given time.
func (r *Report) DowntimeBetween(from, to time.Duration) Gap {
	return longest(slices.DeleteFunc(r.Gaps(0), func(g Gap) bool { return g.To < from || g.From > to }))
}

func longest(gaps []Gap) Gap {
	if len(gaps) == 0 {
		return Gap{}
	}
	return slices.MaxFunc(gaps, func(a, b Gap) int { return cmp.Compare(a.Length(), b.Length()) })
}

// OwnShare is how much of a gap the measuring process itself did not run.
func (r *Report) OwnShare(g Gap) (share time.Duration) {
	for _, s := range r.OwnStalls {
		share += max(0, min(g.To, s.To)-max(g.From, s.From))
	}
	return share
}

// Span is a time in which one node alone acknowledged.
type Span struct {
	Node     string
	From, To time.Duration // the first write was sent, the last acknowledged
	Acks     int
}

// Spans is who acknowledged, in the order of the acknowledgements, the unknown left out.
func (r *Report) Spans() []Span {
	var spans []Span
	for _, a := range r.Known() {
		name := r.Nodes[a.Node]
		if n := len(spans); n > 0 && spans[n-1].Node == name {
			spans[n-1].To = a.Acked
			spans[n-1].Acks++
			continue
		}
		spans = append(spans, Span{Node: name, From: a.Invoked, To: a.Acked, Acks: 1})
	}
	return spans
}

// Known are the acknowledgements by nodes that are known, in their order.
func (r *Report) Known() []Ack {
	var all []Ack
	for _, l := range r.lanes {
		for _, a := range l.acks {
			if a.Node != 0 {
				all = append(all, a)
			}
		}
	}
	slices.SortFunc(all, func(a, b Ack) int { return cmp.Compare(a.Acked, b.Acked) })
	return all
}

// TakeOut removes from the record what the direct writer of an address had acknowledged in a time,
// and returns it.
func (r *Report) TakeOut(address string, from, to time.Duration) (taken []Write) {
	for i := range r.lanes {
		l := &r.lanes[i]
		if l.kind != directLane || !strings.HasSuffix(l.key, directPrefix+address) {
			continue
		}
		l.acks = slices.DeleteFunc(l.acks, func(a Ack) bool {
			in := a.Acked >= from && a.Acked <= to
			if in {
				taken = append(taken, Write{Key: l.key, Ack: a})
			}
			return in
		})
	}
	return taken
}

// Dual is a time in which two nodes, or more, took writes at once.
type Dual struct {
	Gap
	Nodes   []string
	Changes int // how often it went to and fro
}

// settle is how soon after one change of the acknowledging node another cannot be a switchover and
// back: a lease, a promotion and a client's reconnection lie between two of those. A run that
// switches to and fro must wait longer.
const settle = 250 * time.Millisecond

// Duals are the times in which nodes took writes at once. One change from a node to another is a
// failover, and so is one back, later; several with less than a quarter of a second between are
// not, unless every one went to a node that had not taken writes before: two primaries that die one
// after the other.
func (r *Report) Duals() []Dual {
	changes := r.changes()
	var duals []Dual
	for i := 0; i < len(changes); {
		j := i
		for j+1 < len(changes) && changes[j+1].at-changes[j].at < settle {
			j++
		}
		if returns(changes[i : j+1]) {
			d := Dual{Gap: Gap{changes[i].at, changes[j].at}, Changes: j - i + 1}
			for _, c := range changes[i : j+1] {
				d.Nodes = append(d.Nodes, r.Nodes[c.from], r.Nodes[c.to])
			}
			slices.Sort(d.Nodes)
			d.Nodes = slices.Compact(d.Nodes)
			duals = append(duals, d)
		}
		i = j + 1
	}
	return duals
}

// returns: a node took writes again after another one had.
func returns(changes []change) bool {
	been := map[uint16]bool{changes[0].from: true}
	for _, c := range changes {
		if been[c.to] {
			return true
		}
		been[c.to] = true
	}
	return false
}

// change is evidence that after one node had taken a write another one took one.
type change struct {
	at       time.Duration
	from, to uint16
}

// changes is the longest chain of them. A write counts as later than another only if it was *sent*
// after the other had been acknowledged: so an answer by the old primary that was long under way
// does not look like a second primary.
func (r *Report) changes() []change {
	var changes []change
	var holder uint16
	var since time.Duration // by when the holder had certainly taken a write
	for _, a := range r.Known() {
		switch {
		case holder == 0:
		case a.Node != holder && a.Invoked >= since:
			changes = append(changes, change{at: a.Acked, from: holder, to: a.Node})
		default:
			continue
		}
		holder, since = a.Node, a.Acked
	}
	return changes
}

// LongestDual is the longest of Duals, a zero Dual if there were none: what must never be anything
// else.
func (r *Report) LongestDual() Dual {
	duals := r.Duals()
	if len(duals) == 0 {
		return Dual{}
	}
	return slices.MaxFunc(duals, func(a, b Dual) int { return cmp.Compare(a.Length(), b.Length()) })
}

// String is the summary for a log.
func (r *Report) String() string {
	var b strings.Builder
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
	s, c := r.Downtime(), r.ClientDowntime()
	fmt.Fprintf(&b, "%d writes acknowledged in %v; longest write downtime %s (at %s; own share %s), for clients that wait %s\n",
		r.Acked(), r.Ended.Round(time.Millisecond), ms(s.Length()), ms(s.From), ms(r.OwnShare(s)), ms(c.Length()))
	for _, g := range r.Gaps(20 * time.Millisecond) {
		fmt.Fprintf(&b, "  gap     %s to %s: %s\n", ms(g.From), ms(g.To), ms(g.Length()))
	}
	for _, m := range r.Marks {
		fmt.Fprintf(&b, "  mark    %s %s\n", ms(m.At), m.What)
	}
	for _, d := range r.Duals() {
		fmt.Fprintf(&b, "  DUAL    %s to %s: %s, %v\n", ms(d.From), ms(d.To), ms(d.Length()), d.Nodes)
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(&b, "  errors  %d × %s\n", r.Errors[kind], kind)
	}
	return b.String()
}
