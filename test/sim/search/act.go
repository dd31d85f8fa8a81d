package search

import (
	"fmt"
	"slices"
	"time"

	"github.com/redisd/redisd/election"
)

// kind is what an action does.
type kind uint8

const (
	deliver kind = iota
	double       // deliver, and it comes once more
	drop
	advance // to the next moment at which something changes by itself
	wait
	tick
	claim
	withdraw
	fence // the last holder's redis-server, from afar
	release
	handOver
	propose
	crash
	restart
	freeze
	thaw
	die // the redis-server
	write
	found
)

var kinds = [...]string{"deliver", "double", "drop", "advance", "wait", "tick", "claim", "withdraw", "fence", "release", "hand-over", "propose",
	"crash", "restart", "freeze", "thaw", "die", "write", "found"}

// ending is how far an agent comes with what a step asks of it.
type ending uint8

const (
	whole   ending = iota
	unsaved        // it dies before its state is on disk
	unsent         // it dies when its state is on disk, before it sends
)

// action is one step of the system. Letters are named by their text, such that a path can be walked
// again with some of its steps left out.
type action struct {
	kind   kind
	node   int
	letter *letter
	arg    int
	ending ending
}

// pause is how long a wait is: with what lapses it reaches every multiple of 50 ms.
const pause = 150 * ms

// actions lists what can happen next.
func (s *Scenario) actions(w *world) []action {
	var out []action
	seen := map[uint64]bool{}
	full := len(w.letters) > s.Letters
	for _, l := range w.letters {
		if l.sums != nil && seen[l.sums[0]] {
			continue // one just like it is under way
		}
		if l.sums != nil {
			seen[l.sums[0]] = true
		}
		if full {
			out = append(out, action{kind: drop, node: l.to, letter: l})
		}
		if n := w.nodes[l.to]; n.e == nil || n.frozen {
			continue
		}
		out = s.endings(w, out, action{kind: deliver, node: l.to, letter: l})
		if w.left.Doubles > 0 {
			out = append(out, action{kind: double, node: l.to, letter: l})
		}
	}
	if full { // no room for more
		return out
	}
	out = append(out, action{kind: advance})
	if w.left.Waits > 0 {
		out = append(out, action{kind: wait})
	}
	for i := range w.nodes {
		out = s.actionsOf(w, i, out)
	}
	return out
}

func (s *Scenario) endings(w *world, out []action, a action) []action {
	out = append(out, a)
	if w.left.Crashes > 0 {
		for _, end := range []ending{unsaved, unsent} {
			a.ending = end
			out = append(out, a)
		}
	}
	return out
}

// actionsOf lists what node i can do by itself, and what can befall it.
func (s *Scenario) actionsOf(w *world, i int, out []action) []action {
	n := w.nodes[i]
	one := func(k kind, arg int) { out = append(out, action{kind: k, node: i, arg: arg}) }
	if n.e == nil {
		one(restart, 0)
		return out
	}
	if n.frozen {
		one(thaw, 0)
		return out
	}
	now := w.clock(s, i)
	v := n.e.View(now)
	holding := v.Holder == s.ids[i] && !v.Released && v.ClusterID != ""
	if w.left.Beats > 0 && (v.Claiming || v.Holder == s.ids[i]) {
		one(tick, 0)
	}
	if v.Claiming {
		one(withdraw, 0)
	}
	if w.left.Claims > 0 && !v.Claiming && n.up && v.Roster.Has(s.ids[i]) && (!v.Lease || v.Overtaken) {
		out = s.endings(w, out, action{kind: claim, node: i})
		if n.fenced != 0 && n.fenced == v.HolderTerm && now <= n.fencedAt+election.FenceAge {
			out = append(out, action{kind: claim, node: i, arg: int(n.fenced)})
		}
	}
	if h := slices.Index(s.ids, v.Holder); w.left.Fences > 0 && h >= 0 && h != i && !v.Released && w.nodes[h].up {
		one(fence, h)
	}
	if holding && w.left.Releases > 0 {
		out = s.endings(w, out, action{kind: release, node: i})
		one(handOver, 0)
	}
	if holding && w.left.Changes > 0 {
		out = s.changes(i, v.Roster, out)
	}
	if n.writable && w.left.Writes > 0 {
		one(write, 0)
	}
	if n.up && w.left.Deaths > 0 {
		one(die, 0)
	}
	if w.left.Crashes > 0 {
		one(crash, 0)
	}
	if w.left.Freezes > 0 {
		one(freeze, 0)
	}
	if v.ClusterID == "" && w.left.Bootstraps > 0 && !v.Claiming {
		for k, f := range s.Founders {
			if f.By == s.ids[i] {
				one(found, k)
			}
		}
	}
	return out
}

