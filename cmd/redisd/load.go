package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/redisd/redisd/config"
)

// defaultConfig is that of redisd.service.
var defaultConfig = config.File(config.Main)

// loadConfig reads the configuration for running a node: complete and checked.
func (a *app) loadConfig() (config.Config, error) {
	cfg, err := a.readConfig()
	if err != nil {
		return cfg, err
	}
	return resolve(cfg)
}

// readConfig reads the file alone.
func (a *app) readConfig() (config.Config, error) { return readConfig(a.instance(), a.configPath) }

func readConfig(instance, path string) (config.Config, error) {
	cfg, err := config.LoadAs(instance, path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("%s: there is no such file: the package brings %s, and --config names another one%s", path, defaultConfig, haveInstances())
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
	for _, program := range config.Programs {
		if _, err := exec.LookPath(program); err == nil {
			f.Programs = append(f.Programs, program)
		}
	}
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
