package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestJoinUpdateLeave(t *testing.T) {
	t.Parallel()
	nodes, cfgs := startCluster(t, 5, nil)
	all := nodes[3].Members()
	for i, m := range all {
		if m.ID != cfgs[i].ID || m.Addr != cfgs[i].Advertise || m.Meta != cfgs[i].Meta || m.Since.IsZero() {
			t.Errorf("member %d is %+v", i, m)
		}
	}

	meta := cfgs[1].Meta
	meta.ClusterID, meta.Data.Keys = "c1", 42
	if err := nodes[1].SetMeta(meta); err != nil {
		t.Fatal(err)
	}
	if got := find(nodes[1].Members(), "n2").Meta; got != meta {
		t.Errorf("own metadata is %+v at once", got)
	}
	for _, g := range nodes {
		await(t, g, 3*time.Second, "told of n2's metadata", func(ms []Member) bool { return find(ms, "n2").Meta == meta })
	}

	began := time.Now()
	if err := nodes[4].Leave(3 * time.Second); err != nil {
		t.Fatal(err)
	}
	t.Logf("left in %v", time.Since(began))
	for _, g := range nodes {
		await(t, g, 3*time.Second, "n5 left", func(ms []Member) bool { return find(ms, "n5").State == Left })
	}
	if err := nodes[4].Close(); err != nil {
		t.Error(err)
	}

	// It may return at any address at once.
	cfg := testConfig("n5", cfgs[2].Advertise)
	start(t, cfg)
	for _, g := range nodes[:4] {
		await(t, g, 5*time.Second, "n5 back", func(ms []Member) bool {
			m := find(ms, "n5")
			return m.State == Alive && m.Addr == cfg.Advertise
		})
	}
}

// TestCrashIsNoticed holds the names of the states and, with Suspect, the wording of the line of
// memberlist's that package journal reads.
func TestCrashIsNoticed(t *testing.T) {
	t.Parallel()
	nodes, cfgs := startCluster(t, 3, nil)
	died := time.Now()
	if err := nodes[2].Close(); err != nil {
		t.Fatal(err)
	}
	suspected := make(chan bool, 2)
	var wg sync.WaitGroup
	for _, g := range nodes[:2] {
		wg.Go(func() {
			seen := false
			await(t, g, 12*time.Second, "n3 dead", func(ms []Member) bool {
				m := find(ms, "n3")
				seen = seen || m.State == Suspect
				return m.State == Dead && m.Since.After(died)
			})
			suspected <- seen
		})
	}
	wg.Wait()
	t.Logf("dead for both after %v", time.Since(died))
	if first, second := <-suspected, <-suspected; !first && !second {
		t.Error("nobody suspected it first")
	}

	// Back at the same address, told of nobody: the others look for it.
	back := cfgs[2]
	back.Join = nil
	restarted := time.Now()
	g := start(t, back)
	awaitStates(t, g, 12*time.Second, map[string]State{"n1": Alive, "n2": Alive, "n3": Alive})
	for _, g := range nodes[:2] {
		awaitStates(t, g, 12*time.Second, map[string]State{"n1": Alive, "n2": Alive, "n3": Alive})
	}
	t.Logf("back after %v", time.Since(restarted))
}

func TestRestartAtOnceAtTheSameAddress(t *testing.T) {
	t.Parallel()
	nodes, cfgs := startCluster(t, 3, nil)
	if err := nodes[1].Close(); err != nil {
		t.Fatal(err)
	}
	again := cfgs[1]
	again.Meta.Version = "2"
	start(t, again)
	for _, g := range []*Gossip{nodes[0], nodes[2]} {
		await(t, g, 5*time.Second, "told of the restart", func(ms []Member) bool {
			m := find(ms, "n2")
			return m.State == Alive && m.Version == "2"
		})
	}
}

// A crash and a new address, as after a DHCP lease: memberlist takes it for a clone until the old
// address is dead for long enough.
func TestRestartAtANewAddress(t *testing.T) {
	t.Parallel()
	nodes, cfgs := startCluster(t, 3, nil)
	if err := nodes[2].Close(); err != nil {
		t.Fatal(err)
	}
	moved := testConfig("n3", cfgs[0].Advertise)
	began := time.Now()
	g, log := startLogged(t, moved)
	for _, other := range nodes[:2] {
		await(t, other, 30*time.Second, "n3 at its new address", func(ms []Member) bool {
			m := find(ms, "n3")
			if m.Conflict.IsValid() {
				t.Errorf("taken for a clone: %+v", m)
			}
			return m.State == Alive && m.Addr == moved.Advertise
		})
	}
	awaitStates(t, g, time.Second, map[string]State{"n1": Alive, "n2": Alive, "n3": Alive})
	t.Logf("accepted after %v", time.Since(began))
	if log.count("same node id") > 0 {
		t.Error("logged as a clone")
	}
}

