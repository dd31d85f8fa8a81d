package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// TestAliveIsNotHung: a healthy redis-server is not ended because somebody keeps the agent from
// asking it.
func TestAliveIsNotHung(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	t.Run("paused by a client", func(t *testing.T) { pausedByClient(t, c) })
	t.Run("few connections and all taken", func(t *testing.T) { full(t, c, 50, 80) })
	t.Run("all connections taken", func(t *testing.T) { full(t, c, 0, 10050) })
	t.Run("agent user deleted", func(t *testing.T) { userTaken(t, c, "DELUSER", "redisd-agent") })
	t.Run("agent password changed", func(t *testing.T) { userTaken(t, c, "SETUSER", "redisd-agent", "resetpass") })
	t.Run("port changed", func(t *testing.T) { portChanged(t, c) })
	t.Run("address of a replica lost", func(t *testing.T) { replicaAddressLost(t, c) })
	t.Run("address of the primary lost", func(t *testing.T) { primaryAddressLost(t, c) })
}

// spared is fault for what may cost neither a process nor a change of the primary: it returns the
// longest time without a write.
func spared(t *testing.T, c *cluster.Cluster, do func(ctx context.Context, primary string)) time.Duration {
	t.Helper()
	var node string
	pids := map[string]int{}
	o := faultOf(t, c, limits{}, func(ctx context.Context, primary string) {
		node = primary
		for _, name := range c.Names() {
			pids[name] = redisPID(t, c, name)
		}
		do(ctx, primary)
	})
	for name, pid := range pids {
		if now := redisPID(t, c, name); now != pid {
			t.Errorf("redis-server of %s is process %d, before %d", name, now, pid)
		}
	}
	if now := cluster.Primary(o.after); now != node {
		t.Errorf("the primary moved from %s to %s", node, now)
	}
	return o.report.Downtime().Length()
}

// redisCLI asks the redis-server of a host as an application would.
func redisCLI(t *testing.T, c *cluster.Cluster, name string, args ...string) string {
	t.Helper()
	return run(t, c.Host(name), append([]string{"redis-cli", "--no-auth-warning", "-a", c.Password()}, args...)...)
}

// awaitProblem waits until the node itself names a problem that contains text.
func awaitProblem(t *testing.T, c *cluster.Cluster, name, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := lab.Await(ctx, 20*time.Millisecond, func() error {
		s, err := c.Status(ctx, name)
		if err != nil {
			return err
		}
		for _, p := range cluster.Node(s, name).Problems {
			if strings.Contains(p, text) {
				return nil
			}
		}
		return fmt.Errorf("%s says %q", name, cluster.Node(s, name).Problems)
	})
	if err != nil {
		t.Errorf("waited in vain for %q: %v", text, err)
	}
}

const clientPause = 3 * time.Second

func pausedByClient(t *testing.T, c *cluster.Cluster) {
	downtime := spared(t, c, func(ctx context.Context, primary string) {
		redisCLI(t, c, primary, "CLIENT", "PAUSE", fmt.Sprint(clientPause.Milliseconds()), "ALL")
		awaitProblem(t, c, primary, "paused")
	})
	if downtime > clientPause+time.Second {
		t.Errorf("writes came back only after %v", downtime)
	}
}

// takeAll takes n connections of a host's redis-server, without a login, and then every one that
// comes free, until release is called.
func takeAll(t *testing.T, c *cluster.Cluster, name string, n int) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var held []net.Conn
	addr := netip.AddrPortFrom(c.Host(name).Addr(), 6379).String()
	dial := func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			held = append(held, conn)
		}
		return err
	}
	filled, done := make(chan error, 1), make(chan error, 1)
	go func() {
		done <- c.Lab.InNetwork(func() error {
			for range n {
				if err := dial(); err != nil {
					filled <- err
					return err
				}
			}
			filled <- nil
			for ctx.Err() == nil {
				if dial() == nil && refused(held[len(held)-1]) {
					held[len(held)-1].Close()
					held = held[:len(held)-1]
				}
				time.Sleep(2 * time.Millisecond) // so that the machine has time for the hosts, too
			}
			return nil
		})
	}()
	release = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		t.Logf("clients held %d connections in the end", len(held))
		for _, conn := range held {
			conn.Close()
		}
	})
	if err := <-filled; err != nil {
		release()
		t.Fatal(err)
	}
	return release
}

