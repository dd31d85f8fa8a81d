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
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/supervisor"
)

func (a *app) agentCommand() *cobra.Command {
	var debug, untilEOF bool
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this node (what redisd.service does)",
		Long: `Run the agent of this node.

SIGHUP reads the configuration again. SIGTERM stops the node in order: the
primary moves to another node, redis-sentinel and redis-server are stopped, and
the other members are told. When systemd restarts the service, and when the agent
dies, Redis runs on and the next agent takes it over.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAgent(cmd.Context(), debug, untilEOF) },
	}
	c.Flags().BoolVar(&debug, "debug", false, "log every action of every round")
	c.Flags().BoolVar(&untilEOF, "until-eof", false, "stop in order once standard input ends, as at the end of the demo")
	_ = c.Flags().MarkHidden("until-eof")
	return c
}

func (a *app) runAgent(parent context.Context, debug, untilEOF bool) error {
	// redis-server and redis-sentinel write their files, which hold passwords and data, with the
	// umask they inherit.
	syscall.Umask(0o077)
	if err := a.itsOwn(); err != nil {
		return err
	}
	log := newLogger(localWriter{a.err, a.instance()}, debug)
	cfg, lastGood, err := a.startConfig(parent, log)
	if err != nil {
		return notYet(parent, err)
	}
	node, err := agent.New(agent.Options{
		Config: cfg, ConfigPath: a.configPath, LastGood: lastGood, Load: a.reloadConfig, Log: log, Version: version,
		Lines: func(process string) func(supervisor.Line) { return supervisor.Journal(process, a.err) },
	})
	if err != nil {
		return notYet(parent, hostError{err})
	}
	// The parent context ends with the first SIGTERM, which here means: stop in order. Only a
	// second one, or a hand-over to a new agent, ends Run early.
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go a.handleSignals(ctx, cancel, node, log, signals, done)
	if untilEOF {
		go func() { // ends with the process at the latest: a read cannot be called off
			_, _ = io.Copy(io.Discard, os.Stdin)
			node.Stop()
		}()
	}
	err = node.Run(ctx)
	if _, wrong := errors.AsType[*config.Mistake](err); wrong {
		return usageError{err} // to be corrected before it is started again
	}
	return err
}

// hostError is what the host lacks, as far as the configuration goes: it may be there a moment
// later, as an address is after a boot.
type hostError struct{ error }

func (e hostError) Unwrap() error { return e.error }

// hostRetry is the pace at which systemd starts an agent again that the host is not ready for.
const hostRetry = 2 * time.Second

// notYet makes of an error before the start what systemd is to do: exit code 2 is not started
// again; everything else is, but not in a tight loop.
func notYet(ctx context.Context, err error) error {
	if _, usage := errors.AsType[usageError](err); usage {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(hostRetry):
	}
	return err
}

// preflight finds everything that would keep the agent from starting, before anything is touched.
func preflight(ctx context.Context, cfg config.Config, file string, p past, log *slog.Logger) error {
	if socket := cfg.SocketPath(); dial(socket) == nil {
		return hostError{fmt.Errorf("another redisd agent runs on this node (it answers on %s): `redisd status` asks it", socket)}
	}
	found := inspect(ctx, cfg, file, service{}, p)
	for _, w := range found.of(warning) {
		log.Warn("found before the start", "warning", w)
	}
	mistakes, obstacles := found.of(mistake), found.of(obstacle)
	switch all := errors.Join(append(mistakes, obstacles...)...); {
	case len(mistakes) > 0:
		return usageError{all}
	case len(obstacles) > 0:
		return hostError{all}
	}
	return nil
}

// handleSignals turns signals into calls until done is closed.
func (a *app) handleSignals(ctx context.Context, cancel func(), node *agent.Agent, log *slog.Logger, signals <-chan os.Signal, done <-chan struct{}) {
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
			case restarting(ctx, unit(a.instance())):
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
