package supervisor

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what to run.
type Spec struct {
	Argv        []string // the program, looked up in PATH if it has no slash, and its arguments; no secrets, everyone can read them
	Dir         string   // working directory; the agent's if empty
	Env         []string // environment; the agent's if nil. What concerns the agent alone is removed from it
	OOMScoreAdj *int     // how readily the kernel ends it when memory runs out, -1000 to 1000; the agent's if nil
}

// agentOnly are the variables by which systemd speaks to the agent, or the agent's user to it. With
// NOTIFY_SOCKET redis-server would report its own readiness, and its own stopping, as the agent's.
var agentOnly = []string{"NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "FDSTORE", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY", "MEMORY_PRESSURE_", "REDISD_"}

// environ returns what is left of env, or of the agent's own environment if it is nil.
func environ(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	kept := make([]string, 0, len(env))
next:
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		for _, own := range agentOnly {
			if name == own || strings.HasSuffix(own, "_") && strings.HasPrefix(name, own) {
				continue next
			}
		}
		kept = append(kept, entry)
	}
	return kept
}

// timerSlack is the kernel's default.
const timerSlack = 50 * time.Microsecond

// launch forks and executes the program: its own session and process group, no input, output to the
// file and nothing else open, none of the agent's capabilities. No parent-death signal: it is to
// survive the agent.
func launch(path string, spec Spec, out *os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	attr := &os.ProcAttr{
		Dir:   spec.Dir,
		Env:   environ(spec.Env),
		Files: []*os.File{null, out, out},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	// Go opens everything close-on-exec, but not what the agent was itself given by systemd.
	// Kernels before 5.11 lack the flag.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil &&
		!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return 0, fmt.Errorf("mark descriptors close-on-exec: %w", err)
	}
	var child *os.Process
	done := make(chan error)
	go func() {
		// The agent may change addresses and send raw packets; Redis, which runs its clients'
		// scripts, must not. Capabilities belong to a thread, so this one gives them up for itself
		// and its child, and ends with the goroutine since it is never unlocked.
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		if err != nil {
			err = fmt.Errorf("drop capabilities: %w", err)
		}
		// The agent's timers may be late (TimerSlackNSec= of its service); the child's are its own
		// business.
		if slack := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0); err == nil && slack != nil {
			err = fmt.Errorf("set the timer slack: %w", slack)
		}
		if err == nil {
			child, err = os.StartProcess(path, spec.Argv, attr)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return 0, err
	}
	pid := child.Pid
	_ = child.Release() // it is watched and reaped through run
	return pid, nil
}

func setOOMScoreAdj(pid, score int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), strconv.AppendInt(nil, int64(score), 10), 0)
}
