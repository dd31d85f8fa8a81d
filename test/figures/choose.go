package figures

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Number is that of a variable of the environment.
func Number(t testing.TB, variable string, normal int) int {
	text := os.Getenv(variable)
	if text == "" {
		return normal
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q", variable, text)
	}
	return n
}

// Choose returns those of all that a variable names, all if it is not set.
func Choose[T any](t testing.TB, variable string, all []T, id func(T) string) (chosen []T) {
	text := os.Getenv(variable)
	if text == "" {
		return all
	}
	want := strings.Split(text, ",")
	for _, one := range all {
		if i := slices.Index(want, id(one)); i >= 0 {
			chosen = append(chosen, one)
			want = slices.Delete(want, i, i+1)
		}
	}
	if len(want) > 0 {
		t.Fatalf("%s names %v, which there is not", variable, want)
	}
	return chosen
}
