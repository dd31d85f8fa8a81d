package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/confgen"
)

// writeStatus writes what operators read: the verdict, every node, and what is wrong.
func writeStatus(w io.Writer, s agent.Status) error {
	fmt.Fprintf(w, "cluster  %s, %s\n", s.Cluster, verdict(s))
	primary := "none"
	if s.Primary != nil {
		primary = s.Primary.Name + " (" + s.Primary.Address + ")"
	}
	fmt.Fprintf(w, "primary  %s\n", primary)
	for _, v := range s.VIPs {
		fmt.Fprintf(w, "vip      %s %s\n", v, heldBy(v, s.Nodes))
	}
	if s.Primary != nil {
		fmt.Fprintf(w, "losses   %s\n", losses(s))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tADDRESS\tROLE\tSTATE\tLINK\tLAG\tKEYS\tMEMORY\tSENTINEL\tVIP\tREDIS\tREDISD")
	for _, n := range s.Nodes {
		fmt.Fprintln(t, strings.Join(row(n), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(s.Problems) > 0 {
		fmt.Fprintln(w)
	}
	for _, p := range s.Problems {
		fmt.Fprintln(w, "!", strings.ReplaceAll(p, "\n", "\n  "))
	}
	writeDrift(w, s.Nodes)
	if s.ClusterID == "" {
		fmt.Fprintln(w, bootstrapHint)
	}
	return nil
}

// writeDrift says what somebody changed in a running redis-server. It is no problem by itself.
func writeDrift(w io.Writer, nodes []agent.NodeStatus) {
	var lines []string
	for _, n := range nodes {
		var users []string
		for _, d := range n.Drift {
			if d.User != "" {
				users = append(users, d.User)
				continue
			}
			says := "is"
			if d.Source == confgen.FromFile {
				says = "says"
			}
			lines = append(lines, fmt.Sprintf("%s: %s is %s; %s %s %s", n.Name, d.Directive, shown(d.Value), d.Source, says, shown(d.Configured)))
		}
		if len(users) > 0 {
			lines = append(lines, fmt.Sprintf("%s: users made by hand: %s", n.Name, strings.Join(users, ", ")))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintln(w, "\nchanged at run time, left alone:")
	}
	for _, l := range lines {
		fmt.Fprintln(w, "-", l)
	}
}

// shown is a value as people read it.
func shown(value string) string { return cmp.Or(value, `""`) }

// bootstrapHint is for who waits for the first primary.
const bootstrapHint = "  A member that is missing: does redisd run there, with the same [cluster] name and the same\n" +
	"  secret, and is gossip_port open between the hosts, TCP and UDP?"

// verdict is the health with what it means.
func verdict(s agent.Status) string {
	text := s.Health
	switch {
	case s.ClusterID == "":
		text = "not bootstrapped yet: it has no primary"
	case s.Health == "down":
		text = "down: it accepts no writes"
	case s.Health == "degraded":
		text = "degraded: it serves, but not everything is as it should be"
	}
	if s.Paused {
		text += " (paused)"
	}
	return text
}

// losses says how many more are survived, and where that is none, what to do about it.
func losses(s agent.Status) string {
	switch {
	case s.Survives == 1:
		return "1 more node can be lost"
	case s.Survives > 1:
		return fmt.Sprintf("%d more nodes can be lost", s.Survives)
	case s.Raise != "":
		return "no further node can be lost: " + s.Raise
	}
	return "no further node can be lost"
}

// heldBy says which nodes have the VIP. More than one is for the operator to see.
func heldBy(vip string, nodes []agent.NodeStatus) string {
	var names []string
	silent := false
	for _, n := range nodes {
		if slices.Contains(n.VIPs, vip) {
			names = append(names, n.Name)
		}
		silent = silent || n.State == "unreachable"
	}
	switch {
	case len(names) == 0 && silent:
		return "on no node that answers"
	case len(names) == 0:
		return "on no node"
	}
	return "on " + strings.Join(names, " and ")
}

// row is a node's line of the table; "-" is for what there is not, "?" for what is not known.
func row(n agent.NodeStatus) []string {
	keys, memory := "-", "-"
	if n.Role == "primary" || n.Role == "replica" {
		keys, memory = fmt.Sprint(n.Keys), size(n.Memory)
	}
	link, lag := replication(n)
	return []string{
		n.Name, n.Address, role(n), n.State, link, lag, keys, memory, sentinel(n),
		cmp.Or(strings.Join(hosts(n.VIPs), " "), "-"), cmp.Or(n.Versions.Redis, "-"), cmp.Or(n.Versions.Redisd, "-"),
	}
}

// role marks the standing successor, who takes over first, and who does not vote.
func role(n agent.NodeStatus) string {
	switch {
	case n.Role == "replica" && n.Successor == 1:
		return "replica, next"
	case n.Role == "unknown":
		return "?"
	case n.Learner:
		return n.Role + ", learner"
	}
	return n.Role
}

// lagShown is from when on a replica's last acknowledgement, one a second, is old.
const lagShown = 3

func replication(n agent.NodeStatus) (link, lag string) {
	r := n.Replication
	if r == nil || n.Role != "replica" {
		return "-", "-"
	}
	lag = "?"
	if r.LagBytes >= 0 {
		lag = size(r.LagBytes)
	}
	if r.LagSeconds >= lagShown {
		lag += ", " + (time.Duration(r.LagSeconds) * time.Second).String()
	}
	if r.Changing {
		return "being made", lag // anew: it is no fault, and so not down
	}
	return r.Link, lag
}

func sentinel(n agent.NodeStatus) string {
	switch n.Sentinel.State {
	case "running":
		return fmt.Sprintf("quorum %d/%d", n.Sentinel.Quorum, n.Sentinel.Known)
	case "none":
		return "-"
	case "unknown":
		return "?"
	}
	return n.Sentinel.State
}

func hosts(addresses []string) []string {
	out := make([]string, len(addresses))
	for i, a := range addresses {
		out[i], _, _ = strings.Cut(a, "/")
	}
	return out
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
