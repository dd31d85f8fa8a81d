package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

func (a *app) membersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "members",
		Short: "List the members, alive or not, and whether they vote",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s agent.Status
			if err := a.get(cmd.Context(), "/v1/status", &s); err != nil {
				return err
			}
			t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NODE\tID\tADDRESS\tSTATE\tVOTER\tREDISD")
			for _, n := range s.Nodes {
				state := "alive"
				if n.State == "unreachable" || n.State == "left" {
					state = n.State
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.ID, n.Address, state, yes(n.Voter), dash(n.Versions.Redisd))
			}
			return t.Flush()
		},
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (a *app) primaryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "primary",
		Short: "Print host:port of the primary",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var addr string
			if err := a.get(cmd.Context(), "/v1/primary", &addr); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.out, addr)
			return err
		},
	}
}

func (a *app) planCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what the agent would do now; nothing is done",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var p agent.Plan
			if err := a.get(cmd.Context(), "/v1/plan", &p); err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, p)
			}
			if len(p.Actions) == 0 {
				_, err := fmt.Fprintln(a.out, "nothing to do: everything is as it should be")
				return err
			}
			for _, action := range p.Actions {
				fmt.Fprintln(a.out, action)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, with all that the agent has observed")
	return c
}

func (a *app) eventsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "events",
		Short: "Show what happened to this node lately",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []agent.Event
			if err := a.get(cmd.Context(), "/v1/events", &list); err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, list)
			}
			for _, e := range list {
				fmt.Fprintf(a.out, "%s  %-16s %s\n", e.At.Format("2006-01-02 15:04:05.000"), e.Kind, e.Text)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) switchoverCommand() *cobra.Command {
	var req agent.SwitchoverRequest
	c := &cobra.Command{
		Use:   "switchover",
		Short: "Move the primary to another node without losing a write",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var res agent.SwitchoverResult
			if err := a.post(cmd.Context(), "/v1/switchover", req, &res); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.out, "the primary moved from %s to %s in %v; no write was lost\n", res.From, res.To, res.Took.Round(100*time.Microsecond))
			return err
		},
	}
	c.Flags().StringVar(&req.To, "to", "", "the `node` to move to (default: the standing successor)")
	c.Flags().DurationVar(&req.Timeout, "timeout", 10*time.Second, "give up, and let writes go on where they are, after this `time`")
	return c
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, "redisd", version)
			return err
		},
	}
}
