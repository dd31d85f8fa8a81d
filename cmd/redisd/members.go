package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

// member is a line of `redisd members`.
type member struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
	State   string `json:"state"` // "alive", "unreachable" or "left"
	Voter   bool   `json:"voter"`
	Learner bool   `json:"learner"` // it follows, and does not vote
	Zone    string `json:"zone,omitempty"`
	Version string `json:"version"` // of redisd
}

func (a *app) membersCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "members",
		Short: "List the members, alive or not, and whether they vote",
		Long: `List the members of the cluster, as the agent on this host knows them, and
whether their votes count when a primary is elected. At most [cluster] voters of
them vote. A learner replicates and follows like all others; it is made a voter
when one of these is gone for [cluster] replace_after, or leaves.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s agent.Status
			if err := a.get(cmd.Context(), "/v1/status", &s); err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, membersOf(s))
			}
			return writeMembers(a.out, s)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func membersOf(s agent.Status) []member {
	list := []member{}
	for _, n := range s.Nodes {
		m := member{ID: n.ID, Name: n.Name, Address: n.Address, State: "alive", Voter: n.Voter, Learner: n.Learner, Zone: n.Zone, Version: n.Versions.Redisd}
		if n.State == "unreachable" || n.State == "left" {
			m.State = n.State
		}
		list = append(list, m)
	}
	return list
}

// writeMembers ends with what the votes mean for the next loss.
func writeMembers(w io.Writer, s agent.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	list := membersOf(s)
	head, zoned := "NODE\tADDRESS\tSTATE\tVOTES\tREDISD\tID", slices.ContainsFunc(list, func(m member) bool { return m.Zone != "" })
	if zoned {
		head += "\tZONE"
	}
	fmt.Fprintln(t, head)
	here := 0
	for _, m := range list {
		votes := "no"
		switch {
		case m.Voter:
			votes = "yes"
		case m.Learner:
			votes = "learner"
		}
		if m.Voter && m.State == "alive" {
			here++
		}
		row := []string{m.Name, m.Address, m.State, votes, cmp.Or(m.Version, "-"), m.ID}
		if zoned {
			row = append(row, cmp.Or(m.Zone, "-"))
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil || s.Voters == 0 {
		return err
	}
	fmt.Fprintf(w, "\n%d of %d voters are here; a primary needs %d\n", here, s.Voters, s.Majority)
	if s.Primary == nil {
		return nil
	}
	_, err := fmt.Fprintln(w, losses(s))
	return err
}
