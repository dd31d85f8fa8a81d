package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/agent"
)

// pictures are what a night can bring, as changes of a healthy cluster.
var pictures = map[string]func(*agent.Status){
	"healthy": func(*agent.Status) {},
	"node-down": func(s *agent.Status) {
		s.Health = "degraded"
		s.Problems = []string{
			"c (10.0.0.3) is unreachable", "the sentinel on a knows 2 of 3 sentinels",
			"2 of 3 voters are here, and no further node can be lost: start c, or forget it and add another",
		}
		s.Survives, s.Raise = 0, "start c, or forget it and add another"
		s.Nodes[2] = agent.NodeStatus{ID: "03", Name: "c", Address: "10.0.0.3", Role: "unknown", State: "unreachable", Voter: true,
			Sentinel: agent.SentinelStatus{State: "unknown"}, Versions: agent.Versions{Redisd: "0.1.0", Redis: "7.0.15"}}
	},
	"redis-down": func(s *agent.Status) {
		s.Health = "degraded"
		exit := "redis-server: exit status 1 after 31ms; last output: Bad file format reading the append only file"
		s.Problems = []string{"redis-server on c is stopped (" + exit + ")"}
		n := &s.Nodes[2]
		*n = agent.NodeStatus{ID: "03", Name: "c", Address: "10.0.0.3", Role: "unknown", State: "stopped", Voter: true, LastExit: exit,
			Sentinel: n.Sentinel, Versions: agent.Versions{Redisd: "0.1.0"}}
	},
	"no-primary": func(s *agent.Status) {
		s.Health, s.Primary = "down", nil
		s.Problems = []string{"there is no primary: nothing can be written", "b (10.0.0.2) is unreachable"}
		s.Nodes[1] = agent.NodeStatus{Name: "b", Address: "10.0.0.2", Role: "unknown", State: "unreachable", Sentinel: agent.SentinelStatus{State: "unknown"}}
		s.Nodes[0].Successor = 0
		for _, i := range []int{0, 2} {
			s.Nodes[i].Replication = &agent.Replication{Primary: "10.0.0.2:6379", Link: "down", LagBytes: -1, LagSeconds: -1}
		}
	},
	"lagging": func(s *agent.Status) {
		s.Nodes[2].Replication.LagBytes, s.Nodes[2].Replication.LagSeconds = 7<<20, 75
		s.Nodes[2].State = "syncing"
	},
	"paused": func(s *agent.Status) {
		s.Health, s.Paused = "degraded", true
		s.Problems = []string{"paused: no automatic failover (redisd resume ends it)"}
	},
	"not-bootstrapped": func(s *agent.Status) {
		s.Health, s.ClusterID, s.Primary = "down", "", nil
		s.Problems = []string{"not bootstrapped yet: 1 of 3 expected members are here"}
		s.Nodes = []agent.NodeStatus{{Name: "a", Address: "10.0.0.1", Role: "unknown", State: "starting",
			Sentinel: agent.SentinelStatus{State: "stopped"}, Versions: agent.Versions{Redisd: "0.1.0"}}}
	},
	"two-vips": func(s *agent.Status) {
		s.VIPs = append(s.VIPs, "fd00::100/64", "10.0.0.101/24")
		s.Nodes[1].VIPs = append(s.Nodes[1].VIPs, "fd00::100/64")
		s.Nodes[2].VIPs = append(s.Nodes[2].VIPs, "fd00::100/64")
	},
	"drift": func(s *agent.Status) {
		s.Nodes[0].Drift = []agent.Drift{
			{Directive: "maxmemory", Value: "104857600", Configured: "64mb", Source: "redisd.toml"},
			{Directive: "repl-timeout", Value: "60", Configured: "20", Source: "redisd's default"},
			{User: "app"}, {User: "reports"},
		}
		s.Nodes[2].Drift = []agent.Drift{{Directive: "save", Value: "900 1", Source: "redisd.toml"}}
	},
	"learner": func(s *agent.Status) {
		n := s.Nodes[2]
		n.ID, n.Name, n.Address, n.Voter, n.Learner, n.Successor = "04", "d", "10.0.0.4", false, true, 0
		s.Nodes = append(s.Nodes, n)
	},
	"sentinel-only": func(s *agent.Status) {
		s.Nodes[2] = agent.NodeStatus{Name: "c", Address: "10.0.0.3", Role: "sentinel", State: "running", Voter: true,
			Sentinel: s.Nodes[2].Sentinel, Versions: agent.Versions{Redisd: "0.1.0"}}
		s.Nodes[0].Sentinel = agent.SentinelStatus{State: "none"}
	},
}

// TestWriteStatus compares what operators read with testdata/status/*.txt; -update rewrites them.
func TestWriteStatus(t *testing.T) {
	for name, change := range pictures {
		t.Run(name, func(t *testing.T) {
			s := healthy()
			change(&s)
			var got bytes.Buffer
			if err := writeStatus(&got, s); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "status", name+".txt"), got.Bytes())
		})
	}
}

func TestWriteMembers(t *testing.T) {
	s := healthy()
	s.Nodes[2].State, s.Nodes[2].Versions = "unreachable", agent.Versions{}
	s.Survives, s.Raise = 0, "start c, or forget it and add another"
	s.Nodes = append(s.Nodes, agent.NodeStatus{ID: "04", Name: "d", Address: "10.0.0.4", State: "syncing", Versions: agent.Versions{Redisd: "0.2.0"}})
	var got bytes.Buffer
	if err := writeMembers(&got, s); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "members.txt"), got.Bytes())

	got.Reset()
	s.Nodes[0].Zone, s.Nodes[1].Zone, s.Nodes[3].Learner = "north", "south", true
	if err := writeMembers(&got, s); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "members-zones.txt"), got.Bytes())
}

// healthy is a cluster of three with nothing wrong.
func healthy() agent.Status {
	running := agent.SentinelStatus{State: "running", Primary: "10.0.0.2:6379", Quorum: 2, Known: 3}
	versions := agent.Versions{Redisd: "0.1.0", Redis: "7.0.15"}
	replica := func(id, name, addr string, successor int) agent.NodeStatus {
		return agent.NodeStatus{
			ID: id, Name: name, Address: addr, Role: "replica", State: "running", Voter: true, Successor: successor, Keys: 1204, Memory: 1_468_006,
			Replication: &agent.Replication{Primary: "10.0.0.2:6379", Link: "up", Offset: 4711}, Sentinel: running, Versions: versions,
		}
	}
	return agent.Status{
		Cluster: "cache", ClusterID: "c0ffee", Seen: "a", Health: "healthy", Voters: 3, Majority: 2, Survives: 1, Raise: "add two nodes", VIPs: []string{"10.0.0.100/24"},
		Primary: &agent.Primary{Name: "b", Address: "10.0.0.2:6379"},
		Nodes: []agent.NodeStatus{
			replica("01", "a", "10.0.0.1", 1),
			{ID: "02", Name: "b", Address: "10.0.0.2", Role: "primary", State: "running", Voter: true, Lease: true, Keys: 1204, Memory: 1_572_864,
				Replication: &agent.Replication{Offset: 4711}, Sentinel: running, VIPs: []string{"10.0.0.100/24"}, Versions: versions},
			replica("03", "c", "10.0.0.3", 2),
		},
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites):\n%s", path, diff)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 3 << 30: "3.0 GiB", 5 << 40: "5.0 TiB", 1 << 50: "1024.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) is %q, want %q", n, got, want)
		}
	}
}
