package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is one of a host.
type Process struct {
	Host       *Host
	Name       string
	PID        int // what the host calls it
	MachinePID int // what this machine calls it, for a look into /proc

	parent int         // as this machine numbers it
	outer  *os.Process // a pidfd: a signal never reaches another process that has got the number
}

// Processes lists those of the host with exactly this name (the kernel's, of which 15 letters
// count), oldest first; with "" all.
func (h *Host) Processes(ctx context.Context, name string) ([]Process, error) {
	b, err := h.current()
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", h.name, err)
	}
	if err := b.await(ctx, b.up); err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", h.name, err)
	}
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", b.leader.Pid))
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", h.name, err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", h.name, err)
	}
	var found []Process
	for _, e := range entries {
		outer, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, ok := readProcess(outer, space)
		if ok && (name == "" || p.Name == name[:min(len(name), 15)]) {
			p.Host = h
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
	return found, nil
}

// readProcess says false for a process of another PID namespace, and for one that is ending.
func readProcess(outer int, space string) (p Process, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(outer))
	if own, err := os.Readlink(filepath.Join(dir, "ns/pid")); err != nil || own != space {
		return p, false
	}
	handle, err := os.FindProcess(outer)
	if err != nil {
		return p, false
	}
	// Read after the handle was taken: both are of the same process or there is nothing to read.
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, false
	}
	p.outer, p.MachinePID = handle, outer
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Name":
			p.Name = value
		case "State":
			if strings.HasPrefix(value, "Z") || strings.HasPrefix(value, "X") {
				return p, false
			}
		case "PPid":
			p.parent, _ = strconv.Atoi(value)
		case "NSpid":
			fields := strings.Fields(value)
			p.PID, _ = strconv.Atoi(fields[len(fields)-1])
		}
	}
	return p, p.PID > 0
}

// Process is the only process of this name; children that it forked under the same name (a
// redis-server that saves) do not count.
func (h *Host) Process(ctx context.Context, name string) (Process, error) {
	all, err := h.Processes(ctx, name)
	if err != nil {
		return Process{}, err
	}
	top := slices.DeleteFunc(slices.Clone(all), func(p Process) bool {
		return slices.ContainsFunc(all, func(q Process) bool { return q.MachinePID == p.parent })
	})
	if len(top) != 1 {
		return Process{}, fmt.Errorf("%s has %d processes %s", h.name, len(top), name)
	}
	return top[0], nil
}

// PIDOf is the number that the host has for its only process of this name.
func (h *Host) PIDOf(ctx context.Context, name string) (int, error) {
	p, err := h.Process(ctx, name)
	return p.PID, err
}

// Signal sends it to one process. With the Process at hand this takes microseconds: look it up
// before the fault.
func (p Process) Signal(s unix.Signal) error {
	if err := p.outer.Signal(s); err != nil {
		return fmt.Errorf("send %s to %s[%d] of %s: %w", unix.SignalName(s), p.Name, p.PID, p.Host.name, err)
	}
	return nil
}

// Kill ends the process as a crash would.
func (p Process) Kill() error { return p.Signal(unix.SIGKILL) }

// Pause makes the process hang.
func (p Process) Pause() error { return p.Signal(unix.SIGSTOP) }

// Resume undoes Pause.
func (p Process) Resume() error { return p.Signal(unix.SIGCONT) }

// Alive says whether the process is there and not a zombie.
func (p Process) Alive() bool {
	if p.outer.Signal(unix.Signal(0)) != nil {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.MachinePID))
	return err == nil && !strings.Contains(string(status), ") Z ")
}

// Signal sends s to processes by the numbers that the host has for them.
func (h *Host) Signal(ctx context.Context, s unix.Signal, pids ...int) error {
	all, err := h.Processes(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range pids {
		i := slices.IndexFunc(all, func(p Process) bool { return p.PID == pid })
		if i < 0 {
			errs = append(errs, fmt.Errorf("%s has no process %d", h.name, pid))
			continue
		}
		errs = append(errs, all[i].Signal(s))
	}
	return errors.Join(errs...)
}
