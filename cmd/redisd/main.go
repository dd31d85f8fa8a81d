// Command redisd makes a Redis on several servers highly available.
//
// `redisd agent` runs on every server, started by systemd; the other commands
// ask the agent on this host, or check and render its configuration. One file
// holds one command.
//
// Exit codes: 0 done, 1 failed, 2 usage or bad configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when the package is built.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// usageError makes the exit code 2: the command line or the configuration is
// wrong, and nothing was done.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// app is what every command shares.
type app struct {
	out, err   io.Writer
	configPath string
	socket     string
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	a := &app{out: out, err: errOut}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintln(errOut, "redisd:", err)
		return 2
	}
	fmt.Fprintln(errOut, "redisd:", err)
	return 1
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "redisd",
		Short: "High availability for Redis: one agent on every server",
		Long: `redisd makes the Redis on several servers one highly available Redis: the
agents find one another, choose a primary, keep the others as its replicas,
replace it when it fails, and keep a floating address (VIP) on it.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	root.PersistentFlags().StringVarP(&a.configPath, "config", "c", defaultConfig, "the configuration `file`")
	root.PersistentFlags().StringVar(&a.socket, "socket", os.Getenv("REDISD_SOCKET"), "the agent's local `socket` (default: the one the configuration names)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		a.agentCommand(), a.statusCommand(), a.membersCommand(), a.primaryCommand(), a.switchoverCommand(),
		a.planCommand(), a.eventsCommand(), a.checkCommand(), a.configCommand(), a.keygenCommand(),
		a.passwordCommand(), a.demoCommand(), a.releaseCommand(), a.versionCommand(),
	)
	for _, c := range root.Commands() {
		if c.Args == nil {
			c.Args = noArgs
		}
	}
	return root
}

// noArgs refuses arguments with the exit code for usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args)}
	}
	return nil
}
