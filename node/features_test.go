package node

import (
	"slices"
	"testing"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/feature"
)

// TestFeatures: what is new is used once gossip says it of every voter, and not for a moment longer
// than one of them says otherwise itself.
func TestFeatures(t *testing.T) {
	b := leads(t)
	gossip := func(of map[string]feature.Set) {
		list := slices.Clone(b.n.members)
		for i := range list {
			list[i].Features = of[list[i].ID]
		}
		b.step(Members{List: list})
	}
	answer := func(has feature.Set) {
		b.step(Received{Features: has, Message: election.RenewReply{From: "b", Term: 4, Granted: true, Sent: b.now, Highest: 4}})
	}
	expect := func(when string, want feature.Set) {
		t.Helper()
		if got := b.n.Features(); got != want {
			t.Errorf("%s: all have %v, want %v", when, got, want)
		}
	}
	expect("a voter of whom nothing is known", 0)
	gossip(map[string]feature.Set{"a": feature.Own, "b": feature.Own | 1<<40})
	expect("its answers say nothing of it yet", 0)
	answer(feature.Own | 1<<40)
	expect("gossip and its answers say that it has more", feature.Own)
	answer(0)
	expect("an older agent answers in its place, and gossip is late", 0)
	b.run(election.Lapse, false)
	expect("it is silent, and gossip says that it can", feature.Own)
	gossip(map[string]feature.Set{"a": feature.Own})
	expect("gossip says that it cannot", 0)
	b.step(Received{Features: feature.Own, Message: election.RenewReply{From: "stranger", Term: 4, Sent: b.now, Highest: 4}})
	if _, kept := b.n.ballot.heard["stranger"]; kept {
		t.Error("what is no voter is kept")
	}
}
