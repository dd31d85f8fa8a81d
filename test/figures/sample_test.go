package figures

import (
	"math"
	"testing"
)

func TestSample(t *testing.T) {
	for _, c := range []struct {
		runs []float64
		want Sample
	}{
		{[]float64{7}, Sample{7, 7, 7}},
		{[]float64{9, 1, 5}, Sample{5, 1, 9}},
		{[]float64{1, 2, 4, 100}, Sample{3, 1, 100}},
		{[]float64{3, -1, 2}, Sample{3, 2, math.Inf(1)}},
		{[]float64{-1, -1, 2}, Sample{math.Inf(1), 2, math.Inf(1)}},
	} {
		got, ok := SampleOf(c.runs, func(v float64) float64 { return v })
		if !ok || got != c.want {
			t.Errorf("%v: %+v, want %+v", c.runs, got, c.want)
		}
	}
	if _, ok := SampleOf(nil, func(float64) float64 { return 0 }); ok {
		t.Error("no runs are a sample")
	}
}
