package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

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
				_, err := fmt.Fprintln(a.out, words(a.instance(), p.Idle()))
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
