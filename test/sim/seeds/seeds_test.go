package seeds

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seeds.txt")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# all of them\n7 # a late vote\n\n  12\n")
	if got, err := Read(path); err != nil || !slices.Equal(got, []uint64{7, 12}) {
		t.Errorf("got %v, %v", got, err)
	}
	write("7\nseven\n")
	if got, err := Read(path); err == nil {
		t.Errorf("got %v", got)
	}
}

// odd fails the seeds 103 and 105, and adds up the others.
func odd(sum *uint64) Simulation[uint64] {
	return Simulation[uint64]{
		Run: func(seed uint64, _ io.Writer) (uint64, error) {
			if seed == 103 || seed == 105 {
				return 0, errors.New("odd")
			}
			return seed, nil
		},
		Add: func(seed uint64) { *sum += seed },
	}
}

func TestPlay(t *testing.T) {
	var sum uint64
	r := odd(&sum).Play(Span{From: 100, Count: 10})
	slices.SortFunc(r.Failed, func(a, b Failure) int { return int(a.Seed) - int(b.Seed) })
	if r.Runs != 10 || sum != 1045-103-105 || len(r.Failed) != 2 || r.Failed[0].Seed != 103 || r.Failed[1].Seed != 105 {
		t.Errorf("got %v, failed %v, sum %d", r, r.Failed, sum)
	}
}

func TestPlayUntilFailed(t *testing.T) {
	var sum uint64
	if r := odd(&sum).Play(Span{From: 100, Count: 1 << 40, UntilFailed: true}); len(r.Failed) == 0 || r.Runs == 1<<40 {
		t.Errorf("got %v", r)
	}
}

func TestPlayForATime(t *testing.T) {
	var sum uint64
	if r := odd(&sum).Play(Span{From: 1000, For: 20 * time.Millisecond}); r.Runs < 10 || r.Took < 20*time.Millisecond {
		t.Errorf("got %v", r)
	}
}
