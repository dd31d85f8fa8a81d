package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/supervisor"
	"github.com/redisd/redisd/vip"
)

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and this host; every finding comes with its cure",
		Long: `Check the configuration file and this host without touching anything.

Exit codes: 0 nothing would keep the agent from starting (warnings may be shown),
2 something would.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			if err := preflight(cmd.Context(), cfg); err != nil {
				return usageError{err}
			}
			warnings := hostWarnings("/proc/sys", "/sys")
			for _, w := range warnings {
				fmt.Fprintln(a.out, "warning:", w)
			}
			_, err = fmt.Fprintf(a.out, "%s: no errors, %d warnings; this node would be %s (%s) of the cluster %q\n",
				a.configPath, len(warnings), cfg.Node.Name, cfg.Node.Address, cfg.Cluster.Name)
			return err
		},
	}
}

// preflight finds everything that would keep the agent from starting, before
// anything is touched.
func preflight(ctx context.Context, cfg config.Config) error {
	var errs []error
	if _, err := secret.Load(cfg.Cluster.SecretFile); err != nil {
		errs = append(errs, fmt.Errorf("cluster.secret_file: %w", err))
	}
	if cfg.Redis.PasswordFile != "" {
		if _, err := secret.LoadPassword(cfg.Redis.PasswordFile); err != nil {
			errs = append(errs, fmt.Errorf("redis.password_file: %w", err))
		}
	}
	if cfg.HasRole("redis") {
		if err := program("redis.binary", cfg.Redis.Binary, "redis-server"); err != nil {
			errs = append(errs, err)
		} else if err := agent.Trial(ctx, cfg); err != nil {
			errs = append(errs, err)
		}
	}
	if cfg.HasRole("sentinel") {
		errs = append(errs, program("sentinel.binary", cfg.Sentinel.Binary, "redis-sentinel"))
	}
	for i, v := range cfg.VIPs {
		if v.Interface != "" {
			continue
		}
		if _, err := vip.FindInterface(v.Address); err != nil {
			errs = append(errs, fmt.Errorf("vip[%d].address: %w", i, err))
		}
	}
	return errors.Join(append(errs, portsFree(cfg)...)...)
}

func program(key, name, pkg string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("%s: no program %s on this host: install it (apt-get install %s), or set %s to where it is", key, name, pkg, key)
	}
	return nil
}

// portsFree finds ports that something else listens on. What an earlier agent
// left running is not something else.
func portsFree(cfg config.Config) []error {
	if c, err := net.Dial("unix", filepath.Join(cfg.Node.RunDir, agent.SocketName)); err == nil {
		c.Close()
		return nil // an agent runs here: `redisd check` on a working node
	}
	var errs []error
	busy := func(key, proc string, port int) {
		if proc != "" && runs(cfg, proc) {
			return
		}
		l, err := net.Listen("tcp", netip.AddrPortFrom(cfg.Node.Address, uint16(port)).String())
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: cannot listen on %s:%d (%w): stop what uses the port (ss -ltnp 'sport = :%d' names it), or set another one on every node",
				key, cfg.Node.Address, port, errors.Unwrap(err), port))
			return
		}
		l.Close()
	}
	busy("cluster.gossip_port", "", cfg.Cluster.GossipPort)
	if cfg.HasRole("redis") {
		busy("redis.port", "redis-server", cfg.Redis.Port)
	}
	if cfg.HasRole("sentinel") {
		busy("sentinel.port", "redis-sentinel", cfg.Sentinel.Port)
	}
	return errs
}

// runs reports that the process of an earlier agent is there to be taken over.
func runs(cfg config.Config, name string) bool {
	p := supervisor.New(slog.New(slog.NewTextHandler(io.Discard, nil)), filepath.Join(cfg.Node.StateDir, "supervisor"), name, nil)
	defer p.Close()
	ok, err := p.Adopt()
	return ok && err == nil
}

// hostWarnings compares the kernel's settings with what Redis asks for. They are
// the package's to set; a container may not let it.
func hostWarnings(proc, sys string) []string {
	var out []string
	if v := number(filepath.Join(proc, "vm/overcommit_memory")); v == 0 {
		out = append(out, "vm.overcommit_memory is 0: a background save may fail when memory is short; `sysctl vm.overcommit_memory=1`")
	}
	if v := number(filepath.Join(proc, "vm/swappiness")); v > 10 {
		out = append(out, fmt.Sprintf("vm.swappiness is %d: Redis may be swapped out; `sysctl vm.swappiness=1`", v))
	}
	if v := number(filepath.Join(proc, "net/core/somaxconn")); v >= 0 && v < 511 {
		out = append(out, fmt.Sprintf("net.core.somaxconn is %d: less than Redis' tcp-backlog of 511; `sysctl net.core.somaxconn=1024`", v))
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
