package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

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
			if len(list) == 0 {
				_, err := fmt.Fprintln(a.out, "nothing has happened since the agent started")
				return err
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
