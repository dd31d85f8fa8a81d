package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/internal/secret"
)

func (a *app) keygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen",
		Short: "Print a new secret for [cluster] secret_file",
		Long: `Print a new secret. Every node of a cluster has the same one:

    redisd keygen > /etc/redisd/secret
    chown root:redis /etc/redisd/secret && chmod 0640 /etc/redisd/secret

and copy that file to the other nodes.`,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, secret.Generate())
			return err
		},
	}
}

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
