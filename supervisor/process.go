package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// closeLimit bounds Close. It is reached only when the receiver of lines hangs, or the disk does.
const closeLimit = 2 * time.Second

// ErrRunning is returned by Start when the process runs already.
var ErrRunning = errors.New("already running")

// ErrNotRunning is returned when there is no process to ask or to signal.
var ErrNotRunning = errors.New("not running")

// Status says in which of its three conditions a Process is.
type Status int

const (
	Idle    Status = iota // nothing runs, and nothing is known to have ended
	Running               // started or adopted, exit not seen
	Exited                // the last one ended; State.Exit says how
)

func (s Status) String() string {
	switch s {
	case Idle:
		return "idle"
	case Running:
		return "running"
	case Exited:
		return "exited"
	default:
		return fmt.Sprintf("Status(%d)", int(s))
	}
}

// State is a snapshot of a Process.
type State struct {
	Status    Status
	PID       int
	StartedAt time.Time
	Adopted   bool
	Stopping  bool       // Stop or Kill was called for it: the exit is, or will be, no crash
	Exit      *ExitError // set while Status is Exited
}

// Process is one supervised program. Its methods may be called from any goroutine.
type Process struct {
	log     *slog.Logger
	name    string
	dir     string
	out     *output
	changed chan struct{}
	forked  func(pid int) // for tests: called between the fork and the record

	ops    sync.Mutex // one Adopt, Start or Close at a time
	looked bool       // guarded by ops: a survivor of an earlier agent has been looked for

	records sync.Mutex // the record is removed only by whom it still describes

	mu       sync.Mutex
	state    State
	run      *run // nil unless Running
	closed   bool
	watching sync.WaitGroup
}

// New makes a Process whose record and output are kept in stateDir under its name. Nothing is done
// before Adopt or Start. Every line of output goes to lines, one call at a time and in order, also
// after an adoption; lines may be nil and may be slow.
func New(log *slog.Logger, stateDir, name string, lines func(Line)) *Process {
	log = log.With("process", name)
	return &Process{
		log:     log,
		name:    name,
		dir:     stateDir,
		out:     newOutput(log, filepath.Join(stateDir, name), lines),
		changed: make(chan struct{}, 1),
	}
}

// State returns a snapshot.
func (p *Process) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Changed delivers after every change of State; changes between two receives count as one. It is
// for one receiver.
func (p *Process) Changed() <-chan struct{} { return p.changed }

// Adopt looks for a process that an earlier agent started and takes it over. Without one it reports
// false; if one is known to have ended since this boot while nobody watched, State is then Exited.
// It is to be called once, before the first Start.
func (p *Process) Adopt() (bool, error) {
	p.ops.Lock()
	defer p.ops.Unlock()
	if p.State().Status == Running {
		return true, nil
	}
	adopted, err := p.adopt()
	if err != nil {
		return false, fmt.Errorf("adopt %s: %w", p.name, err)
	}
	return adopted, nil
}

func (p *Process) adopt() (bool, error) {
	if err := p.open(); err != nil {
		return false, err
	}
	rec, err := loadRecord(p.recordPath())
	if err != nil {
		return false, err
	}
	r, err := rec.find()
	if err != nil {
		return false, err
	}
	how := "record"
	if r == nil {
		// The agent may have died between the fork and the record. Whoever has our output file as
		// standard output is ours.
		how = "output"
		if r, err = p.findByOutput(); err != nil {
			return false, err
		}
	}
	p.looked = true
	if r == nil {
		p.lost(rec)
		return false, nil
	}
	p.out.resume(rec.outputFrom(r))
	if how == "output" {
		p.saveRecord(r, nil, 0)
	}
	started := r.startedAt()
	p.watch(r, State{Status: Running, PID: r.pid, StartedAt: started, Adopted: true})
	p.log.Info("adopted", "pid", r.pid, "by", how, "running_for", time.Since(started).Round(time.Second))
	return true, nil
}

// lost deals with a record that describes nothing alive.
func (p *Process) lost(rec *record) {
	if rec == nil {
		return
	}
	p.dropRecord(rec.PID, rec.StartTicks)
	if !rec.thisBoot() {
		return
	}
	p.out.resume(rec.OutputFrom)
	exit := &ExitError{Name: p.name, Code: -1, Output: p.out.last()}
	p.mu.Lock()
	p.state = State{Status: Exited, PID: rec.PID, Adopted: true, Exit: exit}
	p.mu.Unlock()
	p.notify()
	p.log.Warn("ended while no agent ran", "pid", rec.PID, "error", exit)
}

