package lab_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

// TestRedis installs Debian's redis from the image's own repository, as apt does for a package that
// depends on it, and measures faults with the writer.
func TestRedis(t *testing.T) {
	l := lab.New(t, lab.Options{})
	hosts, err := l.Hosts(t.Context(), "a", "b")
	must(t, err)
	a, b := hosts[0], hosts[1]
	for _, h := range hosts {
		installRedis(t, h)
	}
	t.Run("it crashes and systemd starts it again", func(t *testing.T) { redisCrash(t, l, a) })
	t.Run("its host loses its power", func(t *testing.T) { redisPower(t, l, a) })
	t.Run("an address moves", func(t *testing.T) { addressMoves(t, l, a, b) })
}

func installRedis(t *testing.T, h *lab.Host) {
	t.Helper()
	if _, err := h.Run(within(t, time.Minute), "apt-get", "install", "-y", "redis-server", "redis-sentinel"); err != nil {
		t.Fatal(err)
	}
	if got := run(t, h, "systemctl", "is-active", "redis-server", "redis-sentinel"); got != "active\nactive" {
		t.Fatalf("Debian's units are %q after the installation", got)
	}
	// The unit's hardening is in force, not silently left out.
	if got := run(t, h, "systemctl", "show", "-P", "PrivateUsers", "-P", "ProtectSystem", "redis-server"); got != "yes\nstrict" {
		t.Errorf("hardening: %q", got)
	}
	run(t, h, "sed", "-i", "-e", "s/^bind .*/bind * -::*/", "-e", "s/^protected-mode .*/protected-mode no/",
		"-e", "s/^appendonly .*/appendonly yes/", "/etc/redis/redis.conf")
	run(t, h, "systemctl", "restart", "redis-server")
	must(t, h.SyncDisks()) // or a power cut takes the installation away
}

func startWriter(t *testing.T, l *lab.Lab, address string) *writer.Writer {
	t.Helper()
	w, err := writer.Start(t.Context(), writer.Options{Dial: l.DialContext, Addrs: []string{address}})
	must(t, err)
	t.Cleanup(func() { w.Stop() })
	must(t, w.AwaitAck(within(t, patience)))
	return w
}

func report(t *testing.T, w *writer.Writer, address string) *writer.Report {
	t.Helper()
	r := w.Stop()
	t.Logf("%s", r)
	v, err := w.Verify(within(t, patience), address)
	must(t, err)
	if v.Acked == 0 {
		t.Error("nothing was written")
	}
	if len(v.Lost) > 0 {
		t.Logf("%d of %d lost", len(v.Lost), v.Acked)
	}
	return r
}

func redisCrash(t *testing.T, l *lab.Lab, a *lab.Host) {
	w := startWriter(t, l, "a:6379")
	p, err := a.Process(t.Context(), "redis-server")
	must(t, err)
	w.Mark("kill")
	must(t, p.Kill())
	must(t, w.AwaitAck(within(t, patience)))
	r := report(t, w, "a:6379")
	if s := r.Downtime(); s.From > r.Marks[0].At+20*time.Millisecond+r.OwnShare(s) || s.Length() < 10*time.Millisecond {
		t.Errorf("killed at %v, write downtime %v", r.Marks[0].At, s)
	}
	if n := len(r.Nodes); n != 3 { // unknown, before, after
		t.Errorf("nodes %v", r.Nodes)
	}
	if d := r.Duals(); len(d) > 0 {
		t.Errorf("two at once: %v", d)
	}
}

func redisPower(t *testing.T, l *lab.Lab, a *lab.Host) {
	w := startWriter(t, l, "a:6379")
	w.Mark("power off")
	must(t, a.PowerOff(within(t, patience)))
	must(t, a.PowerOn(within(t, patience)))
	must(t, w.AwaitAck(within(t, patience)))
	r := report(t, w, "a:6379")
	// Nobody says good-bye: no connection ends by itself.
	if n := r.Errors["EOF"] + r.Errors["connection reset by peer"]; n > 0 {
		t.Errorf("%d connections were ended by a host without power", n)
	}
}

func addressMoves(t *testing.T, l *lab.Lab, a, b *lab.Host) {
	vip := l.IP(100).String()
	run(t, a, "ip", "addr", "add", vip+"/32", "dev", "host0")
	w := startWriter(t, l, vip+":6379")
	started := w.Now()
	run(t, a, "ip", "addr", "del", vip+"/32", "dev", "host0")
	run(t, b, "sh", "-ec", fmt.Sprintf("ip addr add %s/32 dev host0; arping -q -U -c1 -I host0 %[1]s", vip))
	moved := w.Now() - started
	must(t, w.AwaitAck(within(t, patience)))
	r := report(t, w, vip+":6379")
	// The workers wait out their timeout of 200 ms on connections that nobody ends; the probes see
	// it sooner.
	s := r.DowntimeBetween(started, started+moved)
	if slack := 100*time.Millisecond + r.OwnShare(s); s.Length() > moved+slack {
		t.Errorf("moving the address took %v at most, measured %v", moved, s.Length())
	}
	if spans := r.Spans(); len(spans) != 2 {
		t.Errorf("it was one node and then the other, measured %v", spans)
	}
}
