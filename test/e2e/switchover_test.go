package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// steps of a switchover at which something is made to go wrong, and how the command shows that they
// have passed.
var steps = []struct{ name, shown string }{
	{"checked", "checked: "},
	{"writes wait", "writes wait on "},
	{"every byte there", " has every byte "},
	{"lease released", "lease released by "},
	{"promoted", " promoted, "},
	{"VIP dropped", " dropped by "},
}

// switchoverFault is something that goes wrong during a switchover from one node to another.
type switchoverFault struct {
	name string
	// ready looks up what the fault needs, so that it takes no time.
	ready func(t *testing.T, c *cluster.Cluster, from, to string) (hit func() error)
	// undo puts right what does not right itself.
	undo func(ctx context.Context, c *cluster.Cluster, from, to string) error
	// mayLose by the step at which it is injected, see docs/GUARANTEES.md.
	mayLose [6]int
	// newPrimaryDies: from the release of the lease on it may be the new primary that dies.
	newPrimaryDies bool
}

// Until a replica has every byte, the loss of the old primary is a crash; from the promotion on
// that of the new one is. A fault at a step may land some steps later.
var switchoverFaults = []switchoverFault{
	{"redis-server of the successor killed", onProcess("redis-server", false, lab.Process.Kill), nil, [6]int{0, asyncWindow, asyncWindow, asyncWindow, asyncWindow, asyncWindow}, true},
	{"host of the successor loses power", powerOffTarget, powerOnTarget, [6]int{0, asyncWindow, asyncWindow, asyncWindow, asyncWindow, asyncWindow}, true},
	{"redis-server of the old primary killed", onProcess("redis-server", true, lab.Process.Kill), nil, [6]int{asyncWindow, asyncWindow, 0, 0, 0, 0}, false},
	{"agent of the old primary killed", onProcess("redisd", true, lab.Process.Kill), nil, [6]int{}, false},
	{"agent of the old primary stopped (SIGSTOP)", onProcess("redisd", true, lab.Process.Pause), nil, [6]int{}, false},
	{"network of the old primary cut", cutSource, healSource, [6]int{asyncWindow, asyncWindow, 0, 0, 0, 0}, false},
}

func onProcess(name string, source bool, do func(lab.Process) error) func(*testing.T, *cluster.Cluster, string, string) func() error {
	return func(t *testing.T, c *cluster.Cluster, from, to string) func() error {
		node := to
		if source {
			node = from
		}
		p, err := c.Host(node).Process(t.Context(), program(name))
		if err != nil {
			t.Fatal(err)
		}
		return func() error { return do(p) }
	}
}

func powerOffTarget(t *testing.T, c *cluster.Cluster, _, to string) func() error {
	return func() error { return c.Host(to).PowerOff(t.Context()) }
}

func powerOnTarget(ctx context.Context, c *cluster.Cluster, _, to string) error {
	return c.Host(to).PowerOn(ctx)
}

func cutSource(t *testing.T, c *cluster.Cluster, from, _ string) func() error {
	return func() error { return c.Host(from).Silence(t.Context()) }
}

func healSource(ctx context.Context, c *cluster.Cluster, from, _ string) error {
	return c.Host(from).Unsilence(ctx)
}

// TestFaultDuringSwitchover injects a fault at every step of a switchover. The ordinary run has
// three cases; E2E_ALL=1 has twelve, two of every fault, and SEED=0, 1 and 2 bring every fault to
// every step.
func TestFaultDuringSwitchover(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	t.Run("none", func(t *testing.T) { plainSwitchover(t, c) })
	t.Run("status afterwards", func(t *testing.T) { statusAfterwards(t, c) })
	t.Run("timeouts", func(t *testing.T) { timeouts(t, c) })
	t.Run("two at once", func(t *testing.T) { twoSwitchovers(t, c) })
	type pair struct{ fault, step int }
	cases := []pair{{0, 1}, {3, 4}, {5, 1}}
	if os.Getenv("E2E_ALL") != "" {
		seed, _ := strconv.Atoi(os.Getenv("SEED"))
		cases = nil
		for i := range switchoverFaults {
			cases = append(cases, pair{i, (i + seed) % len(steps)}, pair{i, (i + seed + 3) % len(steps)})
		}
	} else {
		t.Log("3 of 36 cases; E2E_ALL=1 runs twelve, see CONTRIBUTING.md")
	}
	var table strings.Builder
	table.WriteString("| fault | at | said by the command | write downtime | lost | two acknowledge | healthy after | primary |\n|---|---|---|---|---|---|---|---|\n")
	for _, p := range cases {
		s := switchoverFaults[p.fault]
		t.Run(s.name+" at "+steps[p.step].name, func(t *testing.T) { inject(t, c, s, p.step, &table) })
	}
	t.Log("\n" + table.String())
}