// changes lists the rosters that i may propose: with one voter more or less, and with one exchanged
// for another, which must be refused. The second node of an exchange is above swapped, counted from
// 1.
func (s *Scenario) changes(i int, r election.Roster, out []action) []action {
	for o, id := range s.ids {
		if o == i {
			continue
		}
		out = append(out, action{kind: propose, node: i, arg: o})
		for x, other := range s.ids {
			if x != i && r.Has(id) && !r.Has(other) {
				out = append(out, action{kind: propose, node: i, arg: o + swapped*(x+1)})
			}
		}
	}
	return out
}

const swapped = 16

// toggled is r with id, if it had it not, else without.
func toggled(r []election.Voter, id election.NodeID) []election.Voter {
	r = slices.Clone(r)
	if at := slices.IndexFunc(r, func(x election.Voter) bool { return x.ID == id }); at >= 0 {
		return slices.Delete(r, at, at+1)
	}
	return append(r, election.Voter{ID: id})
}

// do returns the state after a, nil when a cannot be done or changes nothing, and what it violates.
func (s *Scenario) do(w *world, a action) (*world, error) {
	if a.kind == advance || a.kind == wait {
		return s.pass(w, a)
	}
	c := w.fork()
	c.path = &path{w.path, a}
	if a.letter != nil && a.kind != double {
		at := slices.Index(c.letters, a.letter)
		c.letters = slices.Delete(c.letters, at, at+1)
	}
	if a.ending != whole {
		c.left.Crashes--
	}
	n := c.touch(a.node)
	switch a.kind {
	case drop:
		return c, nil
	case crash, freeze, thaw, restart:
		return s.agent(c, n, a)
	case die:
		c.left.Deaths--
		n.up, n.writable, n.primaryOf = false, false, 0
		return c, nil
	case write:
		c.left.Writes--
		n.data.Offset++
		return c, nil
	case fence:
		c.left.Fences--
		n.fenced, n.fencedAt = c.nodes[a.arg].disk.HolderTerm, c.clock(s, a.node)
		if v := n.e.View(n.fencedAt); v.HolderTerm > 0 {
			n.fenced = v.HolderTerm
		}
		c.touch(a.arg).writable = false
		return c, nil
	}
	return s.event(c, n, a)
}

// pass lets time go on. Agents that live fence in time.
func (s *Scenario) pass(w *world, a action) (*world, error) {
	d := pause
	if a.kind == advance {
		d = w.next(s)
	}
	if d == 0 {
		return nil, nil
	}
	a.arg = int(d)
	c, err := s.elapse(w, d)
	c.path = &path{w.path, a}
	if a.kind == wait {
		c.left.Waits--
	}
	return c, err
}

func (s *Scenario) elapse(w *world, d time.Duration) (*world, error) {
	c := w.later(d)
	for i, n := range c.nodes {
		if n.e != nil && !n.frozen {
			n.obey(c.clock(s, i))
		}
	}
	return c, s.check(c, -1)
}

// obey takes the right to write from the redis-server when the lease is over (rule 8).
func (n *node) obey(now election.Time) {
	if _, ok := n.e.LeaseUntil(now); !ok {
		n.writable = false
	}
}

