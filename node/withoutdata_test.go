package node

import (
	"strings"
	"testing"

	"github.com/redisd/redisd/reconcile"
)

// TestWithoutData: who waits for a node that may have data says for which, and what to do if it is
// gone for good.
func TestWithoutData(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*reconcile.Observed)
		want   string
	}{
		"it has some":            {func(o *reconcile.Observed) { o.Redis.Data.Term = 1 }, ""},
		"another has some":       {func(o *reconcile.Observed) { o.Members[1].Data.Term = 1 }, ""},
		"before there is one":    {func(o *reconcile.Observed) { o.Election.ClusterID = "" }, ""},
		"it never had":           {func(o *reconcile.Observed) { o.Election.Fresh = true }, ""},
		"it had":                 {func(*reconcile.Observed) {}, "no node has data of this cluster any more"},
		"one is away":            {func(o *reconcile.Observed) { o.Members[2].Alive = false }, "bring back c (10.0.0.3:7946)"},
		"it never had, one away": {func(o *reconcile.Observed) { o.Election.Fresh, o.Members[2].Alive = true, false }, "failover --allow-data-loss"},
	} {
		o := wellOff()
		o.Election.Voters[2].Addr = "10.0.0.3:7946"
		for i := range o.Members {
			o.Members[i].ClusterID = "c1"
		}
		c.change(&o)
		if got := withoutData(o); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
