package figures

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Sample is what several runs gave for one figure.
type Sample struct{ Median, Low, High float64 }

// SampleOf takes -1 as a time longer than any.
func SampleOf[T any](runs []T, figure func(T) float64) (s Sample, ok bool) {
	if len(runs) == 0 {
		return s, false
	}
	var v []float64
	for _, r := range runs {
		f := figure(r)
		if f < 0 {
			f = math.Inf(1)
		}
		v = append(v, f)
	}
	slices.SortFunc(v, cmp.Compare)
	s.Low, s.High = v[0], v[len(v)-1]
	s.Median = v[len(v)/2]
	if lower := v[(len(v)-1)/2]; lower != s.Median {
		s.Median = (s.Median + lower) / 2
	}
	return s, true
}

// CountCell is a sample of whole numbers.
func CountCell(s Sample) string {
	return s.Cell(func(v float64) string { return Grouped(int64(math.Round(v))) })
}

// Cell is the median, and the range when it is another, of a sample in a format.
func (s Sample) Cell(format func(float64) string) string {
	if format(s.Low) == format(s.High) {
		return format(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", format(s.Median), format(s.Low), format(s.High))
}

// Duration writes milliseconds with the unit that fits them.
func Duration(v float64) string {
	switch {
	case v < 0.05:
		return "0"
	case v < 10:
		return fmt.Sprintf("%.1f ms", v)
	case v < 999.5:
		return fmt.Sprintf("%.0f ms", v)
	case v < 9_995:
		return fmt.Sprintf("%.2f s", v/1000)
	}
	return fmt.Sprintf("%.1f s", v/1000)
}

// Grouped writes a number with a thin space between thousands.
func Grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}
