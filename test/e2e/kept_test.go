package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// TestClientsBreak has a client, with the password that every application has, change on every node
// what redisd needs as it is, and waits until it is restored.
func TestClientsBreak(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{Config: "[redis]\nmaxmemory = \"64mb\"\n"})
	c.Start(t.Context())
	t.Run("directives", func(t *testing.T) { breakDirectives(t, c) })
	t.Run("writable replica", func(t *testing.T) { writableReplica(t, c) })
	t.Run("users", func(t *testing.T) { breakUsers(t, c) })
	t.Run("paused", func(t *testing.T) { breakPaused(t, c) })
	t.Run("drift", func(t *testing.T) { drifts(t, c) })
	t.Run("reload", func(t *testing.T) { keptReload(t, c) })
}

// restoredWithin is how soon what a client broke is to be whole again; the lab's hosts share two
// processors, and each look of the test costs tens of milliseconds itself.
const restoredWithin = time.Second

// asClient is a command line that runs a command of Redis on a host as the applications do.
func asClient(c *cluster.Cluster, args ...string) []string {
	return append([]string{"redis-cli", "-e", "--no-auth-warning", "-a", c.Password()}, args...)
}

// asAdmin is the same as a user whom nothing of redisd's depends on.
func asAdmin(args ...string) []string {
	return append([]string{"redis-cli", "-e", "--no-auth-warning", "--user", "admin", "--pass", "admin"}, args...)
}

func makeAdmin(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, name := range c.Names() {
		run(t, c.Host(name), asClient(c, "ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")...)
	}
}

// restored waits until a command prints again what it did, in whatever order, and returns after how
// long.
func restored(t *testing.T, h *lab.Host, what, want string, command ...string) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := lab.Await(ctx, 5*time.Millisecond, func() error {
		if got, err := h.Run(ctx, command...); sortedWords(got) != sortedWords(want) {
			return fmt.Errorf("%q, not %q: %v", got, want, err)
		}
		return nil
	})
	took := time.Since(began)
	switch {
	case err != nil:
		t.Errorf("%s: %s is not restored: %v", h.Name(), what, err)
	case took > restoredWithin:
		t.Errorf("%s: %s is restored after %v", h.Name(), what, took)
	}
	return took
}

