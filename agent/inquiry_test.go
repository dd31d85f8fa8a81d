package agent

import (
	"errors"
	"strings"
	"testing"
)

// TestVerdict: what the others say decides whether a state may be made this host's.
func TestVerdict(t *testing.T) {
	says := func(id, cluster, state string) Witness {
		return Witness{Address: "10.0.0.2:7946", testimony: testimony{ID: id, Name: "b", ClusterID: cluster, State: state, Seen: "10.0.0.9:7946"}}
	}
	silent := Witness{Address: "10.0.0.3:7946", Error: "no answer"}
	for name, c := range map[string]struct {
		asked []Witness
		want  string
		is    error
	}{
		"gone":                     {[]Witness{says("b", "k", "dead"), silent}, "", nil},
		"left":                     {[]Witness{says("b", "k", "left")}, "", nil},
		"never heard of":           {[]Witness{says("b", "k", "unknown")}, "", nil},
		"the only voter":           {nil, "", nil},
		"alive elsewhere":          {[]Witness{says("b", "k", "dead"), says("x", "k", "alive")}, "node x runs at 10.0.0.2:7946", nil},
		"seen alive":               {[]Witness{says("b", "k", "dead"), says("c", "k", "suspect")}, "at 10.0.0.9:7946", ErrSeenAlive},
		"in another cluster":       {[]Witness{says("b", "other", "unknown")}, "of the same name", nil},
		"nobody is there":          {[]Witness{silent}, "nobody can tell", ErrNobodyAsked},
		"alive, and seen as alive": {[]Witness{says("b", "k", "alive"), says("x", "k", "alive")}, "node x runs at", nil},
	} {
		q := &Inquiry{ID: "x", ClusterID: "k", Asked: c.asked, dir: "/state"}
		err := q.Verdict()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
