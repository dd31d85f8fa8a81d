package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// Candidate is a node that could be made primary by force.
type Candidate struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Term   uint64 `json:"term"`
	Offset int64  `json:"offset"`
	Keys   int64  `json:"keys"`
}

// FailoverPlan says what a forced failover would do.
type FailoverPlan struct {
	// Primary is set when there is one: then nothing is to be forced.
	Primary string `json:"primary,omitempty"`
	// Candidates, the fullest first.
	Candidates []Candidate `json:"candidates"`
	// Away are voters that cannot be asked. Any of them may have more data.
	Away []string `json:"away"`
	// Majority: the voters that are here suffice for an election. If they do not, a forced failover
	// takes those that are away out of the roster.
	Majority bool `json:"majority"`
}

// FailoverRequest asks for a forced failover.
type FailoverRequest struct {
	To string `json:"to"`
	// LeaveOut: the voters that are away no longer count.
	LeaveOut bool `json:"leave_out"`
}

// FailoverResult says how it went.
type FailoverResult struct {
	To   string        `json:"to"`
	Took time.Duration `json:"took"`
}

// PlanFailover looks what a forced failover would do.
func (c *commands) PlanFailover() FailoverPlan {
	o := c.driver.observe()
	p := FailoverPlan{Candidates: []Candidate{}, Away: []string{}, Primary: c.driver.primaryAddr()}
	isVoter, here := map[string]bool{}, 0
	for _, v := range o.Election.Voters {
		isVoter[v.ID] = true
		if slices.ContainsFunc(o.Members, func(m reconcile.Member) bool { return m.ID == v.ID && m.Alive }) {
			here++
		} else {
			p.Away = append(p.Away, awayVoter(o.Members, v))
		}
	}
	p.Majority = here > len(o.Election.Voters)/2
	for _, m := range o.Members {
		// Where voters are left out anyway, a learner can be made one, and may have most; or who
		// was left out before.
		if !m.Alive || m.Redis == "" || p.Majority && !isVoter[m.ID] {
			continue
		}
		d := m.Data
		if m.ID == o.Self {
			d = o.Redis.Data
		}
		p.Candidates = append(p.Candidates, Candidate{ID: m.ID, Name: m.Name, Term: d.Term, Offset: d.Offset, Keys: d.Keys})
	}
	slices.SortStableFunc(p.Candidates, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Term, a.Term), cmp.Compare(b.Offset, a.Offset), cmp.Compare(b.Keys, a.Keys))
	})
	return p
}

// awayVoter says which voter is away: where another node has its address by now, that one is not.
func awayVoter(members []reconcile.Member, v reconcile.Voter) string {
	name, now := v.ID, ""
	for _, m := range members {
		switch {
		case m.ID == v.ID:
			name = m.Name
		case m.Alive && m.Gossip == v.Addr:
			now = m.Name
		}
	}
	if now != "" {
		return fmt.Sprintf("%s (id %s, whose disk was at %s, where %s is now)", name, v.ID, v.Addr, now)
	}
	return fmt.Sprintf("%s (%s)", name, v.Addr)
}

// Failover makes a node primary although data is lost.
func (c *commands) Failover(ctx context.Context, req FailoverRequest) (FailoverResult, error) {
	p := c.PlanFailover()
	switch {
	case p.Primary != "":
		return FailoverResult{}, fmt.Errorf("there is a primary, %s: `redisd switchover` moves it without losing anything", p.Primary)
	case len(p.Candidates) == 0:
		return FailoverResult{}, errors.New("no node with a redis-server is here")
	case !p.Majority && !req.LeaveOut:
		return FailoverResult{}, fmt.Errorf("a majority of the voters is away (%s)", strings.Join(p.Away, ", "))
	}
	m, err := node.Called(c.driver.observe().Members, cmp.Or(req.To, p.Candidates[0].ID))
	if err != nil {
		return FailoverResult{}, err
	}
	if m.ID == c.self {
		return c.failoverHere(ctx, req)
	}
	addr, err := netip.ParseAddrPort(m.Gossip)
	if err != nil {
		return FailoverResult{}, err
	}
	var res FailoverResult
	err = c.talk.ask(ctx, addr, opFailover, FailoverRequest{To: m.ID, LeaveOut: req.LeaveOut}, &res)
	return res, err
}

// failoverHere has this node claim the lease by force until it is held.
func (c *commands) failoverHere(ctx context.Context, req FailoverRequest) (FailoverResult, error) {
	ctx, cancel := context.WithTimeout(ctx, handOverWithin)
	defer cancel()
	began := now()
	c.log.Warn("an operator forces a failover to this node: data may be lost")
	c.events.add("forced", "an operator forces a failover to this node")
	c.driver.step(node.Force{LeaveOut: req.LeaveOut, Until: began + handOverWithin})
	if !until(ctx, func() bool { return c.driver.view().Lease }) {
		c.driver.step(node.Force{}) // whoever asked is gone, or the time is over
		return FailoverResult{}, fmt.Errorf("the voters do not agree: %s; see `redisd status`", denials(c.driver.view()))
	}
	return FailoverResult{To: c.name(), Took: now() - began}, nil
}

// denials says why a claim was not won.
func denials(v election.View) string {
	var out []string
	for id, why := range v.Denials {
		out = append(out, fmt.Sprintf("%s: %s", id, why))
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "no answer"
	}
	return strings.Join(out, ", ")
}
