package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStartAndExit(t *testing.T) {
	dir := tempDir(t)
	p, lines := newProcess(t, dir)
	if s := p.State(); s.Status != Idle {
		t.Fatalf("before the start: %+v", s)
	}
	s := start(t, p, redisArgs(dir)...)
	if s.Status != Running || s.PID == 0 || s.Adopted || time.Since(s.StartedAt) > patience {
		t.Fatalf("after the start: %+v", s)
	}
	lines.await(t, redisReady)
	if reply := ask(t, dir, "PING"); reply != "+PONG" {
		t.Fatal(reply)
	}
	if err := p.Start(t.Context(), Spec{Argv: redisArgs(dir)}); !errors.Is(err, ErrRunning) {
		t.Errorf("second start: %v", err)
	}

	conn := dial(t, dir)
	defer conn.Close()
	fmt.Fprint(conn, "SHUTDOWN NOSAVE\r\n")
	exit := awaitExit(t, p)
	if exit.Code != 0 || exit.Signal != 0 || exit.RanFor <= 0 || len(exit.Output) == 0 || p.State().Stopping {
		t.Errorf("exit: %+v", exit)
	}
	if alive(s.PID) || exists(fmt.Sprintf("/proc/%d", s.PID)) {
		t.Error("it is still there, or a zombie")
	}
	lines.await(t, "bye bye")
	eventually(t, "the record is removed", func() bool { return !exists(p.recordPath()) })
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestCrashIsSeenAtOnce(t *testing.T) {
	dir := tempDir(t)
	p, _ := newProcess(t, dir)
	best := patience
	for range 5 {
		s := start(t, p, redisArgs(dir)...)
		for len(p.Changed()) > 0 {
			<-p.Changed()
		}
		killed := time.Now()
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		exit := awaitExit(t, p)
		best = min(best, time.Since(killed))
		if exit.Signal != syscall.SIGKILL || exit.Code != -1 {
			t.Fatalf("exit: %+v", exit)
		}
	}
	t.Logf("seen after %v at best", best)
	if best > 100*time.Millisecond {
		t.Errorf("seen after %v at best", best)
	}
}

func TestStopSavesData(t *testing.T) {
	dir := tempDir(t)
	p, lines := newProcess(t, dir)
	s := start(t, p, redisArgs(dir, "--save", "3600 1")...)
	lines.await(t, redisReady)
	ask(t, dir, "SET colour blue")
	if err := p.Stop(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	exit := p.State().Exit
	if exit == nil || exit.Code != 0 || !p.State().Stopping || exists(fmt.Sprintf("/proc/%d", s.PID)) {
		t.Fatalf("%+v", p.State())
	}
	if err := p.Stop(t.Context(), patience); err != nil {
		t.Errorf("stopping it again: %v", err)
	}
	start(t, p, redisArgs(dir)...)
	if p.State().Stopping {
		t.Error("the new run counts as stopping")
	}
	lines.awaitTimes(t, redisReady, 2)
	if reply := ask(t, dir, "EXISTS colour"); reply != ":1" {
		t.Error("the key is lost:", reply)
	}
}

const deafScript = `trap "" TERM; echo deaf; while :; do sleep 60; done`

func TestStopInsistsAfterGrace(t *testing.T) {
	p, lines := newProcess(t, tempDir(t))
	start(t, p, "/bin/sh", "-c", deafScript)
	lines.await(t, "deaf")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx, patience); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with a context that ends before the grace: %v", err)
	}
	if s := p.State(); s.Status != Running {
		t.Fatalf("the context killed it: %+v", s)
	}
	begun := time.Now()
	if err := p.Stop(t.Context(), 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("killed after %v, within the grace", took)
	}
	if exit := awaitExit(t, p); exit.Signal != syscall.SIGKILL {
		t.Errorf("exit: %+v", exit)
	}
}

