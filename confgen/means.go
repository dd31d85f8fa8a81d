package confgen

import (
	"slices"
	"strconv"
	"strings"

	"github.com/redisd/redisd/internal/directive"
)

// means reports whether what CONFIG GET says of a directive is what a value means that somebody
// wrote for it: redis-server answers with bytes where "64mb" was said, with all classes of clients
// where one was set, with its own names for a choice.
func means(name, value, is string) bool {
	want, has := words(value), words(is)
	switch name {
	case "client-output-buffer-limit":
		return bufferLimits(want, has)
	case "notify-keyspace-events":
		return slices.Equal(keyspaceEvents(value), keyspaceEvents(is))
	}
	return slices.EqualFunc(want, has, func(a, b string) bool { return sameWord(name, a, b) })
}

func words(value string) []string {
	w, err := directive.SplitArgs(value)
	if err != nil {
		return []string{value}
	}
	return w
}

// otherNames are two names for one choice.
var otherNames = map[[2]string]bool{
	{"oom-score-adj", "relative"}: true, // which redis-server calls yes
}

// hzMost is the most that redis-server takes for hz, whatever was said (server.h, CONFIG_MAX_HZ).
const hzMost = 500

func sameWord(name, want, is string) bool {
	if strings.EqualFold(want, is) || otherNames[[2]string{name, strings.ToLower(want)}] && is == "yes" {
		return true
	}
	a, aOK := quantity(want)
	b, bOK := quantity(is)
	if name == "hz" {
		a = min(max(a, 1), hzMost)
	}
	return aOK && bOK && a == b
}

// units of memory (util.c, memtoull).
var units = map[string]float64{
	"": 1, "b": 1, "k": 1e3, "kb": 1 << 10, "m": 1e6, "mb": 1 << 20, "g": 1e9, "gb": 1 << 30,
}

// quantity reads a number, with a unit or without.
func quantity(word string) (float64, bool) {
	digits := strings.TrimRight(strings.ToLower(word), "bkmg")
	n, err := strconv.ParseFloat(digits, 64)
	unit, known := units[strings.ToLower(word[len(digits):])]
	return n * unit, err == nil && known
}

// bufferLimits: each class of clients that is set, four words of it, is what has says of the class.
func bufferLimits(want, has []string) bool {
	if len(want)%4 != 0 || len(has)%4 != 0 {
		return false
	}
	limits := map[string][]string{}
	for class := range slices.Chunk(has, 4) {
		limits[directive.Canonical(class[0])] = class[1:]
	}
	last := map[string][]string{}
	for class := range slices.Chunk(want, 4) {
		last[directive.Canonical(class[0])] = class[1:]
	}
	for class, want := range last {
		if !slices.EqualFunc(want, limits[class], func(a, b string) bool { return sameWord("", a, b) }) {
			return false
		}
	}
	return true
}

// keyspaceEvents are the classes that a value names, each once; A stands for most of them.
func keyspaceEvents(value string) []rune {
	classes := []rune(strings.ReplaceAll(value, "A", "g$lshzxetd"))
	slices.Sort(classes)
	return slices.Compact(classes)
}
