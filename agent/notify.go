package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/reconcile"
)

// notifier speaks to systemd, when that is what runs the agent. Only the journal uses it, when a
// round was planned, so that the watchdog sees when the rounds, or the journal, stand still.
type notifier struct {
	status  string
	aliveAt time.Duration
}

// aliveEvery is how often the watchdog hears of the rounds.
const aliveEvery = 400 * time.Millisecond

// stopExtension is how much longer systemd is asked to wait for a stopping node, again and again
// while it stops.
const stopExtension = 30 * time.Second

// alive tells the watchdog that a round was run, and `systemctl status` what the node is.
func (n *notifier) alive(o reconcile.Observed, d reconcile.Desired) {
	if o.At < n.aliveAt+aliveEvery {
		return
	}
	n.aliveAt = o.At
	text := daemon.SdNotifyWatchdog
	if o.Stopping {
		// However long redis-server saves: systemd waits as long as somebody watches.
		text += fmt.Sprintf("\nEXTEND_TIMEOUT_USEC=%d", stopExtension.Microseconds())
	}
	if s := describe(o, reconcile.AwaitsSync(o, d)); s != n.status {
		n.status = s
		text += "\nSTATUS=" + s
	}
	_, _ = daemon.SdNotify(false, text)
}

// NotifyReloading and NotifyReady bracket a reload, as Type=notify asks for.
func NotifyReloading() {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return
	}
	_, _ = daemon.SdNotify(false, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, ts.Nano()/1000))
}

// NotifyReady tells systemd that the agent does what it should.
func NotifyReady() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }

// keepStarting asks systemd for more time to start, until ctx ends.
func keepStarting(ctx context.Context) {
	t := time.NewTicker(stopExtension / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_, _ = daemon.SdNotify(false, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", stopExtension.Microseconds()))
		}
	}
}

// describe is the node in one line.
func describe(o reconcile.Observed, awaits bool) string {
	switch {
	case o.Stopping && awaits:
		return "stopping: no replica is in sync, so it serves on for a while"
	case o.Stopping:
		return "stopping"
	case o.Election.Lease:
		return "primary"
	case o.Election.ClusterID == "":
		return "waiting for the expected members to bootstrap the cluster"
	case o.Redis.Running && o.Redis.Role == reconcile.Replica && o.Redis.LinkUp:
		return "replica of " + o.Redis.PrimaryAddr
	case o.Redis.Running:
		return "waiting for a primary"
	}
	return "redis-server is not running"
}
