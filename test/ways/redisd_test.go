package ways

import (
	"testing"

	"github.com/redisd/redisd/agent"
)

func TestWholeStatus(t *testing.T) {
	a := agent.NodeStatus{Name: "a", Voter: true, VIPs: []string{"10.0.0.100/24"}}
	b := agent.NodeStatus{Name: "b", Voter: true}
	status := func(change func(*agent.Status)) agent.Status {
		s := agent.Status{Health: "healthy", Primary: &agent.Primary{Name: "a"}, Nodes: []agent.NodeStatus{a, b}}
		change(&s)
		return s
	}
	if err := wholeStatus(status(func(*agent.Status) {}), 2); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*agent.Status){
		"degraded":                    func(s *agent.Status) { s.Health = "degraded" },
		"without a primary":           func(s *agent.Status) { s.Primary = nil },
		"one node short":              func(s *agent.Status) { s.Nodes = s.Nodes[:1] },
		"a node without a vote":       func(s *agent.Status) { s.Nodes[1].Voter = false },
		"the VIP not on the primary":  func(s *agent.Status) { s.Nodes[0].VIPs = nil },
		"the VIP on the replica, too": func(s *agent.Status) { s.Nodes[1].VIPs = a.VIPs },
	} {
		if wholeStatus(status(change), 2) == nil {
			t.Errorf("%s is whole", name)
		}
	}
}
