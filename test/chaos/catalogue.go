package chaos

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// composed are rounds that no pair of the catalogue's at random would give: one fault hits what
// another has just begun, or takes away what the other leaves to rely on.
var composed = []Round{
	{Name: "primary lost while a replica resyncs", Steps: []Step{
		{Kind: "full resync", On: Replica, For: 4 * time.Second},
		{Kind: "power loss", On: Primary, For: 5 * time.Second, After: time.Second, Then: true},
	}},
	{Name: "agent hangs and its host is cut off", Steps: []Step{
		{Kind: "agent hangs", On: Primary, For: 6 * time.Second},
		{Kind: "network silent", On: Primary, For: 6 * time.Second},
	}},
	{Name: "primary left alone and joined one by one", Steps: []Step{
		{Kind: "cut from the primary", On: Replica, For: 6 * time.Second},
		{Kind: "power loss", On: Successor, For: 8 * time.Second},
	}},
	{Name: "agent hangs and its host is cut off, but not from clients", Steps: []Step{
		{Kind: "agent hangs", On: Primary, For: 6 * time.Second},
		{Kind: "cut from the other nodes", On: Primary, For: 6 * time.Second},
	}},
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
