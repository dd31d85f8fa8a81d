package clients

import (
	"context"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/ways"
)

// fault is something that happens to the primary.
type fault struct {
	id    string
	title string
	// planned: redisd must not lose an acknowledged write.
	planned bool
	// stays: the primary goes on as one.
	stays bool
	// own: it is redisd's alone.
	own bool
	// ready looks up what it needs, so that it happens at once.
	ready func(ctx context.Context, r *ways.Running, primary *lab.Host) (injection, error)
}

// injection is a fault about to happen, and what ends it.
type injection struct{ happens, mended func(context.Context) error }

var faults = []fault{
	{id: "switchover", title: "switchover", planned: true, ready: func(_ context.Context, r *ways.Running, h *lab.Host) (injection, error) {
		return injection{func(ctx context.Context) error { return r.Switchover(ctx, h) }, leave}, nil
	}},
	{id: "stop", title: "systemctl stop", planned: true, ready: func(_ context.Context, r *ways.Running, h *lab.Host) (injection, error) {
		systemctl := func(verb string) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := h.Run(ctx, "systemctl", verb, r.Unit)
				return err
			}
		}
		return injection{systemctl("stop"), systemctl("start")}, nil
	}},
	{id: "reboot", title: "reboot", planned: true, ready: toHost((*lab.Host).Shutdown, (*lab.Host).PowerOn)},
	{id: "crash", title: "redis-server killed", ready: signalled("redis-server", lab.Process.Kill)},
	{id: "hang", title: "redis-server hangs", ready: signalled("redis-server", lab.Process.Pause)},
	{id: "power", title: "power loss", ready: toHost((*lab.Host).PowerOff, (*lab.Host).PowerOn)},
	{id: "cut", title: "network cut", ready: toHost((*lab.Host).Silence, (*lab.Host).Unsilence)},
	{id: "agent", title: "agent killed", planned: true, stays: true, own: true, ready: signalled("redisd", lab.Process.Kill)},
}

func (f fault) applies(w ways.Way) bool { return w.ID == ways.All[0].ID || !f.own }

func leave(context.Context) error { return nil }

func toHost(do, undo func(*lab.Host, context.Context) error) func(context.Context, *ways.Running, *lab.Host) (injection, error) {
	return func(_ context.Context, _ *ways.Running, h *lab.Host) (injection, error) {
		return injection{
			func(ctx context.Context) error { return do(h, ctx) },
			func(ctx context.Context) error { return undo(h, ctx) },
		}, nil
	}
}

// signalled sends a process a signal. One that was paused, and that nobody has killed, goes on when
// it is over.
func signalled(name string, send func(lab.Process) error) func(context.Context, *ways.Running, *lab.Host) (injection, error) {
	return func(ctx context.Context, _ *ways.Running, h *lab.Host) (injection, error) {
		p, err := h.Process(ctx, name)
		return injection{
			func(context.Context) error { return send(p) },
			func(context.Context) error {
				if !p.Alive() {
					return nil
				}
				return p.Resume()
			},
		}, err
	}
}
