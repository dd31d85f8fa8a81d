package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/election"
)

// aTickler is that of a node with addresses, and no other room.
func aTickler(self string, redis netip.AddrPort, list ...*floating) *tickler {
	s := aSite()
	s.self, s.redisAddr = self, redis
	return &tickler{
		site: s, vips: &vipSet{list: list}, feeds: map[feed]*clientsFeed{}, known: map[string]clientList{},
		ask: func(context.Context, string, clientsUpdate) (bool, error) { return false, nil },
	}
}

func aVIP(address, role string, held bool) *floating {
	return &floating{cfg: config.VIP{Address: netip.MustParsePrefix(address), Role: role}, held: held}
}

var aView = election.View{Holder: "a", Successors: []election.NodeID{"b", "c"}}

// client makes a connection and returns the client's end of it.
func client(t *testing.T, to net.Listener) netip.AddrPort {
	t.Helper()
	c, err := net.Dial("tcp", to.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := to.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c.LocalAddr().(*net.TCPAddr).AddrPort()
}

// The successors are told who is connected at the addresses that this node has, and of nobody else.
func TestSuccessorsKnowTheClients(t *testing.T) {
	n := byte(os.Getpid())
	at := func(last byte, port uint16) net.Listener {
		t.Helper()
		l, err := net.Listen("tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 80, n, last}), port).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	own := at(1, 0)
	redis := own.Addr().(*net.TCPAddr).AddrPort()
	held, notHeld, otherPort := at(100, redis.Port()), at(101, redis.Port()), at(100, 0)
	here, away := fmt.Sprintf("127.80.%d.100/24", n), fmt.Sprintf("127.80.%d.101/24", n)
	a := aTickler("a", redis, aVIP(here, "primary", true), aVIP(away, "replica", false))
	others := map[string]*tickler{}
	for _, id := range []string{"b", "c"} {
		others[id] = aTickler(id, redis, aVIP(here, "primary", false), aVIP(away, "replica", false))
	}
	var mu sync.Mutex
	sent := 0
	a.ask = func(_ context.Context, node string, u clientsUpdate) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		sent++
		return others[node].hear(u, aView)
	}
	want := sorted([]netip.AddrPort{client(t, held), client(t, held)})
	client(t, own)
	client(t, notHeld)
	client(t, otherPort)
	a.look(t.Context(), aView)
	for id, o := range others {
		if len(o.known) != 1 || !slices.Equal(o.known[here].peers, want) || o.known[here].port != redis.Port() {
			t.Errorf("%s knows %+v, want %v", id, o.known, want)
		}
	}
	sent = 0
	a.look(t.Context(), aView)
	if sent != 0 {
		t.Errorf("nothing changed, and %d updates were sent", sent)
	}
	a.vips.list[0].held = false
	client(t, held)
	a.look(t.Context(), aView)
	if sent != 0 || len(a.feeds) != 0 {
		t.Errorf("the address is not here any more, and %d updates were sent", sent)
	}
}

func TestHeardFromTheHolderAlone(t *testing.T) {
	const primary, replicas = "10.0.0.100/24", "10.0.0.101/24"
	for _, tt := range []struct {
		node, vip string
		taken     bool
	}{
		{"a", primary, true}, {"b", primary, false}, {"c", primary, false}, {"b", replicas, true}, {"a", replicas, false},
		{"a", "10.0.0.102/24", false}, {"", primary, false},
	} {
		c := aTickler("c", netip.AddrPort{}, aVIP(primary, "primary", false), aVIP(replicas, "replica", false))
		taken, err := c.hear(clientsUpdate{Node: tt.node, VIP: tt.vip, List: "x", Number: 1}, aView)
		if taken != tt.taken || err != nil || len(c.known) == 1 != tt.taken {
			t.Errorf("%s of %s: %v, %v", tt.node, tt.vip, taken, err)
		}
	}
}

func TestForgotten(t *testing.T) {
	const primary, gone = "10.0.0.100/24", "10.0.0.102/24"
	for _, tt := range []struct {
		name, vip string
		holder    election.NodeID
		kept      bool
	}{
		{"it holds", primary, "a", true},
		{"another node holds", primary, "b", false},
		{"this node is to take it", primary, "c", true},
		{"it is not configured any more", gone, "a", false},
	} {
		c := aTickler("c", netip.AddrPort{}, aVIP(primary, "primary", false))
		c.known[tt.vip] = clientList{node: "a"}
		if c.forget(election.View{Holder: tt.holder}); len(c.known) == 1 != tt.kept {
			t.Errorf("%s: %+v", tt.name, c.known)
		}
	}
}
