package powerloss

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// allSubsets bounds how many changes that are not durable are tried in every combination.
const allSubsets = 8

// Moment is when the power went. Values are those of Begin and Done, 0 before the first.
type Moment struct {
	Begun int // the newest value that may be on disk
	Done  int // the one that must be, or a newer one
}

// Outcome is a disk after the power has come back.
type outcome struct {
	Moment
	after string   // the call that was the last
	kept  []string // what is there although it was not durable
	lost  []string
	tree  *tree
}

// Play has check look at every disk that a power loss may leave: in a folder of its own, which it
// may change. It returns how many differed.
func (r *Trace) Play(t *testing.T, check func(dir string, m Moment) error) int {
	t.Helper()
	tried, failures := 0, 0
	r.each(func(o outcome) bool {
		tried++
		dir, err := os.MkdirTemp("", "powerloss")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := o.tree.put(dir, r.isFolder); err != nil {
			t.Fatal(err)
		}
		if err := check(dir, o.Moment); err != nil {
			failures++
			t.Errorf("power loss after %s, kept though not durable: %s; lost: %s\nbegun %d, done %d\n%s\n%v", o.after,
				words(o.kept), words(o.lost), o.Begun, o.Done, o.tree.list(r.isFolder), err)
		}
		return failures < 5
	})
	t.Logf("%d calls, %d different disks", len(r.ops), tried)
	return tried
}

func words(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// each calls visit with every outcome that differs from those before it, until that says false.
func (r *Trace) each(visit func(outcome) bool) {
	seen := map[string]bool{}
	var now Moment
	for last := -1; last < len(r.ops); last++ {
		after := "nothing"
		if last >= 0 {
			o := r.ops[last]
			after = o.words
			if !o.changes() && !o.isSync {
				now.Begun, now.Done = max(now.Begun, o.begun), max(now.Done, o.done)
			}
		}
		pending := r.pending(last + 1)
		for _, choice := range choices(r.ops, pending) {
			o := outcome{Moment: now, after: after, tree: r.before.clone()}
			for i := range last + 1 {
				switch {
				case !slices.Contains(pending, i):
					r.ops[i].apply(o.tree)
				case choice[i] != nil:
					choice[i].apply(o.tree)
					o.kept = append(o.kept, choice[i].words)
				default:
					o.lost = append(o.lost, r.ops[i].words)
				}
			}
			key := fmt.Sprint(now, o.tree.text(r.isFolder))
			if seen[key] {
				continue
			}
			seen[key] = true
			if !visit(o) {
				return
			}
		}
	}
}

// pending are the changes among the first n that no call has made durable.
func (r *Trace) pending(n int) []int {
	var pending []int
	for i, o := range r.ops[:n] {
		if o.changes() && !r.durable(i, n) {
			pending = append(pending, i)
		}
	}
	return pending
}

// durable says whether the i-th change is, after n calls: all folders that it concerns were synced
// since, and the file.
func (r *Trace) durable(i, n int) bool {
	missing := map[node]bool{}
	for _, e := range r.ops[i].entries {
		missing[e.folder] = true
	}
	if r.ops[i].change != none {
		missing[r.ops[i].file] = true
	}
	for _, o := range r.ops[i+1 : n] {
		if o.syncsAll {
			return true
		}
		if o.isSync {
			delete(missing, o.syncs)
		}
	}
	return len(missing) == 0
}

// choice is what is kept of the changes that are not durable: whole, or torn; nil: lost.
type choice map[int]*op

// choices are all combinations while they are few, else none, all, each alone, all but each, and
// the first so many; besides, each write torn, with all others and with none.
func choices(ops []op, pending []int) []choice {
	keep := func(which func(at int) bool) choice {
		c := choice{}
		for at, i := range pending {
			if which(at) {
				c[i] = &ops[i]
			}
		}
		return c
	}
	var out []choice
	if len(pending) <= allSubsets {
		for set := range 1 << len(pending) {
			out = append(out, keep(func(at int) bool { return set>>at&1 == 1 }))
		}
	} else {
		out = append(out, keep(func(int) bool { return false }), keep(func(int) bool { return true }))
		for one := range pending {
			out = append(out,
				keep(func(at int) bool { return at == one }),
				keep(func(at int) bool { return at != one }),
				keep(func(at int) bool { return at < one }))
		}
	}
	for at, i := range pending {
		for _, torn := range ops[i].torn() {
			for _, c := range []choice{keep(func(int) bool { return true }), keep(func(k int) bool { return k < at }), {}} {
				c[i] = &torn
				out = append(out, c)
			}
		}
	}
	return out
}
