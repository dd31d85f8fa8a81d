package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
)

// TestPowerCut shows that a power cut takes what was not synced, on the host's own disk and on a
// volume, and nothing else.
func TestPowerCut(t *testing.T) {
	l := lab.New(t, lab.Options{})
	h, err := l.Host(t.Context(), "a", lab.WithVolume("/mnt", 32<<20))
	must(t, err)
	for _, dir := range []string{"/var/lib", "/mnt"} {
		run(t, h, "sh", "-ec", `cd "$1"; mkdir d; for f in replaced grown; do echo old >d/$f; done; sync d/* d .`, "sh", dir)
	}
	// What a program does that forgets to sync; what it does right; all at once, then no power.
	const script = `for dir in /var/lib /mnt; do
		cd $dir/d
		echo new >replaced.new; mv replaced.new replaced
		echo more >>grown
		echo new >lost
		mkdir ../e; echo new >../e/lost
	done`
	run(t, h, "sh", "-ec", script)
	const kept = `for dir in /var/lib /mnt; do cd $dir/d; echo new >kept; sync kept .; done`
	run(t, h, "sh", "-ec", kept)
	must(t, h.PowerOff(within(t, patience)))
	must(t, h.PowerOn(within(t, patience)))

	for _, dir := range []string{"/var/lib", "/mnt"} {
		read := func(name string) string {
			text, err := h.ReadFile(t.Context(), filepath.Join(dir, name))
			if err != nil {
				return "absent"
			}
			return strings.TrimSpace(string(text))
		}
		if got := read("d/kept"); got != "new" {
			t.Errorf("%s: what was synced is %q", dir, got)
		}
		for _, name := range []string{"d/lost", "e/lost"} {
			if got := read(name); got == "new" {
				t.Errorf("%s: %s has survived, unsynced", dir, name)
			}
		}
		if got := read("d/replaced"); got == "new" {
			t.Errorf("%s: what replaced a file has survived, unsynced", dir)
		}
		// The journal may have the new size already: then zeros follow.
		if got := strings.TrimRight(read("d/grown"), "\x00"); got != "old\n" && got != "old" {
			t.Errorf("%s: what was appended is %q", dir, got)
		}
	}
	must(t, h.PowerOff(within(t, patience)))
	must(t, h.CheckDisks(t.Context()))
	must(t, h.PowerOn(within(t, patience)))
}

// TestPowerCutKeepsWhatEndedInOrder reboots a host, which syncs, and then takes its power.
func TestPowerCutKeepsWhatEndedInOrder(t *testing.T) {
	l := lab.New(t, lab.Options{})
	h, err := l.Host(t.Context(), "a")
	must(t, err)
	run(t, h, "sh", "-c", "echo text >/root/file")
	must(t, h.Reboot(within(t, patience)))
	must(t, h.PowerOff(within(t, patience)))
	must(t, h.PowerOn(within(t, patience)))
	if got := run(t, h, "cat", "/root/file"); got != "text" {
		t.Errorf("the file has %q", got)
	}
}

// TestPowerCutOfAll has all hosts append the time to a file and sync it: when the power goes, they
// end together.
func TestPowerCutOfAll(t *testing.T) {
	l := lab.New(t, lab.Options{})
	hosts, err := l.Hosts(t.Context(), "a", "b", "c")
	must(t, err)
	for _, h := range hosts {
		t.Logf("%s booted in %v", h.Name(), h.BootTime().Round(time.Millisecond))
		run(t, h, "systemd-run", "--service-type=exec", "--unit=clock", "sh", "-c",
			"cd /root; while :; do date +%s%N >>clock; sync -d clock; done")
	}
	for _, h := range hosts {
		must(t, lab.Await(within(t, patience), 10*time.Millisecond, func() error {
			_, err := h.Run(t.Context(), "sh", "-c", `[ "$(wc -l </root/clock)" -gt 20 ]`)
			return err
		}))
	}
	began := time.Now()
	must(t, l.PowerOff(within(t, patience), hosts...))
	t.Logf("the power cut took %v", time.Since(began).Round(time.Millisecond))
	for _, h := range hosts {
		text, err := h.ReadFile(t.Context(), "/root/clock")
		must(t, err)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		var last int64
		_, err = fmt.Sscan(lines[len(lines)-1], &last)
		must(t, err)
		at := time.Unix(0, last).Sub(began)
		t.Logf("%s: %d lines, the last of %v after the order", h.Name(), len(lines), at.Round(100*time.Microsecond))
		if len(lines) < 20 {
			t.Errorf("%s has lost what it had synced", h.Name())
		}
	}
}

// TestFailDisk has a disk that the kernel makes read-only, until the host was off.
func TestFailDisk(t *testing.T) {
	l := lab.New(t, lab.Options{})
	h, err := l.Host(t.Context(), "a", lab.WithVolume("/mnt", 16<<20))
	must(t, err)
	for path, file := range map[string]string{"/mnt": "/mnt/f", "/": "/root/f"} {
		write := func() error {
			_, err := h.Run(t.Context(), "dd", "if=/dev/zero", "of="+file, "count=1", "conv=fsync")
			return err
		}
		must(t, write())
		must(t, h.FailDisk(path))
		if err := write(); err == nil || !strings.Contains(err.Error(), "Read-only file system") {
			t.Errorf("writing to a disk that has failed (%s): %v", path, err)
		}
		must(t, h.PowerOff(within(t, patience)))
		must(t, h.PowerOn(within(t, patience)))
		must(t, write())
	}
}

// loopsBelow are the files below the folder that a loop device of this machine has.
func loopsBelow(t *testing.T, dir string) []string {
	t.Helper()
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	var found []string
	for _, b := range backing {
		if file, err := os.ReadFile(b); err == nil && strings.HasPrefix(string(file), dir+"/") {
			found = append(found, strings.TrimSpace(string(file)))
		}
	}
	return found
}
