package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/vip"
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
	list, err := vip.Interfaces()
	if err != nil {
		return f, fmt.Errorf("list the network interfaces: %w", err)
	}
	routed, err := vip.DefaultRoutes()
	if err != nil {
		return f, err
	}
	for _, i := range list {
		f.Interfaces = append(f.Interfaces, config.HostInterface{
			Name: i.Name, Up: i.Up, Loopback: i.Loopback, DefaultRoute: slices.Contains(routed, i.Name), Addresses: i.Lasting,
		})
	}
	return f, nil
}
