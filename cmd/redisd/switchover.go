package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

// afterwards is how much longer than its timeout a switchover may take to say what became of it: a
// handover that has begun is not broken off, and after the loss of an agent it takes some seconds
// until it is clear who is the primary.
const afterwards = 30 * time.Second

func (a *app) switchoverCommand() *cobra.Command {
	var req agent.SwitchoverRequest
	var asJSON bool
	c := &cobra.Command{
		Use:   "switchover",
		Short: "Move the primary to another node without losing a write",
		Long: `Move the primary to another node without losing a write.

It is checked first whether somebody can take over; if not, nothing is done. Then the
steps are shown as they pass, with the milliseconds since the request: writes wait, the
successor gets every byte, the lease moves, the successor accepts writes, and the clients are
sent there. The write downtime in between is some milliseconds. When a step fails before the
lease is given back, all is undone and writes go on where they were: no client notices.

At the end stand the write downtime at most (from the order that stopped writes to the
moment in which the old primary's agent saw the new one accept them), and whether the
new primary was seen to go on from the offset at which writes were stopped.

While the nodes have different versions of Redis, a move to a node that is newer than
another replica is refused: that replica may be unable to follow. --allow-version-skew
moves it all the same. Of an upgrade the primary is the last: then nobody is left behind.

The exit code is 0 when the primary moved, and 1 otherwise.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.Timeout <= 0 {
				return usageError{fmt.Errorf("--timeout: invalid value %v: must be positive", req.Timeout)}
			}
			show := a.showStep
			if asJSON {
				show = func(agent.Step) {}
			}
			res, err := a.switchover(cmd.Context(), req, show)
			if res != nil && asJSON {
				return errors.Join(err, printJSON(a.out, res))
			}
			if err != nil {
				return err
			}
			return writeMoved(a.out, *res)
		},
	}
	c.Flags().StringVar(&req.To, "to", "", "the `node` to move to (default: the one that status shows as next)")
	c.Flags().DurationVar(&req.Timeout, "timeout", 10*time.Second, "cancel it when it has not begun after this `time`; what has begun is carried through or undone")
	c.Flags().BoolVar(&req.AllowVersionSkew, "allow-version-skew", false, "move also to a node whose Redis is newer than that of other replicas, which may be unable to follow until they are upgraded")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result, with the steps, as JSON")
	_ = c.RegisterFlagCompletionFunc("to", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.replicas(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

func (a *app) showStep(s agent.Step) { fmt.Fprintf(a.out, "%8.1f ms  %s\n", s.AtMS, s.Text) }

// switchover asks for it and reads the answer line by line. There is a result also of one that did
// not work, as soon as it was begun.
func (a *app) switchover(parent context.Context, req agent.SwitchoverRequest, show func(agent.Step)) (*agent.Moved, error) {
	var res *agent.Moved
	err := follow(parent, a, req.Timeout+afterwards, "/v1/switchover", req, func(l agent.SwitchoverLine) bool {
		if l.Step != nil {
			show(*l.Step)
		}
		res = l.Result
		return res != nil
	})
	switch {
	case errors.Is(err, errCutShort) && parent.Err() != nil:
		return nil, errors.New("interrupted: if no step but the check was shown, nothing is done; `redisd status` shows the primary")
	case errors.Is(err, errCutShort):
		return nil, fmt.Errorf("the agent on this host ended before the switchover did (%w): `redisd status` shows the primary", err)
	case err != nil:
		return nil, err
	case res.Error != "":
		return res, errors.New(res.Error)
	}
	return res, nil
}

// writeMoved says what it cost.
func writeMoved(w io.Writer, m agent.Moved) error {
	fmt.Fprintf(w, "\nthe primary moved from %s to %s\n", m.From, m.To)
	if m.Note != "" {
		fmt.Fprintf(w, "note            %s\n", m.Note)
	}
	downtime := "not measured"
	if m.DowntimeMS != nil {
		downtime = fmt.Sprintf("%.1f ms at most", *m.DowntimeMS)
	}
	lost := "not verified: " + m.Unverified
	if m.Lost != nil {
		lost = fmt.Sprintf("%d writes, verified: %s was fenced at offset %d, %s went on from %d", *m.Lost, m.From, m.FencedAt, m.To, m.PromotedFrom)
	}
	_, err := fmt.Fprintf(w, "write downtime  %s\nlost            %s\n", downtime, lost)
	return err
}

// replicas are the names that the shell completes.
func (a *app) replicas(ctx context.Context) []string {
	var s agent.Status
	if err := a.get(ctx, "/v1/status", &s); err != nil {
		return nil
	}
	var names []string
	for _, n := range s.Nodes {
		if n.Role == "replica" {
			names = append(names, n.Name)
		}
	}
	return names
}
