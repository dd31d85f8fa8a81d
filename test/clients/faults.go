package clients

import (
	"context"

	"github.com/redisd/redisd/test/lab"
)

// fault is something that happens to the primary.
type fault struct {
	id    string
	title string
	// planned: no acknowledged write may be lost.
	planned bool
	// stays: the primary goes on as one.
	stays bool
	// ready looks up what it needs, so that it happens at once.
	ready func(ctx context.Context, primary *lab.Host) (injection, error)
}

// injection is a fault about to happen, and what ends it.
type injection struct{ happens, mended func(context.Context) error }

var faults = []fault{
	{id: "switchover", title: "switchover", planned: true, ready: told("redisd switchover", "")},
	{id: "stop", title: "systemctl stop", planned: true, ready: told("systemctl stop redisd", "systemctl start redisd")},
	{id: "reboot", title: "reboot", planned: true, ready: func(_ context.Context, h *lab.Host) (injection, error) {
		return injection{h.Shutdown, h.PowerOn}, nil
	}},
	{id: "crash", title: "redis-server killed", ready: signalled("redis-server", lab.Process.Kill)},
	{id: "hang", title: "redis-server hangs", ready: signalled("redis-server", lab.Process.Pause)},
	{id: "power", title: "power loss", ready: func(_ context.Context, h *lab.Host) (injection, error) {
		return injection{h.PowerOff, h.PowerOn}, nil
	}},
	{id: "cut", title: "network cut", ready: func(_ context.Context, h *lab.Host) (injection, error) {
		return injection{h.Silence, h.Unsilence}, nil
	}},
	{id: "agent", title: "agent killed", planned: true, stays: true, ready: signalled("redisd", lab.Process.Kill)},
}

func leave(context.Context) error { return nil }

// told is a command on the primary, and the one that ends what it did, if any.
func told(command, end string) func(context.Context, *lab.Host) (injection, error) {
	return func(_ context.Context, h *lab.Host) (injection, error) {
		run := func(script string) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := h.Shell(ctx, script)
				return err
			}
		}
		i := injection{run(command), leave}
		if end != "" {
			i.mended = run(end)
		}
		return i, nil
	}
}

func signalled(name string, send func(lab.Process) error) func(context.Context, *lab.Host) (injection, error) {
	return func(ctx context.Context, h *lab.Host) (injection, error) {
		p, err := h.Process(ctx, name)
		return injection{func(context.Context) error { return send(p) }, leave}, err
	}
}
