package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

const sessionsFile = "/etc/redisd/sessions.toml"

// TestSeveralClusters: each of two clusters on the same hosts, made as docs/LAYOUTS.md says, goes
// its own way.
func TestSeveralClusters(t *testing.T) {
	lab.Require(t)
	all := layouts(t)
	i := slices.IndexFunc(all, func(l layout) bool { return l.title == several })
	if i < 0 {
		t.Fatalf("the page has no section %q", several)
	}
	c := follow(t, all[i])
	cache, sessions := first(t, c), as(t, c, "sessions", 101, 6380)
	one, two := cache.Healthy(t.Context()), sessions.Healthy(t.Context())
	if one.Cluster != "cache" || two.Cluster != "sessions" || one.ClusterID == two.ClusterID || cache.Password() == sessions.Password() {
		t.Errorf("the clusters are %s (%s) and %s (%s)", one.Cluster, one.ClusterID, two.Cluster, two.ClusterID)
	}
	for _, of := range []struct {
		c    *cluster.Cluster
		port string
		old  string
	}{{cache, "6379", "data"}, {sessions, "6380", ""}} {
		if got := strings.TrimSpace(run(t, c.Host("a"), program("redis-cli"), "--no-auth-warning", "-a", of.c.Password(), "-p", of.port, "GET", "old")); got != of.old {
			t.Errorf("of the data of the distribution's Redis the cluster at port %s has %q, want %q", of.port, got, of.old)
		}
	}
	t.Run("one fails over", func(t *testing.T) { oneFailsOver(t, cache, sessions) })
	t.Run("a host with both primaries", func(t *testing.T) { bothPrimaries(t, cache, sessions) })
	t.Run("services restarted", func(t *testing.T) { instanceRestarted(t, sessions) })
	t.Run("collision", func(t *testing.T) { collision(t, cache, sessions) })
	t.Run("words", func(t *testing.T) { instanceWords(t, sessions) })
	t.Run("package upgraded", func(t *testing.T) { upgradedBoth(t, cache, sessions) })
	t.Run("package removed and purged", func(t *testing.T) { purged(t, cache, sessions) })
}

// oneFailsOver kills the primary's redis-server of one cluster, under a client of the other.
func oneFailsOver(t *testing.T, cache, sessions *cluster.Cluster) {
	quiet := sessions.Writer(t.Context())
	defer quiet.Stop()
	if err := quiet.AwaitAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := sessions.Healthy(t.Context())
	fault(t, cache, asyncWindow, func(ctx context.Context, primary string) {
		run(t, cache.Host(primary), "kill", "-KILL", strconv.Itoa(runs(t, cache, primary)))
		awaitOther(t, cache, primary)
	})
	after := sessions.Healthy(t.Context())
	r := quiet.Stop()
	if after.Term != before.Term || cluster.Primary(after) != cluster.Primary(before) {
		t.Errorf("the other cluster has moved: %s in term %d, %s in term %d", cluster.Primary(before), before.Term, cluster.Primary(after), after.Term)
	}
	delete(r.Errors, "timeout") // of a probe, which waits for 50 ms, on a machine that does more than that
	if d := r.Downtime(); d.Length()-r.OwnShare(d) > agentDowntime || len(r.Errors) > 0 {
		t.Errorf("its client noticed: %v without a write, %v", d.Length(), r.Errors)
	}
}

