package reconcile_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redisd/redisd/reconcile"
)

// electorate is a cluster of which the voters are to be put in order; n1 is the holder.
type electorate struct {
	o    reconcile.Observed
	d    reconcile.Desired
	dead map[string]bool
}

func drawElectorate(t *rapid.T) *electorate {
	e := &electorate{dead: map[string]bool{}}
	e.o.At, e.o.Self, e.o.Election.ClusterID = 10*time.Hour, "n1", "c1"
	e.d.Voters = rapid.SampledFrom([]int{0, 1, 3, 5, 7}).Draw(t, "voters")
	e.d.ReplaceAfter = rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "replace after")
	zones := rapid.SampledFrom([][]string{{""}, {"a", "b"}, {"a", "b", "c", ""}}).Draw(t, "zones")
	for i := range rapid.IntRange(1, 9).Draw(t, "members") {
		id := fmt.Sprint("n", i+1)
		m := reconcile.Member{
			ID: id, ClusterID: "c1", Gossip: "10.0.0." + id[1:] + ":7946", Alive: true, Ready: true,
			Zone: rapid.SampledFrom(zones).Draw(t, "zone"), Priority: rapid.SampledFrom([]int{0, 10, 100}).Draw(t, "priority"),
		}
		if rapid.IntRange(0, 3).Draw(t, "no witness") > 0 {
			m.Redis = redisOf(id)
		}
		if id != "n1" && rapid.IntRange(0, 3).Draw(t, "dead") == 0 {
			e.dead[id], m.Alive = true, false
		}
		if rapid.IntRange(0, 7).Draw(t, "forgotten") == 0 {
			e.o.Forgotten = append(e.o.Forgotten, id)
		}
		e.o.Members = append(e.o.Members, m)
		if id == "n1" || rapid.Bool().Draw(t, "votes") {
			e.o.Election.Voters = append(e.o.Election.Voters, reconcile.Voter{ID: id, Addr: m.Gossip})
		}
	}
	return e
}

// look is what the holder sees after its dead voters have been silent for that long.
func (e *electorate) look(silent time.Duration) {
	el := &e.o.Election
	el.Learners = nil
	for i, v := range el.Voters {
		el.Voters[i].SilentSince = 0
		if e.dead[v.ID] {
			el.Voters[i].SilentSince = e.o.At - silent
		}
	}
	for _, m := range e.o.Members {
		if !e.dead[m.ID] && !votes(el.Voters, m.ID) {
			el.Learners = append(el.Learners, m.ID)
		}
	}
}

func votes(voters []reconcile.Voter, id string) bool {
	return slices.ContainsFunc(voters, func(v reconcile.Voter) bool { return v.ID == id })
}

// survives is how many more of the voters can be lost, below 0 when a majority is already.
func (e *electorate) survives(voters []reconcile.Voter) int {
	live := 0
	for _, v := range voters {
		if !e.dead[v.ID] {
			live++
		}
	}
	return live - (len(voters)/2 + 1)
}

// TestNextRoster: each step changes one voter, never the holder, and leaves a majority that
// answers. None lowers how many losses the voters survive, but where a person asked for less. The
// steps come to an end, with the right voters.
func TestNextRoster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawElectorate(t)
		if e.survives(e.o.Election.Voters) < 0 {
			return // no lease
		}
		silent := rapid.SampledFrom([]time.Duration{time.Second, time.Hour}).Draw(t, "silent")
		for range 40 {
			e.look(silent)
			before := slices.Clone(e.o.Election.Voters)
			next, ok := reconcile.NextRoster(e.o, e.d)
			if !ok {
				e.check(t, silent)
				return
			}
			if !slices.Equal(e.o.Election.Voters, before) {
				t.Fatalf("the input was modified")
			}
			e.checkStep(t, before, next)
			e.o.Election.Voters = next.Voters
		}
		t.Fatalf("no end to it in\n%s", reconcile.Text(e.o, e.d))
	})
}

func (e *electorate) checkStep(t *rapid.T, before []reconcile.Voter, next reconcile.SetRoster) {
	out := func(a, b []reconcile.Voter) (ids []string) {
		for _, v := range a {
			if !votes(b, v.ID) {
				ids = append(ids, v.ID)
			}
		}
		return ids
	}
	gone, come := out(before, next.Voters), out(next.Voters, before)
	asked := e.d.Voters > 0 && len(before) > e.d.Voters
	for _, id := range gone {
		asked = asked || slices.Contains(e.o.Forgotten, id) && !e.dead[id]
	}
	was, is := e.survives(before), e.survives(next.Voters)
	switch {
	case len(gone)+len(come) != 1:
		t.Fatalf("%s changes %v and %v in\n%s", next, gone, come, reconcile.Text(e.o, e.d))
	case !votes(next.Voters, "n1"):
		t.Fatalf("%s dismisses the holder in\n%s", next, reconcile.Text(e.o, e.d))
	case is < 0 || is < was && !asked || is < was-1:
		t.Fatalf("%s: %d more losses were survived, now %d, in\n%s", next, was, is, reconcile.Text(e.o, e.d))
	}
}

// check holds what the voters are when there is nothing left to do.
func (e *electorate) check(t *rapid.T, silent time.Duration) {
	fail := func(what string) { t.Fatalf("%s in the end, in\n%s", what, reconcile.Text(e.o, e.d)) }
	o, live, could := e.o, 0, 0
	for _, m := range o.Members {
		voter, wanted := votes(o.Election.Voters, m.ID), !slices.Contains(o.Forgotten, m.ID)
		if !e.dead[m.ID] && (wanted || m.ID == "n1") {
			could++
		}
		switch {
		case voter && !wanted && m.ID != "n1" && e.survives(o.Election.Voters) > 0:
			fail(m.ID + " votes, and is no member any more")
		case voter && !e.dead[m.ID]:
			live++
		}
	}
	n, most := len(o.Election.Voters), e.d.Voters
	if most == 0 {
		most = len(o.Members)
	}
	dead := n - live
	switch {
	case n > most:
		fail("too many vote")
	case live < could && n < most:
		fail("too few vote")
	case silent < time.Minute || e.d.ReplaceAfter == 0:
	case dead > 0 && (live < could || n%2 == 0):
		fail("one votes that is gone")
	}
}