func TestCloneIsReported(t *testing.T) {
	t.Parallel()
	original, logA := startLogged(t, testConfig("n1"))
	third, logB := startLogged(t, testConfig("n2", original.cfg.Advertise))
	await(t, third, 5*time.Second, "joined", func(ms []Member) bool { return len(ms) == 2 })
	clone, logC := startLogged(t, testConfig("n1", original.cfg.Advertise, third.cfg.Advertise))
	for g, other := range map[*Gossip]netip.AddrPort{
		original: clone.cfg.Advertise, third: clone.cfg.Advertise, clone: original.cfg.Advertise,
	} {
		await(t, g, 8*time.Second, "told of the ID conflict", func(ms []Member) bool { return find(ms, "n1").Conflict == other })
	}
	for who, l := range map[string]*lines{"original": logA, "third": logB, "clone": logC} {
		if !eventually(func() bool { return l.count("same node id") == 1 && l.count("cure=") == 1 }) {
			t.Errorf("%s: want the cure logged once", who)
		}
	}
}

// portOnAll finds a port that is free on all addresses, below those that the kernel gives to
// outgoing connections, which come and go.
func portOnAll(t *testing.T) uint16 {
	t.Helper()
	for i := range 1000 {
		port := 21000 + (os.Getpid()+7*i)%8000
		l, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", port))
		if err == nil {
			l.Close()
			return uint16(port)
		}
	}
	t.Fatal("no free port")
	return 0
}

// One process that answers at two addresses is no clone: it listens on all.
func TestOneNodeAtTwoAddressesIsNoClone(t *testing.T) {
	t.Parallel()
	port := portOnAll(t)
	cfg := testConfig("n1")
	cfg.Bind = netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	cfg.Advertise = netip.AddrPortFrom(cfg.Advertise.Addr(), port)
	other := netip.AddrPortFrom(newAddr().Addr(), port)
	start(t, cfg)
	g, log := startLogged(t, testConfig("n2", cfg.Advertise))
	await(t, g, 5*time.Second, "joined", func(ms []Member) bool { return len(ms) == 2 })
	g.claims.dispute("n1", cfg.Advertise, other)
	if !eventually(func() bool { return log.count("answers at two addresses") == 1 }) {
		t.Error("not reported")
	}
	if m := find(g.Members(), "n1"); m.Conflict.IsValid() || log.count("same node id") > 0 {
		t.Errorf("taken for a clone: %+v", m)
	}
}