// bothPrimaries takes the power of a host on which both clusters have their primary.
func bothPrimaries(t *testing.T, cache, sessions *cluster.Cluster) {
	ctx := t.Context()
	to := cluster.Primary(cache.Healthy(ctx))
	if cluster.Primary(sessions.Healthy(ctx)) != to {
		run(t, sessions.Host(to), "redisd", "-c", "sessions", "switchover", "--to", to)
	}
	sessions.Healthy(ctx)
	w := sessions.Writer(ctx)
	defer w.Stop()
	if err := w.AwaitAck(ctx); err != nil {
		t.Fatal(err)
	}
	fault(t, cache, asyncWindow, func(ctx context.Context, primary string) {
		off(t, cache, []string{primary})
		awaitOther(t, cache, primary)
		awaitOther(t, sessions, primary)
		if err := w.AwaitAck(ctx); err != nil {
			t.Fatal(err)
		}
		on(t, cache, []string{primary})
	})
	s := sessions.Healthy(ctx)
	r := w.Stop()
	v, err := w.Verify(ctx, s.Primary.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the other cluster: write downtime %v, %d acknowledged, %d lost", r.Downtime().Length().Round(100*time.Microsecond), v.Acked, len(v.Lost))
	if len(v.Lost) > asyncWindow || r.LongestDual().Length() > 0 {
		t.Errorf("%d lost, %+v", len(v.Lost), r.LongestDual())
	}
}

// runs is the process of a node's redis-server.
func runs(t *testing.T, c *cluster.Cluster, node string) int {
	t.Helper()
	s, err := c.Status(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	return cluster.Node(s, node).RedisPID
}

// stayed: neither the primary nor its process is another one.
func stayed(t *testing.T, s agent.Status, node string, pid int) {
	t.Helper()
	if now := cluster.Node(s, node).RedisPID; cluster.Primary(s) != node || now != pid {
		t.Errorf("the primary was %s (%d) and is %s (%d)", node, pid, cluster.Primary(s), now)
	}
}

// instanceRestarted: a restart of the service replaces the agent alone; a stop moves the primary.
func instanceRestarted(t *testing.T, sessions *cluster.Cluster) {
	var pid int
	var node string
	_, after := fault(t, sessions, 0, func(ctx context.Context, primary string) {
		node, pid = primary, runs(t, sessions, primary)
		run(t, sessions.Host(primary), "systemctl", "restart", "redisd@sessions")
	})
	stayed(t, after, node, pid)
	fault(t, sessions, 0, func(ctx context.Context, primary string) {
		run(t, sessions.Host(primary), "systemctl", "stop", "redisd@sessions")
		awaitOther(t, sessions, primary)
		run(t, sessions.Host(primary), "systemctl", "start", "redisd@sessions")
	})
}

// collision gives a file that takes what the other cluster has: nothing is done by it, and the node
// goes on, also when its agent is replaced. The other one does not mind.
func collision(t *testing.T, cache, sessions *cluster.Cluster) {
	name := cluster.Primary(sessions.Healthy(t.Context()))
	h := sessions.Host(name)
	good := run(t, h, "cat", sessionsFile)
	put(t, sessions, name, sessionsFile, strings.ReplaceAll(good, sessions.VIP, cache.VIP))
	defer put(t, sessions, name, sessionsFile, good)

	const says = "is that of another node on this host (vip[0].address, /etc/redisd/redisd.toml:"
	if out, err := h.Run(t.Context(), "redisd", "-c", "sessions", "check"); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("check says: %v %s", err, out)
	}
	pid := runs(t, sessions, name)
	fault(t, sessions, 0, func(ctx context.Context, _ string) {
		run(t, h, "systemctl", "reload", "redisd@sessions")
		awaitJournal(t, h, "redisd@sessions", "not reloaded", says)
		killAgent(t, h, "redisd@sessions")
		awaitJournal(t, h, "redisd@sessions", "the configuration is refused; this node goes on")
	})
	stayed(t, sessions.Healthy(t.Context()), name, pid)
	// The other one is not taken down by it, though it is refused a file, too.
	fault(t, cache, 0, func(ctx context.Context, _ string) {
		killAgent(t, cache.Host(name), "redisd")
		awaitJournal(t, h, "redisd", "is that of another node on this host (vip[0].address, "+sessionsFile)
		cache.Healthy(ctx)
	})
	put(t, sessions, name, sessionsFile, good)
	newcomer(t, cache)
	// Neither is it by a copy that somebody keeps there: a changed file is taken all the same.
	const own = "/etc/redisd/redisd.toml"
	text := run(t, h, "cat", own)
	put(t, cache, name, "/etc/redisd/redisd.old.toml", text)
	put(t, cache, name, own, text+"\n[redis]\nmaxmemory = \"64mb\"\n")
	run(t, h, "systemctl", "reload", "redisd")
	awaitJournal(t, h, "redisd", "configuration reloaded", "redis.maxmemory")
	if out, err := h.Run(t.Context(), "redisd", "check"); err == nil || !strings.Contains(err.Error(), "redisd.old.toml") {
		t.Errorf("check says of the copy: %v %s", err, out)
	}
	put(t, cache, name, own, text)
	run(t, h, "rm", "/etc/redisd/redisd.old.toml")
	run(t, h, "systemctl", "reload", "redisd")
	for _, c := range []*cluster.Cluster{cache, sessions} {
		s := c.Healthy(t.Context())
		if n := cluster.Node(s, cluster.Primary(s)); len(n.VIPs) != 1 || n.VIPs[0] != c.VIP+"/24" {
			t.Errorf("%s has the VIPs %v, want %s", n.Name, n.VIPs, c.VIP)
		}
	}
	run(t, h, "systemctl", "reload", "redisd@sessions")
	awaitJournal(t, h, "redisd@sessions", "configuration reloaded")
}

// newcomer starts a service with the ports and the VIP of the primary on the same host. It is
// refused, and what it does not have it does not let go of.
func newcomer(t *testing.T, cache *cluster.Cluster) {
	name := cluster.Primary(cache.Healthy(t.Context()))
	h := cache.Host(name)
	put(t, cache, name, "/etc/redisd/third.toml", run(t, h, "sed", "s/\"cache\"/\"third\"/", "/etc/redisd/redisd.toml"))
	// The same secret: its password would be taken by the other's redis-server.
	put(t, cache, name, "/etc/redisd/third.secret", run(t, h, "cat", "/etc/redisd/secret"))
	o := faultOf(t, cache, limits{}, func(ctx context.Context, _ string) {
		if out, err := h.Run(ctx, "systemctl", "start", "redisd@third"); err == nil {
			t.Errorf("redisd@third started: %s", out)
		}
		awaitJournal(t, h, "redisd@third", "port 6379 is that of another node on this host", "the VIP "+cache.VIP+" is that of another node on this host")
		if state := run(t, h, "systemctl", "show", "--property=ActiveState", "--value", "redisd@third"); strings.TrimSpace(state) != "failed" {
			t.Errorf("redisd@third is %s", state)
		}
	})
	if cluster.Primary(o.after) != name || len(o.report.Errors) > 0 {
		t.Errorf("its client noticed: the primary is %s, was %s; errors %v", cluster.Primary(o.after), name, o.report.Errors)
	}
	run(t, h, "sh", "-ec", "rm /etc/redisd/third.*; systemctl reset-failed redisd@third; rmdir /var/lib/redisd-third")
}

// killAgent kills the agent of a service, and waits for the next one.
func killAgent(t *testing.T, h *lab.Host, unit string) {
	t.Helper()
	pid := func() string {
		return strings.TrimSpace(run(t, h, "systemctl", "show", "--property=MainPID", "--value", unit))
	}
	old := pid()
	run(t, h, "kill", "-KILL", old)
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	err := lab.Await(ctx, 50*time.Millisecond, func() error {
		if now := pid(); now == old || now == "0" {
			return errors.New("no new agent of " + unit)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func awaitJournal(t *testing.T, h *lab.Host, unit string, wants ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := lab.Await(ctx, 50*time.Millisecond, func() error {
		journal := run(t, h, "journalctl", "-u", unit, "--no-pager", "-n", "1000")
		for _, want := range wants {
			if !strings.Contains(journal, want) {
				return fmt.Errorf("the journal of %s does not say %q:\n%s", unit, want, journal)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// instanceWords: what is said of an instance tells its own commands; the first cluster has no
// second service.
func instanceWords(t *testing.T, sessions *cluster.Cluster) {
	ctx := t.Context()
	h := sessions.Host("b")
	run(t, h, "redisd", "-c", "sessions", "pause")
	if out := run(t, h, "redisd", "-c", "sessions", "status"); !strings.Contains(out, "redisd -c sessions resume") {
		t.Errorf("status does not say how to go on:\n%s", out)
	}
	run(t, h, "redisd", "-c", "sessions", "resume")
	if out := run(t, h, "redisd", "__complete", "status", "-c", ""); !strings.Contains(out, "redisd\nsessions\n") {
		t.Errorf("completion offers:\n%s", out)
	}
	_, err := h.Run(ctx, "redisd", "-c", "other", "status")
	if err == nil || !strings.Contains(err.Error(), "redisd@other") || !strings.Contains(err.Error(), "`redisd -c sessions status`") {
		t.Errorf("of a cluster that is not here: %v", err)
	}
	pid := runs(t, sessions, "b")
	if _, err := h.Run(ctx, "systemctl", "start", "redisd@redisd"); err == nil {
		t.Error("redisd@redisd started")
	}
	awaitJournal(t, h, "redisd@redisd", "redisd@redisd.service cannot be")
	run(t, h, "sh", "-ec", "systemctl reset-failed redisd@redisd; rmdir /var/lib/redisd-redisd") // systemd has made it
	sessions.Healthy(ctx)
	if now := runs(t, sessions, "b"); now != pid {
		t.Errorf("redis-server was %d and is %d", pid, now)
	}
}

// upgradedBoth: the package's upgrade replaces all agents and no redis-server.
func upgradedBoth(t *testing.T, cache, sessions *cluster.Cluster) {
	w := sessions.Writer(t.Context())
	defer w.Stop()
	if err := w.AwaitAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := cluster.Primary(sessions.Healthy(t.Context()))
	h := cache.Host(name)
	agents := func() string {
		return run(t, h, "systemctl", "show", "--property=MainPID", "--value", "redisd", "redisd@sessions")
	}
	before, pids := agents(), [2]int{runs(t, cache, name), runs(t, sessions, name)}
	fault(t, cache, 0, func(context.Context, string) { run(t, h, "dpkg", "-i", "/root/redisd.deb") })
	s := sessions.Healthy(t.Context())
	r := w.Stop()
	v, err := w.Verify(t.Context(), s.Primary.Address)
	if err != nil || len(v.Lost) > 0 {
		t.Errorf("%v, %d lost", err, len(v.Lost))
	}
	if r.Errors["NOREPLICAS"] > 0 {
		t.Errorf("%d writes were refused", r.Errors["NOREPLICAS"])
	}
	for i, was := range strings.Fields(before) {
		if was == strings.Fields(agents())[i] {
			t.Errorf("agent %s runs on", was)
		}
	}
	if now := [2]int{runs(t, cache, name), runs(t, sessions, name)}; now != pids {
		t.Errorf("the redis-servers were %v and are %v", pids, now)
	}
	// An upgrade of Redis names both.
	out := run(t, h, "sh", "-ec", "dpkg-trigger --no-await /usr/bin/redis-server; dpkg --configure --pending")
	for _, want := range []string{"systemctl stop redisd &&", "systemctl stop redisd@sessions &&"} {
		if !strings.Contains(out, want) {
			t.Errorf("the trigger does not say %q:\n%s", want, out)
		}
	}
}

// purged: nothing runs after a removal, and nothing is left after a purge.
func purged(t *testing.T, cache, sessions *cluster.Cluster) {
	ctx := t.Context()
	name := cluster.Primary(sessions.Healthy(ctx))
	h := cache.Host(name)
	run(t, h, "sh", "-ec", "export DEBIAN_FRONTEND=noninteractive; apt-get remove -y -qq redisd")
	for _, process := range []string{"redisd", program("redis-server"), program("redis-sentinel")} {
		if pid, err := h.PIDOf(ctx, process); err == nil {
			t.Errorf("%s runs on as %d", process, pid)
		}
	}
	run(t, h, "test", "-d", "/var/lib/redisd-sessions/redis")
	run(t, h, "sh", "-ec", "export DEBIAN_FRONTEND=noninteractive; apt-get purge -y -qq redisd")
	left := run(t, h, "sh", "-c", "ls -d /var/lib/redisd* /run/redisd* /etc/redisd /etc/systemd/system/*/redisd* 2>/dev/null || true")
	if left != "" {
		t.Errorf("left after the purge:\n%s", left)
	}
	for _, c := range []*cluster.Cluster{cache, sessions} {
		c.Await(ctx, "another primary", func(s agent.Status) error {
			if s.Primary == nil || cluster.Primary(s) == name {
				return fmt.Errorf("primary %v", s.Primary)
			}
			return nil
		})
	}
}