// Start runs the program. It returns once the program is executing; how it fares from then on is in
// State. The context only guards against starting too late: it neither bounds the run nor ends it.
func (p *Process) Start(ctx context.Context, spec Spec) error {
	p.ops.Lock()
	defer p.ops.Unlock()
	if err := p.start(ctx, spec); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return nil
}

func (p *Process) start(ctx context.Context, spec Spec) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !p.looked {
		// Two servers on one dataset would be the worst outcome, so a caller that forgot to adopt
		// is helped.
		if _, err := p.adopt(); err != nil {
			return err
		}
	}
	if p.State().Status == Running {
		return ErrRunning
	}
	if len(spec.Argv) == 0 {
		return errors.New("no command given")
	}
	path, err := exec.LookPath(spec.Argv[0])
	if err != nil {
		return err
	}
	if err := p.open(); err != nil {
		return err
	}
	out, from, err := p.out.forChild()
	if err != nil {
		return err
	}
	defer out.Close()
	begun := time.Now()
	r, err := p.fork(path, spec, out)
	if err != nil {
		return err
	}
	p.saveRecord(r, spec.Argv, from)
	p.watch(r, State{Status: Running, PID: r.pid, StartedAt: begun})
	if spec.OOMScoreAdj != nil {
		if err := setOOMScoreAdj(r.pid, *spec.OOMScoreAdj); err != nil {
			p.log.Warn("out-of-memory score not set", "pid", r.pid, "error", err)
		}
	}
	p.log.Info("started", "pid", r.pid, "argv", spec.Argv)
	return nil
}

// fork starts the program and opens its pidfd. The child is ours and not yet reaped, so its number
// cannot be taken by another.
func (p *Process) fork(path string, spec Spec, out *os.File) (*run, error) {
	pid, err := launch(path, spec, out)
	if err != nil {
		return nil, err
	}
	if p.forked != nil {
		p.forked(pid)
	}
	r, err := openRun(pid)
	if err != nil {
		// Unwatched it must not run: the agent would believe that nothing does.
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		return nil, err
	}
	return r, nil
}

// open prepares the state directory and begins to follow the output file.
func (p *Process) open() error {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return os.ErrClosed
	}
	// Only the agent's user may see what Redis prints.
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	return p.out.begin()
}

// watch makes r the current run and awaits its exit.
func (p *Process) watch(r *run, s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run, p.state = r, s
	p.watching.Go(func() {
		defer r.handle.Close()
		if err := r.wait(); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				p.log.Error("exit can no longer be seen", "pid", r.pid, "error", err)
			}
			return
		}
		p.exited(r)
	})
	p.notify()
}

// exited publishes the end of r first, as a failover waits for it, and tidies up and logs after.
func (p *Process) exited(r *run) {
	r.killGroup()
	code, sig := r.reap()
	output := p.out.last()

	p.mu.Lock()
	exit := &ExitError{Name: p.name, Code: code, Signal: sig, Output: output, RanFor: time.Since(p.state.StartedAt)}
	p.state.Status, p.state.Exit = Exited, exit
	stopping := p.state.Stopping
	p.run = nil
	p.mu.Unlock()
	close(r.gone)
	p.notify()

	p.out.finish()
	p.dropRecord(r.pid, r.ticks)
	if stopping {
		p.log.Info("stopped", "pid", r.pid, "error", exit)
		return
	}
	p.log.Warn("exited", "pid", r.pid, "error", exit)
}

func (p *Process) notify() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Close ends the watching and leaves the process alone, for the next agent to adopt. It is for the
// agent's own end: until that, a child that exits after Close stays a zombie. It waits at most two
// seconds, for a receiver of lines that hangs.
func (p *Process) Close() error {
	p.ops.Lock()
	defer p.ops.Unlock()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	if p.run != nil {
		p.run.handle.Close()
	}
	p.mu.Unlock()

	p.out.quit()
	done := make(chan struct{})
	go func() { // ends when the two waits do, which no one can force on a receiver that hangs
		p.watching.Wait()
		p.out.tasks.Wait()
		close(done)
	}()
	limit := time.NewTimer(closeLimit)
	defer limit.Stop()
	select {
	case <-done:
		return p.out.close()
	case <-limit.C:
		return fmt.Errorf("close %s: the receiver of its output has not returned for %v", p.name, closeLimit)
	}
}
