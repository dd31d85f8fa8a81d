package node

import (
	"cmp"
	"slices"

	"github.com/redisd/redisd/election"
)

// Removal is a node that is no member any more: it left, or was forgotten. Its ID is never used
// again: should its disk come back, it comes as another node. Every member keeps the list on disk,
// and passes it on to whomever it meets, so that the disk learns of it whoever is still there.
type Removal struct {
	// N orders removals, the later the higher; the holder of the lease that made it counts.
	N    uint64 `json:"n"`
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Left: it said so itself.
	Left bool `json:"left,omitempty"`
}

// RemovedMost bounds how many removals are remembered. A disk that comes back after as many others
// were removed since joins under its old ID, as one that was away.
const RemovedMost = 64

// JoinRemovals is what somebody knows who knows both lists: the later removals of each node, in
// their order, the latest RemovedMost of them. In whatever order lists are joined, and how often,
// the result is the same.
func JoinRemovals(a, b []Removal) []Removal {
	latest := map[string]Removal{}
	for _, r := range slices.Concat(a, b) {
		if old, ok := latest[r.ID]; !ok || compareRemovals(old, r) < 0 {
			latest[r.ID] = r
		}
	}
	out := make([]Removal, 0, len(latest))
	for _, r := range latest {
		if r.ID != "" {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, compareRemovals)
	return out[max(0, len(out)-RemovedMost):]
}

func compareRemovals(a, b Removal) int {
	left := func(r Removal) int {
		if r.Left {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.N, b.N), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name), left(a)-left(b))
}

// removed are the removals that this node knows of.
type removed struct {
	list []Removal
	ids  []string
	// unsaved: not all of them are on disk; keeping: a save of them is under way.
	unsaved, keeping bool
	again            Time // when a save that failed is tried again
}

func (r *removed) set(list []Removal) {
	r.list, r.ids = list, make([]string, len(list))
	for i, x := range list {
		r.ids[i] = x.ID
	}
}

// remove takes over removals that others know of.
func (b *ballot) remove(list []Removal) {
	n := b.n
	next := JoinRemovals(n.removed.list, list)
	if slices.Equal(next, n.removed.list) {
		return
	}
	for _, r := range next {
		if !slices.Contains(n.removed.ids, r.ID) {
			n.tell(NodeRemoved{Removal: r})
		}
	}
	n.removed.set(next)
	n.removed.unsaved = true
	n.wake()
}

// saveRemoved puts new removals on disk, and reports whether it began to.
func (b *ballot) saveRemoved() bool {
	r := &b.n.removed
	if !r.unsaved || b.saving || b.n.at < r.again {
		return false
	}
	b.save(nil, nil)
	return true
}

// saving: every save has what is known by then.
func (r *removed) saving() []Removal {
	r.keeping, r.unsaved = r.unsaved, false
	return r.list
}

func (r *removed) saved(at Time, err error) {
	if err != nil && r.keeping {
		r.unsaved, r.again = true, at+SaveFails
	}
	r.keeping = false
}

// Removed are the removals that this node knows of; saved: they are on its disk.
func (n *Node) Removed() (list []Removal, saved bool) {
	return n.removed.list, !n.removed.unsaved && !n.removed.keeping
}

// isRemoved: it is no member any more, whatever it says of itself.
func (n *Node) isRemoved(id election.NodeID) bool { return slices.Contains(n.removed.ids, string(id)) }
