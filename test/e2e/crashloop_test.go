package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

const (
	// crashLoop is for how long the agent is killed, at moments of chance within killMost.
	crashLoop = 20 * time.Second
	killLeast = 300 * time.Millisecond
	killMost  = 500 * time.Millisecond
)

// TestAgentKilledInALoop kills the agent of the primary again and again, faster than it can be said
// to have settled. systemd starts it each time, no write is refused, and the VIP stays.
func TestAgentKilledInALoop(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	var node string
	var pid, kills int
	var losses func() []string
	r, after := fault(t, c, 0, func(ctx context.Context, primary string) {
		node, pid = primary, redisPID(t, c, primary)
		losses = watchAddresses(t, c, primary)
		kills = killAgents(ctx, t, c.Host(primary))
	})
	unmoved(t, c, after, node, pid)
	t.Logf("%d agents killed in %v", kills, crashLoop)
	if kills < int(crashLoop/killMost)/4 {
		t.Errorf("only %d agents were killed in %v: they were not started again", kills, crashLoop)
	}
	if d := r.Downtime(); d.Length()-r.OwnShare(d) > agentDowntime {
		t.Errorf("no write was acknowledged for %v, %v of that this client's own", d.Length(), r.OwnShare(d))
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		t.Logf("the client saw %d times: %s", r.Errors[kind], kind)
	}
	if n := r.Errors["NOREPLICAS"]; n > 0 {
		t.Errorf("%d writes were refused", n)
	}
	if lost := losses(); len(lost) > 0 {
		t.Errorf("the primary's host lost addresses:\n%s", strings.Join(lost, "\n"))
	}
	keptLease(t, c.Host(node))
}

// killAgents kills the agent of a host for crashLoop, and says how often.
func killAgents(ctx context.Context, t *testing.T, h *lab.Host) (kills int) {
	t.Helper()
	for end := time.Now().Add(crashLoop); time.Now().Before(end); {
		all, err := h.Processes(ctx, "redisd")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.MachinePID))
			if strings.Contains(string(args), "\x00agent") && p.Kill() == nil {
				kills++
			}
		}
		next := time.NewTimer(killLeast + rand.N(killMost-killLeast))
		select {
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-next.C:
		}
	}
	return kills
}

// watchAddresses notes which addresses a host loses until the function it returns is called.
func watchAddresses(t *testing.T, c *cluster.Cluster, node string) (losses func() []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd, err := c.Host(node).Command(ctx, "ip", "-o", "monitor", "address")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout, cmd.WaitDelay = &out, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (lost []string) {
		cancel()
		_ = cmd.Wait() // it was killed
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "Deleted") {
				lost = append(lost, strings.TrimSpace(line))
			}
		}
		return lost
	}
}
