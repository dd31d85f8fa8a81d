package bench

import (
	"context"
	"slices"
	"time"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/ways"
)

// fault is something that happens to the primary.
type fault struct {
	id    string
	title string
	// mended is what ends it, in words; "" for a fault whose end does nothing.
	mended string
	// lasts is for how long it does.
	lasts time.Duration
	// only names the ways that it is for; none: all.
	only []string
	// prepare looks up what it needs, so that the injection itself takes no time.
	prepare func(ctx context.Context, r *ways.Running, primary *lab.Host) (injection, error)
}

// injection is a fault about to happen.
type injection struct {
	inject func(ctx context.Context) error
	mend   func(ctx context.Context) error // nil: nothing to mend
	over   func() bool                     // says that there is nothing left to mend; may be nil
}

const (
	darkTime = 5 * time.Second  // a host without power, a reboot's firmware, a service stopped
	cutTime  = 15 * time.Second // long enough for every way to have failed over
	hangTime = 20 * time.Second

	quietTime = 3 * time.Second
)

var faults = []fault{
	{id: "none", title: "nothing: the noise of the measurement", lasts: quietTime, prepare: nothing},
	{id: "kill", title: "redis-server killed", prepare: killed},
	{id: "hang", title: "redis-server hangs", mended: "it goes on after 20 s", lasts: hangTime, prepare: hung},
	{id: "power", title: "power loss of the host", mended: "power back after 5 s", lasts: darkTime, prepare: powerLost},
	{id: "cut", title: "network of the host cut", mended: "healed after 15 s", lasts: cutTime, prepare: cut},
	{id: "split", title: "cut from its peers, not from clients", mended: "healed after 15 s", lasts: cutTime, prepare: split},
	{id: "stop", title: "systemctl stop", mended: "started again after 5 s", lasts: darkTime, prepare: stopped},
	{id: "reboot", title: "reboot of the host", mended: "up again 5 s after it went down", lasts: darkTime, prepare: rebooted},
	{id: "switchover", title: "planned switchover", prepare: switchedOver},
	{id: "agent-kill", title: "agent killed", only: []string{"redisd"}, prepare: agentKilled},
	{id: "agent-restart", title: "agent restarted", only: []string{"redisd"}, prepare: agentRestarted},
	// The last: it leaves its data behind.
	{id: "kill-large", title: "redis-server killed, 1 000 000 keys", prepare: killedLarge},
}

func (f fault) applies(w ways.Way) bool { return len(f.only) == 0 || slices.Contains(f.only, w.ID) }

func nothing(context.Context, *ways.Running, *lab.Host) (injection, error) {
	calm := func(context.Context) error { return nil }
	return injection{inject: calm, mend: calm}, nil
}

func killed(ctx context.Context, _ *ways.Running, primary *lab.Host) (injection, error) {
	p, err := primary.Process(ctx, "redis-server")
	return injection{inject: func(context.Context) error { return p.Kill() }}, err
}

func killedLarge(ctx context.Context, r *ways.Running, primary *lab.Host) (injection, error) {
	if err := fillUp(ctx, r); err != nil {
		return injection{}, err
	}
	if _, err := r.AwaitWhole(ctx, wholeLimit); err != nil {
		return injection{}, err
	}
	return killed(ctx, r, primary)
}

func hung(ctx context.Context, _ *ways.Running, primary *lab.Host) (injection, error) {
	p, err := primary.Process(ctx, "redis-server")
	return injection{
		inject: func(context.Context) error { return p.Pause() },
		mend: func(context.Context) error {
			if !p.Alive() {
				return nil
			}
			return p.Resume()
		},
		over: func() bool { return !p.Alive() },
	}, err
}

func powerLost(_ context.Context, _ *ways.Running, primary *lab.Host) (injection, error) {
	return injection{inject: primary.PowerOff, mend: primary.PowerOn}, nil
}

func cut(_ context.Context, _ *ways.Running, primary *lab.Host) (injection, error) {
	return injection{inject: primary.Silence, mend: primary.Unsilence}, nil
}

func split(_ context.Context, r *ways.Running, primary *lab.Host) (injection, error) {
	var peers []lab.End
	for _, h := range r.Nodes {
		if h != primary {
			peers = append(peers, h)
		}
	}
	return injection{
		inject: func(ctx context.Context) error { return primary.CutFrom(ctx, peers...) },
		mend:   func(ctx context.Context) error { return primary.HealFrom(ctx, peers...) },
	}, nil
}

func stopped(_ context.Context, r *ways.Running, primary *lab.Host) (injection, error) {
	systemctl := func(verb string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := primary.Run(ctx, "systemctl", verb, r.Unit)
			return err
		}
	}
	return injection{inject: systemctl("stop"), mend: systemctl("start")}, nil
}

// rebooted leaves the host off for a moment: a real one takes that long at least, and what is over
// before a Sentinel has noticed is no fault to measure.
func rebooted(_ context.Context, _ *ways.Running, primary *lab.Host) (injection, error) {
	return injection{inject: primary.Shutdown, mend: primary.PowerOn}, nil
}

func switchedOver(_ context.Context, r *ways.Running, primary *lab.Host) (injection, error) {
	return injection{inject: func(ctx context.Context) error { return r.Switchover(ctx, primary) }}, nil
}

func agentKilled(ctx context.Context, _ *ways.Running, primary *lab.Host) (injection, error) {
	p, err := primary.Process(ctx, "redisd")
	return injection{inject: func(context.Context) error { return p.Kill() }}, err
}

func agentRestarted(_ context.Context, _ *ways.Running, primary *lab.Host) (injection, error) {
	return injection{inject: func(ctx context.Context) error {
		_, err := primary.Run(ctx, "systemctl", "restart", "redisd")
		return err
	}}, nil
}
