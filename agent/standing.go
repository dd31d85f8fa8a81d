package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redisd/redisd/election"
)

// Standing is how a cluster stands against further losses.
type Standing struct {
	Voters   int `json:"voters"`
	Here     int `json:"here"` // of the voters
	Majority int `json:"majority"`
	// Synced is how many replicas could take over.
	Synced int `json:"in_sync"`
	// Survives is how many more nodes can be lost, whichever they are, with writes going on.
	Survives int `json:"survives"`
}

// standingOf counts. Whoever takes nodes away may choose which: the voters that are here, until
// those left are no majority, or the nodes that have all data, until none is left.
func standingOf(voters, here, synced int, primary bool) Standing {
	s := Standing{Voters: voters, Here: here, Majority: voters/2 + 1, Synced: synced}
	if primary {
		s.Survives = max(0, min(here-s.Majority, synced))
	}
	return s
}

// standing is the cluster's as the holder of the lease, self, sees it.
func standing(v election.View, self string) Standing {
	here := 0
	for _, w := range v.Roster.Voters {
		if answers(v, w.ID, self) {
			here++
		}
	}
	return standingOf(len(v.Roster.Voters), here, len(v.Successors), v.Lease)
}

func answers(v election.View, id election.NodeID, self string) bool {
	return string(id) == self || slices.Contains(v.Answered, id)
}

// without is how it stands once that node is no member any more.
func (s Standing) without(v election.View, id string) Standing {
	who := election.NodeID(id)
	voters, here, synced := s.Voters, s.Here, s.Synced
	if v.Roster.Has(who) {
		voters--
		if answers(v, who, "") {
			here--
		}
	}
	if slices.Contains(v.Successors, who) {
		synced--
	}
	return standingOf(voters, here, synced, v.Lease)
}

func (s Standing) String() string {
	return fmt.Sprintf("%d of %d voters here, a primary needs %d; %s", s.Here, s.Voters, s.Majority, s.losses())
}

// losses says how many more are survived.
func (s Standing) losses() string {
	switch s.Survives {
	case 0:
		return "no further node can be lost"
	case 1:
		return "1 more node can be lost"
	}
	return fmt.Sprintf("%d more nodes can be lost", s.Survives)
}

// raise says what would let more losses be survived.
func (s Standing) raise(nodes []NodeStatus) string {
	var start, sync []string
	for _, n := range nodes {
		switch {
		case n.away():
			start = append(start, n.Name)
		case n.Role != "primary" && n.Role != "sentinel" && !n.inSync() && !n.relinks():
			sync = append(sync, n.Name)
		}
	}
	votes := s.Here - s.Majority
	switch {
	case len(start) > 0 && (votes <= s.Synced || len(sync) == 0):
		list := strings.Join(start, " and ")
		if len(start) == 1 {
			return "start " + list + ", or forget it and add another"
		}
		return "start " + list + ", or forget them and add others"
	case len(sync) > 0 && s.Synced <= votes:
		return "wait until " + strings.Join(sync, " and ") + " is in sync"
	case s.Voters%2 == 0 && votes <= s.Synced:
		return "add a node"
	case s.Synced < votes:
		return "add a node with a redis-server"
	}
	return "add two nodes"
}
