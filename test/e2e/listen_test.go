package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// TestListen: a host has other networks than the cluster's, which come and go. redis-server and
// Sentinel answer at none of their addresses that they were not told of, and at those of listen,
// whenever they come; and so through a switchover and a crash, at every address of every host.
func TestListen(t *testing.T) {
	const office, public = "198.51.100.", "203.0.113."
	c := cluster.New(t, cluster.Lab(t), cluster.Options{Config: "[redis]\nlisten = [\"lo\", \"" + office + "0/24\"]\n\n[sentinel]\nlisten = [\"" + office + "0/24\"]\n"})
	addresses := func(does, network string) {
		t.Helper()
		for i, name := range c.Names() {
			run(t, c.Host(name), "ip", "addr", does, fmt.Sprint(network, i+1, "/24"), "dev", "host0")
		}
	}
	addresses("add", public)
	c.Start(t.Context()) // the office's addresses are missing
	own := func(name string) []string {
		return []string{c.Host(name).Addr().String(), c.Host(name).Addr6().String()}
	}
	all := func(i int, name string) []string {
		return append(own(name), "127.0.0.1", "::1", c.VIP, fmt.Sprint(public, i+1), fmt.Sprint(office, i+1))
	}
	// expect: who answers at the ports of Redis and of Sentinel.
	expect := func(what, primary string, office string) {
		t.Helper()
		for i, name := range c.Names() {
			redis := []string{own(name)[0], "127.0.0.1", "::1"}
			sentinel := own(name)[:1]
			if office != "" {
				redis, sentinel = append(redis, fmt.Sprint(office, i+1)), append(sentinel, fmt.Sprint(office, i+1))
			}
			if name == primary {
				redis = append(redis, c.VIP)
			}
			awaitAnswers(t, c, name, what, "6379", all(i, name), redis)
			awaitAnswers(t, c, name, what, "26379", all(i, name), sentinel)
		}
	}
	primary := cluster.Primary(c.Healthy(t.Context()))
	expect("at the start", primary, "")
	addresses("add", office)
	expect("with an address that came later", primary, office)
	c.Healthy(t.Context())

	_, after := fault(t, c, 0, func(ctx context.Context, primary string) { run(t, c.Host(primary), "redisd", "switchover") })
	expect("after a switchover", cluster.Primary(after), office)
	_, after = fault(t, c, asyncWindow, func(ctx context.Context, primary string) {
		kill(t, c, primary, "redis-server", unix.SIGKILL)
		awaitOther(t, c, primary)
	})
	expect("after a crash", cluster.Primary(after), office)
	_, after = fault(t, c, 0, func(context.Context, string) { addresses("del", office) })
	expect("when the address has gone", cluster.Primary(after), "")
	if out := run(t, c.Host(c.Names()[0]), "redisd", "check"); !strings.Contains(out, `redis.listen: "`+office+`0/24" means no address that this host has now`) {
		t.Errorf("check:\n%s", out)
	}
}

// awaitAnswers waits until a host answers on the port at these of its addresses, and at no others.
func awaitAnswers(t *testing.T, c *cluster.Cluster, name, what, port string, all, want []string) {
	t.Helper()
	slices.Sort(want)
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	err := lab.Await(ctx, 100*time.Millisecond, func() error {
		script := ""
		for _, a := range all {
			script += fmt.Sprintf("ip -o addr | grep -qwF %s && timeout 2 redis-cli -h %[1]s -p %s PING 2>&1 | grep -qE 'PONG|NOAUTH' && echo %[1]s\n", a, port)
		}
		out, err := c.Host(name).Shell(ctx, script+"true")
		if got := strings.Fields(out); err == nil {
			if slices.Sort(got); !slices.Equal(got, want) {
				err = fmt.Errorf("%s: %s answers on port %s at %v, want %v", what, net.JoinHostPort(name, port), port, got, want)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
