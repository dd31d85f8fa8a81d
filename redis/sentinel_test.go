package redis

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

const testName = "cache"

func newSentinel(t *testing.T, addr netip.AddrPort) *Sentinel {
	t.Helper()
	s := NewSentinel(addr, Credentials{})
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// startSentinel runs a redis-sentinel that monitors nothing yet.
func startSentinel(t *testing.T) (*process, *Sentinel) {
	t.Helper()
	p := newProcess(t, "redis-sentinel", "")
	p.start()
	s := newSentinel(t, p.addr)
	await(t, "the sentinel's answer", func() bool { return s.Probe(t.Context()) == OK })
	return p, s
}

// cluster is three servers and three Sentinels that know one another.
type cluster struct {
	processes         [3]*process
	servers           [3]*Server
	sentinels         [3]*Sentinel
	sentinelProcesses [3]*process
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{}
	c.processes[0], c.servers[0] = newPrimary(t)
	primary := c.processes[0].addr
	for i := 1; i < 3; i++ {
		c.processes[i], c.servers[i] = newServer(t, primary, "replica-priority 100")
	}
	for i := range c.sentinels {
		p, s := startSentinel(t)
		c.sentinelProcesses[i] = p
		must(t, s.Monitor(t.Context(), testName, primary, 2))
		must(t, s.Set(t.Context(), testName,
			Directive{"auth-user", SentinelUser}, Directive{"auth-pass", testPassword},
			Directive{"down-after-milliseconds", "5000"}, Directive{"failover-timeout", "15000"}))
		must(t, s.Tune(t.Context(), Timers{Info: 300 * time.Millisecond, Publish: 100 * time.Millisecond}))
		c.sentinels[i] = s
	}
	for i, s := range c.sentinels {
		await(t, fmt.Sprintf("sentinel %d to know all", i), func() bool {
			v, err := s.Primary(t.Context(), testName)
			return err == nil && v.OtherSentinels == 2 && v.Replicas == 2 && v.RoleReported == Primary && c.ready(t, s)
		})
	}
	return c
}

func (c *cluster) ready(t *testing.T, s *Sentinel) bool {
	replicas, err := s.Replicas(t.Context(), testName)
	if err != nil {
		return false
	}
	for _, r := range replicas {
		if !r.LinkUp || r.RoleReported != Replica || r.PrimaryAddr != c.processes[0].addr {
			return false
		}
	}
	return len(replicas) == 2
}

func TestSentinelViews(t *testing.T) {
	c := newCluster(t)
	v, err := c.sentinels[0].Primary(t.Context(), testName)
	must(t, err)
	if v.Addr != c.processes[0].addr || v.RecordAddr != v.Addr || v.Quorum != 2 || v.Flags != (Flags{}) ||
		v.DownAfter != 5*time.Second || v.FailoverTimeout != 15*time.Second {
		t.Errorf("Primary = %+v", v)
	}
	replicas, err := c.sentinels[0].Replicas(t.Context(), testName)
	must(t, err)
	for _, r := range replicas {
		i, err := connect(t, r.Addr, agent).Info(t.Context())
		must(t, err)
		if r.RunID != i.RunID || r.Priority != 100 || r.Flags != (Flags{}) {
			t.Errorf("replica %+v of server %s", r, i.RunID)
		}
	}
	var peers []SentinelView
	await(t, "the links to the peers", func() bool {
		peers, err = c.sentinels[0].Peers(t.Context(), testName)
		must(t, err)
		return !slices.ContainsFunc(peers, func(p SentinelView) bool { return p.Flags.Disconnected })
	})
	for _, p := range peers {
		id, err := newSentinel(t, p.Addr).MyID(t.Context())
		must(t, err)
		if p.RunID != id || p.Flags != (Flags{}) {
			t.Errorf("peer %+v of sentinel %s", p, id)
		}
	}
	if len(replicas) != 2 || len(peers) != 2 {
		t.Errorf("%d replicas, %d peers", len(replicas), len(peers))
	}
	must(t, c.sentinels[0].CheckQuorum(t.Context(), testName))
	must(t, c.sentinels[0].Set(t.Context(), testName, Directive{"quorum", "4"}))
	if err := c.sentinels[0].CheckQuorum(t.Context(), testName); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("CheckQuorum: %v, want %v", err, ErrNoQuorum)
	}
}

func TestSentinelErrors(t *testing.T) {
	_, s := startSentinel(t)
	_, primaryErr := s.Primary(t.Context(), testName)
	_, replicasErr := s.Replicas(t.Context(), testName)
	_, peersErr := s.Peers(t.Context(), testName)
	for _, err := range []error{
		primaryErr, replicasErr, peersErr,
		s.Announce(t.Context(), testName, placeholder, 1),
		s.CheckQuorum(t.Context(), testName),
		s.Remove(t.Context(), testName),
		s.Set(t.Context(), testName, Directive{"quorum", "1"}),
	} {
		if !errors.Is(err, ErrUnknownPrimary) || Code(err) != codeGeneric {
			t.Errorf("%v, want %v", err, ErrUnknownPrimary)
		}
	}
	p, _ := newPrimary(t)
	must(t, s.Monitor(t.Context(), testName, p.addr, 1))
	if err := s.Monitor(t.Context(), testName, p.addr, 1); err == nil {
		t.Error("monitored the same name twice")
	}
	must(t, s.Set(t.Context(), testName))
	const secret = "battery-staple"
	err := s.Set(t.Context(), testName, Directive{"auth-pass", secret}, Directive{"no-such", secret})
	if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "no-such") {
		t.Errorf("Set of an unknown option: %v", err)
	}
	must(t, s.Remove(t.Context(), testName))
	if _, err := s.Primary(t.Context(), testName); !errors.Is(err, ErrUnknownPrimary) {
		t.Errorf("Primary after Remove: %v", err)
	}
}

func TestSentinelInfo(t *testing.T) {
	p, s := startSentinel(t)
	i, err := s.Info(t.Context())
	must(t, err)
	if len(i.RunID) != 40 || majorVersion(i.Version) < 6 || i.Primaries != 0 || i.Tilt {
		t.Errorf("Info = %+v", i)
	}
	id, err := s.MyID(t.Context())
	must(t, err)
	if len(id) != 40 || id == i.RunID {
		t.Errorf("MyID = %q, run id %q", id, i.RunID)
	}
	p.kill()
	_, err = s.Primary(t.Context(), testName)
	if a := AnswerOf(err); a != Refused && a != Closed {
		t.Errorf("Primary of a dead Sentinel: %v", err)
	}
}

func TestTune(t *testing.T) {
	_, s := startSentinel(t)
	must(t, s.Tune(t.Context(), Timers{}))
	must(t, s.Tune(t.Context(), Timers{Info: time.Second, Publish: 500 * time.Millisecond, TiltPeriod: 5 * time.Second}))
	reply, err := s.ask(t.Context(), "timers", "DEBUG")
	must(t, err)
	got := strings.ToLower(fmt.Sprint(reply))
	for _, want := range []string{"info-period 1000", "publish-period 500", "tilt-period 5000"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	old := newSentinel(t, fakeServer(t, func(args []string) string {
		if strings.EqualFold(args[0], "info") {
			return bulk("redis_version:6.0.16\r\n")
		}
		return "-ERR unknown"
	}))
	if err := old.Tune(t.Context(), Timers{Info: time.Second}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Tune of an old one: %v, want %v", err, ErrUnsupported)
	}
}
