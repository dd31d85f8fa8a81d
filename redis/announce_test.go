package redis

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

func configOf(t *testing.T, p *process) string {
	t.Helper()
	conf, err := os.ReadFile(filepath.Join(p.dir, "conf"))
	must(t, err)
	return string(conf)
}

// follow gives what a Sentinel publishes about switches.
func follow(t *testing.T, addr netip.AddrPort) <-chan *goredis.Message {
	t.Helper()
	pool := goredis.NewClient(&goredis.Options{Addr: addr.String(), Protocol: 2, DisableIdentity: true})
	sub := pool.Subscribe(t.Context(), "+switch-master")
	t.Cleanup(func() { _ = sub.Close(); _ = pool.Close() })
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return sub.Channel()
}

// told awaits one switch, and wants no other.
func told(t *testing.T, events <-chan *goredis.Message, from, to netip.AddrPort) {
	t.Helper()
	want := fmt.Sprintf("%s %s %d %s %d", testName, from.Addr(), from.Port(), to.Addr(), to.Port())
	var got string
	await(t, "the subscriber to be told", func() bool {
		select {
		case m := <-events:
			got = m.Payload
			return true
		default:
			return false
		}
	})
	if got != want {
		t.Errorf("+switch-master %q, want %q", got, want)
	}
	select {
	case m := <-events:
		t.Errorf("told once more: %q", m.Payload)
	default:
	}
}

func (c *cluster) addr(i int) netip.AddrPort { return c.processes[i].addr }

// names fails unless Sentinel i names server want this instant.
func (c *cluster) names(t *testing.T, i, want int) {
	t.Helper()
	v, err := c.sentinels[i].Primary(t.Context(), testName)
	must(t, err)
	if v.Addr != c.addr(want) || v.RecordAddr != v.Addr || v.Flags.FailoverInProgress || v.OtherSentinels != len(c.sentinels)-1 {
		t.Errorf("sentinel %d: %+v, want %v", i, v, c.addr(want))
	}
}

// replicasOf awaits that Sentinel i knows those servers as replicas of the primary, and that one as
// down.
func (c *cluster) replicasOf(t *testing.T, i, primary, up, down int) {
	t.Helper()
	await(t, "the replicas", func() bool {
		list, err := c.sentinels[i].Replicas(t.Context(), testName)
		must(t, err)
		good := 0
		for _, r := range list {
			switch r.Addr {
			case c.addr(up):
				if r.LinkUp && r.PrimaryAddr == c.addr(primary) && r.RoleReported == Replica {
					good++
				}
			case c.addr(down):
				if r.Flags.SDown {
					good++
				}
			default:
				t.Fatalf("sentinel %d knows %v for a replica", i, r.Addr)
			}
		}
		return good == 2
	})
}

// Each Sentinel is told by itself, names the new primary at once, and touches nothing.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	reader := client(t, c.addr(2), "default")
	writer := client(t, c.addr(1), "default")
	var events []<-chan *goredis.Message
	for _, s := range c.sentinels {
		events = append(events, follow(t, s.Addr()))
	}

	c.processes[0].kill()
	must(t, c.servers[1].Promote(t.Context(), 0))
	must(t, c.servers[2].Follow(t.Context(), c.addr(1), false))
	for i, s := range c.sentinels {
		must(t, s.Announce(t.Context(), testName, c.addr(1), 2000))
		c.names(t, i, 1)
	}
	for _, e := range events {
		told(t, e, c.addr(0), c.addr(1))
	}

	for i, s := range c.sentinels {
		if conf := configOf(t, c.sentinelProcesses[i]); !strings.Contains(conf, "sentinel current-epoch 2000\n") {
			t.Errorf("its next failover would have an earlier epoch:\n%s", conf)
		}
		c.replicasOf(t, i, 1, 2, 0)
		for _, epoch := range []int64{1999, 2000} { // an older one is not news, nor is the same
			must(t, s.Announce(t.Context(), testName, c.addr(2), epoch))
			c.names(t, i, 1)
		}
	}
	must(t, write(t, writer))
	must(t, reader.Ping(t.Context()).Err())
	linked(t, c.servers[2], c.addr(1))
	// One synchronisation, and none by Sentinel. It is full when the killed primary's last words (a
	// Sentinel's PUBLISH is enough) reached only server 2.
	i, err := c.servers[1].Info(t.Context())
	must(t, err)
	if i.FullSyncs+i.PartialSyncs != 1 {
		t.Errorf("%d full, %d partial synchronisations", i.FullSyncs, i.PartialSyncs)
	}
}

