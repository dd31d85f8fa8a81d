package main

import (
	"bytes"
	"context"
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
	cfg, err = checkedConfig(ctx, a.configPath, log)
	if err == nil {
		return cfg, false, nil
	}
	good := filepath.Join(stateDir(), agent.LastGoodName)
	if _, missing := os.Stat(good); missing != nil {
		return cfg, false, err
	}
	last, lastErr := checkedConfig(ctx, good, log)
	if lastErr != nil || !leftRunning(last, "redis-server") {
		return cfg, false, err
	}
	log.Error("the configuration is refused; this node goes on with the last one that worked", "file", a.configPath, "error", err,
		"cure", "put the file right, then `systemctl reload redisd`")
	return last, true, nil
}

// checkedConfig reads a configuration and checks it against this host.
func checkedConfig(ctx context.Context, path string, log *slog.Logger) (config.Config, error) {
	cfg, err := readConfig(path)
	if err != nil {
		return cfg, err
	}
	if cfg, err = resolve(cfg); err != nil {
		return cfg, err
	}
	tried := sameText(path, filepath.Join(cfg.Node.StateDir, agent.LastGoodName)) && leftRunning(cfg, "redis-server")
	return cfg, preflight(ctx, cfg, path, tried, log)
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

// stateDir is where the state is when the file that says so cannot be read.
func stateDir() string {
	if dir := os.Getenv("REDISD_NODE_STATE_DIR"); dir != "" {
		return dir
	}
	return config.Default().Node.StateDir
}
