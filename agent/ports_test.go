package agent

import (
	"strings"
	"testing"
)

func TestPortWarnings(t *testing.T) {
	status := func(vip string, replicas ...string) Status {
		s := Status{Primary: &Primary{Name: "a", Address: "10.0.0.1:6379"}, Nodes: []NodeStatus{{Name: "a", Replication: &Replication{}}}}
		if vip != "" {
			s.VIPs = []string{vip}
		}
		for _, r := range replicas {
			s.Nodes[0].Replication.Replicas = append(s.Nodes[0].Replication.Replicas, ReplicaLag{Address: r})
		}
		return s
	}
	for name, tt := range map[string]struct {
		status Status
		warns  bool
	}{
		"the same":         {status("10.0.0.100", "10.0.0.2:6379", "[fd00::1]:6379"), false},
		"another":          {status("10.0.0.100", "10.0.0.2:6379", "10.0.0.3:6380"), true},
		"another, no VIP":  {status("", "10.0.0.3:6380"), false},
		"no primary":       {Status{VIPs: []string{"10.0.0.100"}}, false},
		"not by its name":  {Status{VIPs: []string{"10.0.0.100"}, Primary: &Primary{Name: "x"}}, false},
		"nobody but alone": {status("10.0.0.100"), false},
	} {
		got := tt.status.PortWarnings()
		if (len(got) > 0) != tt.warns || tt.warns && !strings.Contains(got[0], "10.0.0.1:6379, 10.0.0.2:6379, 10.0.0.3:6380") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