// The later epoch wins, whichever Sentinel has it: one that nobody tells, or that was away, learns
// it from the others.
func TestAnnounceSpreads(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	away := c.sentinelProcesses[2]
	away.signal(syscall.SIGSTOP)
	must(t, c.servers[0].SetFence(t.Context()))
	must(t, c.servers[1].Promote(t.Context(), 0))
	for _, i := range []int{0, 2} {
		must(t, c.servers[i].Follow(t.Context(), c.addr(1), false))
	}
	must(t, c.sentinels[0].Announce(t.Context(), testName, c.addr(1), 3000))
	c.agrees(t, 1, 1, 3000)
	away.signal(syscall.SIGCONT)
	c.agrees(t, 2, 1, 3000)

	// Somebody has it wrong, with a later epoch: all follow, and come back when one is told better.
	must(t, c.sentinels[2].Announce(t.Context(), testName, c.addr(0), 3001))
	c.agrees(t, 0, 0, 3001)
	must(t, c.sentinels[1].Announce(t.Context(), testName, c.addr(1), 3002))
	for i := range c.sentinels {
		c.agrees(t, i, 1, 3002)
	}
}

// agrees awaits that Sentinel i names that server, in that epoch.
func (c *cluster) agrees(t *testing.T, i, server int, epoch int64) {
	t.Helper()
	await(t, "the sentinels to agree", func() bool {
		v, err := c.sentinels[i].Primary(t.Context(), testName)
		return err == nil && v.Addr == c.addr(server) && v.ConfigEpoch == epoch
	})
}

// A Sentinel that waits for a promotion of its own lets go of it.
func TestAnnounceInFailover(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for _, s := range c.sentinels {
		must(t, s.Set(t.Context(), testName, Directive{"down-after-milliseconds", "1000"}))
	}
	must(t, c.servers[1].ConfigSet(t.Context(), Directive{"replica-priority", "1"}))
	c.processes[0].kill()
	busy := -1
	await(t, "a failover that waits", func() bool {
		for i, s := range c.sentinels {
			v, err := s.Primary(t.Context(), testName)
			must(t, err)
			if v.FailoverState == "wait_promotion" {
				busy = i
			}
		}
		return busy >= 0
	})
	must(t, c.servers[2].Promote(t.Context(), 0)) // another than the one that it chose
	must(t, c.servers[1].Follow(t.Context(), c.addr(2), false))
	must(t, c.sentinels[busy].Announce(t.Context(), testName, c.addr(2), 4000))
	c.names(t, busy, 2)
	for i := range c.sentinels {
		c.agrees(t, i, 2, 4000)
		c.replicasOf(t, i, 2, 1, 0)
	}
}

// One that mistrusts its clock does nothing by itself, and does as it is told.
func TestAnnounceInTilt(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	s := c.sentinels[0]
	must(t, s.Tune(t.Context(), Timers{TiltTrigger: 1}))
	await(t, "the tilt", func() bool { i, err := s.Info(t.Context()); return err == nil && i.Tilt })
	must(t, c.servers[1].Promote(t.Context(), 0))
	must(t, s.Announce(t.Context(), testName, c.addr(1), 5000))
	c.names(t, 0, 1)
}

// One that knows no other is left with none.
func TestAnnounceAlone(t *testing.T) {
	t.Parallel()
	old, first := newPrimary(t)
	next, second := newServer(t, old.addr)
	p, s := startSentinel(t)
	must(t, s.Monitor(t.Context(), testName, old.addr, 1))
	must(t, s.Set(t.Context(), testName, Directive{"auth-user", SentinelUser}, Directive{"auth-pass", testPassword}))
	events := follow(t, s.Addr())
	linked(t, second, old.addr)
	must(t, first.SetFence(t.Context()))
	must(t, second.Promote(t.Context(), 0))
	must(t, first.Follow(t.Context(), next.addr, false))

	must(t, s.Announce(t.Context(), testName, next.addr, 6000))
	told(t, events, old.addr, next.addr)
	v, err := s.Primary(t.Context(), testName)
	must(t, err)
	if v.Addr != next.addr || v.OtherSentinels != 0 || v.ConfigEpoch != 6000 || v.Quorum != 1 {
		t.Errorf("%+v", v)
	}
	if conf := configOf(t, p); strings.Contains(conf, "known-sentinel") {
		t.Errorf("sentinel.conf has a stranger:\n%s", conf)
	}
	await(t, "the replica", func() bool {
		list, err := s.Replicas(t.Context(), testName)
		return err == nil && len(list) == 1 && list[0].Addr == old.addr && list[0].LinkUp
	})
}
