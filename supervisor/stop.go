package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// killLimit bounds the wait for a process to disappear after SIGKILL. The kernel frees the memory
// of a large dataset before the exit is seen (tens of GB take seconds), and a process that waits
// for a disk goes only when the disk answers.
const killLimit = 10 * time.Second

// Stop asks the process to end (SIGTERM: Redis saves first), insists after grace (SIGKILL), and
// returns when it is gone. It returns earlier, with the process still ending, when ctx is done; it
// does not kill then, as this could cost data. Stopping what does not run is no error.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	r := p.stopping()
	if r == nil {
		return nil
	}
	if err := p.stop(ctx, r, grace); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	return nil
}

func (p *Process) stop(ctx context.Context, r *run, grace time.Duration) error {
	// No SIGCONT for a stopped process: a frozen primary that is let go for an instant would
	// acknowledge the writes queued on its sockets.
	if err := r.signal(syscall.SIGTERM); err != nil {
		return err
	}
	gone, err := r.await(ctx, grace)
	if gone || err != nil {
		return err
	}
	p.log.Warn("did not end in time, killing it", "pid", r.pid, "grace", grace)
	if err := r.signal(syscall.SIGKILL); err != nil {
		return err
	}
	gone, err = r.await(ctx, killLimit)
	if err == nil && !gone {
		err = fmt.Errorf("process %d is still there %v after SIGKILL", r.pid, killLimit)
	}
	return err
}

// Kill sends SIGKILL and does not wait: the exit arrives as an event. When nothing runs there is
// nothing to do.
func (p *Process) Kill() error {
	r := p.stopping()
	if r == nil {
		return nil
	}
	if err := r.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	return nil
}

// Signal sends a signal to the running process, and to no other that may have got its number.
func (p *Process) Signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal %s: %v is not a signal of this system", p.name, sig)
	}
	r := p.current()
	if r == nil {
		return fmt.Errorf("signal %s: %w", p.name, ErrNotRunning)
	}
	if err := r.signal(number); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// Proc reads what the kernel knows of the running process.
func (p *Process) Proc() (Proc, error) {
	r := p.current()
	if r == nil {
		return Proc{}, fmt.Errorf("inspect %s: %w", p.name, ErrNotRunning)
	}
	proc, err := r.inspect()
	if err != nil {
		return Proc{}, fmt.Errorf("inspect %s: %w", p.name, err)
	}
	return proc, nil
}

func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// stopping is current, and notes that the exit to come is wanted.
func (p *Process) stopping() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil {
		p.state.Stopping = true
	}
	return p.run
}

// await reports whether the run ended within limit.
func (r *run) await(ctx context.Context, limit time.Duration) (bool, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.gone:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// ended reports whether err means that there is no process any more to send a signal to.
func ended(err error) bool {
	return errors.Is(err, syscall.ESRCH) || errors.Is(err, os.ErrClosed)
}
