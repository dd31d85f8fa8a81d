package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/internal/secret"
)

func (a *app) keygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen",
		Short: "Print a new secret for [cluster] secret_file",
		Long: `Print a new secret. Every node of a cluster has the same one:

    redisd keygen > /etc/redisd/secret

and copy that file to the other nodes: mode 0640, group redis. The file that the
secret is written to is made unreadable for others.`,
		RunE: func(*cobra.Command, []string) error {
			if err := makePrivate(a.out); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.out, secret.Generate())
			return err
		},
	}
}

// makePrivate takes the file that the shell has opened for the output from those who have no
// business with a secret.
func makePrivate(w io.Writer) error {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o007 == 0 {
		return err
	}
	if err := f.Chmod(info.Mode().Perm() &^ 0o007); err != nil {
		return fmt.Errorf("keep the secret from others: %w", err)
	}
	return nil
}
