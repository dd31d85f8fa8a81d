package chaos

import (
	_ "embed"
	"fmt"
	"strings"
	"time"
)

// found is what earlier runs have found: one line each, the round in the words in which a run tells
// it, "|", and what it showed.
//
//go:embed testdata/found.txt
var found string

// Found is the schedule of them. It does not depend on what the catalogue has become since, as
// their seeds would.
func Found() (Schedule, error) {
	s := Schedule{Name: "found", Again: "make chaos ROUNDS=found", Nodes: 3}
	for line := range strings.Lines(found) {
		text, _, _ := strings.Cut(line, "|")
		if text = strings.TrimSpace(text); text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		r, err := ParseRound(text)
		if err != nil {
			return s, err
		}
		r.Number = len(s.Rounds) + 1
		s.Rounds = append(s.Rounds, r)
	}
	return s, nil
}

// Played is the schedule of rounds that are told, each on a line.
func Played(text string) (Schedule, error) {
	s := Schedule{Name: "told", Again: fmt.Sprintf("make chaos PLAY=%q", text), Nodes: 3}
	for line := range strings.Lines(text) {
		r, err := ParseRound(strings.TrimSpace(line))
		if err != nil {
			return s, err
		}
		r.Number = len(s.Rounds) + 1
		s.Rounds = append(s.Rounds, r)
	}
	return s, nil
}

// ParseRound reads what Round.String writes, and the name of a composed one.
func ParseRound(text string) (Round, error) {
	for _, r := range composed {
		if r.Name == text || r.String() == text {
			return r, nil
		}
	}
	var r Round
	text, r.Quiet = strings.CutPrefix(text, quietly)
	for _, part := range strings.Split(text, "; and ") {
		s, err := parseStep(part)
		if err != nil {
			return r, fmt.Errorf("round %q: %w", text, err)
		}
		if kindOf(s.Kind) == nil {
			return r, fmt.Errorf("round %q: there is no kind of fault %q", text, s.Kind)
		}
		r.Steps = append(r.Steps, s)
	}
	return r, nil
}

func parseStep(text string) (s Step, err error) {
	text, s.Then = strings.CutPrefix(text, "then ")
	if rest, ok := strings.CutSuffix(text, " later"); ok && kindOf(text) == nil {
		i := strings.LastIndex(rest, ", ")
		if i < 0 {
			return s, fmt.Errorf("later than what: %q", text)
		}
		if s.After, err = time.ParseDuration(rest[i+2:]); err != nil {
			return s, err
		}
		text = rest[:i]
	}
	if i := strings.LastIndex(text, " for "); i >= 0 {
		if s.For, err = time.ParseDuration(text[i+len(" for "):]); err != nil {
			return s, err
		}
		text = text[:i]
	}
	s.Kind, s.On = text, Everyone
	for _, p := range []Place{Primary, Successor, Replica} {
		if kind, ok := strings.CutSuffix(text, " on the "+string(p)); ok {
			s.Kind, s.On = kind, p
		}
	}
	return s, nil
}
