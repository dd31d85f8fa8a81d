package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
)

// startConfig returns the configuration to run with, and the file it is in. A file that is refused
// keeps a node from starting, but it must not take down one whose redis-server runs: there the last
// configuration that worked is used, until the file is put right and reloaded.
func (a *app) startConfig(ctx context.Context, log *slog.Logger) (cfg config.Config, lastGood bool, err error) {
	cfg, err = a.checkedConfig(ctx, a.configPath, log)
	if err == nil {
		return cfg, false, nil
	}
	good := a.lastGood()
	if _, missing := os.Stat(good); missing != nil {
		return cfg, false, err
	}
	last, lastErr := a.checkedConfig(ctx, good, log)
	if lastErr != nil || !leftRunning(last, "redis-server") {
		return cfg, false, err
	}
	log.Error("the configuration is refused; this node goes on with the last one that worked", "file", a.configPath, "error", err,
		"cure", "put the file right, then `systemctl reload redisd`")
	return last, true, nil
}

// checkedConfig reads a configuration and checks it against this host.
func (a *app) checkedConfig(ctx context.Context, path string, log *slog.Logger) (config.Config, error) {
	cfg, err := readConfig(a.instance(), path)
	if err != nil {
		return cfg, err
	}
	if cfg, err = resolve(cfg); err != nil {
		return cfg, err
	}
	worked := sameText(path, filepath.Join(cfg.Node.StateDir, agent.LastGoodName))
	return cfg, preflight(ctx, cfg, path, past{agent: true, worked: worked, runs: worked && leftRunning(cfg, "redis-server")}, log)
}

// sameText reports that two files have the same content.
func sameText(a, b string) bool {
	one, err := os.ReadFile(a)
	if err != nil {
		return false
	}
	other, err := os.ReadFile(b)
	return err == nil && bytes.Equal(one, other)
}

// past is what is known of a configuration from before.
type past struct {
	// agent: it is the agent who asks, for a node that is to run; and not a person.
	agent bool
	// worked: the last node here that started had this very text.
	worked bool
	// runs: its redis-server still runs, and need not be asked about it. That takes longer than all
	// else together, and an agent that follows one that died has a lease to renew.
	runs bool
}

// collides is how grave it is that another node on this host has something of this one's. Of the
// two, the file that was changed is refused; the one that it has met is not taken down by that, nor
// by a file that nothing was started with, a copy perhaps.
func (p past) collides(started bool) gravity {
	if p.agent && (p.worked || !started) {
		return warning
	}
	return mistake
}

// reloadConfig reads the configuration for a node that runs, and whose addresses and ports may not
// come to be those of another one on this host.
func (a *app) reloadConfig() (config.Config, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return cfg, err
	}
	f := &findings{cfg: cfg, file: a.configPath}
	f.neighbours(context.Background(), config.Dir, past{agent: true}.collides)
	return cfg, errors.Join(f.of(mistake)...)
}

// lastGood is where the last configuration that worked is, when the file that says so cannot be
// read.
func (a *app) lastGood() string {
	dir := os.Getenv("REDISD_NODE_STATE_DIR")
	if dir == "" {
		dir = config.DefaultOf(a.instance()).Node.StateDir
	}
	return filepath.Join(dir, agent.LastGoodName)
}