// refused reports that redis-server closes the connection at once, and waits a moment for that.
func refused(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := conn.Read(make([]byte, 64))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// full has clients take every connection, and the agent start anew in two ways. most is maxclients,
// 0: as it is.
func full(t *testing.T, c *cluster.Cluster, most, taken int) {
	downtime := spared(t, c, func(ctx context.Context, primary string) {
		since := strings.TrimSpace(run(t, c.Host(primary), "date", "+%F %T"))
		before := strings.TrimSpace(redisCLI(t, c, primary, "--raw", "CONFIG", "GET", "maxclients"))
		if most != 0 {
			redisCLI(t, c, primary, "CONFIG", "SET", "maxclients", fmt.Sprint(most))
		}
		release := takeAll(t, c, primary, taken)
		defer release()
		kill(t, c, primary, "redisd", unix.SIGKILL)
		awaitAgain(t, c, primary)
		run(t, c.Host(primary), "systemctl", "restart", "redisd")
		awaitAgain(t, c, primary)
		said := run(t, c.Host(primary), "journalctl", "-u", "redisd", "-o", "cat", "--no-pager", "--since", since)
		if !strings.Contains(said, "clients have taken all") {
			t.Errorf("the agent got in without anything being said:\n%s", said)
		}
		release()
		err := lab.Await(ctx, 100*time.Millisecond, func() error {
			want := fmt.Sprint(most)
			if most == 0 {
				_, want, _ = strings.Cut(before, "\n")
			}
			if now := redisCLI(t, c, primary, "--raw", "CONFIG", "GET", "maxclients"); !strings.HasSuffix(strings.TrimSpace(now), "\n"+want) {
				return fmt.Errorf("maxclients is %q, not %s", now, want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		_, value, _ := strings.Cut(before, "\n")
		redisCLI(t, c, primary, "CONFIG", "SET", "maxclients", value)
	})
	if downtime > time.Second {
		t.Errorf("a connected client's writes stood still for %v", downtime)
	}
}

// awaitAgain waits until the agent of a host, which was started anew, knows its redis-server, is
// the primary and has the VIP.
func awaitAgain(t *testing.T, c *cluster.Cluster, name string) {
	t.Helper()
	began := time.Now()
	c.Await(t.Context(), "the new agent", func(s agent.Status) error {
		n := cluster.Node(s, name)
		switch {
		case cluster.Primary(s) != name:
			return fmt.Errorf("the primary is %q: %v", cluster.Primary(s), s.Problems)
		case n.State != "running" || len(n.VIPs) == 0:
			return fmt.Errorf("%s is %s, with the VIPs %v", name, n.State, n.VIPs)
		}
		return nil
	})
	t.Logf("the new agent knows its redis-server after %v", time.Since(began).Round(time.Millisecond))
}

// userTaken takes the agent's user away on every node.
func userTaken(t *testing.T, c *cluster.Cluster, acl ...string) {
	spared(t, c, func(ctx context.Context, _ string) {
		for _, name := range c.Names() {
			before := redisCLI(t, c, name, "ACL", "GETUSER", "redisd-agent")
			redisCLI(t, c, name, append([]string{"ACL"}, acl...)...)
			began := time.Now()
			err := lab.Await(ctx, 10*time.Millisecond, func() error {
				if now := redisCLI(t, c, name, "ACL", "GETUSER", "redisd-agent"); now != before {
					return errors.New(now)
				}
				return nil
			})
			took := time.Since(began)
			if err != nil || took > time.Second {
				t.Errorf("restored on %s after %v: %v", name, took, err)
			}
			t.Logf("restored on %s after %v", name, took.Round(time.Millisecond))
		}
	})
}

func portChanged(t *testing.T, c *cluster.Cluster) {
	downtime := spared(t, c, func(ctx context.Context, _ string) {
		for _, name := range c.Names() {
			redisCLI(t, c, name, "CONFIG", "SET", "port", "7000")
			began := time.Now()
			err := lab.Await(ctx, 10*time.Millisecond, func() error {
				out, err := c.Host(name).Run(ctx, "redis-cli", "--no-auth-warning", "-a", c.Password(), "PING")
				if err == nil && !strings.Contains(out, "PONG") {
					err = errors.New(out)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s listens on its port again after %v", name, time.Since(began).Round(time.Millisecond))
		}
	})
	if downtime > 2*time.Second {
		t.Errorf("writes stood still for %v", downtime)
	}
}

// loseAddress takes a host's own address away, and returns what gives it back.
func loseAddress(t *testing.T, c *cluster.Cluster, name string) (giveBack func()) {
	t.Helper()
	h := c.Host(name)
	prefix := netip.PrefixFrom(h.Addr(), c.Lab.Prefix().Bits()).String()
	run(t, h, "ip", "addr", "del", prefix, "dev", "host0")
	return func() { run(t, h, "ip", "addr", "add", prefix, "dev", "host0") }
}

// withoutAddress: longer than a redis-server that does not answer is given.
const withoutAddress = 6 * time.Second

func replicaAddressLost(t *testing.T, c *cluster.Cluster) {
	spared(t, c, func(_ context.Context, primary string) {
		name := c.Others(primary)[0]
		began := time.Now()
		giveBack := loseAddress(t, c, name)
		awaitProblem(t, c, name, "has lost its address "+c.Host(name).Addr().String()+" (it was on host0)")
		time.Sleep(time.Until(began.Add(withoutAddress))) // nothing may happen
		giveBack()
	})
}

func primaryAddressLost(t *testing.T, c *cluster.Cluster) {
	var node string
	var pid int
	_, after := fault(t, c, asyncWindow, func(_ context.Context, primary string) {
		node, pid = primary, redisPID(t, c, primary)
		began := time.Now()
		giveBack := loseAddress(t, c, primary)
		awaitProblem(t, c, primary, "has lost its address")
		awaitOther(t, c, primary)
		time.Sleep(time.Until(began.Add(withoutAddress))) // nothing may happen
		giveBack()
	})
	if cluster.Primary(after) == node {
		t.Errorf("%s is the primary again", node)
	}
	if now := redisPID(t, c, node); now != pid {
		t.Errorf("redis-server of %s is process %d, before %d", node, now, pid)
	}
}
