package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

const (
	// knownAfter is how long clients must have been connected for the others to know of them: a
	// look a second, and a busy machine.
	knownAfter = 3 * time.Second
	// toldWithin is how soon after the first write a listener of a lost host is told.
	toldWithin = 2 * time.Second
	listeners  = 10 // of each kind
)

// listener is a client that waits for what never comes.
type listener struct {
	what string
	net.Conn
	told chan ending
}

// ending is how a connection ended, and when.
type ending struct {
	at  time.Time
	err error
}

// listen connects to an address, has redis-server begin to wait, and waits itself. Nothing is sent
// any more then, no keepalive either.
func listen(t *testing.T, c *cluster.Cluster, address string, command ...string) *listener {
	t.Helper()
	conn, err := c.Lab.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	l := &listener{what: command[0] + " at " + address, Conn: conn, told: make(chan ending, 1)}
	if err := conn.(*net.TCPConn).SetKeepAlive(false); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nPING\r\n%s\r\n", c.Password(), strings.Join(command, " ")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"+OK", "+PONG"} {
		if line, err := in.ReadString('\n'); err != nil || strings.TrimSpace(line) != want {
			t.Fatalf("%s: %q, %v", l.what, line, err)
		}
	}
	go func() {
		for {
			if _, err := in.ReadString('\n'); err != nil {
				l.told <- ending{time.Now(), err}
				return
			}
		}
	}()
	return l
}

// awaitTold says how long after something each listener was told, and closes them.
func awaitTold(t *testing.T, all []*listener, what string, since time.Time) {
	t.Helper()
	var took []time.Duration
	for _, l := range all {
		if err := l.SetReadDeadline(since.Add(toldWithin)); err != nil {
			t.Fatal(err)
		}
		end := <-l.told
		l.Close()
		if errors.Is(end.err, os.ErrDeadlineExceeded) || end.at.After(since.Add(toldWithin)) {
			t.Errorf("%s was not told within %v after %s: %v", l.what, toldWithin, what, end.err)
			continue
		}
		took = append(took, end.at.Sub(since))
	}
	if len(took) > 0 {
		slices.Sort(took)
		t.Logf("%d of %d listeners told %v to %v after %s, half of them by %v", len(took), len(all), took[0], took[len(took)-1], what, took[len(took)/2])
	}
}

// TestListenersOfALostHost: clients that wait in silence at an address learn that the host which
// had it is gone.
func TestListenersOfALostHost(t *testing.T) {
	l := cluster.Lab(t)
	vip6, ofReplicas := l.IP6(100).String(), l.IP(101).String()
	c := cluster.New(t, l, cluster.Options{
		Config: fmt.Sprintf("[[vip]]\naddress = \"%s/64\"\n\n[[vip]]\naddress = \"%s/%d\"\nrole = \"replica\"\n", vip6, ofReplicas, l.Prefix().Bits()),
	})
	c.Start(t.Context())
	for _, fault := range []hostFault{
		{"switchover", false, func(h *lab.Host, ctx context.Context) error {
			_, err := h.Run(ctx, "redisd", "switchover")
			return err
		}, func(*lab.Host, context.Context) error { return nil }},
		{"power loss", true, (*lab.Host).PowerOff, (*lab.Host).PowerOn},
		{"cut", true, (*lab.Host).Silence, (*lab.Host).Unsilence},
	} {
		t.Run(fault.name, func(t *testing.T) { primaryLost(t, c, fault, c.VIP, vip6) })
	}
	t.Run("replica loses power", func(t *testing.T) { replicaLost(t, c, ofReplicas) })
}

// hostFault is how a host stops being the primary's, and how it comes back.
type hostFault struct {
	name     string
	lost     bool                                   // nobody there can tell its clients
	do, undo func(*lab.Host, context.Context) error // as methods are
}

func primaryLost(t *testing.T, c *cluster.Cluster, f hostFault, addresses ...string) {
	var all []*listener
	for _, address := range addresses {
		for range listeners {
			all = append(all, listen(t, c, net.JoinHostPort(address, "6379"), "BLPOP", "nothing", "0"),
				listen(t, c, net.JoinHostPort(address, "6379"), "SUBSCRIBE", "nothing"))
		}
	}
	time.Sleep(knownAfter)
	r, after := fault(t, c, asyncWindow, func(ctx context.Context, primary string) {
		if err := f.do(c.Host(primary), ctx); err != nil {
			t.Fatal(err)
		}
		awaitOther(t, c, primary)
		if err := f.undo(c.Host(primary), ctx); err != nil {
			t.Fatal(err)
		}
	})
	awaitTold(t, all, "the first write", r.Started.Add(r.Downtime().To))
	out, err := c.Host(cluster.Primary(after)).Run(t.Context(), "redisd", "events")
	if said := strings.Contains(out, "clients_told"); said != f.lost || err != nil {
		t.Errorf("an event says that clients were told: %v, want %v; %v\n%s", said, f.lost, err, out)
	}
}

// replicaLost takes the power from the node that has the address of the replicas.
func replicaLost(t *testing.T, c *cluster.Cluster, address string) {
	ctx := t.Context()
	holder := func(s agent.Status) string {
		for _, n := range s.Nodes {
			if slices.ContainsFunc(n.VIPs, func(v string) bool { return strings.HasPrefix(v, address+"/") }) {
				return n.Name
			}
		}
		return ""
	}
	lost := ""
	c.Await(ctx, "a replica with the address", func(s agent.Status) error {
		if lost = holder(s); lost == "" || lost == cluster.Primary(s) {
			return fmt.Errorf("%q has it", lost)
		}
		return nil
	})
	c.Healthy(ctx)
	var all []*listener
	for range listeners {
		all = append(all, listen(t, c, net.JoinHostPort(address, "6379"), "SUBSCRIBE", "nothing"))
	}
	time.Sleep(knownAfter)
	if err := c.Host(lost).PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	c.Await(ctx, "another node with the address", func(s agent.Status) error {
		if now := holder(s); now == "" || now == lost {
			return errors.New("no other node has it")
		}
		return nil
	})
	awaitTold(t, all, "the address was seen at another node", time.Now())
	if err := c.Host(lost).PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	c.Healthy(ctx)
}
