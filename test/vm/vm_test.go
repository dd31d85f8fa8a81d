package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

const guestName = "g"

// start makes a cluster of two hosts of the lab, a and b, and the guest.
func start(t *testing.T) (*cluster.Cluster, *Guest) {
	debs := os.Getenv("REDISD_VM")
	if debs == "" {
		t.Skip("REDISD_VM is not set: run this by `make vm`")
	}
	lab.Require(t)
	c := cluster.New(t, vmLab(t, debs), cluster.Options{Nodes: []string{"a", "b"}, Expect: 3})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	g, err := Add(ctx, c.Lab, guestName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			saveGuest(t, g)
		}
		if err := g.PowerOff(); err != nil {
			t.Errorf("power the guest off: %v", err)
		}
	})
	for _, file := range []string{"/etc/redisd/secret", "/etc/redisd/redisd.toml"} {
		text, err := c.Host("a").ReadFile(ctx, file)
		if err == nil {
			err = g.Host.WriteFile(ctx, file, text, 0o640)
		}
		if err == nil {
			err = g.Chroot(ctx, "chgrp", "redis", file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Chroot(ctx, "systemctl", "-q", "enable", "redisd"); err != nil {
		t.Fatal(err)
	}
	if err := c.Enable(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := g.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("the guest has booted after %v", time.Since(began).Round(time.Millisecond))
	whole(t, c)
	return c, g
}

// vmLab makes a lab whose hosts have the package, and the kernel for the one that is a guest.
func vmLab(t *testing.T, debs string) *lab.Lab {
	deb := cluster.Deb(t)
	content, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	key := "vm-" + filepath.Base(debs) + "-" + hex.EncodeToString(sum[:8])
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	layer, err := lab.Prepare(ctx, lab.Options{}, key, func(ctx context.Context, h *lab.Host) error {
		return errors.Join(cluster.Install(ctx, h, deb), InstallKernel(ctx, h, debs))
	})
	if err != nil {
		t.Fatal(err)
	}
	return lab.New(t, lab.Options{Layers: []lab.Layer{layer}})
}

func saveGuest(t *testing.T, g *Guest) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	journal, err := g.Shell(ctx, "journalctl -q -b -o short-precise | grep -v systemd | tail -n 200")
	t.Logf("the guest's journal (%v):\n%s\nits console:\n%s", err, journal, g.consoleEnd())
}

// whole waits until all three are members and healthy.
func whole(t *testing.T, c *cluster.Cluster) agent.Status {
	t.Helper()
	return c.Await(t.Context(), "a healthy cluster of three", func(s agent.Status) error {
		if s.Health != "healthy" || len(s.Nodes) != 3 {
			return fmt.Errorf("%s with %d nodes: %s", s.Health, len(s.Nodes), strings.Join(s.Problems, "; "))
		}
		return nil
	})
}

// TestPausedPrimary pauses the guest while it is the primary, for longer than its lease by far,
// ROUNDS times for each length.
func TestPausedPrimary(t *testing.T) {
	c, g := start(t)
	rounds, err := strconv.Atoi(os.Getenv("ROUNDS"))
	if err != nil {
		rounds = 1
	}
	for round := range rounds {
		for _, pause := range []time.Duration{5 * time.Second, 30 * time.Second} {
			t.Run(fmt.Sprintf("%v/%d", pause, round), func(t *testing.T) { pausedPrimary(t, c, g, pause) })
		}
	}
}

func pausedPrimary(t *testing.T, c *cluster.Cluster, g *Guest, pause time.Duration) {
	ctx := t.Context()
	c.T = t
	own := g.Host.Addr().String() + ":6379"
	ordinary, patient := writersToGuest(t, c, own, pause)
	defer ordinary.Stop()
	defer patient.Stop()
	before, beforeAt := uptime(t, g)
	stopped := time.Now()
	must(t, g.Pause())
	must(t, within(ctx, ordinary.AwaitAck))
	select { // what a pause is: nothing can be awaited that would end it
	case <-time.After(time.Until(stopped.Add(pause))):
	case <-ctx.Done():
		t.Fatal(context.Cause(ctx))
	}
	resumed := time.Now()
	must(t, g.Resume())
	s := c.Await(ctx, "the old primary to follow", follows)
	followed := time.Since(resumed)
	ordinary.Stop()
	patient.Stop()
	after, afterAt := uptime(t, g)
	whole(t, c)
	stood := afterAt.Sub(beforeAt) - (after - before)
	if diff := stood - pause; diff < -time.Second || diff > time.Second {
		t.Errorf("the guest's CLOCK_BOOTTIME stood still for %v, the pause was %v: this was no pause", stood, pause)
	}
	t.Logf("paused for %v; CLOCK_BOOTTIME stood still for %v; new primary %s; the old one follows %v after it went on",
		resumed.Sub(stopped).Round(time.Millisecond), stood.Round(10*time.Millisecond), cluster.Primary(s), followed.Round(time.Millisecond))
	f := fence{stopped: stopped, resumed: resumed, own: own}
	f.judge(t, c, "ordinary clients", ordinary, s.Primary.Address)
	f.judge(t, c, "clients that wait", patient, s.Primary.Address)
	oneVIP(t, c, g)
}

// writersToGuest makes the guest the primary and lets clients write to it. Under them, a guest
// that gets too little of this machine's processors may be taken for hung: then it is tried again.
func writersToGuest(t *testing.T, c *cluster.Cluster, own string, pause time.Duration) (ordinary, patient *writer.Writer) {
	t.Helper()
	for range 3 {
		makePrimary(t, c)
		ordinary = c.Writer(t.Context(), func(o *writer.Options) {
			o.Direct, o.Workers, o.Pause, o.ProbeAfter = []string{own}, 1, writePause, 10*writePause
		})
		// A client that waits for its answer all through the pause, as most do that have no
		// timeout.
		patient = c.Writer(t.Context(), func(o *writer.Options) {
			o.Direct, o.Workers, o.Pause, o.ProbeAfter = []string{own}, 1, writePause, -1
			o.ReadTimeout = pause + time.Minute
		})
		awaitAcks(t, ordinary, 100)
		awaitAcks(t, patient, 50)
		if cluster.Primary(whole(t, c)) == guestName {
			return ordinary, patient
		}
		ordinary.Stop()
		patient.Stop()
	}
	t.Fatal("the guest does not stay the primary: it is too slow on this machine")
	return nil, nil
}

const (
	// A guest without KVM is slow, and its redis-server has to answer its agent within 150 ms, too;
	// a probe every 2 ms, each with a login, would be too much for it.
	writePause = 25 * time.Millisecond

	// fenceLimit is what a guest without KVM needs, with room; nothing is compared with it.
	fenceLimit = 3 * time.Second
)

// fence judges what the old primary acknowledged after it went on.
type fence struct {
	stopped, resumed time.Time
	own              string // the guest's redis-server
}

func (f fence) judge(t *testing.T, c *cluster.Cluster, who string, w *writer.Writer, primary string) {
	t.Helper()
	r := w.Stop()
	v, err := w.Verify(t.Context(), primary)
	must(t, err)
	var first time.Duration // by the new primary
	var late, window, byVIP int
	var last time.Duration // of the old primary, since it went on
	for _, span := range r.Spans() {
		if !strings.HasSuffix(span.Node, f.own) && r.Started.Add(span.From).After(f.stopped) && first == 0 {
			first = r.Started.Add(span.From).Sub(f.stopped)
		}
	}
	for _, lost := range v.Lost {
		acked := r.Started.Add(lost.Acked)
		switch {
		case !strings.HasSuffix(r.Nodes[lost.Node], f.own):
			t.Errorf("%s: %s lost a write that it acknowledged, %+v", who, r.Nodes[lost.Node], lost)
		case acked.Before(f.resumed):
			window++
		default:
			late++
			last = max(last, acked.Sub(f.resumed))
			if !strings.Contains(lost.Key, "direct:") {
				byVIP++
			}
		}
	}
	t.Logf("%s: %d writes acknowledged; first by the new primary %v after the pause began; lost of before the pause: %d; "+
		"acknowledged by the old primary after it went on, and lost: %d, the last after %v, %d of them through the VIP",
		who, v.Acked, first.Round(time.Millisecond), window, late, last.Round(100*time.Microsecond), byVIP)
	if last > fenceLimit {
		t.Errorf("%s: the old primary acknowledged writes for %v after it went on, longer than %v", who, last, fenceLimit)
	}
}

func follows(s agent.Status) error {
	n := cluster.Node(s, guestName)
	if p := cluster.Primary(s); p == "" || p == guestName || n.Role != "replica" || n.State != "running" {
		return fmt.Errorf("primary %q, guest %s %s", p, n.Role, n.State)
	}
	return nil
}

func makePrimary(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	if cluster.Primary(whole(t, c)) == guestName {
		return
	}
	if out, err := c.Host("a").Run(t.Context(), "redisd", "switchover", "--to", guestName); err != nil {
		t.Fatalf("switch over to the guest: %v\n%s", err, out)
	}
	if s := whole(t, c); cluster.Primary(s) != guestName {
		t.Fatalf("the primary is %s and not the guest, which is too slow", cluster.Primary(s))
	}
}

// oneVIP waits until the guest has noticed, then counts.
func oneVIP(t *testing.T, c *cluster.Cluster, g *Guest) {
	t.Helper()
	const list = "ip -o -4 addr show dev host0"
	holders := 0
	for _, name := range c.Names() {
		out, err := c.Host(name).Shell(t.Context(), list)
		must(t, err)
		holders += strings.Count(out, " "+c.VIP+"/")
	}
	out, err := g.Shell(t.Context(), list)
	must(t, err)
	if n := holders + strings.Count(out, " "+c.VIP+"/"); n != 1 || holders != 1 {
		t.Errorf("%d hosts have the VIP, %d of them not the guest", n, holders)
	}
}

func uptime(t *testing.T, g *Guest) (time.Duration, time.Time) {
	t.Helper()
	up, err := g.Uptime(t.Context())
	must(t, err)
	return up, time.Now()
}

func awaitAcks(t *testing.T, w *writer.Writer, n int) {
	t.Helper()
	must(t, within(t.Context(), func(ctx context.Context) error {
		return lab.Await(ctx, 10*time.Millisecond, func() error {
			if got := w.Acked(); got < n {
				return fmt.Errorf("%d writes acknowledged, %d awaited", got, n)
			}
			return nil
		})
	}))
}

func within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	return f(ctx)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
