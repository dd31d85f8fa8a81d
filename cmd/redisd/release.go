package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
	"github.com/redisd/redisd/vip"
)

const (
	// releaseFence bounds the fencing of a redis-server that may hang itself.
	releaseFence = 500 * time.Millisecond
	// leftoverGrace is how long what a dead agent left behind may take to stop.
	leftoverGrace = 20 * time.Second
)

// releaseCommand is the second line behind the agent's own care: systemd runs it after the agent
// has ended, however it ended.
func (a *app) releaseCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "release",
		Hidden: true,
		Short:  "Let go of what a dead agent may not keep (ExecStopPost= of redisd.service)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.release(cmd.Context(), os.Getenv("SERVICE_RESULT"))
		},
	}
}

// release does what the way in which the agent ended asks for. After an end in order, and when the
// service is restarted, there is nothing to let go. An agent that crashed is replaced at once, so
// the primary goes on: the next agent fences it unless it can renew the lease, and the kernel's
// lifetime of the VIP covers the case that there is no next one. So does that of an agent that hung
// and was killed by the watchdog, as long as the cluster still follows it: a whole host may have
// been paused, and another primary be there. An agent that cannot start, or did not stop in time,
// may not leave a primary behind that nobody watches.
func (a *app) release(ctx context.Context, result string) error {
	if err := a.itsOwn(); err != nil {
		return err
	}
	stopping := stoppingUnit(ctx, unit(a.instance()))
	switch {
	case result == "success":
		return nil
	case !stopping && (result == "signal" || result == "core-dump"):
		return nil
	}
	cfg, none := a.releaseConfig()
	if none {
		return nil
	}
	cfg, err := resolve(cfg)
	if err != nil {
		fmt.Fprintln(a.err, "redisd release:", err)
	}
	server, door, err := localServer(cfg)
	if err == nil {
		defer door.Close()
		defer server.Close()
		if !stopping && result == "watchdog" && mayGoOn(ctx, server, cfg.Node.StateDir) {
			return nil
		}
		err = fence(ctx, server)
	}
	for _, v := range cfg.VIPs {
		_, _ = vip.Destroy(v.Address.Addr(), uint16(cfg.Redis.Port)) // a courtesy to those who are still connected
		err = errors.Join(err, vip.Release(v.Address))
	}
	if stopping {
		err = errors.Join(err, stopLeftovers(ctx, cfg.Node.StateDir))
	}
	return err
}

// releaseConfig is what the agent ran with: the file may be what is wrong, or may have come to name
// what another node on this host has. There is none when a further node has never run.
func (a *app) releaseConfig() (cfg config.Config, none bool) {
	good := a.lastGood()
	file, err := config.LoadAs(a.instance(), a.configPath)
	if err == nil {
		good = filepath.Join(file.Node.StateDir, agent.LastGoodName)
	}
	last, lastErr := config.LoadAs(a.instance(), good)
	switch {
	case lastErr == nil:
		return last, false
	case config.Further(a.instance()):
		return file, true
	case err == nil:
		return file, false
	}
	return config.Default(), false // let go of what is known
}

// localServer is the redis-server of this node.
func localServer(cfg config.Config) (*redis.Server, *redis.Door, error) {
	s, err := secret.Load(cfg.Cluster.SecretFile)
	if err != nil {
		return nil, nil, err
	}
	server, door := agent.LocalServer(cfg, redis.Credentials{User: "redisd-agent", Password: s.Password("redis agent")})
	return server, door, nil
}

// followedWithin is how old the last word of a replica that follows may be: Redis gives whole
// seconds, and they speak once a second.
const followedWithin = time.Second

// mayGoOn: this redis-server is no primary, or so many replicas have just acknowledged to it that
// no majority is left for another one.
func mayGoOn(ctx context.Context, server *redis.Server, stateDir string) bool {
	voters, err := agent.VotersOf(stateDir)
	if err != nil || len(voters) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, releaseFence)
	defer cancel()
	info, err := server.Info(ctx)
	if err != nil {
		return false
	}
	if info.Role == redis.Replica {
		return true
	}
	n := 1
	for _, l := range info.Replicas {
		if l.Online && l.Lag <= followedWithin && slices.Contains(voters, l.Addr.Addr()) {
			n++
		}
	}
	return n > len(voters)/2
}

// fence takes the right to write from the redis-server of this host.
func fence(ctx context.Context, server *redis.Server) error {
	ctx, cancel := context.WithTimeout(ctx, releaseFence)
	defer cancel()
	if err := server.SetFence(ctx); err != nil {
		if !redis.AnswerOf(err).Answered() && redis.AnswerOf(err) != redis.Timeout {
			return nil // nothing runs there
		}
		return err
	}
	_, err := server.CloseClients(ctx)
	return err
}

var leftoverNames = []string{"redis-sentinel", "redis-server"}

// stopLeftovers stops, in order, what an agent that cannot do it any more left running.
func stopLeftovers(ctx context.Context, stateDir string) error {
	var errs []error
	for _, name := range leftoverNames {
		p := supervisor.New(slog.New(slog.NewTextHandler(io.Discard, nil)), filepath.Join(stateDir, "supervisor"), name, nil)
		if ok, err := p.Adopt(); err != nil || !ok {
			errs = append(errs, err, p.Close())
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, leftoverGrace+time.Second)
		errs = append(errs, p.Stop(ctx, leftoverGrace), p.Close())
		cancel()
	}
	return errors.Join(errs...)
}
