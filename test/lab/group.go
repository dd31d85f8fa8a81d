package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// group is a control group of the lab, in the cgroup2 hierarchy and, on a machine that still has
// it, systemd's own v1 hierarchy, too. Hosts must not share one: nspawn gives a host the group that
// it was started in, and two systemds in the same group would each take the other's services for
// its own.
type group struct {
	v2  string
	all []string
}

func makeGroup(n number) (group, error) {
	g, err := findGroup(n)
	if err != nil {
		return g, err
	}
	return g, g.make()
}

func findGroup(n number) (group, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return group{}, fmt.Errorf("find the control groups: %w", err)
	}
	var g group
	for line := range strings.Lines(string(table)) {
		mount, source, ok := strings.Cut(line, " - ")
		fields, typ := strings.Fields(mount), strings.Fields(source)
		if !ok || len(fields) < 5 || len(typ) < 3 {
			continue
		}
		dir := filepath.Join(fields[4], "redisd-lab", fmt.Sprint(int(n)))
		switch {
		case typ[0] == "cgroup2" && g.v2 == "":
			g.v2 = dir
		case typ[0] == "cgroup" && strings.Contains(typ[2], "name=systemd"):
		default:
			continue
		}
		g.all = append(g.all, dir)
	}
	if g.v2 == "" {
		return g, errors.New("find the control groups: no cgroup2 is mounted")
	}
	return g, nil
}

func (g group) make() error {
	for _, dir := range g.all {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make a control group: %w", err)
		}
	}
	return nil
}

func (g group) sub(name string) group {
	s := group{v2: filepath.Join(g.v2, name)}
	for _, dir := range g.all {
		s.all = append(s.all, filepath.Join(dir, name))
	}
	return s
}

// freeze stops (or lets go on) every process that the host itself has started.
func (g group) freeze(ctx context.Context, frozen bool) error {
	payload := filepath.Join(g.v2, "payload") // nspawn's name for the part that is the host
	value := "0"
	if frozen {
		value = "1"
	}
	if err := os.WriteFile(filepath.Join(payload, "cgroup.freeze"), []byte(value), 0); err != nil {
		return err
	}
	return awaitEvent(ctx, payload, "frozen "+value)
}

// freezeIfThere is freeze for a host that may not have got as far as having a group.
func (g group) freezeIfThere(ctx context.Context, frozen bool) error {
	if err := g.freeze(ctx, frozen); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// remove kills whatever is left in the group and removes it.
func (g group) remove(ctx context.Context) error {
	if _, err := os.Stat(g.v2); err == nil {
		if err := os.WriteFile(filepath.Join(g.v2, "cgroup.kill"), []byte("1"), 0); err != nil {
			return fmt.Errorf("kill what is left in %s: %w", g.v2, err)
		}
		if err := awaitEvent(ctx, g.v2, "populated 0"); err != nil {
			return err
		}
	}
	var errs []error
	for _, dir := range g.all {
		errs = append(errs, removeGroup(dir))
	}
	return errors.Join(errs...)
}

func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeGroup(filepath.Join(dir, e.Name())))
		}
	}
	if rmdir := unix.Rmdir(dir); rmdir != nil && rmdir != unix.ENOENT {
		err = errors.Join(err, fmt.Errorf("remove control group %s: %w", dir, rmdir))
	}
	return err
}

// guard is a process that kills everything in the lab's group when this one is gone, however that
// came about: hosts outlive the systemd-nspawn that started them, so being its child's child is not
// enough.
type guard struct {
	cmd  *exec.Cmd
	life io.Closer // closed by the kernel at the latest
}

func startGuard(g group) (*guard, error) {
	// Standard input has no line to read: the shell waits until nobody holds its other end any
	// more.
	const script = `read -r _; [ ! -d "$1" ] || echo 1 >"$1/cgroup.kill"`
	cmd := exec.Command("/bin/sh", "-c", script, "lab-guard", g.v2)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's ^C is not for the guard
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the lab's guard: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the lab's guard: %w", err)
	}
	return &guard{cmd: cmd, life: life}, nil
}

func (g *guard) stop() error {
	if err := errors.Join(g.life.Close(), g.cmd.Wait()); err != nil {
		return fmt.Errorf("stop the lab's guard: %w", err)
	}
	return nil
}

func awaitEvent(ctx context.Context, dir, want string) error {
	return Await(ctx, time.Millisecond, func() error {
		events, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
		if err == nil && !strings.Contains(string(events), want) {
			err = fmt.Errorf("%s is not yet %q", dir, want)
		}
		return err
	})
}

// Await calls try, at once and then at every interval, until it returns nil; when ctx ends first it
// returns what try said last.
func Await(ctx context.Context, every time.Duration, try func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, waiting for: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
