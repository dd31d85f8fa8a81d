package agent

import (
	"cmp"
	"fmt"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// judge says how well the cluster is, in words an operator can act on.
func (s *Status) judge(primary *NodeStatus, expect int) {
	switch {
	case s.ClusterID == "":
		s.problem("not bootstrapped yet: %d of %d expected members are here", len(s.Nodes), expect)
	case primary == nil:
		s.problem("there is no primary: nothing can be written")
	case primary.State == "fenced":
		s.problem("the primary %s accepts no writes", primary.Name)
	}
	down := len(s.Problems) > 0
	if s.Paused {
		s.problem("paused: no automatic failover (redisd resume ends it)")
	}
	voting, synced, successors, sentinels := 0, 0, 0, 0
	for _, n := range s.Nodes {
		if n.Voter && !n.away() {
			voting++
		}
		if n.inSync() || n.relinks() {
			synced++
			if n.Voter {
				successors++
			}
		}
		if n.Sentinel.State == "running" || n.Sentinel.State == "stopped" {
			sentinels++
		}
	}
	for _, n := range s.Nodes {
		if s.ClusterID == "" && n.Name == s.Seen {
			for _, p := range n.Problems {
				s.problem("%s: %s", n.Name, p)
			}
		}
	}
	if s.ClusterID != "" { // before, nobody replicates yet, and no sentinel has anything to watch
		for _, n := range s.Nodes {
			s.judgeNode(n, sentinels)
		}
	}
	if primary != nil && synced == 0 && len(s.Nodes) > 1 {
		s.problem("no replica is in sync: the primary cannot be replaced without losing data")
	}
	s.judgeStanding(standingOf(s.Voters, voting, successors, primary != nil && !down))
	switch {
	case down:
		s.Health = "down"
	case len(s.Problems) > 0:
		s.Health = "degraded"
	default:
		s.Health = "healthy"
	}
}

// judgeStanding says what further losses would do.
func (s *Status) judgeStanding(st Standing) {
	if s.ClusterID == "" {
		return
	}
	s.Survives, s.Raise = st.Survives, st.raise(s.Nodes)
	switch {
	case st.Here < st.Majority:
		s.problem("%d of %d voters are here, and a primary needs %d: %s", st.Here, st.Voters, st.Majority, s.Raise)
	case st.Here < st.Voters && st.Survives == 0:
		s.problem("%d of %d voters are here, and %s: %s", st.Here, st.Voters, st.losses(), s.Raise)
	}
}

// judgeNode adds what is wrong with one node, in a cluster of so many sentinels.
func (s *Status) judgeNode(n NodeStatus, sentinels int) {
	switch {
	case n.away():
		s.problem("%s (%s) is %s", n.Name, n.Address, n.State)
	case n.State != "running":
		s.problem("redis-server on %s is %s%s", n.Name, n.State, suffix(n.LastExit))
	case n.Role == "replica" && !n.inSync() && !n.relinks():
		s.problem("%s does not replicate: its link to the primary is down", n.Name)
	case n.Role == "replica" && time.Duration(n.Replication.LagSeconds)*time.Second > reconcile.MaxLag:
		s.problem("%s lags: the primary has not heard from it for %d s", n.Name, n.Replication.LagSeconds)
	}
	for _, p := range n.Problems {
		s.problem("%s: %s", n.Name, p)
	}
	switch n.Sentinel.State {
	case "stopped":
		s.problem("redis-sentinel on %s is stopped", n.Name)
	case "running":
		if n.Sentinel.Known < sentinels {
			s.problem("the sentinel on %s knows %d of %d sentinels", n.Name, n.Sentinel.Known, sentinels)
		}
		if s.Primary != nil && n.Sentinel.Primary != s.Primary.Address && !n.Sentinel.Changing {
			s.problem("the sentinel on %s names %s as primary", n.Name, cmp.Or(n.Sentinel.Primary, "nobody"))
		}
	}
}

func (s *Status) problem(format string, args ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

// away: the node could not be asked.
func (n NodeStatus) away() bool { return n.State == "unreachable" || n.State == "left" }

// inSync: it is a replica that could take over.
func (n NodeStatus) inSync() bool {
	return n.State == "running" && n.Role == "replica" && n.Replication != nil && n.Replication.Link == "up"
}

// relinks: it is about to be in sync with a primary that has only just become that.
func (n NodeStatus) relinks() bool {
	return n.State == "running" && n.Role == "replica" && n.Replication != nil && n.Replication.Changing
}

func suffix(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
