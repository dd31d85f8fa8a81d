package agent

import (
	"context"
	"sync"
	"time"

	"github.com/redisd/redisd/supervisor"
)

// process is a supervised process and when it may be started next.
type process struct {
	*supervisor.Process
	mu         sync.Mutex
	backoff    supervisor.Backoff
	startAfter time.Duration
	exitedAt   time.Duration
	answered   int // the last process that answered
	failed     int // how many in a row ended by themselves and never had
	exitOf     int // the process whose exit was taken note of
	lastExit   *supervisor.ExitError
	stopOf     int // the process that was asked to stop
	stops      sync.WaitGroup
}

func newProcess(p *supervisor.Process) *process { return &process{Process: p} }

// noteExit takes note of an exit once, and returns it then.
func (p *process) noteExit() *supervisor.ExitError {
	st := p.State()
	p.mu.Lock()
	defer p.mu.Unlock()
	if st.Status != supervisor.Exited || st.Exit == nil || p.exitOf == st.PID && p.lastExit == st.Exit {
		return nil
	}
	p.exitOf, p.lastExit, p.exitedAt = st.PID, st.Exit, now()
	p.startAfter = now() + p.backoff.Next(st.Exit.RanFor)
	if st.Exit.Code > 0 && st.PID != p.answered {
		p.failed++
	}
	if st.Stopping {
		return nil
	}
	return st.Exit
}

// hasAnswered takes note that the process got as far as to answer.
func (p *process) hasAnswered(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered, p.failed = pid, 0
}

// failedStarts is how many processes in a row ended with an error of their own
// before they ever answered.
func (p *process) failedStarts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// startedAnew forgets the starts that failed, for their cause was removed.
func (p *process) startedAnew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = 0
}

// justExited: it ended within the last d, and may be back soon.
func (p *process) justExited(d time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exitedAt > 0 && now() < p.exitedAt+d
}

func (p *process) nextStart() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.startAfter
}

// startFailed keeps the pause of a quick exit after a start that did not work.
func (p *process) startFailed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.startAfter = now() + p.backoff.Next(0)
}

func (a *Agent) noteExits() {
	for name, p := range map[string]*process{"redis-server": a.redis, "redis-sentinel": a.sentinel} {
		if e := p.noteExit(); e != nil {
			a.log.Warn("process ended unexpectedly", "process", name, "error", e)
			a.events.add("process_exited", name+": "+e.Error())
		}
	}
}

// stop asks the process to end and returns at once: a redis-server that saves
// its data must not hold up the rounds. Asking again does nothing.
func (p *process) stop(ctx context.Context, grace time.Duration, failed func(error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pid := p.State().PID
	if p.stopOf == pid {
		return
	}
	p.stopOf = pid
	p.stops.Go(func() {
		if err := p.Stop(ctx, grace); err != nil {
			failed(err)
		}
	})
}
