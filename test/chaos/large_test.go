package chaos

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
)

const (
	largeValues = 16 << 10
	largeValue  = 64 << 10
	// largeDisk: the dataset, the append-only file that it was written to, and either anew.
	largeDisk = 6 << 30
	// largePatience is for a full copy, and one that must wait for a snapshot's end: on two
	// processors that three nodes share, each takes up to half a minute.
	largePatience = 150 * time.Second
)

// large is what takes as long as the dataset is large, or must not.
var large = []Round{
	{Steps: []Step{{Kind: "redis-server killed", On: Primary}}},
	{Steps: []Step{{Kind: "full resync", On: Replica, For: 2 * time.Second}}},
	{Steps: []Step{{Kind: "switchover", On: Primary}}},
	{Steps: []Step{{Kind: "agent restarted", On: Primary}}},
	{Steps: []Step{{Kind: "snapshots", On: Primary, For: 5 * time.Second}}},
	{Steps: []Step{{Kind: "stop and start", On: Primary, For: 3 * time.Second}}},
	{Steps: []Step{{Kind: "power loss", On: Primary, For: 5 * time.Second}}},
	composed[0],
}

// TestLargeDataset fills a cluster with 1 GiB and plays what is large as often as REDISD_LARGE
// says; without that it is skipped, for it takes minutes and gigabytes.
func TestLargeDataset(t *testing.T) {
	times, err := strconv.Atoi(os.Getenv("REDISD_LARGE"))
	if err != nil {
		t.Skip("REDISD_LARGE is not a number: run this by `make large`")
	}
	lab.Require(t)
	w := newWorld(t, 3, largeDisk)
	w.patience = largePatience
	c := dial(w.c, w.c.VIP)
	defer c.Close()
	began := time.Now()
	if err := fill(t.Context(), c, largeValues, largeValue, len(w.c.Names())-1); err != nil {
		t.Fatal(err)
	}
	t.Logf("1 GiB written and on every node after %s", readable(time.Since(began)))
	s := Schedule{Name: "large", Again: "make large", Nodes: 3}
	for i := range times * len(large) {
		r := large[i%len(large)]
		r.Number = i + 1
		s.Rounds = append(s.Rounds, r)
	}
	var table Table
	for _, r := range s.Rounds {
		result, whole := play(t, w, s, r)
		if table.Add(result); !whole {
			break
		}
	}
	t.Logf("what came of it:\n\n%s", table.String())
	if path := os.Getenv("CHAOS_TABLE"); path != "" {
		if err := place(path, "a large dataset", table.String()); err != nil {
			t.Error(err)
		}
	}
}