func TestBadConfigurationIsExplained(t *testing.T) {
	dir := tempDir(t)
	conf := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(conf, []byte("port 0\nuser default on >hunter2 nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, lines := newProcess(t, dir)
	start(t, p, "redis-server", conf)
	exit := awaitExit(t, p)
	text := strings.Join(exit.Output, "\n")
	if exit.Code != 1 || !strings.Contains(text, "FATAL CONFIG FILE ERROR") || !strings.Contains(text, "at line 2") {
		t.Errorf("exit: %+v", exit)
	}
	t.Log(exit)
	if !strings.HasPrefix(exit.Error(), "redis-server: exit status 1 after ") || !strings.Contains(exit.Error(), "; last output: ") {
		t.Error(exit)
	}
	lines.await(t, "at line 2")
	if all := strings.Join(lines.all(), "\n") + text + exit.Error(); strings.Contains(all, "hunter2") {
		t.Error("a password was passed on:\n" + all)
	}
}

func TestStartErrors(t *testing.T) {
	p, _ := newProcess(t, tempDir(t))
	if err := p.Start(t.Context(), Spec{Argv: []string{"no-such-redis"}}); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("program not there: %v", err)
	}
	if err := p.Start(t.Context(), Spec{}); err == nil {
		t.Error("empty command: no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Start(ctx, Spec{Argv: []string{"sleep", "60"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("too late: %v", err)
	}
	if err := p.Start(t.Context(), Spec{Argv: []string{"/etc/hostname"}}); err == nil {
		t.Error("not executable: no error")
	}
	if s := p.State(); s.Status != Idle {
		t.Errorf("%+v", s)
	}
	if err := p.Signal(syscall.SIGHUP); !errors.Is(err, ErrNotRunning) {
		t.Errorf("signal: %v", err)
	}
	if _, err := p.Proc(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("proc: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("kill: %v", err)
	}
}

// A server that is killed in the middle of a BGSAVE leaves a fork that has its clients' connections
// open.
func TestForksEndWithTheServer(t *testing.T) {
	dir := tempDir(t)
	p, lines := newProcess(t, dir)
	s := start(t, p, redisArgs(dir, "--rdb-key-save-delay", "60000000")...)
	lines.await(t, redisReady)
	fork := bgsave(t, dir, s.PID)
	client := dial(t, dir)
	defer client.Close()
	if _, err := fmt.Fprint(client, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitExit(t, p)
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client still hangs on: %v", err)
	}
	eventually(t, "the fork is gone", func() bool { return !alive(fork) })
}

// bgsave makes the server fork and returns the fork.
func bgsave(t *testing.T, dir string, server int) int {
	t.Helper()
	ask(t, dir, "SET colour blue")
	ask(t, dir, "BGSAVE")
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", server, server))
	if err != nil {
		t.Fatal(err)
	}
	fork, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return fork
}

func TestProc(t *testing.T) {
	p, lines := newProcess(t, tempDir(t))
	start(t, p, "/bin/sh", "-c", "echo up; while :; do :; done")
	lines.await(t, "up")
	read := func() Proc {
		proc, err := p.Proc()
		if err != nil {
			t.Fatal(err)
		}
		return proc
	}
	first := read()
	if first.State != 'R' || first.RSS <= 0 || first.RSS > 100<<20 {
		t.Errorf("busy: %+v", first)
	}
	eventually(t, "its CPU time grows", func() bool { return read().MainCPU > first.MainCPU && read().CPU > first.CPU })
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stopped", func() bool { return read().State == 'T' })
	if err := p.Stop(t.Context(), 50*time.Millisecond); err != nil {
		t.Fatalf("stop of a frozen process: %v", err)
	}
}

// What tells an event loop that nobody answers for from one that is stuck: it wakes by itself.
func TestProcSwitches(t *testing.T) {
	dir := tempDir(t)
	p, lines := newProcess(t, dir)
	start(t, p, redisArgs(dir)...)
	lines.await(t, redisReady)
	read := func() Proc {
		proc, err := p.Proc()
		if err != nil {
			t.Fatal(err)
		}
		return proc
	}
	first := read().Switches
	eventually(t, "an idle server wakes", func() bool { return read().Switches >= first+3 })
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stopped", func() bool { return read().State == 'T' })
	stopped := read().Switches
	time.Sleep(300 * time.Millisecond) // three of its own rounds: that nothing happens can only be waited for
	if now := read().Switches; now != stopped {
		t.Errorf("a stopped process woke %d times", now-stopped)
	}
	if err := p.Stop(t.Context(), 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " 1 2 77 0 -1 4194560 5 6 7 8 120 30 9 10 20 0 5 0 424242 1000000 25 1844674407"
	for _, name := range []string{"redis-server", "a b", "x) R 1 2", ""} {
		st, err := parseStat([]byte("123 (" + name + ") S" + rest))
		want := stat{state: 'S', ppid: 1, session: 77, cpu: 1500 * time.Millisecond, start: 424242, rss: 25 * int64(os.Getpagesize())}
		if err != nil || st != want {
			t.Errorf("%q: %+v, %v", name, st, err)
		}
	}
	for _, bad := range []string{"", "1 2 3", "123 (x) S 1 2", "123 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20 21 22"} {
		if st, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, st)
		}
	}
}

func TestCloseLeavesTheProcess(t *testing.T) {
	dir := tempDir(t)
	p := New(slog.New(slog.DiscardHandler), dir, "redis-server", nil)
	s := start(t, p, "sleep", "60")
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !alive(s.PID) {
		t.Fatal("it ended with Close")
	}
	if err := p.Start(t.Context(), Spec{Argv: []string{"true"}}); err == nil {
		t.Error("started after Close")
	}
	next, _ := newProcess(t, dir)
	if err := next.Start(t.Context(), Spec{Argv: []string{"true"}}); !errors.Is(err, ErrRunning) {
		t.Errorf("a start without Adopt does not see the survivor: %v", err)
	}
	if got := next.State(); got.PID != s.PID || !got.Adopted {
		t.Errorf("%+v", got)
	}
	if err := next.Kill(); err != nil {
		t.Fatal(err)
	}
	if exit := awaitExit(t, next); exit.Signal != unix.SIGKILL { // a child of this very process, hence known
		t.Errorf("exit: %+v", exit)
	}
	if exists(fmt.Sprintf("/proc/%d", s.PID)) {
		t.Error("a zombie is left")
	}
}

func TestCloseIsBounded(t *testing.T) {
	block, entered := make(chan struct{}), make(chan struct{})
	enter := sync.OnceFunc(func() { close(entered) })
	p := New(slog.New(slog.DiscardHandler), tempDir(t), "redis-server", func(Line) { enter(); <-block })
	start(t, p, "/bin/echo", "hello")
	awaitExit(t, p) // a receiver that hangs does not hold it up
	<-entered
	begun := time.Now()
	if err := p.Close(); err == nil || time.Since(begun) > closeLimit+patience {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	close(block)
}

func TestSentinel(t *testing.T) {
	dir := tempDir(t)
	conf := filepath.Join(dir, "sentinel.conf")
	text := "bind 127.93.0.1\nport 27379\nsentinel monitor cache 127.93.0.2 27380 1\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, lines := newProcess(t, dir)
	start(t, p, "redis-sentinel", conf)
	lines.await(t, "Sentinel ID is")
	if err := p.Stop(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	if exit := p.State().Exit; exit.Code != 0 {
		t.Errorf("exit: %+v", exit)
	}
	lines.await(t, "bye bye")
}
