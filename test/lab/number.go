package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// number is a lab's, from 1: everything that a lab has outside its own folder is named after it
// (namespace, interfaces, control groups, addresses), which is how the remains of a crashed run are
// found.
type number int

const (
	lastNumber = 99 // two digits: an interface's name has 15 letters, see portName
	runDir     = "/run/redisd-lab"
)

func (n number) namespace() string { return fmt.Sprintf("redisd-lab-%d", n) }
func (n number) ip(last int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, byte(n), byte(last)})
}

func (n number) ip6(last int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd77:0:0:%d::%d", n, last))
}

// reservation is a number that this process has, and the two folders that come with it. The flock
// on its file is what says that the number is taken: the kernel releases it with the process,
// however that ends.
type reservation struct {
	number number
	lock   *os.File
	dir    string // disks
	run    string // sockets
}

// note is what the file of a reservation says, for whoever clears up after it.
type note struct {
	Dir string `json:"dir"`
	PID int    `json:"pid"`
}

// reserve takes the first free number, and removes what is left of labs whose process is gone.
func reserve(ctx context.Context, log *slog.Logger) (*reservation, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("reserve a lab's number: %w", err)
	}
	if err := sweep(ctx, log); err != nil {
		return nil, err
	}
	for n := number(1); n <= lastNumber; n++ {
		r, err := take(n)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Leftovers again: the number may have been given up between the sweep and now.
		if err := errors.Join(r.clear(ctx), r.begin(ctx)); err != nil {
			r.lock.Close()
			return nil, fmt.Errorf("reserve lab %d: %w", n, err)
		}
		return r, nil
	}
	return nil, fmt.Errorf("all %d labs of this machine are in use", lastNumber)
}

// labsDir is where the labs of this machine keep their hosts' disks.
func labsDir() string { return filepath.Join(cacheDir(), "labs") }

func take(n number) (*reservation, error) {
	run := filepath.Join(runDir, fmt.Sprint(int(n)))
	lock, err := lockFile(run+".json", unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, err
	}
	return &reservation{number: n, lock: lock, run: run}, nil
}

func (r *reservation) begin(ctx context.Context) error {
	r.dir = filepath.Join(labsDir(), fmt.Sprint(int(r.number)))
	text, err := json.Marshal(note{Dir: r.dir, PID: os.Getpid()})
	if err != nil {
		return err
	}
	if _, err := r.lock.WriteAt(text, 0); err != nil {
		return err
	}
	// After a restart of the machine the note is gone and the disks are not.
	if err := removeTree(ctx, r.dir); err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(r.dir, 0o755), os.MkdirAll(r.run, 0o755))
}

// release removes everything that goes by the number, then gives the number up.
func (r *reservation) release(ctx context.Context) error {
	return errors.Join(r.clear(ctx), r.lock.Close())
}

func sweep(ctx context.Context, log *slog.Logger) error {
	files, err := filepath.Glob(filepath.Join(runDir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		var n number
		if _, err := fmt.Sscanf(filepath.Base(file), "%d.json", &n); err != nil {
			continue
		}
		if info, err := os.Stat(file); err != nil || info.Size() == 0 {
			continue // given up in good order
		}
		r, err := take(n)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return err
		}
		log.Info("removing what an earlier run left behind", "lab", int(n))
		if err := r.release(ctx); err != nil {
			return fmt.Errorf("remove what lab %d left behind: %w", n, err)
		}
	}
	return nil
}

// clear removes processes, network, mounts and folders of the number, in the order in which they
// hold on to each other.
func (r *reservation) clear(ctx context.Context) error {
	var left note
	text := make([]byte, 4096)
	size, _ := r.lock.ReadAt(text, 0)
	if size > 0 {
		if err := json.Unmarshal(text[:size], &left); err != nil {
			return fmt.Errorf("read %s: %w", r.lock.Name(), err)
		}
	}
	groups, err := findGroup(r.number)
	if err != nil {
		return err
	}
	if err := groups.remove(ctx); err != nil {
		return err
	}
	if err := deleteNamespace(ctx, r.number); err != nil {
		return err
	}
	if left.Dir != "" {
		if err := removeTree(ctx, left.Dir); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(r.run); err != nil {
		return err
	}
	return r.lock.Truncate(0)
}

func deleteNamespace(ctx context.Context, n number) error {
	if _, err := os.Stat("/run/netns/" + n.namespace()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return command(ctx, "", "ip", "netns", "delete", n.namespace())
}

// removeTree unmounts everything below dir, waits for the loop devices to be free, then removes it.
func removeTree(ctx context.Context, dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		// A volume that was left frozen cannot be unmounted; thawing another is an error that does
		// not matter.
		_ = thaw(m)
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	if err := awaitLoopsFree(ctx, dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// mountsBelow lists the mount points below dir, the deepest and latest first.
func mountsBelow(dir string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var below []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			below = append(below, fields[4])
		}
	}
	slices.Reverse(below)
	return below, nil
}

// command runs a program of this machine, with text on its standard input; what it printed becomes
// part of the error.
func command(ctx context.Context, input string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
