package gossip

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	t0    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	addrA = netip.MustParseAddrPort("192.0.2.1:7946")
	addrB = netip.MustParseAddrPort("192.0.2.2:7946")
	addrC = netip.MustParseAddrPort("192.0.2.3:7946")
)

func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

// TestRoster tells what happened to member b, second by second, and how it is then listed.
func TestRoster(t *testing.T) {
	b := Meta{ID: "b"}
	join := func(r *roster, s int) { r.joined(b, addrB, at(s)) }
	for name, tc := range map[string]struct {
		happens func(r *roster)
		want    string
	}{
		"joins":                     {func(r *roster) { join(r, 1) }, "alive 1 " + addrB.String()},
		"joins again":               {func(r *roster) { join(r, 1); join(r, 5) }, "alive 1 " + addrB.String()},
		"dies":                      {func(r *roster) { join(r, 1); r.gone("b", at(2)) }, "dead 2 " + addrB.String()},
		"dies and is back":          {func(r *roster) { join(r, 1); r.gone("b", at(2)); join(r, 3) }, "alive 3 " + addrB.String()},
		"is suspected":              {func(r *roster) { join(r, 1); r.suspected("b", at(2)); r.suspected("b", at(3)) }, "suspect 2 " + addrB.String()},
		"is suspected, answers":     {func(r *roster) { join(r, 1); r.suspected("b", at(2)); r.answered("b", at(3)) }, "alive 3 " + addrB.String()},
		"answers":                   {func(r *roster) { join(r, 1); r.answered("b", at(3)) }, "alive 1 " + addrB.String()},
		"answers when dead":         {func(r *roster) { join(r, 1); r.gone("b", at(2)); r.answered("b", at(3)) }, "dead 2 " + addrB.String()},
		"says so and leaves":        {func(r *roster) { join(r, 1); r.leaves("b", at(2)); r.gone("b", at(3)) }, "left 3 " + addrB.String()},
		"leaves, then says so":      {func(r *roster) { join(r, 1); r.gone("b", at(2)); r.leaves("b", at(3)) }, "left 3 " + addrB.String()},
		"said so long before":       {func(r *roster) { join(r, 1); r.leaves("b", at(2)); r.gone("b", at(60)) }, "dead 60 " + addrB.String()},
		"says so long after":        {func(r *roster) { join(r, 1); r.gone("b", at(2)); r.leaves("b", at(60)) }, "dead 2 " + addrB.String()},
		"left, is back, and dies":   {func(r *roster) { join(r, 1); r.leaves("b", at(2)); r.gone("b", at(3)); join(r, 4); r.gone("b", at(5)) }, "dead 5 " + addrB.String()},
		"moves":                     {func(r *roster) { join(r, 1); r.gone("b", at(2)); r.joined(b, addrC, at(3)) }, "alive 3 " + addrC.String()},
		"is refused":                {func(r *roster) { join(r, 1); r.refuse("b") }, "unknown"},
		"is refused and dies":       {func(r *roster) { join(r, 1); r.refuse("b"); r.gone("b", at(2)) }, "unknown"},
		"is acceptable again":       {func(r *roster) { join(r, 1); r.refuse("b"); r.updated(b) }, "alive 1 " + addrB.String()},
		"was never here":            {func(r *roster) { r.gone("b", at(1)); r.leaves("b", at(1)); r.suspected("b", at(1)); r.refuse("b") }, "unknown"},
		"is forgotten":              {func(r *roster) { join(r, 1); r.gone("b", at(2)); r.forget("b") }, "unknown"},
		"is up, cannot be forgot":   {func(r *roster) { join(r, 1); r.forget("b") }, "alive 1 " + addrB.String()},
		"in conflict":               {func(r *roster) { join(r, 1); r.conflict("b", addrC, at(2)); r.expire(at(50)) }, "alive 1 " + addrB.String() + " conflict " + addrC.String()},
		"was in conflict":           {func(r *roster) { join(r, 1); r.conflict("b", addrC, at(2)); r.expire(at(63)) }, "alive 1 " + addrB.String()},
		"is refused, yet forgotten": {func(r *roster) { join(r, 1); r.refuse("b"); r.forget("b"); join(r, 5) }, "alive 5 " + addrB.String()},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoster(Member{Meta: Meta{ID: "a"}, Addr: addrA, State: Alive, Since: t0})
			tc.happens(r)
			got := "unknown"
			if m := find(r.members(), "b"); m.ID != "" {
				got = fmt.Sprintf("%s %d %s", m.State, int(m.Since.Sub(t0)/time.Second), m.Addr)
				if m.Conflict.IsValid() {
					got += " conflict " + m.Conflict.String()
				}
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if self := find(r.members(), "a"); self.State != Alive {
				t.Errorf("this node is %s", self.State)
			}
		})
	}
}

func TestRosterSignalsOnlyChanges(t *testing.T) {
	r := newRoster(Member{Meta: Meta{ID: "a"}, State: Alive})
	changed := func() bool {
		select {
		case <-r.changed:
			return true
		default:
			return false
		}
	}
	steps := []struct {
		what string
		do   func()
		want bool
	}{
		{"nothing yet", func() {}, false},
		{"join", func() { r.joined(Meta{ID: "b"}, addrB, at(1)) }, true},
		{"twice, told once", func() { r.suspected("b", at(2)); r.answered("b", at(3)) }, true},
		{"told once", func() {}, false},
		{"an answer is no news", func() { r.answered("b", at(3)) }, false},
		{"same metadata", func() { r.updated(Meta{ID: "b"}) }, false},
		{"new metadata", func() { r.updated(Meta{ID: "b", Name: "x"}) }, true},
		{"a stranger dies", func() { r.gone("x", at(4)) }, false},
		{"self", func() { r.setSelf(Meta{ID: "a", Name: "y"}) }, true},
		{"refused", func() { r.refuse("b") }, true},
		{"refused again", func() { r.refuse("b") }, false},
	}
	for _, s := range steps {
		s.do()
		if got := changed(); got != s.want {
			t.Errorf("%s: signalled %v, want %v", s.what, got, s.want)
		}
	}
}

func TestRosterForgetsThoseLongestGone(t *testing.T) {
	r := newRoster(Member{Meta: Meta{ID: "a"}, State: Alive})
	for i := range maxGone + 5 {
		id := fmt.Sprintf("n%03d", i)
		r.joined(Meta{ID: id}, addrB, at(i))
		r.gone(id, at(i))
	}
	var ids []string
	for _, m := range r.members() {
		ids = append(ids, m.ID)
	}
	if len(ids) != 1+maxGone || ids[0] != "a" || ids[1] != "n005" || !slices.IsSorted(ids) {
		t.Errorf("%d members: %v …", len(ids), ids[:3])
	}
}

func TestInboxDropsTheOldest(t *testing.T) {
	b := newInbox(3)
	for i := range 5 {
		lost, overflow := b.put(Message{Payload: []byte{byte(i)}})
		if overflow != (i >= 3) || lost != uint64(max(0, i-2)) {
			t.Errorf("message %d: lost %d, overflow %v", i, lost, overflow)
		}
	}
	b.close()
	b.close()
	b.put(Message{})
	var got []byte
	for m := range b.ch {
		got = append(got, m.Payload...)
	}
	if diff := cmp.Diff([]byte{2, 3, 4}, got); diff != "" {
		t.Error(diff)
	}
	if b.dropped() != 2 {
		t.Errorf("dropped %d", b.dropped())
	}
}
