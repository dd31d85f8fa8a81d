package search

import (
	"encoding/binary"
	"hash/maphash"
	"time"

	"github.com/redisd/redisd/election"
)

const (
	ms = time.Millisecond
	// mostNodes and mostTerms bound what ghost remembers.
	mostNodes = 6
	mostTerms = 7
	// base is what every clock reads at the start: no reading is ever below 0.
	base = time.Hour
)

// world is one state of the system. It is never changed once it is made: what a step does not
// touch, it shares with the states before.
type world struct {
	now     time.Duration // true time; not part of what makes two states equal
	nodes   []*node
	letters []*letter // under way
	left    Budget
	ghost   ghost
	depth   int
	path    *path // how it came about
}

// node is a host: its disk, its agent while one lives, its redis-server.
type node struct {
	e      *election.Elector // nil: the agent is dead
	disk   election.State
	frozen bool

	up        bool // its redis-server lives
	writable  bool // and accepts writes
	primaryOf election.Term
	data      election.Data
	least     election.Data // what it knows that a candidate must have
	witness   bool

	// What it has fenced from afar, and when by its own clock.
	fenced   election.Term
	fencedAt election.Time

	// The last vote it gave to another, 0 for none or one that was given back, and when.
	voteTo   election.NodeID
	voteTerm election.Term
	voteAt   election.Time
	// The bootstrap node it gave its word to, and when.
	wordTo election.NodeID
	wordAt election.Time

	sums []uint64 // one for each renaming of the nodes
}

// letter is a message under way.
type letter struct {
	from, to int
	m        election.Message
	sums     []uint64
}

// path is a step and what went before it.
type path struct {
	before *path
	did    action
}

// Budget is how much may still happen of what could happen for ever.
type Budget struct {
	Doubles, Crashes, Freezes, Fences, Changes, Releases, Waits, Deaths, Writes, Claims, Bootstraps, Beats int8
}

// ghost is what nobody in the system remembers, and the properties speak of.
type ghost struct {
	vote     [mostTerms][mostNodes]int8 // whom a node said it voted for, counted from 1
	winner   [mostTerms]int8            // counted from 1
	enough   [mostTerms]uint8           // voters of this term that had no more data than the winner
	words    [mostNodes]uint8           // who gave its word to this bootstrap node
	released uint8                      // terms given back, a bit each
	lease    int8                       // the highest term whose lease ran
}

func (w *world) clock(s *Scenario, i int) election.Time {
	return base + w.now*time.Duration(s.rate(i))/1000
}

// trueTime is when the clock of i reads at, or just has.
func (s *Scenario) trueTime(i int, at election.Time) time.Duration {
	r := time.Duration(s.rate(i))
	return ((at-base)*1000 + r - 1) / r
}

func (s *Scenario) longest() election.Time {
	if s.Budget.Fences > 0 {
		return election.FencedLapse
	}
	return election.Lapse
}

func (w *world) fork() *world {
	c := *w
	c.nodes = append(make([]*node, 0, len(w.nodes)), w.nodes...)
	c.letters = append(make([]*letter, 0, len(w.letters)+4), w.letters...)
	c.depth++
	return &c
}

// touch gives the copy of a node that may be changed.
func (w *world) touch(i int) *node {
	n := *w.nodes[i]
	n.sums = nil
	if n.e != nil {
		n.e = n.e.Clone()
	}
	w.nodes[i] = &n
	return &n
}

var seed = maphash.MakeSeed()

// sum is the same for two states that differ only by how interchangeable nodes are called, in what
// order letters wait, and by the time of day.
func (w *world) sum(s *Scenario) uint64 {
	var least uint64
	for p := range s.renamings {
		if h := w.sumAs(s, p); p == 0 || h < least {
			least = h
		}
	}
	return least
}

