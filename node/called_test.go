package node

import (
	"strings"
	"testing"

	"github.com/redisd/redisd/reconcile"
)

// TestCalled: a name that two nodes have is nobody's, and each of them says so.
func TestCalled(t *testing.T) {
	members := []reconcile.Member{
		{ID: "1", Name: "a", Alive: true}, {ID: "2", Name: "b", Alive: true}, {ID: "3", Name: "b", Alive: true, Gossip: "10.0.0.3:7946"},
		{ID: "4", Name: "c"}, {ID: "5", Name: "c", Alive: true}, {ID: "6", Name: "d"},
	}
	for what, want := range map[string]string{
		"a": "1", "2": "2", "c": "5", "d": "6", "b": "!id, 2 (), 3 (10.0.0.3:7946)", "x": `!there is no node "x"`,
	} {
		m, err := Called(members, what)
		if text, fails := strings.CutPrefix(want, "!"); fails != (err != nil) || fails && !strings.Contains(err.Error(), text) || !fails && m.ID != want {
			t.Errorf("%q: %+v, %v", what, m, err)
		}
	}
	for self, want := range map[string]string{"1": "", "2": "3 (10.0.0.3:7946)", "3": "2 ()", "5": ""} {
		if got := Namesakes(members, self); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", self, got)
		}
	}
}
