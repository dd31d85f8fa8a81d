package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/supervisor"
)

// supervised is a process, and which of its exits the node was told of.
type supervised struct {
	*supervisor.Process
	which  node.Process
	log    *slog.Logger
	failed func(node.StopFailed)

	mu    sync.Mutex
	told  *supervisor.ExitError
	stops sync.WaitGroup
}

// exit returns an exit that the node was not told of yet; unexpected: nobody asked for it.
func (p *supervised) exit() (in node.Exited, e *supervisor.ExitError, unexpected bool) {
	st := p.State()
	p.mu.Lock()
	defer p.mu.Unlock()
	if st.Status != supervisor.Exited || st.Exit == nil || p.told == st.Exit {
		return in, nil, false
	}
	p.told = st.Exit
	return node.Exited{Process: p.which, PID: st.PID, Code: st.Exit.Code, RanFor: st.Exit.RanFor, Asked: st.Stopping}, st.Exit, !st.Stopping
}

// stop asks the process to end and returns at once.
func (p *supervised) stop(ctx context.Context, grace time.Duration) {
	p.stops.Go(func() {
		if err := p.Stop(ctx, grace); err != nil {
			p.log.Warn("process not stopped", "process", p.which.String(), "error", err)
			p.failed(node.StopFailed{Process: p.which})
		}
	})
}

// pid is the process that runs; 0: none does.
func (p *supervised) pid() int {
	if st := p.State(); st.Status == supervisor.Running {
		return st.PID
	}
	return 0
}

// servingPID is the process that runs, and is not being stopped; 0: none does.
func (p *supervised) servingPID() int {
	if st := p.State(); st.Status == supervisor.Running && !st.Stopping {
		return st.PID
	}
	return 0
}

// watchProcesses tells the node of every exit.
func (d *driver) watchProcesses(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.actor.procs[node.Redis].Changed():
		case <-d.actor.procs[node.Sentinel].Changed():
		}
		d.tellExits()
	}
}

func (d *driver) tellExits() {
	for _, p := range d.actor.procs {
		in, exit, unexpected := p.exit()
		if exit == nil {
			continue
		}
		d.step(in)
		if unexpected {
			d.journal.say(func(log *slog.Logger) {
				log.Warn("process ended unexpectedly", "process", p.which.String(), "error", exit)
			})
			d.events.add("process_exited", p.which.String()+": "+exit.Error())
		}
	}
}
