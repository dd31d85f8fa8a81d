package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Memory is a limit that one process was put under; when it needs more, the kernel's OOM killer
// ends it.
type Memory struct {
	group  string // a control group for this process alone
	parent string
	events string // the file that counts what the OOM killer did
}

// LimitMemory lets a process have so many bytes from now on beside those that it has: what it had
// stays on its old group's account. On a machine with cgroup v2's memory controller, which counts
// nothing but what comes later either, the process leaves its host's group for it: Freeze does not
// reach it before Release.
func (h *Host) LimitMemory(p Process, bytes int64) (*Memory, error) {
	m, limit, err := h.memoryGroup()
	if err != nil {
		return nil, fmt.Errorf("limit the memory of %s[%d] of %s: %w", p.Name, p.PID, h.name, err)
	}
	if m.parent, err = h.ownGroup(m.group, p); err == nil {
		err = errors.Join(
			os.WriteFile(filepath.Join(m.group, "cgroup.procs"), []byte(strconv.Itoa(p.MachinePID)), 0),
			os.WriteFile(filepath.Join(m.group, limit), []byte(strconv.FormatInt(bytes, 10)), 0))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("limit the memory of %s[%d] of %s: %w", p.Name, p.PID, h.name, err), m.Release())
	}
	return m, nil
}

// memoryGroup makes the group: under cgroup v1's memory controller where the machine has that, else
// under v2's.
func (h *Host) memoryGroup() (m *Memory, limit string, err error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, "", err
	}
	for line := range strings.Lines(string(table)) {
		mount, source, _ := strings.Cut(line, " - ")
		fields, typ := strings.Fields(mount), strings.Fields(source)
		if len(fields) < 5 || len(typ) < 3 || typ[0] != "cgroup" || !strings.Contains(","+typ[2]+",", ",memory,") {
			continue
		}
		m = &Memory{group: filepath.Join(fields[4], fmt.Sprintf("redisd-lab-%d-%s", h.lab.res.number, h.name))}
		m.events = filepath.Join(m.group, "memory.oom_control")
		return m, "memory.limit_in_bytes", mkdir(m.group)
	}
	// Controllers are handed down from group to group; those above the hosts' have no processes.
	lab := filepath.Dir(h.group.v2)
	for _, dir := range []string{filepath.Dir(filepath.Dir(lab)), filepath.Dir(lab), lab} {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
			return nil, "", fmt.Errorf("no control of memory: %w", err)
		}
	}
	m = &Memory{group: filepath.Join(lab, h.name+"-memory")}
	m.events = filepath.Join(m.group, "memory.events")
	return m, "memory.max", mkdir(m.group)
}

func mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// ownGroup is the group that the process is in, in the hierarchy that a group of ours is of.
func (h *Host) ownGroup(ours string, p Process) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.MachinePID))
	if err != nil {
		return "", err
	}
	root, v2 := filepath.Dir(ours), false
	if strings.HasPrefix(ours, filepath.Dir(h.group.v2)+"/") {
		root, v2 = filepath.Dir(filepath.Dir(filepath.Dir(h.group.v2))), true
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && (v2 && fields[0] == "0" || !v2 && strings.Contains(","+fields[1]+",", ",memory,")) {
			return filepath.Join(root, fields[2]), nil
		}
	}
	return "", errors.New("its control group is not known")
}

// Kills is how many processes the OOM killer has ended for this limit.
func (m *Memory) Kills() (int, error) {
	text, err := os.ReadFile(m.events)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return 0, fmt.Errorf("%s does not count what was killed", m.events)
}

// releaseLimit: a process that was killed leaves its group within milliseconds, a large one later.
const releaseLimit = 10 * time.Second

// Release takes the limit away; a process that lives goes back to where it was.
func (m *Memory) Release() error {
	procs, err := os.ReadFile(filepath.Join(m.group, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, pid := range strings.Fields(string(procs)) {
		// An error where it is gone by now.
		_ = os.WriteFile(filepath.Join(m.parent, "cgroup.procs"), []byte(pid), 0)
	}
	for end := time.Now().Add(releaseLimit); ; time.Sleep(time.Millisecond) {
		err := unix.Rmdir(m.group)
		if err == nil || time.Now().After(end) {
			if err != nil {
				err = fmt.Errorf("remove control group %s: %w", m.group, err)
			}
			return err
		}
	}
}
