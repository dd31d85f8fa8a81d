package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
)

func (s *suite) cable(t *testing.T) {
	must(t, s.a.Cut())
	wantPing(t, s.a, s.b, false)
	wantPing(t, s.b, s.c, true)
	if got := run(t, s.a, "cat", "/sys/class/net/host0/operstate"); got == "up" {
		t.Error("a does not see its cable pulled")
	}
	must(t, s.a.Heal())
	wantPing(t, s.a, s.b, true)
}

func (s *suite) cuts(t *testing.T) {
	ctx := t.Context()
	must(t, s.a.CutFrom(ctx, s.b))
	wantPing(t, s.a, s.b, false)
	wantPing(t, s.b, s.a, false)
	wantPing(t, s.a, s.c, true)
	must(t, s.a.HealFrom(ctx, s.b))
	wantPing(t, s.a, s.b, true)

	received := func(h *lab.Host) string {
		return run(t, h, "cat", "/sys/class/net/host0/statistics/rx_packets")
	}
	run(t, s.a, "ip", "neigh", "flush", "all")
	must(t, s.a.CutTo(ctx, s.b))
	before := received(s.a)
	wantPing(t, s.b, s.a, false)
	if received(s.a) == before {
		t.Error("with a > b cut, nothing of b arrives at a")
	}
	wantPing(t, s.a, s.b, false)
	wantPing(t, s.a, s.c, true)
	if got := run(t, s.a, "cat", "/sys/class/net/host0/operstate"); got != "up" {
		t.Errorf("a's link is %s", got)
	}
	must(t, s.a.HealTo(ctx, s.b))
	wantPing(t, s.b, s.a, true)

	must(t, s.a.Silence(ctx))
	wantPing(t, s.a, s.c, false)
	must(t, s.b.CutFrom(ctx, s.c))
	must(t, s.l.HealAll(ctx))
	wantPing(t, s.a, s.c, true)
	wantPing(t, s.b, s.c, true)
}

func (s *suite) clientCut(t *testing.T) {
	must(t, s.a.CutFrom(t.Context(), s.l.Client()))
	if clientReaches(t, s.l, s.a) {
		t.Error("the client reaches a")
	}
	wantPing(t, s.a, s.b, true)
	if !clientReaches(t, s.l, s.b) {
		t.Error("the client does not reach b")
	}
	must(t, s.l.HealAll(t.Context()))
	if !clientReaches(t, s.l, s.a) {
		t.Error("the client does not reach a again")
	}
}

// serve starts what answers every connection to the port with the host's name.
func serve(t *testing.T, h *lab.Host, port int) {
	t.Helper()
	unit := fmt.Sprintf("[Socket]\nListenStream=%d\nAccept=yes\n[Install]\nWantedBy=sockets.target\n", port)
	must(t, h.WriteFile(t.Context(), "/etc/systemd/system/name.socket", []byte(unit), 0o644))
	must(t, h.WriteFile(t.Context(), "/etc/systemd/system/name@.service",
		[]byte("[Service]\nExecStart=/bin/hostname\nStandardOutput=socket\n"), 0o644))
	run(t, h, "systemctl", "daemon-reload")
	run(t, h, "systemctl", "enable", "--now", "name.socket")
}

func ask(ctx context.Context, l *lab.Lab, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := l.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	answer := make([]byte, 100)
	n, err := conn.Read(answer)
	return strings.TrimSpace(string(answer[:n])), err
}

