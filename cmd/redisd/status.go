package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	var watch time.Duration
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster: its primary, every node, and what is wrong",
		Long: `Show the cluster as the agent on this host sees it now.

Exit code 1: nothing can be written to the cluster.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for {
				down, err := a.showStatus(cmd.Context(), asJSON)
				switch {
				case err != nil:
					return err
				case watch <= 0 && down:
					return errDown
				case watch <= 0:
					return nil
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(watch):
					fmt.Fprintln(a.out)
				}
			}
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().DurationVarP(&watch, "watch", "w", 0, "show it again every `interval`")
	c.Flags().Lookup("watch").NoOptDefVal = "2s"
	return c
}

var errDown = fmt.Errorf("the cluster accepts no writes")

func (a *app) showStatus(ctx context.Context, asJSON bool) (down bool, err error) {
	var s agent.Status
	if err := a.get(ctx, "/v1/status", &s); err != nil {
		return false, err
	}
	if asJSON {
		return s.Health == "down", printJSON(a.out, s)
	}
	return s.Health == "down", writeStatus(a.out, s)
}

// writeStatus writes the table that people read.
func writeStatus(w io.Writer, s agent.Status) error {
	primary := "none"
	if s.Primary != nil {
		primary = s.Primary.Name + " (" + s.Primary.Address + ")"
	}
	fmt.Fprintf(w, "cluster  %s, %s\n", s.Cluster, s.Health)
	fmt.Fprintf(w, "primary  %s\n", primary)
	if len(s.VIPs) > 0 {
		fmt.Fprintf(w, "vip      %s\n", strings.Join(s.VIPs, ", "))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tADDRESS\tROLE\tSTATE\tLINK\tLAG\tKEYS\tMEMORY\tSENTINEL\tVIP\tREDIS\tREDISD")
	for _, n := range s.Nodes {
		link, lag := replication(n)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Address, role(n), n.State, link, lag,
			n.Keys, size(n.Memory), sentinel(n), dash(strings.Join(hosts(n.VIPs), " ")), dash(n.Versions.Redis), dash(n.Versions.Redisd))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(s.Problems) > 0 {
		fmt.Fprintln(w)
		for _, p := range s.Problems {
			fmt.Fprintln(w, "!", p)
		}
	}
	return nil
}

// role marks the standing successor, who takes over first.
func role(n agent.NodeStatus) string {
	if n.Role == "replica" && n.Successor == 1 {
		return "replica*"
	}
	return n.Role
}

func replication(n agent.NodeStatus) (link, lag string) {
	r := n.Replication
	if r == nil || n.Role != "replica" {
		return "-", "-"
	}
	if r.LagBytes < 0 {
		return r.Link, "?"
	}
	return r.Link, size(r.LagBytes)
}

func sentinel(n agent.NodeStatus) string {
	if n.Sentinel.State != "running" {
		return n.Sentinel.State
	}
	return fmt.Sprintf("%d/%d", n.Sentinel.Quorum, n.Sentinel.Known)
}

func hosts(addresses []string) []string {
	out := make([]string, len(addresses))
	for i, a := range addresses {
		out[i], _, _ = strings.Cut(a, "/")
	}
	return out
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// size writes bytes in the unit that suits them.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for f >= unit && i < 3 {
		f, i = f/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGT"[i])
}
