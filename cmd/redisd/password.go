package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

func (a *app) passwordCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "password",
		Short: "Print the password that applications log in to Redis with",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.readConfig()
			if err != nil {
				return err
			}
			password, err := agent.ClientPassword(cfg)
			if err != nil {
				return usageError{err}
			}
			_, err = fmt.Fprintln(a.out, password)
			return err
		},
	}
}
