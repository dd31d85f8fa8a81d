package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
)

func (a *app) adoptIdentityCommand() *cobra.Command {
	var yes, unasked bool
	c := &cobra.Command{
		Use:   "adopt-identity",
		Short: "Make a node's state directory, moved here from another host, this host's",
		Long: `Make the state directory that was moved here from another host, or restored from a
backup, this host's: the node goes on here under its id, and its vote counts.

It asks the other voters first, and refuses when the node runs elsewhere. It is
given before redisd is started, on the new host, and asks before it writes.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.adoptIdentity(cmd, yes, unasked) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	c.Flags().BoolVar(&unasked, "unasked", false, "go on although no other voter answers, as when all hosts were moved: the old hosts must be off for good")
	return c
}

func (a *app) adoptIdentity(cmd *cobra.Command, yes, unasked bool) error {
	cfg, err := a.offline("adopt-identity")
	if err != nil {
		return err
	}
	q, err := agent.Inquire(cmd.Context(), cfg, version, newLogger(a.err, false))
	if err != nil {
		return err
	}
	word := "a state of this very machine"
	if q.Moved {
		word = "the state of another machine"
	}
	fmt.Fprintf(a.out, "%s has %s: node %s of the cluster %q.\n", cfg.Node.StateDir, word, q.ID, q.Cluster)
	for _, w := range q.Asked {
		fmt.Fprintln(a.out, " ", w)
	}
	switch err := q.Verdict(); {
	case errors.Is(err, agent.ErrNobodyAsked) && unasked:
		fmt.Fprintln(a.out, "Nobody was there to ask. The host that it comes from must be off for good.")
	case errors.Is(err, agent.ErrNobodyAsked):
		return fmt.Errorf("%w: start the others first, or give --unasked if the hosts that the states come from are off for good", err)
	case err != nil:
		return err
	}
	fmt.Fprintln(a.out, "It will run here, and must never run there again.")
	if !yes && !a.confirmed(cmd) {
		return errors.New("not confirmed: nothing was done")
	}
	if err := q.Adopt(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "node %s is this host's now: `systemctl start redisd` starts it\n", q.ID)
	return err
}

// offline is the configuration for a command that touches the state directory itself.
func (a *app) offline(command string) (config.Config, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return cfg, err
	}
	if dial(cfg.SocketPath()) == nil {
		return cfg, fmt.Errorf("an agent runs on this host, with a state of its own: `systemctl stop redisd` before `redisd %s`", command)
	}
	return cfg, nil
}

// identityTrouble says why no agent runs here, where the state directory is the reason.
func (a *app) identityTrouble() error {
	cfg, err := a.loadConfig()
	if err != nil {
		return nil
	}
	return agent.CheckIdentity(cfg.Node.StateDir, cfg.Node.Address.IsLoopback())
}
