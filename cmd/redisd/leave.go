package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

const (
	// leaveWithin bounds how long a node may take to give its place up, stopWithin how long it is
	// watched while it stops: a large dataset takes longer to save, and is saved all the same.
	leaveWithin = 40 * time.Second
	stopWithin  = 60 * time.Second
)

func (a *app) leaveCommand() *cobra.Command {
	var req agent.LeaveRequest
	c := &cobra.Command{
		Use:   "leave",
		Short: "Take this node out of the cluster, and stop it",
		Long: `Take this node out of the cluster, and stop it.

The primary moves to another node without losing a write, if it is here. Then this
node's vote is taken away, the Sentinels of the others forget it, and its agent,
redis-server and redis-sentinel stop. They stay down until ` + "`systemctl start redisd`" + ` or
the next boot (` + "`systemctl disable redisd`" + ` prevents that); the node is a new member then,
copies everything anew, and keeps its old data aside.

It is refused where it would leave the cluster without a majority, or where this is the
last node. --force stops the node all the same; its vote stays until it is forgotten.

` + "`systemctl stop redisd`" + ` is for a node that comes back: it stays a member, and its vote
counts.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.leave(cmd.Context(), req) },
	}
	c.Flags().BoolVar(&req.Force, "force", false, "leave also where nobody is left to serve, or to take this node's vote away")
	return c
}

func (a *app) leave(ctx context.Context, req agent.LeaveRequest) error {
	var res *agent.LeaveResult
	err := follow(ctx, a, leaveWithin, "/v1/leave", req, func(l agent.LeaveLine) bool {
		if l.Step != nil {
			a.showStep(*l.Step)
		}
		res = l.Result
		return res != nil
	})
	switch {
	case errors.Is(err, errCutShort):
		return fmt.Errorf("the agent on this host ended before it had left (%w): `redisd members`, on another node, shows whether it is a member", err)
	case err != nil:
		return err
	case res.Error != "":
		return errors.New(res.Error)
	}
	if res.Moved != "" {
		fmt.Fprintf(a.out, "the primary moved to %s\n", res.Moved)
	}
	if r := res.Removed; r != nil {
		fmt.Fprintf(a.out, "%s is no member any more\n", r.Name)
		a.showStandings(*r)
	}
	if res.Note != "" {
		fmt.Fprintln(a.out, "note:", res.Note)
	}
	return a.awaitStopped(ctx)
}

// showStandings says what a member's going did to the majority.
func (a *app) showStandings(r agent.Removed) {
	fmt.Fprintf(a.out, "before  %s\nnow     %s\n", r.Before, r.After)
}

// awaitStopped waits until the agent of this host is gone.
func (a *app) awaitStopped(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	socket := a.socketPath()
	for dial(socket) == nil {
		select {
		case <-ctx.Done():
			fmt.Fprintln(a.out, "it is still stopping: see `systemctl status redisd`")
			return nil
		case <-t.C:
		}
	}
	_, err := fmt.Fprintln(a.out, "it is stopped; `systemctl start redisd`, or a boot, has it join as a new member")
	return err
}