// TestIslandsHeal cuts five nodes in two until both halves have given each other up, and lets only
// memory bring them together: nobody lists anybody.
func TestIslandsHeal(t *testing.T) {
	t.Parallel()
	var cut atomic.Bool
	var mu sync.Mutex
	addrs := make(map[netip.Addr]int)
	half := func(i int) int { return i / 3 }
	var nodes []*Gossip
	var cfgs []Config
	want := make(map[string]State)
	for i := range 5 {
		cfg := testConfig(fmt.Sprintf("n%d", i+1))
		mu.Lock()
		addrs[cfg.Advertise.Addr()] = half(i)
		mu.Unlock()
		cfg.cut = func(a netip.Addr) bool {
			if !cut.Load() {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			return addrs[a] != half(i)
		}
		nodes, cfgs = append(nodes, start(t, cfg)), append(cfgs, cfg)
		nodes[i].rejoiner.hint(cfgs[0].Advertise)
		want[cfg.ID] = Alive
	}
	for _, g := range nodes {
		awaitStates(t, g, 5*time.Second, want)
	}
	cut.Store(true)
	began := time.Now()
	for i, g := range nodes {
		want := make(map[string]State)
		for j, c := range cfgs {
			want[c.ID] = Dead
			if half(i) == half(j) {
				want[c.ID] = Alive
			}
		}
		awaitStates(t, g, 20*time.Second, want)
	}
	t.Logf("apart after %v", time.Since(began))
	cut.Store(false)
	healed := time.Now()
	for _, g := range nodes {
		awaitStates(t, g, 20*time.Second, want)
	}
	t.Logf("together after %v", time.Since(healed))
}

// A message from a member held for dead makes this node look at once.
func TestAPacketOfTheDeadHurriesTheHeal(t *testing.T) {
	t.Parallel()
	var cut atomic.Bool
	nodes, cfgs := startCluster(t, 3, func(i int, cfg *Config) {
		cfg.cut = func(netip.Addr) bool { return i == 2 && cut.Load() }
	})
	cut.Store(true)
	awaitStates(t, nodes[0], 20*time.Second, map[string]State{"n1": Alive, "n2": Alive, "n3": Dead})
	awaitStates(t, nodes[2], 20*time.Second, map[string]State{"n1": Dead, "n2": Dead, "n3": Alive})
	g := nodes[0]
	cut.Store(false)
	healed := time.Now()
	for range 20 {
		if err := nodes[2].Send(cfgs[0].Advertise, []byte("heartbeat")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // the pace of the agents' heartbeats
		if find(g.Members(), "n3").State == Alive {
			break
		}
	}
	await(t, g, 3*time.Second, "n3 back", func(ms []Member) bool { return find(ms, "n3").State == Alive })
	t.Logf("together after %v", time.Since(healed))
	g.rejoiner.mu.Lock()
	defer g.rejoiner.mu.Unlock()
	if g.rejoiner.tried[cfgs[2].Advertise].IsZero() {
		t.Error("not because of the packet")
	}
}

func TestWrongKeyIsRefused(t *testing.T) {
	t.Parallel()
	a, log := startLogged(t, testConfig("n1"))
	cfg := testConfig("n2", a.cfg.Advertise)
	cfg.Key = bytes.Repeat([]byte{8}, keySize)
	b := start(t, cfg)
	for range 50 {
		if err := b.Send(a.cfg.Advertise, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	if !eventually(func() bool { return log.count("Decrypt packet failed") > 0 && log.count("failed to receive") > 0 }) {
		t.Error("nothing was logged of it")
	}
	if !eventually(func() bool { return meets(a, OtherSecret, b) }) {
		t.Errorf("it is not named as a stranger: %+v", a.Strangers())
	}
	if n := log.count("Decrypt packet failed"); n > 1 {
		t.Errorf("%d lines for the same complaint", n)
	}
	select {
	case m := <-a.Messages():
		t.Errorf("received %q", m.Payload)
	default:
	}
	if len(a.Members()) != 1 || len(b.Members()) != 1 {
		t.Errorf("they met: %s / %s", show(a.Members()), show(b.Members()))
	}
}

func TestOtherClusterNameIsRefused(t *testing.T) {
	t.Parallel()
	a := start(t, testConfig("n1"))
	cfg := testConfig("n2")
	cfg.Cluster = "another"
	b := start(t, cfg)
	if err := b.rejoiner.join(a.cfg.Advertise); err == nil {
		t.Error("joined")
	}
	if !eventually(func() bool { return meets(a, OtherName, b) }) {
		t.Errorf("it is not named as a stranger: %+v", a.Strangers())
	}
	if len(a.Members()) != 1 || len(b.Members()) != 1 {
		t.Errorf("they met: %s / %s", show(a.Members()), show(b.Members()))
	}
}

// meets: a has met b lately, and it is no member for that reason.
func meets(a *Gossip, kind StrangerKind, b *Gossip) bool {
	return slices.ContainsFunc(a.Strangers(), func(s Stranger) bool {
		return s.Kind == kind && s.Addr == b.cfg.Advertise.Addr() && (kind != Foreign || s.Meta.ID == b.cfg.ID && s.Meta.ClusterID == b.cfg.Meta.ClusterID)
	})
}

// Same name, same key, another cluster id: a copy of a whole cluster.
func TestForeignClusterIDIsRefused(t *testing.T) {
	t.Parallel()
	belongs := func(id, cluster string, join ...netip.AddrPort) Config {
		cfg := testConfig(id, join...)
		cfg.Meta.ClusterID = cluster
		cfg.Accept = func(m Meta) error {
			if m.ClusterID != cluster && m.ClusterID != "" {
				return fmt.Errorf("it belongs to cluster %s, this node to %s", m.ClusterID, cluster)
			}
			return nil
		}
		return cfg
	}
	a1, log := startLogged(t, belongs("a1", "A"))
	a2 := start(t, belongs("a2", "A", a1.cfg.Advertise))
	b1 := start(t, belongs("b1", "B"))
	await(t, a2, 5*time.Second, "joined", func(ms []Member) bool { return len(ms) == 2 })
	for range 3 {
		if err := b1.rejoiner.join(a1.cfg.Advertise); err == nil || !strings.Contains(err.Error(), "belongs to cluster A") {
			t.Errorf("got %v, want a refusal that says why", err)
		}
	}
	if !eventually(func() bool { return log.count("node refused") > 0 }) || log.count("node refused") != 1 {
		t.Errorf("refusal logged %d times, want once", log.count("node refused"))
	}
	for _, x := range []struct{ at, stranger *Gossip }{{a1, b1}, {b1, a1}} { // on both sides
		if !meets(x.at, Foreign, x.stranger) {
			t.Errorf("%s does not know the stranger: %+v", x.at.cfg.ID, x.at.Strangers())
		}
	}
	if log.count("id=b1 addr="+b1.cfg.Advertise.String()) == 0 {
		t.Error("the refusal does not name the node")
	}

	// A node that belongs nowhere yet may meet both. Once it is A's, B's must neither show up nor
	// keep it.
	var mine atomic.Value
	mine.Store("")
	cfg := testConfig("fresh", a1.cfg.Advertise, b1.cfg.Advertise)
	cfg.Accept = func(m Meta) error {
		if id := mine.Load().(string); id != "" && m.ClusterID != "" && m.ClusterID != id {
			return errors.New("foreign")
		}
		return nil
	}
	fresh := start(t, cfg)
	await(t, fresh, 5*time.Second, "met everybody", func(ms []Member) bool { return len(ms) == 4 })
	await(t, b1, 5*time.Second, "met fresh", func(ms []Member) bool { return len(ms) == 2 })
	mine.Store("A")
	meta := cfg.Meta
	meta.ClusterID = "A"
	if err := fresh.SetMeta(meta); err != nil {
		t.Fatal(err)
	}
	if _, listed := states(fresh.Members())["b1"]; listed {
		t.Error("b1 is not dropped at once")
	}
	awaitStates(t, fresh, time.Second, map[string]State{"a1": Alive, "a2": Alive, "fresh": Alive})
	awaitStates(t, b1, 5*time.Second, map[string]State{"b1": Alive})
	awaitStates(t, a1, 5*time.Second, map[string]State{"a1": Alive, "a2": Alive, "fresh": Alive})
}

func TestMetaTooLarge(t *testing.T) {
	t.Parallel()
	cfg := testConfig("n1")
	g := start(t, cfg)
	big := cfg.Meta
	long := strings.Repeat("x", maxMetaText)
	big.Name, big.ClusterID, big.Version, big.RedisVersion = long, long, long, long
	if err := g.SetMeta(big); err == nil || !strings.Contains(err.Error(), "at most 512 fit") {
		t.Errorf("SetMeta: %v", err)
	}
	if got := g.Members()[0].Meta; got != cfg.Meta {
		t.Errorf("it took effect: %+v", got)
	}
	cfg = testConfig("n2")
	big.ID, cfg.Meta = "n2", big
	cfg.Meta.ID = "n2"
	if g, err := Start(cfg, g.journal.log); err == nil {
		t.Error("started")
		_ = g.Close()
	}
}

func TestStartReportsEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := Start(Config{
		ID: "a b", Cluster: "", Key: []byte("short"),
		Advertise: netip.MustParseAddrPort("[fe80::1]:7946"), Join: []string{"10.0.0.1:0", "srv:", "ok.example"},
	}, nil)
	for _, want := range []string{"node id", "cluster name", "key of 5 bytes", "bind address", "link-local", `"10.0.0.1:0"`, `"srv:"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "short") || strings.Contains(err.Error(), "ok.example") {
		t.Errorf("says too much: %v", err)
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	nodes, cfgs := startCluster(t, 2, func(_ int, cfg *Config) {
		cfg.Peers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
	})
	if err := nodes[0].Forget("n2"); err == nil {
		t.Error("forgot a member that is up")
	}
	if err := nodes[1].Leave(2 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := nodes[1].Close(); err != nil {
		t.Fatal(err)
	}
	awaitStates(t, nodes[0], 3*time.Second, map[string]State{"n1": Alive, "n2": Left})
	for range 2 {
		if err := nodes[0].Forget("n2"); err != nil {
			t.Error(err)
		}
	}
	awaitStates(t, nodes[0], time.Second, map[string]State{"n1": Alive})
	start(t, cfgs[1])
	awaitStates(t, nodes[0], 5*time.Second, map[string]State{"n1": Alive, "n2": Alive})
}

func TestCloseAndWhatFollows(t *testing.T) {
	t.Parallel()
	nodes, cfgs := startCluster(t, 2, nil)
	g := nodes[0]
	var wg sync.WaitGroup
	began := time.Now()
	for range 4 {
		wg.Go(func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { _ = g.Leave(time.Second) })
		wg.Go(func() { _ = g.Send(cfgs[1].Advertise, []byte("x")) })
		wg.Go(func() { _ = g.SendReliable(t.Context(), cfgs[1].Advertise, []byte("x")) })
		wg.Go(func() { _ = g.SetMeta(Meta{ID: "n1", Name: "late"}) })
	}
	wg.Wait()
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
	for range g.Messages() { // ends, because Close has closed it
	}
	for what, err := range map[string]error{
		"send":          g.Send(cfgs[1].Advertise, nil),
		"send reliable": g.SendReliable(t.Context(), cfgs[1].Advertise, nil),
		"leave":         g.Leave(time.Second),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// eventually waits for something that no channel tells of.
func eventually(cond func() bool) bool {
	for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if cond() {
			return true
		}
	}
	return false
}
