package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestDemoOnce runs the demo as `make demo` does, and looks behind it.
func TestDemoOnce(t *testing.T) {
	d := startDemo(t, "--once")
	if err := d.wait(); err != nil {
		t.Fatalf("%v\n%s", err, d.text())
	}
	d.find(t, `one cluster after [0-9.]+s:`)
	d.find(t, `writes [1-9][0-9]+ keys a second; killing the redis-server of (node[123]) `)
	killed := d.find(t, `killing the redis-server of (node[123])`)[1]
	went := d.find(t, `write downtime ([0-9.]+m?s); writes go on at (node[123]); ([0-9]+) writes acknowledged, ([0-9]+) of them lost`)
	if went[2] == killed {
		t.Errorf("no failover: %s was killed, and writes went on at %s", killed, went[2])
	}
	if acked, _ := strconv.Atoi(went[3]); acked < 1000 {
		t.Errorf("only %d writes were acknowledged", acked)
	}
	// Replication is asynchronous: what the dead primary had acknowledged in its last moment may be
	// lost, and no more than that.
	if lost, _ := strconv.Atoi(went[4]); lost > 100 {
		t.Errorf("%d writes are lost", lost)
	}
	d.find(t, `(?m)^`+killed+` +\S+ +replica`)
	if n := strings.Count(d.text(), "cluster  demo, healthy"); n != 2 {
		t.Errorf("%d healthy clusters were shown, want 2:\n%s", n, d.text())
	}
	d.expectNothingLeft(t)
}

// TestDemoInterrupted: at any moment, Ctrl-C ends it, and everything it started.
func TestDemoInterrupted(t *testing.T) {
	for _, moment := range []struct{ name, seen string }{
		{"while it forms", "started 3 nodes"},
		{"while it fails over", "with SIGKILL"},
	} {
		t.Run(moment.name, func(t *testing.T) {
			d := startDemo(t)
			d.await(t, moment.seen)
			if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			err := d.wait()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
				t.Errorf("%v, want exit code 1", err)
			}
			d.find(t, "redisd: interrupted")
			d.expectNothingLeft(t)
		})
	}
}

// TestDemoKilled: even when it cannot clean up, nothing goes on running, and the next demo does not
// stumble over what is left.
func TestDemoKilled(t *testing.T) {
	d := startDemo(t)
	d.await(t, "one cluster after")
	if n := len(processesBelow(t, d.tmp)); n < 9 {
		t.Fatalf("%d processes run, want three of each kind", n)
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.wait()
	for limit := time.Now().Add(patience); len(processesBelow(t, d.tmp)) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("still running: %v", processesBelow(t, d.tmp))
		}
	}
	next := startDemoIn(t, d.tmp)
	next.await(t, "started 3 nodes")
	if err := next.cmd.Process.Signal(syscall.SIGHUP); err != nil { // as when its terminal is closed
		t.Fatal(err)
	}
	_ = next.wait()
	next.expectNothingLeft(t)
}

// runningDemo is `redisd demo` in a process of its own.
type runningDemo struct {
	cmd   *exec.Cmd
	tmp   string
	wait  func() error
	ended chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func startDemo(t *testing.T, args ...string) *runningDemo {
	if testing.Short() {
		t.Skip("starts three nodes")
	}
	tmp, err := os.MkdirTemp("", "rd") // t.TempDir is too long for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	return startDemoIn(t, tmp, args...)
}

func startDemoIn(t *testing.T, tmp string, args ...string) *runningDemo {
	t.Helper()
	d := &runningDemo{tmp: tmp, ended: make(chan struct{}), cmd: exec.Command("redisd", append([]string{"demo"}, args...)...)} // TestMain puts it into PATH
	d.cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	d.cmd.Stdout, d.cmd.Stderr = d, d
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.wait = sync.OnceValue(func() error {
		defer close(d.ended)
		return d.cmd.Wait()
	})
	go func() { _ = d.wait() }() // ends with the demo, which the cleanup waits for
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(os.Interrupt)
		_ = d.wait()
	})
	return d
}

func (d *runningDemo) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Write(b)
}

func (d *runningDemo) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

func (d *runningDemo) await(t *testing.T, text string) {
	t.Helper()
	limit, tick := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(d.text(), text) {
		select {
		case <-tick.C:
		case <-d.ended:
			t.Fatalf("ended without %q:\n%s", text, d.text())
		case <-limit:
			t.Fatalf("no %q in:\n%s", text, d.text())
		}
	}
}

func (d *runningDemo) find(t *testing.T, pattern string) []string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(d.text())
	if found == nil {
		t.Fatalf("no %s in:\n%s", pattern, d.text())
	}
	return found
}

func (d *runningDemo) expectNothingLeft(t *testing.T) {
	t.Helper()
	if list := processesBelow(t, d.tmp); len(list) > 0 {
		t.Errorf("still running: %v", list)
	}
	if entries, err := os.ReadDir(d.tmp); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// processesBelow finds the processes that work in the directory, or have it in their arguments.
func processesBelow(t *testing.T, dir string) []string {
	t.Helper()
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, proc := range pids {
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		args, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		if err != nil || len(args) == 0 {
			continue // gone, or a zombie
		}
		if strings.HasPrefix(cwd, dir+"/") || bytes.Contains(args, []byte(dir+"/")) {
			list = append(list, fmt.Sprintf("%s (%s)", filepath.Base(proc), bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return list
}