func (s *Scenario) agent(c *world, n *node, a action) (*world, error) {
	switch a.kind {
	case crash:
		c.left.Crashes--
		n.e = nil
	case freeze:
		c.left.Freezes--
		n.frozen = true
	case thaw:
		n.frozen = false
		n.obey(c.clock(s, a.node))
	case restart:
		// The first thing an agent does is to fence; a redis-server that died comes back.
		n.e = election.New(s.ids[a.node], n.disk, c.clock(s, a.node))
		n.writable, n.primaryOf, n.up = false, 0, true
		n.fenced = 0
		return c, s.check(c, a.node)
	}
	return c, nil
}

// event is one turn of an agent: what comes in or is wanted, the disk, what goes out.
func (s *Scenario) event(c *world, n *node, a action) (*world, error) {
	now := c.clock(s, a.node)
	n.obey(now)
	local := s.local(c, a.node)
	_, leased := n.e.LeaseUntil(now)
	out, ok := s.ask(c, n, a, now, local)
	if !ok {
		return nil, nil
	}
	if err := n.promises(s, a, out, now, leased); err != nil {
		return c, err
	}
	if _, has := n.e.LeaseUntil(now); a.kind == propose && (!leased || !has) {
		return c, fmt.Errorf("%s changes the roster: it had a lease %v, has one %v", s.ids[a.node], leased, has)
	}
	st, dirty := n.e.Unsaved()
	if int(st.Term) > s.Terms {
		return nil, nil
	}
	if a.ending == unsaved {
		if !dirty {
			return nil, nil
		}
		n.e = nil
		n.voteTo, n.wordTo = "", "" // and has not said so
		return c, nil
	}
	if dirty {
		if st.ClusterID == n.disk.ClusterID && compare(st.Roster, n.disk.Roster) < 0 {
			return c, fmt.Errorf("%s goes back from roster %s to %s", s.ids[a.node], rosterText(n.disk.Roster), rosterText(st.Roster))
		}
		n.disk = st
		n.e.Saved()
	}
	if a.ending == unsent {
		n.e = nil
		return c, s.check(c, a.node)
	}
	if err := s.send(c, a, out, local); err != nil {
		return c, err
	}
	s.lead(n, a.node, now)
	return c, s.check(c, a.node)
}

// ask has the elector of n do what a says; not ok: it cannot be done.
func (s *Scenario) ask(c *world, n *node, a action, now election.Time, local election.Local) (out []election.Envelope, ok bool) {
	switch a.kind {
	case deliver, double:
		if a.kind == double {
			c.left.Doubles--
		}
		if m, is := a.letter.m.(election.Claim); is && m.Bootstrapping {
			local.BootstrapNode = m.Candidate // views differ, so anybody may be agreed with
		}
		out = n.e.Step(now, a.letter.m, local)
		s.copyData(c, n, a.letter, out)
	case tick:
		c.left.Beats--
		if out = n.e.Tick(now, s.ids); len(out) == 0 {
			return nil, false // nothing was due
		}
	case claim:
		c.left.Claims--
		out = n.e.Claim(now, local, election.Term(a.arg))
	case withdraw:
		out = n.e.Withdraw(now)
	case release, handOver:
		c.left.Releases--
		n.writable, n.primaryOf = false, 0
		if a.kind == release {
			out = n.e.Release(now, "asked")
		} else {
			out = n.e.HandOver(now, nil, n.data.Offset, "asked")
		}
	case propose:
		c.left.Changes--
		voters := toggled(n.e.View(now).Roster.Voters, s.ids[a.arg%swapped])
		if a.arg >= swapped {
			voters = toggled(voters, s.ids[a.arg/swapped-1])
		}
		if n.e.Propose(now, voters) != nil {
			return nil, false
		}
		out = n.e.Tick(now, s.ids)
	case found:
		c.left.Bootstraps--
		f := s.Founders[a.arg]
		local.BootstrapNode = f.By
		var voters []election.Voter
		for _, id := range f.Voters {
			voters = append(voters, election.Voter{ID: id})
		}
		n.wordTo, n.wordAt = f.By, now
		out = n.e.Bootstrap(now, local, fmt.Sprintf("%s%d", f.By, c.left.Bootstraps), voters)
	}
	return out, true
}

