// Command redisd makes a Redis on several servers highly available.
//
// `redisd agent` runs on every server, started by systemd; the other commands ask the agent on this
// host, or check and render its configuration. A command has a file of its name (pause.go has
// resume, too); the other files are what several commands share, or one part of a large one.
//
// Exit codes: 0 done, 1 failed, 2 usage or bad configuration, 3 (the agent alone) its node has left
// the cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

// version is set when the package is built.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// exitLeft has systemd leave the service down: see redisd.service.
const exitLeft = 3

// usageError makes the exit code 2: the command line or the configuration is wrong, and nothing was
// done.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// app is what every command shares.
type app struct {
	out, err   io.Writer
	configPath string
	named      bool // the configuration was given by its name
	socket     string
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	a := &app{out: out, err: errOut}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if errors.Is(err, agent.ErrLeft) {
		return exitLeft
	}
	a.complain(err)
	if _, usage := errors.AsType[usageError](err); usage {
		return 2
	}
	return 1
}

// complain writes an error; each line of one that has several stands for itself.
func (a *app) complain(err error) {
	prefix := "redisd: "
	if inJournal() {
		prefix = "<3>" + prefix // sd-daemon(3): an error
	}
	for line := range strings.SplitSeq(words(a.instance(), err.Error()), "\n") {
		fmt.Fprintln(a.err, prefix+line)
	}
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
	root.SetVersionTemplate("redisd {{.Version}}\n") // as `redisd version`
	root.PersistentFlags().StringVarP(&a.configPath, "config", "c", defaultConfig, "the configuration: the `name` of a cluster on this host, for /etc/redisd/NAME.toml, or the path of a file")
	root.PersistentFlags().StringVar(&a.socket, "socket", os.Getenv("REDISD_SOCKET"), "the agent's local `socket` (default: the one the configuration names)")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.chooseConfig() }
	_ = root.RegisterFlagCompletionFunc("config", completeConfig)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	root.AddCommand(
		a.agentCommand(), a.statusCommand(), a.membersCommand(), a.primaryCommand(), a.switchoverCommand(), a.failoverCommand(), a.pauseCommand(), a.resumeCommand(),
		a.leaveCommand(), a.forgetCommand(), a.adoptIdentityCommand(), a.joinCommand(),
		a.planCommand(), a.eventsCommand(), a.checkCommand(), a.configCommand(), a.importConfigCommand(), a.keygenCommand(),
		a.passwordCommand(), a.demoCommand(), a.releaseCommand(), a.versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	strict(root)
	return root
}

// strict has every command refuse arguments that it does not know, with the exit code for usage;
// cobra by itself lets some pass.
func strict(c *cobra.Command) {
	switch {
	case c.HasSubCommands():
		c.Args = noSuchCommand
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		c.SuggestionsMinimumDistance = 2
	case c.Args == nil || c.Parent().Name() == "completion":
		c.Args = noArgs
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, found %q; see `%s --help`", c.CommandPath(), args, c.CommandPath())}
	}
	return nil
}

func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(" did you mean %q?", near[0])
	}
	return usageError{fmt.Errorf("there is no command %q;%s `%s --help` lists what there is", c.CommandPath()+" "+args[0], hint, c.CommandPath())}
}
