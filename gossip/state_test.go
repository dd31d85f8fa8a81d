package gossip

import (
	"testing"
	"time"
)

// TestStateIsPassedOn: two nodes that meet tell one another what their agents have to say, both
// ways; one that has nothing to say, as of an earlier build, costs nothing.
func TestStateIsPassedOn(t *testing.T) {
	t.Parallel()
	says := func(cfg *Config, text string) (told chan string) {
		told = make(chan string, 64)
		cfg.State, cfg.Learn = func() []byte { return []byte(text) }, func(b []byte) { told <- string(b) }
		return told
	}
	var second chan string
	_, cfgs := startCluster(t, 2, func(i int, cfg *Config) {
		if i == 1 { // the other is of an earlier build
			second = says(cfg, "from n2")
		}
	})
	late := testConfig("n3", cfgs[1].Advertise)
	third := says(&late, "from n3")
	g := start(t, late)
	awaitStates(t, g, 5*time.Second, map[string]State{"n1": Alive, "n2": Alive, "n3": Alive})
	for _, tt := range []struct {
		who  string
		told chan string
		want string
	}{{"n3", third, "from n2"}, {"n2", second, "from n3"}} {
		select {
		case got := <-tt.told:
			if got != tt.want {
				t.Errorf("%s was told %q, want %q", tt.who, got, tt.want)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s was told nothing", tt.who)
		}
	}
}
