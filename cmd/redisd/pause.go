package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause",
		Short: "Stop all automatic changes, on every node, until `redisd resume`",
		Long: `Pause the cluster, for manual work on it.

While it is paused, nothing is changed automatically: no other node becomes
primary, nothing that ended is started, nothing that hangs is killed, nobody joins.
The primary that runs keeps its lease and the VIP. What safety asks for is done as
ever: a primary that loses touch with the majority stops accepting writes. Everything
is still watched and reported. The pause survives restarts, and every command shows it.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.setPause(cmd, true) },
	}
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "End a pause, on every node",
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.setPause(cmd, false) },
	}
}

func (a *app) setPause(cmd *cobra.Command, on bool) error {
	var res agent.PauseResult
	if err := a.post(cmd.Context(), 5*time.Second, "/v1/pause", agent.Pause{On: on}, &res); err != nil {
		return err
	}
	word := map[bool]string{true: "paused", false: "running by itself"}[on]
	switch {
	case !res.Changed:
		fmt.Fprintf(a.out, "the cluster is %s already\n", word)
	case len(res.Silent) > 0:
		fmt.Fprintf(a.out, "the cluster is %s; %s did not answer and will learn of it from the primary\n", word, strings.Join(res.Silent, ", "))
	default:
		fmt.Fprintf(a.out, "the cluster is %s\n", word)
	}
	return nil
}