// plainSwitchover has no fault: what the command says of the cost is what a client measured.
func plainSwitchover(t *testing.T, c *cluster.Cluster) {
	var m agent.Moved
	r, _ := fault(t, c, 0, func(ctx context.Context, primary string) {
		out, err := c.Host(c.Others(primary)[1]).Run(ctx, "redisd", "switchover", "--to", c.Others(primary)[0], "--json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &m)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	if m.Lost == nil || *m.Lost != 0 || m.PromotedFrom < m.FencedAt {
		t.Errorf("losses not verified: %+v", m)
	}
	if m.DowntimeMS == nil {
		t.Fatalf("write downtime not measured: %+v", m)
	}
	t.Logf("said %.1f ms at most, a client on the VIP saw %v", *m.DowntimeMS, r.Downtime().Length())
}

// statusAfterwards: from when the command says that the primary has moved, all is well, by every
// node, though replicas and Sentinels only turn to the new one.
func statusAfterwards(t *testing.T, c *cluster.Cluster) {
	const settles = 2 * time.Second
	for range 3 {
		s := c.Healthy(t.Context())
		others := c.Others(cluster.Primary(s))
		if _, err := c.Host(others[1]).Run(t.Context(), "redisd", "switchover", "--to", others[0]); err != nil {
			t.Fatal(err)
		}
		moved, asked := time.Now(), 0
		for time.Since(moved) < settles {
			for _, name := range c.Names() {
				s, err := c.Status(t.Context(), name)
				if asked++; err != nil || s.Health != "healthy" {
					t.Errorf("%v after the primary had moved %s said: %s: %q (%v)", time.Since(moved).Round(time.Millisecond), name, s.Health, s.Problems, err)
				}
			}
		}
		t.Logf("asked %d times", asked)
	}
}

// timeouts are too short, or just not: what the command says is what happened, also a while later.
func timeouts(t *testing.T, c *cluster.Cluster) {
	for _, timeout := range []string{"1us", "1ms", "4ms"} {
		var said error
		var before string
		_, after := fault(t, c, 0, func(ctx context.Context, primary string) {
			before = primary
			_, said = c.Host(c.Others(primary)[0]).Run(ctx, "redisd", "switchover", "--timeout", timeout)
		})
		t.Logf("--timeout %s: %v", timeout, said)
		moved := cluster.Primary(after) != before
		cancelled := said != nil && strings.Contains(said.Error(), "was cancelled before anything was done") && strings.Contains(said.Error(), "writes go on at "+before)
		if moved != (said == nil) || said != nil && !cancelled {
			t.Errorf("--timeout %s said %v, and the primary %s is now %s", timeout, said, before, cluster.Primary(after))
		}
	}
}

// twoSwitchovers are requested on two nodes at once: one is carried out, and who made the other is
// told so. One that comes a moment later goes to the new primary, which moves on, or says that the
// other node does not follow it yet.
func twoSwitchovers(t *testing.T, c *cluster.Cluster) {
	fault(t, c, 0, func(ctx context.Context, primary string) {
		var wg sync.WaitGroup
		targets := c.Others(primary)
		outs, errs := make([]string, len(targets)), make([]error, len(targets))
		for i, name := range targets {
			wg.Go(func() {
				outs[i], errs[i] = c.Host(name).Run(ctx, "redisd", "switchover", "--to", name)
			})
		}
		wg.Wait()
		moved := func(i int, from string) bool {
			return errs[i] == nil && strings.Contains(outs[i], "the primary moved from "+from+" to "+targets[i])
		}
		told := func(i int) bool {
			return errs[i] != nil && (strings.Contains(errs[i].Error(), "is under way") || strings.Contains(errs[i].Error(), "does not replicate from the primary"))
		}
		for first, second := range []int{1, 0} {
			if moved(first, primary) && (told(second) || moved(second, targets[first])) {
				return
			}
		}
		t.Errorf("of two at once on %s one should be carried out, and the other told so or carried out after it: %q %v", primary, outs, errs)
	})
}

// longWire makes the steps that need the successor take long enough to inject a fault in them.
const longWire = 10 * time.Millisecond

// inject runs a switchover and injects the fault when the step is shown.
func inject(t *testing.T, c *cluster.Cluster, s switchoverFault, step int, table *strings.Builder) {
	for range 3 {
		if row := injectOnce(t, c, s, step); row != "" || t.Failed() {
			table.WriteString(row)
			return
		}
	}
	t.Error("the switchover did not get so far, three times")
}

// injectOnce returns the row of the table; none when the switchover did not get as far as the step,
// for instance since the slow wire kept the successor from catching up.
func injectOnce(t *testing.T, c *cluster.Cluster, s switchoverFault, step int) string {
	var said string
	var at time.Time
	// Before the traffic: while the wire is changed over, frames are lost.
	from := cluster.Primary(c.Healthy(t.Context()))
	to, witness := c.Others(from)[0], c.Others(from)[1]
	if err := c.Host(to).Netem(lab.Impairment{Delay: longWire}); err != nil {
		t.Fatal(err)
	}
	o := faultOf(t, c, limits{lost: s.mayLose[step], returns: s.newPrimaryDies && step >= 4}, func(ctx context.Context, primary string) {
		if primary != from {
			t.Fatalf("the primary moved from %s to %s before anything was done", from, primary)
		}
		hit := s.ready(t, c, from, to)
		said = switchAndInject(ctx, t, c.Host(witness), to, steps[step].shown, func() error { at = time.Now(); return hit() })
		if s.undo != nil && !at.IsZero() {
			if err := s.undo(ctx, c, from, to); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Host(to).ClearNetem(); err != nil {
			t.Fatal(err)
		}
	})
	if at.IsZero() {
		return ""
	}
	r := o.report
	return fmt.Sprintf("| %s | %s | %s | %.0f ms | %d | %v | %.1f s | %s → %s |\n", s.name, steps[step].name, said,
		millis(r.Downtime().Length()), o.lost, o.dual.Length(), o.healthy.Sub(at).Seconds(), from, cluster.Primary(o.after))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// switchAndInject runs the command and returns its last line, of either output.
func switchAndInject(ctx context.Context, t *testing.T, h *lab.Host, to, shown string, hit func() error) string {
	t.Helper()
	cmd, err := h.Command(ctx, "redisd", "switchover", "--to", to)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	hitAt := false
	var text strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if line := lines.Text(); !hitAt && strings.Contains(line, shown) {
			hitAt = true
			if err := hit(); err != nil {
				t.Errorf("inject the fault: %v", err)
			}
			text.WriteString(line + "   <- fault injected\n")
			continue
		}
		text.WriteString(lines.Text() + "\n")
	}
	err = cmd.Wait()
	t.Logf("\n%s%s", text.String(), stderr.String())
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "moved, " + lastWith(text.String(), "lost ")
	case errors.As(err, &exit) && exit.ExitCode() == 1 && stderr.Len() > 0:
		return strings.TrimPrefix(strings.TrimSpace(stderr.String()), "redisd: ")
	}
	t.Errorf("the command ended with %v and said %q", err, stderr.String())
	return err.Error()
}

// lastWith is the last line that begins with prefix.
func lastWith(text, prefix string) (found string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			found = strings.Join(strings.Fields(line), " ")
		}
	}
	return found
}
