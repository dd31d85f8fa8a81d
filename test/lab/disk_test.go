package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
	"golang.org/x/sys/unix"
)

func TestVolume(t *testing.T) {
	l := lab.New(t, lab.Options{})
	h, err := l.Host(t.Context(), "a", lab.WithVolume("/var/lib/small", 16<<20))
	must(t, err)
	write := func(name string) error {
		_, err := h.RunTimeout(time.Second, "dd", "if=/dev/zero", "of=/var/lib/small/"+name, "bs=4k", "count=8", "conv=fsync")
		return err
	}
	must(t, write("before"))
	must(t, h.FillDisk("/var/lib/small"))
	if err := write("full"); err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("writing to a full disk: %v", err)
	}
	must(t, h.FreeDisk("/var/lib/small"))
	must(t, write("after"))

	must(t, h.FreezeDisk("/var/lib/small"))
	run(t, h, "systemd-run", "--service-type=exec", "--unit=writer", "dd", "if=/dev/zero", "of=/var/lib/small/hung", "count=1", "conv=fsync")
	must(t, lab.Await(within(t, patience), time.Millisecond, func() error {
		_, err := h.Process(t.Context(), "dd")
		return err
	}))
	p, err := h.Process(t.Context(), "dd")
	must(t, err)
	must(t, lab.Await(within(t, patience), time.Millisecond, func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.MachinePID))
		if err == nil && !strings.Contains(string(status), ") D ") {
			err = errors.New("it does not wait for the disk yet")
		}
		return err
	}))
	must(t, p.Kill())
	time.Sleep(50 * time.Millisecond) // nothing to wait for: it must go on hanging
	if !p.Alive() {
		t.Error("what writes to a disk that hangs could be killed")
	}
	must(t, h.ThawDisk("/var/lib/small"))
	must(t, lab.Await(within(t, patience), time.Millisecond, func() error {
		if p.Alive() {
			return errors.New("it still hangs")
		}
		return nil
	}))

	must(t, h.FreezeDisk("/var/lib/small"))
	must(t, h.PowerOff(within(t, patience)))
	must(t, h.PowerOn(within(t, patience)))
	if got := run(t, h, "stat", "-c", "%s", "/var/lib/small/after"); got != "32768" {
		t.Errorf("after a power loss the file is %s bytes long", got)
	}
}

func TestPrepare(t *testing.T) {
	lab.Require(t)
	prepared := 0
	prepare := func() lab.Layer {
		layer, err := lab.Prepare(within(t, time.Minute), lab.Options{}, t.Name(), func(ctx context.Context, h *lab.Host) error {
			prepared++
			_, err := h.Run(ctx, "apt-get", "install", "-y", "redis-server", "redis-sentinel")
			return err
		})
		must(t, err)
		return layer
	}
	layer := prepare()
	t.Cleanup(func() { must(t, layer.Remove()) })
	layer = prepare()
	if prepared != 1 {
		t.Errorf("prepared %d times", prepared)
	}
	l := lab.New(t, lab.Options{Layers: []lab.Layer{layer}})
	hosts, err := l.Hosts(t.Context(), "a", "b")
	must(t, err)
	ids := map[string]bool{}
	for _, h := range hosts {
		ids[run(t, h, "cat", "/etc/machine-id")] = true
		if got := run(t, h, "hostname"); got != h.Name() {
			t.Errorf("%s calls itself %s", h.Name(), got)
		}
		if got := run(t, h, "systemctl", "is-active", "redis-server", "redis-sentinel"); got != "active\nactive" {
			t.Errorf("on %s Debian's units are %q", h.Name(), got)
		}
		if text, err := h.Journal(t.Context(), ""); err != nil || strings.Contains(text, "host layer") {
			t.Errorf("%s has the journal of another: %v", h.Name(), err)
		}
	}
	if len(ids) != 2 {
		t.Error("two hosts with one identity")
	}
}

// TestCrashedRun has a process with a lab die, and looks at what is left of it.
func TestCrashedRun(t *testing.T) {
	if dir := os.Getenv("LAB_TEST_CRASH"); dir != "" {
		crash(t, dir)
	}
	lab.Require(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashedRun$")
	cmd.Env = append(os.Environ(), "LAB_TEST_CRASH="+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Success() || exit.Exited() {
		t.Fatalf("the other process was to kill itself: %v\n%s", err, out)
	}
	var left struct{ Init, Dir string }
	text, err := os.ReadFile(filepath.Join(dir, "left"))
	must(t, err)
	must(t, json.Unmarshal(text, &left))
	// Its hosts die with it, without anyone's doing.
	must(t, lab.Await(within(t, patience), 10*time.Millisecond, func() error {
		stat, err := os.ReadFile("/proc/" + left.Init + "/stat")
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("the end of %s", stat)
		}
		return nil
	}))
	// The next lab removes the rest.
	lab.New(t, lab.Options{})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(mounts), left.Dir+"/a") {
		t.Errorf("something in %s is still mounted", left.Dir)
	}
	if loops := loopsBelow(t, left.Dir+"/a"); len(loops) > 0 {
		t.Errorf("loop devices are left: %v", loops)
	}
	if _, err := os.Stat(left.Dir + "/a"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", left.Dir, err)
	}
}

func crash(t *testing.T, dir string) {
	l := lab.New(t, lab.Options{})
	h, err := l.Host(t.Context(), "a", lab.WithVolume("/mnt", 8<<20))
	must(t, err)
	must(t, h.FreezeDisk("/mnt"))
	p, err := h.Process(t.Context(), "systemd")
	must(t, err)
	left := fmt.Appendf(nil, `{"Init": "%d", "Dir": "%s"}`, p.MachinePID, ownDir(t))
	must(t, os.WriteFile(filepath.Join(dir, "left"), left, 0o600))
	must(t, unix.Kill(os.Getpid(), unix.SIGKILL))
}

// ownDir is where the only lab of this process keeps its disks.
func ownDir(t *testing.T) string {
	notes, err := filepath.Glob("/run/redisd-lab/*.json")
	must(t, err)
	for _, file := range notes {
		var note struct {
			Dir string
			PID int
		}
		if text, err := os.ReadFile(file); err == nil && json.Unmarshal(text, &note) == nil && note.PID == os.Getpid() {
			return note.Dir
		}
	}
	t.Fatal("no note of this process's lab")
	return ""
}
