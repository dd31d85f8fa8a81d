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
	processes [3]*process
	servers   [3]*Server
	sentinels [3]*Sentinel
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{}
	c.processes[0], c.servers[0] = newPrimary(t)
	primary := c.processes[0].addr
	for i := 1; i < 3; i++ {
		c.processes[i], c.servers[i] = newServer(t, primary, dirPriority+" 100")
	}
	for i := range c.sentinels {
		_, s := startSentinel(t)
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

// steer gives server i priority 1 and waits until every Sentinel would take it.
func (c *cluster) steer(t *testing.T, i int) {
	t.Helper()
	must(t, c.servers[i].SetPriority(t.Context(), 1))
	for _, s := range c.sentinels {
		await(t, "the priority", func() bool {
			replicas, err := s.Replicas(t.Context(), testName)
			next, ok := Successor(replicas)
			return err == nil && ok && next.Addr == c.processes[i].addr && next.Priority == 1
		})
	}
}

// published waits until every Sentinel names server i.
func (c *cluster) published(t *testing.T, i int) {
	t.Helper()
	for _, s := range c.sentinels {
		await(t, "the new address", func() bool {
			v, err := s.Primary(t.Context(), testName)
			return err == nil && v.Addr == c.processes[i].addr && !v.Flags.FailoverInProgress
		})
	}
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

// The agents promote, one Sentinel publishes, and nothing else is touched.
func TestPublish(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.steer(t, 1)
	reader := client(t, c.processes[2].addr, "default")
	writer := client(t, c.processes[1].addr, "default")
	must(t, writer.Ping(t.Context()).Err())

	c.processes[0].kill()
	must(t, c.servers[1].Promote(t.Context(), 0))
	must(t, write(t, writer))
	must(t, c.servers[2].Follow(t.Context(), c.processes[1].addr, false))
	must(t, c.sentinels[2].Failover(t.Context(), testName))
	if err := c.sentinels[2].Failover(t.Context(), testName); !errors.Is(err, ErrInProgress) {
		t.Errorf("a second Failover: %v, want %v", err, ErrInProgress)
	}
	c.published(t, 1)

	must(t, write(t, writer))
	must(t, reader.Ping(t.Context()).Err())
	linked(t, c.servers[2], c.processes[1].addr)
	// One synchronisation, and none by Sentinel. It is full when the killed primary's last words (a
	// Sentinel's PUBLISH is enough) reached only server 2.
	i, err := c.servers[1].Info(t.Context())
	must(t, err)
	if i.FullSyncs+i.PartialSyncs != 1 {
		t.Errorf("%d full, %d partial synchronisations", i.FullSyncs, i.PartialSyncs)
	}
}

// The same with the old primary alive: fenced, then demoted.
func TestPublishPlanned(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.steer(t, 2)
	writer := client(t, c.processes[0].addr, "default")
	must(t, write(t, writer))
	must(t, c.servers[0].SetFence(t.Context()))
	if acked, _, err := c.servers[0].WaitAcks(t.Context(), 2, time.Second); err != nil || acked != 2 {
		t.Fatalf("WaitAcks = %d, %v", acked, err)
	}
	next := c.processes[2].addr
	must(t, c.servers[2].Promote(t.Context(), 0))
	must(t, c.servers[0].Follow(t.Context(), next, true))
	must(t, c.servers[1].Follow(t.Context(), next, false))
	must(t, c.sentinels[0].Failover(t.Context(), testName))
	c.published(t, 2)
	if err := writer.Ping(t.Context()).Err(); AnswerOf(err) != Closed {
		t.Errorf("a client of the old primary: %v", err)
	}
	got, err := client(t, next, "default").Get(t.Context(), "counter").Result()
	must(t, err)
	if got != "1" {
		t.Errorf("counter = %q", got)
	}
	for _, i := range []int{0, 1} {
		linked(t, c.servers[i], next)
	}
}

func TestSentinelErrors(t *testing.T) {
	_, s := startSentinel(t)
	_, primaryErr := s.Primary(t.Context(), testName)
	_, replicasErr := s.Replicas(t.Context(), testName)
	_, peersErr := s.Peers(t.Context(), testName)
	for _, err := range []error{
		primaryErr, replicasErr, peersErr,
		s.Failover(t.Context(), testName),
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
	if err := s.Failover(t.Context(), testName); !errors.Is(err, ErrNoGoodReplica) {
		t.Errorf("Failover without a replica: %v, want %v", err, ErrNoGoodReplica)
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
