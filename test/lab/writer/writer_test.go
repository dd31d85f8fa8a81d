package writer

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a redis-server on loopback that ends with the test.
type server struct {
	addr string
	cmd  *exec.Cmd
}

func startRedis(t *testing.T, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("NOT TESTED: redis-server is not installed")
	}
	// The kernel picks the port; that another takes it before redis does is possible, and then the
	// test fails.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	must(t, l.Close())
	_, port, _ := strings.Cut(addr, ":")
	s := &server{addr: addr, cmd: exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1",
		"--dir", t.TempDir(), "--save", "", "--daemonize", "no"}, args...)...)}
	must(t, s.cmd.Start())
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	})
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return s
		}
		if t.Context().Err() != nil || s.cmd.ProcessState != nil {
			t.Fatal("redis-server does not listen")
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *server) do(t *testing.T, args ...string) any {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	must(t, err)
	defer c.Close()
	reply, err := newConn(c).call(time.Now().Add(time.Second), args...)
	must(t, err)
	return reply
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, o Options) *Writer {
	t.Helper()
	o.Dial = new(net.Dialer).DialContext
	w, err := Start(t.Context(), o)
	must(t, err)
	t.Cleanup(func() { w.Stop() })
	if len(o.Addrs) > 0 {
		must(t, w.AwaitAck(limited(t)))
	}
	return w
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// between fails unless the gap is as long as it was made: at least as long as the server was held
// up, and at most until it was seen to answer again, but for what this process itself did not run.
func between(t *testing.T, r *Report, g Gap, least, most time.Duration) {
	t.Helper()
	slack := 30*time.Millisecond + r.OwnShare(g)
	if d := g.Length(); d < least-2*time.Millisecond || d > most+slack {
		t.Errorf("measured %v, want %v to %v; own share %v\n%s", d, least, most, r.OwnShare(g), r)
	}
}

func TestHangIsMeasured(t *testing.T) {
	s := startRedis(t)
	w := start(t, Options{Addrs: []string{s.addr}})
	w.Mark("pause")
	from := time.Now()
	must(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	time.Sleep(300 * time.Millisecond) // the fault
	must(t, s.cmd.Process.Signal(syscall.SIGCONT))
	held := time.Since(from)
	s.do(t, "PING") // on a busy machine it does not run at once
	answered := time.Since(from)
	must(t, w.AwaitAck(limited(t)))
	r := w.Stop()
	between(t, r, r.Downtime(), held, answered)
	if r.Marks[0].What != "pause" || r.DowntimeBetween(r.Marks[0].At, r.Ended) != r.Downtime() {
		t.Errorf("mark %v", r.Marks)
	}
	v, err := w.Verify(t.Context(), s.addr)
	must(t, err)
	if len(v.Lost) > 0 || v.Acked == 0 || v.Acked != r.Acked() {
		t.Errorf("%d acknowledged, lost %v", v.Acked, v.Lost)
	}
}

func TestFenceIsMeasured(t *testing.T) {
	s := startRedis(t)
	w := start(t, Options{Addrs: []string{s.addr}})
	from := time.Now()
	s.do(t, "CONFIG", "SET", "min-replicas-to-write", "1000000")
	const held = 50 * time.Millisecond
	time.Sleep(held) // the fault
	s.do(t, "CONFIG", "SET", "min-replicas-to-write", "0")
	answered := time.Since(from)
	must(t, w.AwaitAck(limited(t)))
	r := w.Stop()
	between(t, r, r.Downtime(), held, answered)
	if r.Errors["NOREPLICAS"] == 0 {
		t.Errorf("errors %v", r.Errors)
	}
}

func TestLostWritesAreFound(t *testing.T) {
	s := startRedis(t, "--requirepass", "open sesame")
	w := start(t, Options{Addrs: []string{s.addr}, Password: "open sesame", Prefix: "x:"})
	c, err := net.Dial("tcp", s.addr)
	must(t, err)
	defer c.Close()
	do := func(command ...string) any {
		reply, err := newConn(c).call(time.Now().Add(time.Second), command...)
		must(t, err)
		return reply
	}
	do("AUTH", "open sesame")
	// A worker sends its second write after the first was acknowledged.
	for ctx := limited(t); ; must(t, ctx.Err()) {
		if n, ok := do("LLEN", "x:worker2").(int64); ok && n >= 2 {
			break
		}
	}
	w.Stop()
	do("LREM", "x:worker2", "1", "1")
	do("RPUSH", "x:worker2", "777")
	v, err := w.Verify(t.Context(), s.addr)
	must(t, err)
	if len(v.Lost) != 1 || v.Lost[0].Key != "x:worker2" || v.Lost[0].Seq != 1 || v.Unacked == 0 {
		t.Errorf("lost %v, unacknowledged %d", v.Lost, v.Unacked)
	}
}

func TestRefusedPassword(t *testing.T) {
	s := startRedis(t, "--requirepass", "open sesame")
	w, err := Start(t.Context(), Options{Dial: new(net.Dialer).DialContext, Addrs: []string{s.addr}, Password: "open barley"})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.AwaitAck(ctx); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("got %v", err)
	}
	if r := w.Stop(); r.Acked() != 0 || r.Downtime().Length() != r.Ended {
		t.Errorf("got %s", r)
	}
}

func TestTwoPrimaries(t *testing.T) {
	a, b := startRedis(t), startRedis(t)
	w := start(t, Options{Addrs: []string{a.addr}, Direct: []string{a.addr, b.addr}})
	time.Sleep(100 * time.Millisecond) // the fault: both are primaries
	host, port, _ := strings.Cut(b.addr, ":")
	a.do(t, "REPLICAOF", host, port)
	healed := w.Now()
	time.Sleep(100 * time.Millisecond)
	r := w.Stop()
	d := r.LongestDual()
	if d.Length() < 70*time.Millisecond || d.To > healed+5*time.Millisecond || len(d.Nodes) != 2 {
		t.Errorf("two primaries until %v: got %+v", healed, d)
	}
	for i, s := range []*server{a, b} {
		if !strings.Contains(fmt.Sprint(d.Nodes), "@"+s.addr) {
			t.Errorf("server %d is not named in %v", i, d.Nodes)
		}
	}
	if r.Errors["direct READONLY"] == 0 {
		t.Errorf("errors %v", r.Errors)
	}
	v, err := w.Verify(t.Context(), b.addr)
	must(t, err)
	if len(v.Lost) == 0 {
		t.Error("the writes that only a had are not reported lost")
	}
}

func TestNextAddress(t *testing.T) {
	a, b := startRedis(t), startRedis(t)
	w := start(t, Options{Addrs: []string{a.addr, b.addr}, Workers: 2})
	must(t, a.cmd.Process.Kill())
	w.Mark("kill")
	must(t, w.AwaitAck(limited(t)))
	time.Sleep(20 * time.Millisecond)
	r := w.Stop()
	if spans := r.Spans(); spans[len(spans)-1].To < r.Marks[0].At {
		t.Errorf("no writes after the kill: %v", spans)
	}
}
