package main

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// systemdPatience bounds each question to systemd.
const systemdPatience = time.Second

// restarting reports that systemd is restarting a service rather than stopping it: then Redis runs
// on for the next agent. Without systemd it is a stop.
func restarting(ctx context.Context, unit string) bool {
	job := unitJob(ctx, unit)
	return job == "restart" || job == "try-restart"
}

// stoppingUnit reports that systemd stops a service for good.
func stoppingUnit(ctx context.Context, unit string) bool { return unitJob(ctx, unit) == "stop" }

// unitJob is what systemd is doing with a service: "stop", "restart" and so on; empty when nothing,
// or when there is no systemd to ask.
func unitJob(ctx context.Context, unit string) string {
	ctx, cancel := context.WithTimeout(ctx, systemdPatience)
	defer cancel()
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return ""
	}
	defer conn.Close()
	jobs, err := conn.ListJobsContext(ctx)
	if err != nil {
		return ""
	}
	for _, j := range jobs {
		if j.Unit == unit {
			return j.JobType
		}
	}
	return ""
}
