package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestJoinRemovals(t *testing.T) {
	a, b := Removal{N: 1, ID: "a", Name: "n1"}, Removal{N: 2, ID: "b", Left: true}
	for _, tt := range []struct{ one, other, want []Removal }{
		{nil, nil, []Removal{}},
		{[]Removal{a}, nil, []Removal{a}},
		{[]Removal{b}, []Removal{a, b}, []Removal{a, b}},
		{[]Removal{{N: 3, ID: "a"}}, []Removal{a, b}, []Removal{b, {N: 3, ID: "a"}}},
		{[]Removal{{N: 9}}, []Removal{a}, []Removal{a}},
	} {
		if got := JoinRemovals(tt.one, tt.other); !slices.Equal(got, tt.want) {
			t.Errorf("%v and %v: %v, want %v", tt.one, tt.other, got, tt.want)
		}
	}
}

// TestJoinRemovalsInAnyOrder: whoever hears what in whatever order ends with the same, and with no
// more than is remembered.
func TestJoinRemovalsInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var all []Removal
	for i := range 3 * RemovedMost {
		all = append(all, Removal{N: uint64(i / 2), ID: fmt.Sprintf("n%d", i%150), Left: i%3 == 0})
	}
	want := JoinRemovals(all, nil)
	if len(want) != RemovedMost {
		t.Fatalf("%d are remembered, want %d", len(want), RemovedMost)
	}
	for range 50 {
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		var got []Removal
		for part := range slices.Chunk(all, 1+rng.IntN(20)) {
			got = JoinRemovals(got, part)
		}
		got = JoinRemovals(got, all[:rng.IntN(len(all))])
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// TestRemovedIsKept: what a node was told is on its disk, and with everything it saves later; a
// disk that takes nothing is asked again.
func TestRemovedIsKept(t *testing.T) {
	b := newBench(t, Options{State: holding(), RedisPID: 1})
	b.run(1000*ms, false)
	gone := []Removal{{N: 1, ID: "x", Name: "n3"}}
	r := b.n.Step(b.now, Remove{List: gone})
	if r.Save == nil || !slices.Equal(r.Save.Removed, gone) {
		t.Fatalf("it saves %+v", r.Save)
	}
	if _, saved := b.n.Removed(); saved {
		t.Error("it takes the removal for saved before it is")
	}
	b.n.Step(b.now, Saved{Err: errors.New("disk full")})
	if _, saved := b.n.Removed(); saved {
		t.Error("it takes the removal for saved though it was not")
	}
	for end := b.now + 2*SaveFails; b.now < end; {
		b.tick(5 * ms)
		b.settle(primary(1000), false)
	}
	if list, saved := b.n.Removed(); !saved || !slices.Equal(list, gone) {
		t.Errorf("in the end it has %v, saved %v", list, saved)
	}
	if o := b.n.Observe(b.now); !slices.Equal(o.Forgotten, []string{"x"}) {
		t.Errorf("it decides on %v", o.Forgotten)
	}
}
