package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
)

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and this host; every finding comes with its cure",
		Long: `Check the configuration file and this host without touching anything. As root, it
also checks what the user that the service runs as may read and write.

Exit codes: 0 nothing would keep the agent from starting (warnings may be shown),
2 something would.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.check(cmd.Context()) },
	}
}

func (a *app) check(ctx context.Context) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return usageError{err}
	}
	found := inspect(ctx, cfg, a.configPath, askSystemd(ctx, unit(a.instance())), past{})
	found.listening()
	found.oldData()
	warnings := found.of(warning)
	for _, w := range hostWarnings("/proc/sys", "/sys") {
		warnings = append(warnings, errors.New(w))
	}
	for _, w := range a.agentWarnings(ctx, cfg) {
		warnings = append(warnings, errors.New(w))
	}
	for _, w := range warnings {
		fmt.Fprintln(a.out, "warning:", words(a.instance(), w.Error()))
	}
	if err := errors.Join(append(found.of(mistake), found.of(obstacle)...)...); err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprintf(a.out, "%s: no errors, %s; this node would be %s (%s) of the cluster %q\n",
		a.configPath, count(len(warnings), "warning"), cfg.Node.Name, cfg.Node.Address, cfg.Cluster.Name)
	return err
}

// agentWarnings asks the agent here, if one runs, what is to be said of all nodes, and what else is
// here that is none of them.
func (a *app) agentWarnings(ctx context.Context, cfg config.Config) []string {
	var s agent.Status
	if dial(cfg.SocketPath()) != nil || a.get(ctx, "/v1/status", &s) != nil {
		return nil
	}
	return slices.Concat(s.VersionWarnings(), s.PortWarnings(), s.Conflicts)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// gravity says what a finding means for a start of the agent.
type gravity int

const (
	// warning does not keep it from starting.
	warning gravity = iota
	// obstacle is the host's, and may go away by itself: an address that is not there yet, a port
	// that is still in use.
	obstacle
	// mistake stays until somebody corrects it.
	mistake
)

// finding is something that is not as the agent needs it.
type finding struct {
	gravity
	err error
}

// findings are all there are about one configuration.
type findings struct {
	cfg  config.Config
	file string
	list []finding
	// taken are the keys with something that another node on this host has.
	taken []string
}

// add says about a key of the configuration what is wrong, and the cure.
func (f *findings) add(g gravity, key, format string, args ...any) {
	where := f.cfg.Where(key)
	if where == "default" {
		where, key = f.file, key+" (not set there)"
	}
	f.list = append(f.list, finding{g, &config.Mistake{Where: where, Key: key, Problem: fmt.Sprintf(format, args...)}})
}

func (f *findings) of(g gravity) []error {
	var out []error
	for _, x := range f.list {
		if x.gravity == g {
			out = append(out, x.err)
		}
	}
	return out
}

// hostWarnings compares the kernel's settings with what Redis asks for. They are the package's to
// set; a container may not let it.
func hostWarnings(proc, sys string) []string {
	var out []string
	if v := number(filepath.Join(proc, "vm/overcommit_memory")); v == 0 {
		out = append(out, "vm.overcommit_memory is 0: a background save may fail when memory is short; `sysctl vm.overcommit_memory=1`")
	}
	if v := number(filepath.Join(proc, "vm/swappiness")); v > 10 {
		out = append(out, fmt.Sprintf("vm.swappiness is %d: Redis may be swapped out; `sysctl vm.swappiness=1`", v))
	}
	if v := number(filepath.Join(proc, "net/core/somaxconn")); v >= 0 && v < 511 {
		out = append(out, fmt.Sprintf("net.core.somaxconn is %d: less than Redis' tcp-backlog of 511; `sysctl net.core.somaxconn=4096`", v))
	}
	thp, err := os.ReadFile(filepath.Join(sys, "kernel/mm/transparent_hugepage/enabled"))
	if err == nil && strings.Contains(string(thp), "[always]") {
		out = append(out, "transparent huge pages are on: they cost Redis memory and latency; `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`")
	}
	return out
}

// number reads a kernel setting; -1 when it cannot be read.
func number(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return -1
	}
	return n
}