// told waits for an event that names what was restored.
func told(t *testing.T, h *lab.Host, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := lab.Await(ctx, 50*time.Millisecond, func() error {
		if out, err := h.Run(ctx, "redisd", "events"); err != nil || !strings.Contains(out, what) {
			return errors.New(out)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: no event says %q: %v", h.Name(), what, err)
	}
}

// unhurt runs do while a client writes: no write is lost, the primary stays, every replica is in
// sync afterwards, and no redis-server was restarted.
func unhurt(t *testing.T, c *cluster.Cluster, do func(primary string)) {
	t.Helper()
	pids := map[string]int{}
	for _, name := range c.Names() {
		pids[name] = redisPID(t, c, name)
	}
	var before string
	_, after := fault(t, c, 0, func(_ context.Context, primary string) {
		before = primary
		do(primary)
	})
	if now := cluster.Primary(after); now != before {
		t.Errorf("the primary moved from %s to %s", before, now)
	}
	for _, name := range c.Names() {
		if now := redisPID(t, c, name); now != pids[name] {
			t.Errorf("redis-server of %s was restarted", name)
		}
	}
}

func breakDirectives(t *testing.T, c *cluster.Cluster) {
	unhurt(t, c, func(primary string) {
		var worst time.Duration
		for _, name := range c.Names() {
			for _, change := range [][2]string{
				{"appendonly", "no"}, {"bind", "127.0.0.1"}, {"port", "7777"}, {"masterauth", "other"}, {"masteruser", "other"}, {"min-replicas-max-lag", "100"}, {"protected-mode", "yes"},
				{"repl-diskless-load", "swapdb"}, {"replica-announce-ip", "10.9.9.9"}, {"replica-announce-port", "1"}, {"replica-read-only", "no"},
			} {
				h := c.Host(name)
				get := asClient(c, "CONFIG", "GET", change[0])
				was := run(t, h, get...)
				run(t, h, asClient(c, "CONFIG", "SET", change[0], change[1])...)
				worst = max(worst, restored(t, h, change[0], was, get...))
				told(t, h, change[0]+" was")
			}
		}
		t.Logf("restored after %v at most", worst.Round(time.Millisecond))
	})
}

// writableReplica: how long a client could write to a replica.
func writableReplica(t *testing.T, c *cluster.Cluster) {
	unhurt(t, c, func(primary string) {
		for _, name := range c.Others(primary) {
			h := c.Host(name)
			out := run(t, h, "sh", "-c", "export REDISCLI_AUTH="+c.Password()+"\n"+writeToReplica)
			var n, last int
			var closed string
			if _, err := fmt.Sscan(out, &n, &last, &closed); err != nil {
				t.Fatalf("%v: %q", err, out)
			}
			t.Logf("%s took %d writes as a replica, the last %d ms after it was opened", name, n, last)
			if closed != "yes" || time.Duration(last)*time.Millisecond > restoredWithin {
				t.Errorf("%s accepts writes as a replica for %d ms, and is closed: %s", name, last, closed)
			}
			told(t, h, "replica-read-only was")
		}
	})
}

// writeToReplica opens a replica, writes to it until it is closed again, for 5 s at most, and
// prints the number of writes that were taken, when the last one was, and whether it was closed.
const writeToReplica = `
redis-cli CONFIG SET replica-read-only no >/dev/null
began=$(date +%s%N); n=0; last=0; closed=no
while ms=$(( ($(date +%s%N) - began) / 1000000 )); [ $ms -lt 5000 ]; do
	case $(redis-cli SET stray x 2>&1) in
	OK) n=$((n+1)); last=$ms;;
	*READONLY*) closed=yes; break;;
	esac
done
echo $n $last $closed`

func breakUsers(t *testing.T, c *cluster.Cluster) {
	makeAdmin(t, c)
	for _, change := range []string{
		"ACL DELUSER redisd-replica", "ACL DELUSER redisd-sentinel", "ACL SETUSER redisd-replica off", "ACL SETUSER redisd-replica resetpass >other",
		"ACL SETUSER redisd-agent -config -info", "ACL SETUSER default off", "ACL SETUSER default nopass", "CONFIG SET requirepass other",
	} {
		t.Run(change, func(t *testing.T) {
			unhurt(t, c, func(primary string) {
				var worst time.Duration
				for _, name := range []string{primary, c.Others(primary)[0]} {
					h := c.Host(name)
					list := asAdmin("ACL", "LIST")
					was := run(t, h, list...)
					run(t, h, asAdmin(strings.Fields(change)...)...)
					worst = max(worst, restored(t, h, change, was, list...))
					told(t, h, "user "+userOf(change))
				}
				linked := c.Healthy(t.Context())
				for _, n := range linked.Nodes {
					if n.Name != primary && (n.Replication == nil || n.Replication.Link != "up") {
						t.Errorf("%s is no replica any more: %+v", n.Name, n)
					}
				}
				t.Logf("restored after %v at most", worst.Round(time.Millisecond))
			})
		})
	}
}

func userOf(change string) string {
	if words := strings.Fields(change); words[0] == "ACL" {
		return words[2]
	}
	return "default"
}

func sortedWords(text string) string {
	words := strings.Fields(text)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// breakPaused: a pause is about who is primary.
func breakPaused(t *testing.T, c *cluster.Cluster) {
	h := c.Host(c.Names()[0])
	run(t, h, "redisd", "pause")
	get := asClient(c, "CONFIG", "GET", "replica-read-only")
	was := run(t, h, get...)
	run(t, h, asClient(c, "CONFIG", "SET", "replica-read-only", "no")...)
	restored(t, h, "replica-read-only", was, get...)
	run(t, h, "redisd", "resume")
	c.Healthy(t.Context())
}

// drifts: what an operator may change stays, and is shown on every node.
func drifts(t *testing.T, c *cluster.Cluster) {
	node := c.Names()[1]
	h := c.Host(node)
	run(t, h, asClient(c, "CONFIG", "SET", "maxmemory", "100mb")...)
	s := c.Await(t.Context(), "a status that shows it", func(s agent.Status) error {
		if !slices.Contains(cluster.Node(s, node).Drift, agent.Drift{Directive: "maxmemory", Value: "104857600", Configured: "64mb", Source: "redisd.toml"}) {
			return fmt.Errorf("%+v", cluster.Node(s, node).Drift)
		}
		return nil
	})
	if s.Health != "healthy" {
		t.Errorf("an operator's change made the cluster %s: %q", s.Health, s.Problems)
	}
	if out := run(t, c.Host(c.Names()[0]), "redisd", "status"); !strings.Contains(out, node+": maxmemory is 104857600; redisd.toml says 64mb") || !strings.Contains(out, "users made by hand: admin") {
		t.Errorf("status:\n%s", out)
	}
	if got := run(t, h, asClient(c, "CONFIG", "GET", "maxmemory")...); !strings.Contains(got, "104857600") {
		t.Errorf("maxmemory did not stay: %s", got)
	}
}

// keptReload: what a reload sets is no client's doing, and is restored from then on.
func keptReload(t *testing.T, c *cluster.Cluster) {
	h := c.Host(c.Names()[2])
	run(t, h, "sh", "-c", "echo a-password-of-their-own > /etc/redisd/clients && chgrp redis /etc/redisd/clients && chmod 0640 /etc/redisd/clients")
	write(t, h, c.Config()+"password_file = \"/etc/redisd/clients\"\n[redis.directives]\nappendonly = false\n")
	before := run(t, h, "redisd", "events")
	run(t, h, "systemctl", "reload", "redisd")
	const no = "appendonly no"
	get := asAdmin("CONFIG", "GET", "appendonly")
	restored(t, h, "appendonly, by the reload,", no, get...)
	run(t, h, asAdmin("CONFIG", "SET", "repl-diskless-load", "swapdb")...)
	restored(t, h, "repl-diskless-load", "repl-diskless-load disabled", asAdmin("CONFIG", "GET", "repl-diskless-load")...)
	if out, err := h.Run(t.Context(), "redis-cli", "-e", "--no-auth-warning", "-a", "a-password-of-their-own", "PING"); err != nil {
		t.Errorf("the clients' new password: %s %v", out, err)
	}
	after := strings.TrimPrefix(run(t, h, "redisd", "events"), before)
	if strings.Contains(after, "appendonly") || strings.Contains(after, "user default") {
		t.Errorf("a reload is taken for a client:\n%s", after)
	}
	run(t, h, asAdmin("CONFIG", "SET", "appendonly", "yes")...)
	restored(t, h, "appendonly, which redisd.toml turned off,", no, get...)
}
