package gossip

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// State is what gossip believes of a member. It is a suggestion: it comes seconds late, without a
// quorum, and two nodes may believe different things.
type State int

// The zero State means "not learnt".
const (
	Alive   State = iota + 1
	Suspect       // this node's own probe went unanswered; counted as alive until it is Dead
	Dead          // gone without a word
	Left          // gone, and had said so
)

func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Dead:
		return "dead"
	case Left:
		return "left"
	}
	return "unknown"
}

// Up reports whether the member is still counted as present.
func (s State) Up() bool { return s == Alive || s == Suspect }

// Member is one node as this node knows it.
type Member struct {
	Meta
	Addr  netip.AddrPort // where it advertises gossip
	State State
	Since time.Time // when this node learnt of the State

	// Conflict is another host that answers under the same ID: a cloned disk. While it is set,
	// nothing that this ID says can be relied upon, and a node that finds it on itself must not
	// vote.
	Conflict netip.AddrPort
}

const (
	// maxGone bounds how many members that are dead or left are remembered. Every re-imaged host
	// leaves one behind.
	maxGone = 256

	// leaveGrace joins a member's word that it leaves with memberlist's news that it is gone,
	// whichever comes first.
	leaveGrace = 30 * time.Second

	// conflictTTL is how long an ID conflict stands after the other host last answered; while two
	// nodes quarrel over an ID they are asked every few seconds.
	conflictTTL = time.Minute
)

// roster remembers every member ever heard of. memberlist's own list cannot serve: it must not be
// asked inside a callback, drops the dead, does not say suspect, dead and left apart, and hands out
// pointers that it goes on writing to. The roster is built from its callbacks and never calls it.
type roster struct {
	self    string
	changed chan struct{} // capacity 1

	mu   sync.Mutex
	byID map[string]*record
}

type record struct {
	Member
	leaving    time.Time // when it said that it leaves
	refused    bool      // Config.Accept will not have it
	conflictAt time.Time // when the other host last answered
}

func newRoster(self Member) *roster {
	return &roster{
		self:    self.ID,
		changed: make(chan struct{}, 1),
		byID:    map[string]*record{self.ID: {Member: self}},
	}
}

// update runs f on a member's record, if there is one, and tells the reader of changed when f
// changed what members() returns.
func (r *roster) update(id string, f func(*record)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.byID[id]
	if !ok {
		return false
	}
	before, hidden := rec.Member, rec.refused
	f(rec)
	if rec.Member == before && rec.refused == hidden {
		return false
	}
	r.signal()
	return true
}

func (r *roster) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// joined notes a member that memberlist now holds for alive. It reports whether that is news, and
// its address before, if it has moved.
func (r *roster) joined(m Meta, addr netip.AddrPort, now time.Time) (news bool, old netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, known := r.byID[m.ID]
	if !known {
		rec = &record{}
		r.byID[m.ID] = rec
	}
	if rec.Addr != addr {
		old = rec.Addr
	}
	news = !rec.State.Up()
	if rec.State != Alive {
		rec.State, rec.Since = Alive, now
	}
	if m.ID != r.self { // one's own metadata is what SetMeta says
		rec.Meta = m
	}
	rec.Addr, rec.leaving, rec.refused = addr, time.Time{}, false
	r.signal()
	return news, old
}

// updated notes new metadata of a member.
func (r *roster) updated(m Meta) {
	r.update(m.ID, func(rec *record) { rec.Meta, rec.refused = m, false })
}

// gone notes a member that memberlist gave up; it does not say why.
func (r *roster) gone(id string, now time.Time) State {
	state := Dead
	r.update(id, func(rec *record) {
		if !rec.leaving.IsZero() && now.Sub(rec.leaving) < leaveGrace {
			state = Left
		}
		rec.State, rec.Since = state, now
	})
	r.prune()
	return state
}

// leaves notes a member's word that it is leaving. The word may come after the news.
func (r *roster) leaves(id string, now time.Time) {
	r.update(id, func(rec *record) {
		rec.leaving = now
		if rec.State == Dead && now.Sub(rec.Since) < leaveGrace {
			rec.State, rec.Since = Left, now
		}
	})
}

// suspected notes that this node's probe of a member went unanswered.
func (r *roster) suspected(id string, now time.Time) {
	r.update(id, func(rec *record) {
		if rec.State == Alive && id != r.self {
			rec.State, rec.Since = Suspect, now
		}
	})
}

// answered notes that a member answered a probe.
func (r *roster) answered(id string, now time.Time) {
	r.update(id, func(rec *record) {
		if rec.State == Suspect {
			rec.State, rec.Since = Alive, now
		}
	})
}

// conflict notes another host that answered under a member's ID.
func (r *roster) conflict(id string, addr netip.AddrPort, now time.Time) {
	r.update(id, func(rec *record) { rec.Conflict, rec.conflictAt = addr, now })
}

// refuse hides a member until memberlist has acceptable metadata of it.
func (r *roster) refuse(id string) bool {
	return r.update(id, func(rec *record) { rec.refused = id != r.self })
}

// setSelf replaces this node's own metadata.
func (r *roster) setSelf(m Meta) {
	r.update(r.self, func(rec *record) { rec.Meta = m })
}

// forget drops a member that is not there. It reports whether the member is now unknown.
func (r *roster) forget(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.byID[id]
	switch {
	case !ok:
		return true
	case rec.State.Up() && !rec.refused:
		return false
	}
	delete(r.byID, id)
	r.signal()
	return true
}

// expire takes back conflicts with hosts that no longer answer.
func (r *roster) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.byID {
		if rec.Conflict.IsValid() && now.Sub(rec.conflictAt) > conflictTTL {
			rec.Conflict = netip.AddrPort{}
			r.signal()
		}
	}
}

// prune forgets those longest gone, beyond maxGone.
func (r *roster) prune() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []*record
	for _, rec := range r.byID {
		if !rec.State.Up() && rec.ID != r.self {
			gone = append(gone, rec)
		}
	}
	if len(gone) <= maxGone {
		return
	}
	slices.SortFunc(gone, func(a, b *record) int { return a.Since.Compare(b.Since) })
	for _, rec := range gone[:len(gone)-maxGone] {
		delete(r.byID, rec.ID)
	}
}

// members returns what Gossip.Members promises.
func (r *roster) members() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Member, 0, len(r.byID))
	for _, rec := range r.byID {
		if !rec.refused {
			list = append(list, rec.Member)
		}
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// others returns the other members that are up, and those that are gone. Whoever is refused is in
// neither.
func (r *roster) others() (up, gone []Member) {
	for _, m := range r.members() {
		switch {
		case m.ID == r.self:
		case m.State.Up():
			up = append(up, m)
		default:
			gone = append(gone, m)
		}
	}
	return up, gone
}
