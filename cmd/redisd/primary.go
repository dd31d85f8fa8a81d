package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

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
