package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc: USER_HZ, which is 100 on every architecture that Go
// builds for.
const clockTick = 10 * time.Millisecond

// Proc is what the kernel knows of a process. It serves to tell a hang from work: a busy script is
// R and uses CPU, a hang on a disk is D, a stopped process T, and one that merely waits S.
type Proc struct {
	State   byte          // of the main thread, which executes the commands
	CPU     time.Duration // user and system time, of all threads
	MainCPU time.Duration // of the main thread alone
	RSS     int64         // resident bytes
	// Switches is how often the main thread has gone to sleep and been woken.
	Switches uint64
}

func (r *run) inspect() (Proc, error) {
	all, err := readStat(r.pid)
	if errors.Is(err, os.ErrNotExist) || err == nil && all.start != r.ticks {
		return Proc{}, ErrNotRunning
	}
	if err != nil {
		return Proc{}, err
	}
	main, err := readStatFile(fmt.Sprintf("/proc/%d/task/%d/stat", r.pid, r.pid))
	if err != nil {
		return Proc{}, err
	}
	switches, err := readSwitches(r.pid)
	if err != nil {
		return Proc{}, err
	}
	return Proc{State: all.state, CPU: all.cpu, MainCPU: main.cpu, RSS: all.rss, Switches: switches}, nil
}

// readSwitches counts the voluntary context switches of the main thread, see proc_pid_status(5).
func readSwitches(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/task/%d/status", pid, pid)
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if count, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
			return strconv.ParseUint(strings.TrimSpace(count), 10, 64)
		}
	}
	return 0, fmt.Errorf("read %s: no count of context switches in it", path)
}

// stat is a part of /proc/PID/stat, see proc_pid_stat(5).
type stat struct {
	state   byte
	ppid    int
	session int
	cpu     time.Duration
	start   uint64
	rss     int64
}

func readStat(pid int) (stat, error) { return readStatFile(fmt.Sprintf("/proc/%d/stat", pid)) }

func readStatFile(path string) (stat, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return stat{}, err
	}
	st, err := parseStat(raw)
	if err != nil {
		return stat{}, fmt.Errorf("read %s: %w", path, err)
	}
	return st, nil
}

func parseStat(raw []byte) (stat, error) {
	// The second field, the name in parentheses, may itself hold blanks and parentheses; all after
	// the last one is plain.
	end := bytes.LastIndexByte(raw, ')')
	fields := strings.Fields(string(raw[end+1:]))
	if end < 0 || len(fields) < 22 {
		return stat{}, errors.New("not in the form of proc_pid_stat(5)")
	}
	var failed error
	field := func(number int) uint64 { // as numbered in the manual page, from 1
		n, err := strconv.ParseUint(fields[number-3], 10, 64)
		failed = errors.Join(failed, err)
		return n
	}
	st := stat{
		state:   fields[0][0],
		ppid:    int(field(4)),
		session: int(field(6)),
		cpu:     time.Duration(field(14)+field(15)) * clockTick,
		start:   field(22),
		rss:     int64(field(24)) * int64(os.Getpagesize()),
	}
	return st, failed
}

// holders finds the processes whose standard output is the file: those that lead their session, and
// others.
func (o *output) holders() (leaders, others []int, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() || !o.heldBy(pid) {
			continue
		}
		st, err := readStat(pid)
		switch {
		case err != nil: // gone in the meantime
		case st.session == pid:
			leaders = append(leaders, pid)
		default:
			others = append(others, pid)
		}
	}
	return leaders, others, nil
}

// heldBy reports whether the file is the standard output of pid.
func (o *output) heldBy(pid int) bool {
	held, err := os.Stat(fmt.Sprintf("/proc/%d/fd/1", pid))
	if err != nil {
		return false
	}
	own, err := o.file.Stat()
	return err == nil && os.SameFile(held, own)
}
