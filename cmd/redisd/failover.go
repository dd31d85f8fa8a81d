package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

func (a *app) failoverCommand() *cobra.Command {
	var req agent.FailoverRequest
	var allow, yes bool
	c := &cobra.Command{
		Use:   "failover",
		Short: "Make a node primary although data is lost, when no primary can be had otherwise",
		Long: `Make a node primary although data is lost: for when nobody is left who has all of it.

A failover that loses nothing needs no command. This one says what would be lost and
asks. When a majority of the voters is gone for good, it takes them out of the
cluster, which is safe only if they are really off: two halves of a cluster that
both live would each have a primary until they can reach one another. Then those
that were taken out follow, and lose what they have written.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !allow {
				return usageError{errors.New("failover needs --allow-data-loss: it makes a node primary that may lack acknowledged writes (`redisd switchover` loses none)")}
			}
			var p agent.FailoverPlan
			if err := a.get(cmd.Context(), "/v1/failover", &p); err != nil {
				return err
			}
			if p.Primary != "" {
				return fmt.Errorf("there is a primary, %s: `redisd switchover` moves it without losing anything", p.Primary)
			}
			if len(p.Candidates) == 0 {
				return errors.New("no node with a redis-server is here")
			}
			a.describeLoss(p, req.To)
			req.LeaveOut = !p.Majority
			if !yes && !a.confirmed(cmd) {
				return errors.New("not confirmed: nothing was done")
			}
			var res agent.FailoverResult
			if err := a.post(cmd.Context(), 15*time.Second, "/v1/failover", req, &res); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.out, "%s is the primary, after %v\n", res.To, res.Took.Round(time.Millisecond))
			return err
		},
	}
	c.Flags().StringVar(&req.To, "to", "", "the `node` to make primary (default: the one with most data)")
	c.Flags().BoolVar(&allow, "allow-data-loss", false, "accept that acknowledged writes are lost")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// describeLoss says what is known of the data that would be kept and lost.
func (a *app) describeLoss(p agent.FailoverPlan, to string) {
	fmt.Fprintln(a.out, "There is no primary. Of the nodes that are here,")
	for i, c := range p.Candidates {
		mark := " "
		if to == c.Name || to == c.ID || to == "" && i == 0 {
			mark = "*"
		}
		fmt.Fprintf(a.out, "%s %s has %d keys (term %d, offset %d)\n", mark, c.Name, c.Keys, c.Term, c.Offset)
	}
	fmt.Fprintln(a.out, "The one marked * would become the primary, and the others would get its data and lose theirs.")
	if len(p.Away) > 0 {
		fmt.Fprintf(a.out, "Away, perhaps with more data, which would be lost: %s\n", strings.Join(p.Away, ", "))
	}
	if !p.Majority {
		fmt.Fprintln(a.out, "They are a majority. They would no longer count: make sure that they are really off.")
		fmt.Fprintln(a.out, "Should they run where they cannot be reached from here, they can have a primary, too, whose writes are lost when they can.")
	}
}

// confirmed asks.
func (a *app) confirmed(cmd *cobra.Command) bool {
	fmt.Fprint(a.out, "Type yes to go on: ")
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	return err == nil && strings.TrimSpace(line) == "yes"
}
