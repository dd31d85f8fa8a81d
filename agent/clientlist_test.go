package agent

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/redisd/redisd/gossip"
)

var (
	vip4 = netip.MustParseAddr("10.0.0.100")
	vip6 = netip.MustParseAddr("fd00::100")
)

// someClients are those of the numbers from first on, of the family of the address.
func someClients(vip netip.Addr, first, n int) []netip.AddrPort {
	var out []netip.AddrPort
	for i := first; i < first+n; i++ {
		b := vip.AsSlice()
		b[len(b)-2], b[len(b)-1] = byte(i/250), byte(i%250)
		addr, _ := netip.AddrFromSlice(b)
		out = append(out, netip.AddrPortFrom(addr, uint16(30_000+i)))
	}
	return sorted(out)
}

// line is a feed and the list at its other end.
type line struct {
	t    *testing.T
	vip  netip.Addr
	feed clientsFeed
	list clientList
	at   time.Duration
	sent []clientsUpdate
}

// look tells the other end of these clients; a call may fail before it gets there, or its answer
// may be lost.
func (l *line) look(clients []netip.AddrPort, fails func() (lost, unanswered bool)) {
	l.t.Helper()
	l.at += time.Second
	for {
		u, told, due := l.feed.next(l.at, clients)
		if !due {
			return
		}
		u.Node, u.VIP, u.Port = "a", "v", 6379
		l.sent = append(l.sent, u)
		lost, unanswered := fails()
		taken := false
		if !lost {
			next, ok, err := l.list.take(u, l.vip)
			if err != nil {
				l.t.Fatal(err)
			}
			if taken = ok; ok {
				l.list = next
			}
		}
		l.feed.answered(l.at, taken && !unanswered, told)
		if !taken || unanswered {
			return
		}
	}
}

func never() (lost, unanswered bool) { return false, false }

func TestClientsAreTold(t *testing.T) {
	for _, vip := range []netip.Addr{vip4, vip6} {
		l := &line{t: t, vip: vip, at: time.Hour}
		for _, clients := range [][]netip.AddrPort{
			nil, someClients(vip, 0, 3), someClients(vip, 1, 3), someClients(vip, 0, 3*pieceMost), someClients(vip, pieceMost, 100), nil,
		} {
			l.look(clients, never)
			if !slices.Equal(l.list.peers, clients) {
				t.Fatalf("%d clients are known, want %d", len(l.list.peers), len(clients))
			}
		}
		for _, u := range l.sent {
			b, err := json.Marshal(u)
			if err != nil || len(b) > gossip.MaxReliable-1000 {
				t.Errorf("an update is %d bytes, %v", len(b), err)
			}
		}
	}
}

func TestClientsCost(t *testing.T) {
	l := &line{t: t, vip: vip4, at: time.Hour}
	clients := someClients(vip4, 0, 10_000)
	l.look(clients, never)
	n := 0
	for _, u := range l.sent {
		n += len(u.Added) + len(u.Removed)
	}
	if n != 60_000 {
		t.Errorf("10 000 clients are %d bytes", n)
	}
	l.sent = nil
	l.look(someClients(vip4, 1, 10_000), never)
	if len(l.sent) != 1 || len(l.sent[0].Added) != 6 || len(l.sent[0].Removed) != 6 {
		t.Errorf("one went and one came: %+v", l.sent)
	}
	l.sent = nil
	for range 10 * signEvery / time.Second {
		l.look(someClients(vip4, 1, 10_000), never)
	}
	if len(l.sent) != 10 || len(l.sent[0].Added) != 0 {
		t.Errorf("nothing changed: %d updates within %v", len(l.sent), 10*signEvery)
	}
}

// Whatever is lost, and whoever begins anew, the list is right once updates come through again.
func TestClientsAfterLoss(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := &line{t: t, vip: vip4, at: time.Hour}
		var clients []netip.AddrPort
		for range 30 {
			clients = someClients(vip4, r.IntN(20), r.IntN(2000))
			l.look(clients, func() (lost, unanswered bool) { return r.IntN(4) == 0, r.IntN(4) == 0 })
			switch r.IntN(10) {
			case 0:
				l.list = clientList{}
			case 1:
				l.feed = clientsFeed{}
			}
		}
		for range (againLast + signEvery) / time.Second {
			l.look(clients, never)
		}
		if !slices.Equal(l.list.peers, clients) {
			t.Fatalf("seed %d: %d clients are known, want %d", seed, len(l.list.peers), len(clients))
		}
	}
}

// An older build, and a node that knows another holder, are asked ever more seldom, and by a few
// bytes.
func TestClientsRefused(t *testing.T) {
	l := &line{t: t, vip: vip4, at: time.Hour}
	for range 300 {
		l.look(someClients(vip4, 0, 1000), func() (lost, unanswered bool) { return true, false })
	}
	if n := len(l.sent); n < 10 || n > 20 {
		t.Errorf("asked %d times in five minutes", n)
	}
	for _, u := range l.sent {
		if u.Number != 1 || len(u.Added) > 0 {
			t.Fatalf("told one that takes nothing: %+v", u)
		}
	}
	for range againLast / time.Second {
		l.look(someClients(vip4, 0, 1000), never)
	}
	if len(l.list.peers) != 1000 {
		t.Errorf("%d clients are known afterwards", len(l.list.peers))
	}
}

func TestClientsBounds(t *testing.T) {
	begun := clientList{node: "a", port: 1, list: "x", number: 1}
	full := begun
	full.peers = make([]netip.AddrPort, 0, clientsMost)
	for i := range clientsMost {
		full.peers = append(full.peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, byte(i >> 16), byte(i >> 8), byte(i)}), 1))
	}
	for _, tt := range []struct {
		name      string
		list      clientList
		u         clientsUpdate
		ok, wrong bool
	}{
		{name: "next", list: begun, u: clientsUpdate{Number: 2, Added: make([]byte, 12)}, ok: true},
		{name: "one was missed", list: begun, u: clientsUpdate{Number: 3}},
		{name: "the same again", list: begun, u: clientsUpdate{Number: 1}, ok: true},
		{name: "nothing is known", u: clientsUpdate{Number: 2}},
		{name: "half a client", list: begun, u: clientsUpdate{Number: 2, Added: make([]byte, 13)}, wrong: true},
		{name: "half a client gone", list: begun, u: clientsUpdate{Number: 2, Removed: make([]byte, 5)}, wrong: true},
		{name: "too many at once", list: begun, u: clientsUpdate{Number: 2, Added: make([]byte, 6*(pieceMost+1))}, wrong: true},
		{name: "too many", list: full, u: clientsUpdate{Number: 2, Added: []byte{9, 9, 9, 9, 0, 1}}},
		{name: "full", list: full, u: clientsUpdate{Number: 2, Added: []byte{1, 0, 0, 0, 0, 1}}, ok: true},
	} {
		tt.u.Node, tt.u.Port, tt.u.List = "a", 1, "x"
		if _, ok, err := tt.list.take(tt.u, vip4); ok != tt.ok || (err != nil) != tt.wrong {
			t.Errorf("%s: %v, %v", tt.name, ok, err)
		}
	}
	for _, other := range []clientsUpdate{{Node: "b", Port: 1, List: "x"}, {Node: "a", Port: 2, List: "x"}, {Node: "a", Port: 1, List: "y"}} {
		other.Number = 2
		if _, ok, _ := begun.take(other, vip4); ok {
			t.Errorf("taken: %+v", other)
		}
	}
}