func (s *suite) blockedPort(t *testing.T) {
	serve(t, s.a, 7001)
	serve(t, s.b, 7001)
	addresses := []string{"a:7001", s.a.Addr().String() + ":7001", "[" + s.a.Addr6().String() + "]:7001"}
	for _, address := range addresses {
		if got, err := ask(t.Context(), s.l, address); got != "a" {
			t.Errorf("%s answers %q, %v", address, got, err)
		}
	}
	must(t, s.a.BlockPort(t.Context(), "tcp", 7001))
	for _, address := range addresses {
		var failed net.Error
		if got, err := ask(t.Context(), s.l, address); !errors.As(err, &failed) || !failed.Timeout() {
			t.Errorf("%s, blocked, answers %q, %v", address, got, err)
		}
	}
	if got, err := ask(t.Context(), s.l, "b:7001"); got != "b" {
		t.Errorf("b answers %q, %v", got, err)
	}
	if out, err := s.b.Run(t.Context(), "timeout", "1", "bash", "-c", "cat </dev/tcp/a/7001"); err == nil {
		t.Errorf("b reaches the blocked port of a: %q", out)
	}
	wantPing(t, s.a, s.b, true)
	must(t, s.a.UnblockPort(t.Context(), "tcp", 7001))
	if got, err := ask(t.Context(), s.l, "a:7001"); got != "a" {
		t.Errorf("unblocked, a answers %q, %v", got, err)
	}
	must(t, s.a.BlockPortOut(t.Context(), "tcp", 7001))
	if out, err := s.a.Run(t.Context(), "timeout", "1", "bash", "-c", "cat </dev/tcp/b/7001"); err == nil {
		t.Errorf("a reaches the port that is blocked for it: %q", out)
	}
	if got, err := ask(t.Context(), s.l, "a:7001"); got != "a" {
		t.Errorf("its own port is open, and a answers %q, %v", got, err)
	}
	must(t, s.a.UnblockPortOut(t.Context(), "tcp", 7001))
	if got, err := s.a.Run(t.Context(), "timeout", "1", "bash", "-c", "cat </dev/tcp/b/7001"); err != nil {
		t.Errorf("unblocked, b answers a %q, %v", got, err)
	}
	if _, err := ask(t.Context(), s.l, "nobody:1"); err == nil {
		t.Error("dialled a host that is not there")
	}
}

// roundTrips pings and returns how many answers came, and the average time in ms.
func roundTrips(t *testing.T, from, to *lab.Host, count int) (answers int, average float64) {
	t.Helper()
	out, _ := from.Run(within(t, patience), "ping", "-n", "-q", "-i0.01", "-W1", "-c", fmt.Sprint(count), to.Addr().String())
	for line := range strings.Lines(out) {
		if strings.Contains(line, " received") {
			fmt.Sscanf(strings.Fields(line)[3], "%d", &answers)
		}
		if _, times, ok := strings.Cut(line, " = "); ok {
			fmt.Sscanf(strings.Split(times, "/")[1], "%f", &average)
		}
	}
	return answers, average
}

func (s *suite) badLink(t *testing.T) {
	must(t, s.a.Netem(lab.Impairment{Delay: 20 * time.Millisecond}))
	answers, average := roundTrips(t, s.b, s.a, 20)
	if answers != 20 || average < 40 || average > 60 {
		t.Errorf("with 20 ms each way: %d of 20 answers, %.1f ms", answers, average)
	}
	must(t, s.a.Netem(lab.Impairment{Loss: 0.3}))
	if answers, _ := roundTrips(t, s.b, s.a, 200); answers < 50 || answers > 150 { // 98 expected, 7 the deviation
		t.Errorf("with 30 %% lost each way: %d of 200 answers", answers)
	}
	// Bulk data has bursts larger than a frame may be, and checksums left to the hardware.
	must(t, s.a.Netem(lab.Impairment{Delay: time.Millisecond, Jitter: time.Millisecond}))
	sum := run(t, s.b, "sh", "-ec", "head -c 20000000 /dev/urandom >/run/bulk; sha256sum </run/bulk")
	serveBulk(t, s.b)
	run(t, s.a, "bash", "-ec", "cat </dev/tcp/b/7003 | sha256sum >/run/sum")
	if got := run(t, s.a, "cat", "/run/sum"); got != sum {
		t.Errorf("sum of what came over the relay: %s, want %s", got, sum)
	}
	must(t, s.a.ClearNetem())
	if answers, average := roundTrips(t, s.b, s.a, 20); answers != 20 || average > 10 {
		t.Errorf("cleared: %d of 20 answers, %.1f ms", answers, average)
	}
}

func serveBulk(t *testing.T, h *lab.Host) {
	t.Helper()
	must(t, h.WriteFile(t.Context(), "/run/systemd/system/bulk.socket",
		[]byte("[Socket]\nListenStream=7003\nAccept=yes\n"), 0o644))
	must(t, h.WriteFile(t.Context(), "/run/systemd/system/bulk@.service",
		[]byte("[Service]\nExecStart=/bin/cat /run/bulk\nStandardOutput=socket\n"), 0o644))
	run(t, h, "systemctl", "daemon-reload")
	run(t, h, "systemctl", "start", "bulk.socket")
}
