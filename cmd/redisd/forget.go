package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

func (a *app) forgetCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "forget NODE",
		Short: "Take a node out of the cluster that will not return",
		Long: `Take a node out of the cluster that will not return; on any node. NODE is its name
or, where several have it, its id (` + "`redisd members`" + `).

Its vote is taken away, while a majority of the votes is there, and the Sentinels forget
it. What that does to the majority is shown. It is refused while the node is alive:
` + "`redisd leave`" + ` on it is for that.

Should the node come back with its old disk, it learns that it was forgotten, sets its
data aside and joins as a new member.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("%s takes the name or the id of one node, found %q; `redisd members` lists them", cmd.CommandPath(), args)}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var res agent.Removed
			if err := a.post(cmd.Context(), 10*time.Second, "/v1/forget", agent.ForgetRequest{Node: args[0]}, &res); err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, res)
			}
			fmt.Fprintf(a.out, "%s (%s) is forgotten\n", res.Name, res.ID)
			a.showStandings(res)
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.gone(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// gone are the members that the shell completes: those that could be forgotten.
func (a *app) gone(ctx context.Context) []string {
	var s agent.Status
	if err := a.get(ctx, "/v1/status", &s); err != nil {
		return nil
	}
	var names []string
	for _, m := range membersOf(s) {
		if m.State != "alive" {
			names = append(names, m.Name, m.ID)
		}
	}
	return names
}
