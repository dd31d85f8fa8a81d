package supervisor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// run is one life of a process. Its pidfd names this very process for as long as it is open, so
// nothing done through it can hit another one that was given the same number.
type run struct {
	handle *os.File
	pid    int
	ticks  uint64        // start time as the kernel counts it; with pid and boot it identifies the process
	child  bool          // ours to reap; an adopted one belongs to init
	gone   chan struct{} // closed when State says Exited
}

// openRun takes hold of the process pid. Compare ticks with what was expected before trusting it to
// be the right one: they are read after the pidfd was opened, so a match proves the pidfd as well.
func openRun(pid int) (*run, error) {
	// Non-blocking, so that the runtime's poller waits for it and no thread is spent.
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open %d: %w", pid, err)
	}
	r := &run{handle: os.NewFile(uintptr(fd), "pidfd"), pid: pid, gone: make(chan struct{})}
	st, err := readStat(pid)
	if err != nil {
		r.handle.Close()
		return nil, err
	}
	r.ticks, r.child = st.start, st.ppid == os.Getpid()
	return r, nil
}

// wait returns nil once the process has ended, or os.ErrClosed once the handle was closed.
func (r *run) wait() error {
	raw, err := r.handle.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(readable)
}

// ended reports whether the process is dead, a zombie included.
func (r *run) ended() bool {
	ended := false
	if raw, err := r.handle.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { ended = readable(fd) })
	}
	return ended
}

// readable is how a pidfd says that its process has ended.
func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
	}
}

func (r *run) signal(sig syscall.Signal) error {
	err := r.send(sig, 0)
	if ended(err) {
		return nil
	}
	return err
}

func (r *run) send(sig syscall.Signal, flags int) error {
	raw, err := r.handle.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, flags) }); err != nil {
		return err
	}
	if sent != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), r.pid, sent)
	}
	return nil
}

// killGroup ends what the dead process forked. A BGSAVE that outlives its server holds a copy of
// the dataset's memory and, having inherited them, keeps the clients' connections open: they would
// wait for a dead server instead of looking for the new primary.
func (r *run) killGroup() {
	if !r.child {
		// Linux 6.9 can signal the group through the pidfd. Before that the number must do: it
		// cannot be taken while one of the group lives, and if none does, another would have to be
		// given it in this very moment.
		if err := r.send(syscall.SIGKILL, unix.PIDFD_SIGNAL_PROCESS_GROUP); !errors.Is(err, unix.EINVAL) {
			return
		}
	}
	_ = unix.Kill(-r.pid, syscall.SIGKILL) // a child of ours is a zombie until reap, so its number is certainly still its own
}

// reap frees the process table's entry of a child and tells how it ended; code is -1 when it was a
// signal or cannot be known.
func (r *run) reap() (code int, sig syscall.Signal) {
	if !r.child {
		return -1, 0
	}
	var status unix.WaitStatus
	// Not blocking: under a debugger the exit shows here before the entry may be reaped, and the
	// event must not wait for that.
	pid, err := unix.Wait4(r.pid, &status, unix.WNOHANG, nil)
	switch {
	case err != nil || pid != r.pid:
		return -1, 0
	case status.Signaled():
		return -1, status.Signal()
	default:
		return status.ExitStatus(), 0
	}
}

// startedAt is when the process began, from its age, so that a stepped wall clock does not matter.
func (r *run) startedAt() time.Time {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return time.Now()
	}
	age := time.Duration(now.Nano()) - time.Duration(r.ticks)*clockTick
	return time.Now().Add(-max(age, 0))
}
