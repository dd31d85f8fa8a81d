package chaos

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// quiet are the faults of a redis-server at the primary that leave it without an answer, or without
// something to do, once more with a client that hardly writes.
func quiet() (rounds []Round) {
	for _, c := range cards() {
		k := c.kind
		if c.on == Primary && (k.touches == theClients || k.touches == theRedis || k.touches == theCopy || k.touches == theAgent || k.touches == theSettings) {
			step := Step{Kind: k.name, On: c.on, For: (k.least + (k.most-k.least)/2).Truncate(grain)}
			rounds = append(rounds, Round{Steps: []Step{step}, Quiet: true})
		}
	}
	return rounds
}

// Catalogue is every kind of fault at every place, one a round, each for half of what it may last,
// and then the composed ones; all of it so many times.
func Catalogue(times int) Schedule {
	s := Schedule{Name: "catalogue", Again: "make chaos ROUNDS=each", Nodes: 3}
	if times > 1 {
		s.Again += fmt.Sprintf("*%d", times)
	}
	for range times {
		for _, c := range cards() {
			k := c.kind
			step := Step{Kind: k.name, On: c.on, For: (k.least + (k.most-k.least)/2).Truncate(grain)}
			s.Rounds = append(s.Rounds, Round{Steps: []Step{step}})
		}
		s.Rounds = append(s.Rounds, quiet()...)
		s.Rounds = append(s.Rounds, composed...)
	}
	for i := range s.Rounds {
		s.Rounds[i].Number = i + 1
	}
	return s
}

// Times is how often a text like "each" or "each*3" asks for the catalogue; 0 where it does not.
func Times(text string) (int, error) {
	rest, ok := strings.CutPrefix(text, "each")
	if !ok {
		return 0, nil
	}
	if rest == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(rest, "*"))
	if err != nil || !strings.HasPrefix(rest, "*") || n < 1 {
		return 0, fmt.Errorf("ROUNDS=%s: neither each nor, like each*3, so many times each", text)
	}
	return n, nil
}

// Only leaves the rounds whose text or name a pattern matches.
func (s Schedule) Only(pattern string) (Schedule, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return s, fmt.Errorf("ONLY=%s: %w", pattern, err)
	}
	all := s.Rounds
	s.Rounds = nil
	for _, r := range all {
		if re.MatchString(r.String()) || r.Name != "" && re.MatchString(r.Name) {
			s.Rounds = append(s.Rounds, r)
		}
	}
	if len(s.Rounds) == 0 {
		return s, fmt.Errorf("ONLY=%s: no round is like that", pattern)
	}
	return s, nil
}
