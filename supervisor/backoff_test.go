package supervisor

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBackoff(t *testing.T) {
	var b Backoff
	var got []time.Duration
	for range 9 {
		got = append(got, b.Next(10*time.Millisecond))
	}
	got = append(got, b.Next(10*time.Second), b.Next(0))
	const ms = time.Millisecond
	want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms, 5000 * ms, 100 * ms, 200 * ms}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestBackoffProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Backoff
		before := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "exits") {
			ran := time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "ran"))
			pause := b.Next(ran)
			switch {
			case pause < backoffFirst || pause > backoffMost:
				t.Fatalf("pause %v", pause)
			case ran >= backoffReset && pause != backoffFirst:
				t.Fatalf("it had run for %v, and still waits %v", ran, pause)
			case ran < backoffReset && pause < min(2*before, backoffMost):
				t.Fatalf("%v after %v", pause, before)
			}
			before = pause
		}
	})
}