func (w *world) sumAs(s *Scenario, p int) uint64 {
	var buf [512]byte
	b := buf[:0]
	as := s.renamings[p]
	for _, i := range as.order {
		n := w.nodes[i]
		if n.sums == nil {
			n.sums = w.sumsOf(s, func(b []byte, c election.Canon) []byte { return n.append(b, c, w.clock(s, i)) })
		}
		b = binary.LittleEndian.AppendUint64(b, n.sums[p])
	}
	var letters uint64 // in whatever order
	for _, l := range w.letters {
		if l.sums == nil {
			l.sums = w.sumsOf(s, func(b []byte, c election.Canon) []byte {
				return c.Message(append(b, byte(place(c, s.ids[l.from])), byte(place(c, s.ids[l.to]))), s.ids[l.to], l.m)
			})
		}
		letters += l.sums[p]
	}
	b = binary.LittleEndian.AppendUint64(b, letters)
	g := &w.ghost
	for t := range mostTerms {
		var set byte
		for at, i := range as.order {
			b = append(b, as.name(g.vote[t][i]))
			set |= g.enough[t] >> i & 1 << at
		}
		b = append(b, as.name(g.winner[t]), set)
	}
	b = append(append(b, g.words[:]...), g.released, byte(g.lease)) // bootstrap nodes are not exchanged
	l := w.left
	for _, n := range []int8{l.Doubles, l.Crashes, l.Freezes, l.Fences, l.Changes, l.Releases, l.Waits, l.Deaths, l.Writes, l.Claims, l.Bootstraps, l.Beats} {
		b = append(b, byte(n))
	}
	return maphash.Bytes(seed, b)
}

func place(c election.Canon, id election.NodeID) int {
	for i, x := range c.IDs {
		if x == id {
			return i
		}
	}
	return -1
}

func (w *world) sumsOf(s *Scenario, write func([]byte, election.Canon) []byte) []uint64 {
	var buf [512]byte
	sums := make([]uint64, len(s.renamings))
	for p, as := range s.renamings {
		c := election.Canon{IDs: as.ids, Clocks: make([]election.Time, len(as.order)), Longest: s.longest()}
		for at, i := range as.order {
			c.Clocks[at] = w.clock(s, i)
		}
		sums[p] = maphash.Bytes(seed, write(buf[:0], c))
	}
	return sums
}

// later is w some time after, when all that is written down as ages is older.
func (w *world) later(d time.Duration) *world {
	c := w.fork()
	c.now += d
	for i, n := range c.nodes {
		m := *n // an elector changes only when it is touched
		m.sums = nil
		c.nodes[i] = &m
	}
	for i, l := range c.letters {
		c.letters[i] = &letter{from: l.from, to: l.to, m: l.m}
	}
	return c
}

func (n *node) append(b []byte, c election.Canon, now election.Time) []byte {
	var f byte
	for i, on := range []bool{n.e != nil, n.frozen, n.up, n.writable} {
		if on {
			f |= 1 << i
		}
	}
	b = append(b, f, byte(n.primaryOf), byte(n.data.Term), byte(n.data.Offset))
	if n.fenced != 0 && now <= n.fencedAt+election.FenceAge {
		b = binary.AppendVarint(append(b, byte(n.fenced)), int64(now-n.fencedAt))
	}
	if n.voteTo != "" && now < n.voteAt+election.Lapse {
		b = binary.AppendVarint(append(b, 0xfe, byte(place(c, n.voteTo)), byte(n.voteTerm)), int64(now-n.voteAt))
	}
	if n.wordTo != "" && now < n.wordAt+election.BootstrapFor {
		b = binary.AppendVarint(append(b, 0xfd, byte(place(c, n.wordTo))), int64(now-n.wordAt))
	}
	b = c.State(append(b, 0xff), n.disk)
	if n.e != nil {
		b = c.Elector(b, n.e)
	}
	return b
}

// next is how long until something changes by itself, or 0: the next moment at which an elector
// would answer otherwise, or an agent must.
func (w *world) next(s *Scenario) time.Duration {
	var next time.Duration
	for i, n := range w.nodes {
		if n.e == nil {
			continue
		}
		election.Canon{Longest: s.longest()}.Deadlines(n.e, w.clock(s, i), func(at election.Time) {
			if d := s.trueTime(i, at) - w.now; d > 0 && (next == 0 || d < next) {
				next = d
			}
		})
	}
	return next
}
