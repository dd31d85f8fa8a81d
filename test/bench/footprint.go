package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/ways"
)

// footprint is what one agent took over some time.
type footprint struct {
	Node  string  `json:"node"`
	Role  string  `json:"role"` // primary or replica
	Phase string  `json:"phase"`
	RSS   float64 `json:"rss_mib"` // at the end of it
	CPU   float64 `json:"cpu_percent"`
	Over  float64 `json:"over_s"`
}

const (
	idleTime = time.Minute
	busyTime = 20 * time.Second

	// ticksPerSecond is the unit of the times in /proc/PID/stat: USER_HZ, which the kernel fixes at
	// 100 for all programs on amd64 and arm64.
	ticksPerSecond = 100
)

// measureFootprint watches the agents while nothing happens, and while redis-benchmark writes and
// reads as fast as it can.
func measureFootprint(ctx context.Context, r *ways.Running) ([]footprint, error) {
	primary, err := r.AwaitWhole(ctx, wholeLimit)
	if err != nil {
		return nil, err
	}
	pause(ctx, 2*time.Second) // bootstrapping a cluster is not idling
	found, err := watchAgents(ctx, r, primary, "idle", func() error {
		pause(ctx, idleTime)
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	busy, err := watchAgents(ctx, r, primary, "under load", func() error {
		for began := time.Now(); time.Since(began) < busyTime; {
			if _, err := drive(ctx, r, r.Service); err != nil {
				return err
			}
		}
		return nil
	})
	return append(found, busy...), err
}

func watchAgents(ctx context.Context, r *ways.Running, primary *lab.Host, phase string, during func() error) (found []footprint, err error) {
	agents := make([]lab.Process, len(r.Nodes))
	before := make([]time.Duration, len(r.Nodes))
	for i, h := range r.Nodes {
		if agents[i], err = h.Process(ctx, "redisd"); err != nil {
			return nil, err
		}
		if _, before[i], err = usage(agents[i]); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	if err := during(); err != nil {
		return nil, err
	}
	over := time.Since(began)
	for i, h := range r.Nodes {
		rss, spent, err := usage(agents[i])
		if err != nil {
			return nil, err
		}
		f := footprint{Node: h.Name(), Role: "replica", Phase: phase, RSS: rss, Over: over.Seconds(),
			CPU: 100 * (spent - before[i]).Seconds() / over.Seconds()}
		if h == primary {
			f.Role = "primary"
		}
		found = append(found, f)
	}
	return found, nil
}

// usage is the resident memory in MiB and the processor time of a process so far.
func usage(p lab.Process) (rss float64, spent time.Duration, err error) {
	dir := fmt.Sprintf("/proc/%d/", p.MachinePID)
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				return 0, 0, fmt.Errorf("read the memory of process %d: %w", p.MachinePID, err)
			}
			rss = kib / 1024
		}
	}
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	column := strings.Fields(rest)
	if len(column) < 13 {
		return 0, 0, fmt.Errorf("read the time of process %d: %q", p.MachinePID, stat)
	}
	user, err1 := strconv.ParseInt(column[11], 10, 64) // utime, 14th of all
	system, err2 := strconv.ParseInt(column[12], 10, 64)
	return rss, time.Duration(user+system) * time.Second / ticksPerSecond, errors.Join(err1, err2)
}