// copyData: a replica that hears its primary has what that has.
func (s *Scenario) copyData(c *world, n *node, l *letter, out []election.Envelope) {
	m, is := l.m.(election.Renew)
	if !is || len(out) == 0 || !out[0].Message.(election.RenewReply).Granted || n.primaryOf != 0 || !n.up {
		return
	}
	if h := c.nodes[l.from]; h.up && h.primaryOf == m.Term {
		n.data = h.data
	}
}

// lead lets writes in while the lease runs.
func (s *Scenario) lead(n *node, i int, now election.Time) {
	v := n.e.View(now)
	if !v.Lease || !n.up {
		n.writable = false
		return
	}
	n.writable = true
	n.primaryOf, n.data.Term = v.HolderTerm, v.HolderTerm
}

// local is what node i knows of itself: of a redis-server that is down, its record.
func (s *Scenario) local(c *world, i int) election.Local {
	n := c.nodes[i]
	local := election.Local{Data: n.data, Candidate: !n.witness, Least: n.least, Reachable: !s.Deaf}
	if v := n.e.View(c.clock(s, i)); v.Holder != "" && !s.Deaf {
		h := slices.Index(s.ids, v.Holder)
		local.Reachable = h < 0 || c.nodes[h].up
	}
	return local
}

func (s *Scenario) send(c *world, a action, out []election.Envelope, local election.Local) error {
	for _, env := range out {
		to := slices.Index(s.ids, env.To)
		if to < 0 || to == a.node {
			continue
		}
		if err := s.said(c, a, env, local); err != nil {
			return err
		}
		c.letters = append(c.letters, &letter{from: a.node, to: to, m: env.Message})
	}
	return nil
}

func (d ending) String() string {
	return [...]string{"", " and it dies before that is on disk", " and it dies before it says so"}[d]
}

// text is the action in the commands of election/testdata, others as a comment.
func (s *Scenario) text(a action) string {
	id := string(s.ids[a.node])
	switch a.kind {
	case advance, wait:
		return fmt.Sprintf("clock %v", time.Duration(a.arg))
	case deliver, double, drop:
		return fmt.Sprintf("%s %s%v", kinds[a.kind], s.letterText(a.letter), a.ending)
	case claim:
		if a.arg != 0 {
			return fmt.Sprintf("claim %s fenced=%d", id, a.arg)
		}
		return "claim " + id + a.ending.String()
	case propose:
		text := fmt.Sprintf("propose %s with or without %s", id, s.ids[a.arg%swapped])
		if a.arg >= swapped {
			text += fmt.Sprintf(", for %s", s.ids[a.arg/swapped-1])
		}
		return text
	case found:
		return fmt.Sprintf("found %s %v", id, s.Founders[a.arg].Voters)
	case fence:
		return fmt.Sprintf("# %s fences the redis-server of %s", id, s.ids[a.arg])
	case die, write:
		return fmt.Sprintf("# the redis-server of %s: %s", id, kinds[a.kind])
	case freeze, thaw, handOver:
		return fmt.Sprintf("# %s: %s", id, kinds[a.kind])
	}
	return kinds[a.kind] + " " + id + a.ending.String()
}

func (s *Scenario) letterText(l *letter) string {
	head := fmt.Sprintf("%s>%s", s.ids[l.from], s.ids[l.to])
	switch m := l.m.(type) {
	case election.Renew:
		return fmt.Sprintf("%s renew term=%d", head, m.Term)
	case election.RenewReply:
		if m.Granted {
			return fmt.Sprintf("%s renewed term=%d", head, m.Term)
		}
		return fmt.Sprintf("%s not-renewed term=%d", head, m.Term)
	case election.Claim:
		return fmt.Sprintf("%s claim term=%d", head, m.Term)
	case election.ClaimReply:
		if m.Granted {
			return fmt.Sprintf("%s granted term=%d", head, m.Term)
		}
		return fmt.Sprintf("%s denied term=%d", head, m.Term)
	case election.Release:
		return fmt.Sprintf("%s release term=%d", head, m.Term)
	}
	return head
}
