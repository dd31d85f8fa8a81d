package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	q, verdict, err := a.inquire(cmd.Context(), cfg)
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
	switch err := verdict; {
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
	_, err = fmt.Fprintln(a.out, words(a.instance(), fmt.Sprintf("node %s is this host's now: `systemctl start redisd` starts it", q.ID)))
	return err
}

// inquire asks until the others have had the time to notice that a host is gone.
func (a *app) inquire(ctx context.Context, cfg config.Config) (q *agent.Inquiry, verdict, err error) {
	const noticed, again = 20 * time.Second, 2 * time.Second
	for began := time.Now(); ; {
		if q, err = agent.Inquire(ctx, cfg, version, newLogger(a.err, false)); err != nil {
			return nil, nil, err
		}
		if verdict = q.Verdict(); !errors.Is(verdict, agent.ErrSeenAlive) || time.Since(began) > noticed {
			return q, verdict, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, errInterrupted
		case <-time.After(again):
		}
	}
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
	if _, err := agent.ClusterOf(cfg.Node.StateDir); err != nil {
		return err
	}
	return agent.CheckIdentity(cfg.Node.StateDir, cfg.Node.Address.IsLoopback())
}

func (a *app) joinCommand() *cobra.Command {
	var abandon, yes bool
	c := &cobra.Command{
		Use:   "join",
		Short: "Set this node's data and state aside, and join as a new node",
		Long: `Set this node's data and state aside, and join as a new node: for when two clusters
of one name and secret have come to be, and this node is of the one whose data is not
wanted. Nothing is deleted: what it had is in a directory set-aside-TIME below its
state directory.

While an agent runs here, it stops redis-server in order first, and goes on as a new
node. It needs the other cluster to be seen, and never joins the one that it left.
Without an agent, as where the state is damaged or another machine's, everything is
set aside at once, and the next start is that of a new node.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !abandon {
				return usageError{errors.New("join needs --abandon-data: a new node joins by itself, and this sets aside what this one has")}
			}
			return a.join(cmd, yes)
		},
	}
	c.Flags().BoolVar(&abandon, "abandon-data", false, "set aside the data and the state of this node")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) join(cmd *cobra.Command, yes bool) error {
	if dial(a.socketPath()) != nil {
		return a.joinOffline(cmd, yes)
	}
	var p agent.AbandonPlan
	if err := a.get(cmd.Context(), "/v1/abandon", &p); err != nil {
		return err
	}
	for _, other := range p.Others {
		fmt.Fprintln(a.out, "To join:", other)
	}
	fmt.Fprintf(a.out, "To leave: cluster %s, %d keys; %s\n", p.ClusterID, p.Keys, count(p.Voters, "voter"))
	if p.Voters > 1 {
		fmt.Fprintln(a.out, words(a.instance(), "This node's vote goes on counting in the cluster that it leaves, until it is forgotten there: `redisd forget`."))
	}
	if !yes && len(p.Others) > 0 && !a.confirmed(cmd) {
		return errors.New("not confirmed: nothing was done")
	}
	if err := a.post(cmd.Context(), answerWithin, "/v1/abandon", struct{}{}, &p); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.out, words(a.instance(), "this node stops and sets its data and state aside; then it joins as a new node: `redisd status` shows it"))
	return err
}

// joinOffline is for a node whose agent does not start.
func (a *app) joinOffline(cmd *cobra.Command, yes bool) error {
	cfg, err := a.offline("join")
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "No agent runs here. The state in %s, and the dataset, would be set aside.\n", cfg.Node.StateDir)
	if !yes && !a.confirmed(cmd) {
		return errors.New("not confirmed: nothing was done")
	}
	if err := stopLeftovers(cmd.Context(), cfg.Node.StateDir); err != nil {
		return fmt.Errorf("stop what an earlier agent left running: %w", err)
	}
	aside, err := agent.SetNodeAside(cfg)
	if err != nil {
		return err
	}
	if aside == "" {
		return fmt.Errorf("there is nothing in %s to set aside", cfg.Node.StateDir)
	}
	_, err = fmt.Fprintln(a.out, words(a.instance(), fmt.Sprintf("set aside in %s: `systemctl start redisd` starts a new node", aside)))
	return err
}
