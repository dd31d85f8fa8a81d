package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/supervisor"
)

func (a *app) agentCommand() *cobra.Command {
	var debug bool
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this node (what redisd.service does)",
		Long: `Run the agent of this node.

SIGHUP reads the configuration again. SIGTERM stops the node in order: the
primary moves to another node, redis-sentinel and redis-server are stopped, and
the other members are told. When systemd restarts the service, and when the agent
dies, Redis runs on and the next agent takes it over.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAgent(cmd.Context(), debug) },
	}
	c.Flags().BoolVar(&debug, "debug", false, "log every action of every round")
	return c
}

func (a *app) runAgent(parent context.Context, debug bool) error {
	// redis-server and redis-sentinel write their files, which hold passwords and
	// data, with the umask they inherit.
	syscall.Umask(0o077)
	log := newLogger(a.err, debug)
	cfg, lastGood, err := a.startConfig(parent, log)
	if err != nil {
		return err
	}
	node, err := agent.New(agent.Options{
		Config: cfg, ConfigPath: a.configPath, LastGood: lastGood, Load: a.loadConfig, Log: log, Version: version,
		Lines: func(process string) func(supervisor.Line) { return supervisor.Journal(process, a.err) },
	})
	if err != nil {
		return usageError{err}
	}
	// The parent context ends with the first SIGTERM, which here means: stop in
	// order. Only a second one, or a hand-over to a new agent, ends Run early.
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go handleSignals(ctx, cancel, node, log, signals, done)
	return node.Run(ctx)
}

// handleSignals turns signals into calls until done is closed.
func handleSignals(ctx context.Context, cancel func(), node *agent.Agent, log *slog.Logger, signals <-chan os.Signal, done <-chan struct{}) {
	stopping := false
	for {
		select {
		case <-done:
			return
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP:
				reload(ctx, node)
			case stopping:
				log.Warn("told to stop twice: the agent ends, and Redis runs on")
				cancel()
			case restarting(ctx):
				log.Info("the service is being restarted: Redis runs on for the next agent")
				cancel()
			default:
				stopping = true
				_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
				log.Info("stopping this node in order")
				node.Stop()
			}
		}
	}
}

func reload(ctx context.Context, node *agent.Agent) {
	agent.NotifyReloading()
	_ = node.Reload(ctx) // logged by the agent, which goes on with what it had
	agent.NotifyReady()
}

// newLogger writes for the journal, which adds time and priority itself, and for
// people otherwise.
func newLogger(w io.Writer, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(newHandler(w, level, os.Getenv("JOURNAL_STREAM") != ""))
}

var errNoAgent = errors.New("no agent answers on this host")

func noAgent(err error) error {
	return fmt.Errorf("%w (%w): is it running? `systemctl status redisd`", errNoAgent, err)
}
