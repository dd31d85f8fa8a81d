package main

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// systemdPatience bounds each question to systemd.
const systemdPatience = time.Second

// unitName is the service that runs the agent.
const unitName = "redisd.service"

// restarting reports that systemd is restarting the service rather than stopping it: then Redis
// runs on for the next agent. Without systemd it is a stop.
func restarting(ctx context.Context) bool {
	job := unitJob(ctx)
	return job == "restart" || job == "try-restart"
}

// stoppingUnit reports that systemd stops the service for good.
func stoppingUnit(ctx context.Context) bool { return unitJob(ctx) == "stop" }

// unitJob is what systemd is doing with the service: "stop", "restart" and so on; empty when
// nothing, or when there is no systemd to ask.
func unitJob(ctx context.Context) string {
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
		if j.Unit == unitName {
			return j.JobType
		}
	}
	return ""
}
