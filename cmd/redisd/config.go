package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
)

const defaultConfig = "/etc/redisd/redisd.toml"

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show the configuration, and the files it renders to",
	}
	c.AddCommand(
		&cobra.Command{
			Use:   "show",
			Short: "Print the whole configuration: defaults, environment and what was detected",
			Args:  noArgs,
			RunE: func(*cobra.Command, []string) error {
				cfg, err := a.loadConfig()
				if err != nil {
					return err
				}
				_, err = a.out.Write(cfg.TOML())
				return err
			},
		},
		&cobra.Command{
			Use:   "render",
			Short: "Print the redis.conf and sentinel.conf that a start would use; passwords are left out",
			Args:  noArgs,
			RunE:  func(*cobra.Command, []string) error { return a.render(false) },
		},
		&cobra.Command{
			Use:   "diff",
			Short: "Show how they differ from the files in use",
			Args:  noArgs,
			RunE:  func(*cobra.Command, []string) error { return a.render(true) },
		},
	)
	return c
}

func (a *app) render(diff bool) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	files, err := agent.Render(cfg)
	if err != nil {
		return usageError{err}
	}
	for _, f := range files {
		if !diff {
			fmt.Fprintf(a.out, "==> %s <==\n%s\n", f.Path, f.Text)
			continue
		}
		if err := a.diff(f); err != nil {
			return err
		}
	}
	return nil
}

// diff prints the lines that only one of the two has.
func (a *app) diff(f agent.File) error {
	old, err := os.ReadFile(f.Path)
	use := "in use"
	switch {
	case errors.Is(err, os.ErrNotExist):
		use = "there is none"
	case err != nil:
		return err
	}
	was, is := lines(agent.Redact(string(old))), lines(f.Text)
	fmt.Fprintf(a.out, "--- %s (%s)\n+++ %s (rendered)\n", f.Path, use, f.Path)
	for _, l := range missing(was, is) {
		fmt.Fprintln(a.out, "-"+l)
	}
	for _, l := range missing(is, was) {
		fmt.Fprintln(a.out, "+"+l)
	}
	return nil
}

func lines(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

// missing returns the lines of list that other lacks, comments left out.
func missing(list, other []string) []string {
	have := map[string]bool{}
	for _, l := range other {
		have[l] = true
	}
	var out []string
	for _, l := range list {
		if !have[l] && l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return out
}

// loadConfig reads the configuration for running a node: complete and checked.
func (a *app) loadConfig() (config.Config, error) {
	cfg, err := a.readConfig()
	if err != nil {
		return cfg, err
	}
	return resolve(cfg)
}

// readConfig reads the file alone.
func (a *app) readConfig() (config.Config, error) { return readConfig(a.configPath) }

func readConfig(path string) (config.Config, error) {
	cfg, err := config.Load(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("%s: there is no such file: the package brings %s, and --config names another one", path, defaultConfig)
	case errors.Is(err, os.ErrPermission):
		err = fmt.Errorf("%s: %w: run this as root, or as a member of the group redis", path, os.ErrPermission)
	}
	if err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

// resolve fills in what the file leaves to detection.
func resolve(cfg config.Config) (config.Config, error) {
	facts, err := hostFacts()
	if err == nil {
		err = config.Resolve(&cfg, facts)
	}
	if err != nil {
		return cfg, hostError{err}
	}
	return cfg, nil
}

func hostFacts() (config.HostFacts, error) {
	var f config.HostFacts
	name, err := os.Hostname()
	if err != nil {
		return f, err
	}
	f.Hostname = name
	list, err := net.Interfaces()
	if err != nil {
		return f, fmt.Errorf("list the network interfaces: %w", err)
	}
	for _, i := range list {
		hi := config.HostInterface{Name: i.Name, Up: i.Flags&net.FlagUp != 0, Loopback: i.Flags&net.FlagLoopback != 0, DefaultRoute: hasDefaultRoute(i.Name)}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, addr := range addrs {
			if p, err := netip.ParsePrefix(addr.String()); err == nil {
				hi.Addresses = append(hi.Addresses, p)
			}
		}
		f.Interfaces = append(f.Interfaces, hi)
	}
	return f, nil
}

// hasDefaultRoute reads the kernel's IPv4 routes (proc(5), /proc/net/route).
func hasDefaultRoute(name string) bool {
	b, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) > 7 && f[0] == name && f[1] == "00000000" && f[7] == "00000000" {
			return true
		}
	}
	return false
}
