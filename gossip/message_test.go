package gossip

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The address of a node that is not a member, and one where nobody is.
func TestSendToAnUnknownAddress(t *testing.T) {
	t.Parallel()
	a, b := start(t, testConfig("n1")), start(t, testConfig("n2"))
	if err := a.Send(b.cfg.Advertise, []byte("packet")); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, b, 5*time.Second); string(m.Payload) != "packet" || time.Since(m.At) > 5*time.Second {
		t.Errorf("got %+v", m)
	}
	big := bytes.Repeat([]byte("x"), MaxReliable)
	var got Message
	for tries := 0; got.Payload == nil && tries < 3; tries++ { // as its caller must
		if err := a.SendReliable(t.Context(), b.cfg.Advertise, big); err != nil {
			t.Log(err)
			continue
		}
		select {
		case got = <-b.Messages():
		case <-time.After(3 * time.Second): // longer than it can be under way
		}
	}
	if !bytes.Equal(got.Payload, big) {
		t.Errorf("got %d bytes", len(got.Payload))
	}
	exact := bytes.Repeat([]byte("y"), MaxPacket)
	if err := a.Send(b.cfg.Advertise, exact); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, b, 5*time.Second); !bytes.Equal(m.Payload, exact) {
		t.Errorf("got %d bytes", len(m.Payload))
	}

	nobody := newAddr()
	if err := a.Send(nobody, []byte("lost")); err != nil {
		t.Errorf("packet to nobody: %v", err)
	}
	if err := a.SendReliable(t.Context(), nobody, []byte("lost")); err == nil {
		t.Error("reliably delivered to nobody")
	}
	for _, err := range []error{
		a.Send(b.cfg.Advertise, make([]byte, MaxPacket+1)),
		a.SendReliable(t.Context(), b.cfg.Advertise, make([]byte, MaxReliable+1)),
		a.Send(netip.AddrPort{}, nil),
	} {
		if err == nil {
			t.Error("want an error")
		}
	}
	if len(a.Members()) != 1 || len(b.Members()) != 1 {
		t.Error("a message made them members")
	}
}

// A host that takes connections and reads nothing. More is sent than the kernel's buffers hold.
func TestSendReliableGivesUp(t *testing.T) {
	t.Parallel()
	deaf := newAddr()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(deaf))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := start(t, testConfig("n1"))
	much := make([]byte, 8<<20)

	began := time.Now()
	err = a.sendReliable(context.Background(), deaf, kindPayload, much)
	if d := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || d > 8*time.Second {
		t.Errorf("by itself, after %v: %v", d, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began = time.Now()
	err = a.sendReliable(ctx, deaf, kindPayload, much)
	if d := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || d > time.Second {
		t.Errorf("with a context, after %v: %v", d, err)
	}
	began = time.Now()
	if err := a.Close(); err != nil || time.Since(began) > time.Second {
		t.Errorf("close took %v: %v", time.Since(began), err)
	}
}

// A flood that nobody reads: the sender and memberlist go on, the newest messages are there, and
// the loss is counted and reported.
func TestFlood(t *testing.T) {
	t.Parallel()
	nodes, cfgs := startCluster(t, 2, nil)
	const total = 20 * inboxDepth
	for i := range uint32(total) {
		if err := nodes[0].Send(cfgs[1].Advertise, binary.BigEndian.AppendUint32(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if !eventually(func() bool { return nodes[1].Stats().Dropped > 0 }) {
		t.Fatal("nothing was dropped")
	}
	marker := []byte("the newest")
	if !eventually(func() bool {
		if err := nodes[0].Send(cfgs[1].Advertise, marker); err != nil {
			t.Fatal(err)
		}
		for {
			select {
			case m := <-nodes[1].Messages():
				if bytes.Equal(m.Payload, marker) {
					return true
				}
			default:
				return false
			}
		}
	}) {
		t.Error("the newest message never came")
	}
	awaitStates(t, nodes[1], time.Second, map[string]State{"n1": Alive, "n2": Alive})
	t.Logf("%d of %d dropped", nodes[1].Stats().Dropped, total)
}

// Garbage on both ports does no harm and fills no log.
func TestGarbage(t *testing.T) {
	t.Parallel()
	g, log := startLogged(t, testConfig("n1"))
	label := append([]byte{244, byte(len("redisd/test"))}, "redisd/test"...)
	for _, head := range [][]byte{nil, {244}, label, {244, 3, 'a', 'b', 'c'}, {0}, {1}, {255}} {
		udp, err := net.Dial("udp", g.cfg.Advertise.String())
		if err != nil {
			t.Fatal(err)
		}
		for n := range 60 {
			_, _ = udp.Write(append(bytes.Clone(head), bytes.Repeat([]byte{byte(n)}, n)...))
		}
		udp.Close()
		tcp, err := net.Dial("tcp", g.cfg.Advertise.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = tcp.Write(append(bytes.Clone(head), bytes.Repeat([]byte{7}, 100)...))
		tcp.Close()
	}
	if err := g.Send(g.cfg.Advertise, []byte("still there")); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, g, 5*time.Second); string(m.Payload) != "still there" {
		t.Errorf("got %q", m.Payload)
	}
	if n := log.count("\n"); n > 20 {
		t.Errorf("%d lines logged", n)
	}
}

// Other agents look at the port to see whether the host is up: nobody is to be told of that.
func TestLookedAt(t *testing.T) {
	t.Parallel()
	g, log := startAt(t, testConfig("n1"), slog.LevelDebug)
	for range 3 {
		c, err := net.Dial("tcp", g.cfg.Advertise.String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if !eventually(func() bool { return log.count(errNoWord.Error()) == 3 }) {
		t.Error("it was not noticed")
	}
	if n := log.count("level=WARN"); n > 0 {
		t.Errorf("%d warnings", n)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	g := start(t, testConfig("n1"))
	var conns []net.Conn
	for range 2 * maxStreams {
		c, err := net.Dial("tcp", g.cfg.Advertise.String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	var closed atomic.Int32
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)) // before memberlist gives up on it
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				closed.Add(1)
			}
		})
	}
	wg.Wait()
	if n := int(closed.Load()); n < maxStreams {
		t.Errorf("%d of %d connections were turned away, want %d", n, len(conns), maxStreams)
	}
	for _, c := range conns {
		c.Close()
	}
	if !eventually(func() bool {
		g.transport.mu.Lock()
		defer g.transport.mu.Unlock()
		return g.transport.served == 0
	}) {
		t.Error("closed connections are still counted")
	}
}

// BenchmarkSend measures from Send to the receiver's Messages channel.
func BenchmarkSend(b *testing.B) {
	nodes, cfgs := startCluster(b, 3, nil)
	payload := make([]byte, 200)
	var worst time.Duration
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		if err := nodes[0].Send(cfgs[1].Advertise, payload); err != nil {
			b.Fatal(err)
		}
		<-nodes[1].Messages()
		worst = max(worst, time.Since(began))
	}
	b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
}
