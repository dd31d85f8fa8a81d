package gossip

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBeacon(t *testing.T) {
	t.Parallel()
	mine, err := newSealer(testKey)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newSealer(make([]byte, keySize))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]beacon{
		"IPv4":    {"cache", "n1", netip.MustParseAddrPort("192.0.2.1:7946")},
		"IPv6":    {"cache", "n1", netip.MustParseAddrPort("[2001:db8::1]:7946")},
		"longest": {strings.Repeat("c", maxClusterName), strings.Repeat("i", maxID), netip.MustParseAddrPort("[2001:db8::1]:65535")},
	} {
		sealed := mine.seal(b)
		if len(sealed) > maxBeacon {
			t.Errorf("%s: %d bytes", name, len(sealed))
		}
		if got, err := mine.open(sealed); err != nil || got != b {
			t.Errorf("%s: opened as %+v, %v", name, got, err)
		}
		if _, err := other.open(sealed); err != errNotOurs {
			t.Errorf("%s: another key: %v", name, err)
		}
		for i := range sealed {
			bad := append([]byte(nil), sealed...)
			bad[i] ^= 1
			if _, err := mine.open(bad); err != errNotOurs {
				t.Errorf("%s: byte %d changed: %v", name, i, err)
			}
			if _, err := mine.open(sealed[:i]); err != errNotOurs {
				t.Errorf("%s: cut at %d: %v", name, i, err)
			}
		}
		if string(mine.seal(b)) == string(sealed) {
			t.Errorf("%s: two beacons alike", name)
		}
	}
	for name, b := range map[string]beacon{
		"no address": {Cluster: "c", ID: "n"}, "multicast": {"c", "n", netip.MustParseAddrPort("224.0.0.1:1")},
		"no id": {"c", "", netip.MustParseAddrPort("192.0.2.1:7946")},
	} {
		if _, err := mine.open(mine.seal(b)); err != errNotOurs {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzBeacon: what a holder of the key may have sealed.
func FuzzBeacon(f *testing.F) {
	f.Add([]byte("\x01c\x02n1\xc0\x00\x02\x01\x0a\x1f"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, plain []byte) {
		b, err := parseBeacon(plain)
		if err == nil && (b.Cluster == "" || b.ID == "" || checkReachable(b.Addr) != nil) {
			t.Errorf("accepted %+v", b)
		}
	})
}

// Two nodes on one interface, without root. The key is random: whoever else runs these tests is on
// the same group.
func TestDiscoveryOnLoopback(t *testing.T) {
	t.Parallel()
	key := make([]byte, keySize)
	_, _ = rand.Read(key)
	find := func(id string) Config {
		cfg := testConfig(id)
		cfg.Key, cfg.Discovery = key, true
		return cfg
	}
	a, log := startLogged(t, find("n1"))
	b := start(t, find("n2"))
	for _, g := range []*Gossip{a, b} {
		awaitStates(t, g, 5*time.Second, map[string]State{"n1": Alive, "n2": Alive})
	}
	if log.count("level=WARN") > 0 {
		t.Error("it complained")
	}
}

// A flood on the group costs this node a bounded number of looks and no log, and nothing is ever
// sent because of a packet.
func TestDiscoveryUnderFlood(t *testing.T) {
	t.Parallel()
	key := make([]byte, keySize)
	_, _ = rand.Read(key)
	cfg := testConfig("n1")
	cfg.Key = key
	var mu sync.Mutex
	found := 0
	d, err := newDiscovery(cfg, func() bool { return false }, func(beacon) {
		mu.Lock()
		defer mu.Unlock()
		found++
	}, func(netip.Addr) {}, newJournal(slog.New(slog.NewTextHandler(t.Output(), nil))))
	if err != nil {
		t.Fatal(err)
	}
	ifi, err := interfaceWith(cfg.Advertise.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := joinGroup(d.group, ifi)
	if err != nil {
		t.Fatal(err)
	}
	sender, err := joinGroup(d.group, ifi)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.listen(t.Context(), conn)
	}()
	valid := d.sealer.seal(beacon{cfg.Cluster, "n2", cfg.Advertise})
	began := time.Now()
	for range 50 * beaconBudget {
		if _, err := sender.WriteToUDPAddrPort(valid, netip.AddrPortFrom(d.group, DiscoveryPort)); err != nil {
			t.Fatal(err)
		}
	}
	mine := func() int {
		mu.Lock()
		defer mu.Unlock()
		return found
	}
	if !eventually(func() bool { return mine() > 0 }) {
		t.Error("none was seen")
	}
	conn.Close()
	<-done
	windows := 1 + int(time.Since(began)/beaconWindow)
	if mine() > (windows+1)*beaconBudget {
		t.Errorf("%d looked at in %d windows", mine(), windows)
	}
}

func TestDiscoveryWithoutItsInterface(t *testing.T) {
	t.Parallel()
	if ifi, err := interfaceWith(netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Errorf("found on %s", ifi.Name)
	}
}

// lan is hosts, each a network namespace, on two switches with a cable between them that is not
// plugged in at first.
type lan struct {
	t      *testing.T
	prefix string
	hosts  int
}

func newLAN(t *testing.T, name string) *lan {
	t.Helper()
	if err := exec.Command("ip", "netns", "list").Run(); os.Getuid() != 0 || err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("network namespaces need root and iproute2: uid %d, %v", os.Getuid(), err)
		}
		t.Skip("network namespaces need root and iproute2")
	}
	l := &lan{t: t, prefix: fmt.Sprintf("rg%d%s", os.Getpid(), name)}
	l.addNamespace("br")
	br := []string{"-n", l.prefix + "br", "link"}
	l.ip(append(br, "add", "x0", "type", "veth", "peer", "name", "x1")...)
	for _, n := range []string{"0", "1"} {
		l.ip(append(br, "add", "br"+n, "type", "bridge")...)
		l.ip(append(br, "set", "br"+n, "up")...)
		l.ip(append(br, "set", "x"+n, "master", "br"+n)...)
	}
	return l
}

func (l *lan) ip(args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (l *lan) addNamespace(name string) {
	l.t.Helper()
	l.ip("netns", "add", l.prefix+name)
	l.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", l.prefix+name).Run() })
}

// host is one of them, with a node running on it.
type host struct {
	l      *lan
	errs   *lines
	mu     sync.Mutex
	latest string
}

// plug connects the two switches.
func (l *lan) plug() {
	l.t.Helper()
	for _, end := range []string{"x0", "x1"} {
		l.ip("-n", l.prefix+"br", "link", "set", end, "up")
	}
}

func (l *lan) add(prefix netip.Prefix, bridge string, spec nodeSpec) *host {
	l.t.Helper()
	l.hosts++
	ns, port := fmt.Sprintf("h%d", l.hosts), fmt.Sprintf("p%d", l.hosts)
	l.addNamespace(ns)
	ns = l.prefix + ns
	l.ip("-n", l.prefix+"br", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
	l.ip("-n", l.prefix+"br", "link", "set", port, "master", bridge, "up")
	add := []string{"-n", ns, "addr", "add", prefix.String(), "dev", "eth0"}
	if prefix.Addr().Is6() {
		add = append(add, "nodad")
	}
	l.ip(add...)
	l.ip("-n", ns, "link", "set", "lo", "up")
	l.ip("-n", ns, "link", "set", "eth0", "up")
	h := &host{l: l, errs: &lines{}}
	spec.Bind = netip.AddrPortFrom(prefix.Addr(), 7946)
	h.run(ns, spec)
	return h
}

// run starts the node; it ends when its standard input is closed.
func (h *host) run(ns string, spec nodeSpec) {
	t := h.l.t
	t.Helper()
	env, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nsenter", "--net=/run/netns/"+ns, os.Args[0])
	cmd.Env = append(os.Environ(), nodeEnv+"="+string(env), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = io.MultiWriter(h.errs, t.Output())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			h.mu.Lock()
			h.latest = lines.Text()
			h.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		stdin.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", spec.ID, err)
		}
	})
}

func (h *host) sees(within time.Duration, ids ...string) {
	h.l.t.Helper()
	var latest string
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		h.mu.Lock()
		latest = h.latest
		h.mu.Unlock()
		if strings.Count(latest, "=alive@") == len(ids) && strings.Count(latest, "=") == len(ids) {
			return
		}
	}
	h.l.t.Fatalf("want %v alive, sees: %s", ids, latest)
}

func TestDiscoveryIPv4(t *testing.T) {
	t.Parallel()
	testDiscovery(t, "a", "10.77.0.%d/24")
}

func TestDiscoveryIPv6(t *testing.T) {
	t.Parallel()
	testDiscovery(t, "b", "fd77::%d/64")
}

// testDiscovery: nodes find each other without a list, a router or a name server, and two clusters
// of one name that have grown apart from the start find each other when the cable is plugged in. On
// the same wire are a node with another secret and one of another cluster; neither shows up, nor is
// it heard of in a log.
func testDiscovery(t *testing.T, name, format string) {
	l := newLAN(t, name)
	addr := func(i int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf(format, i)) }
	node := func(id string) nodeSpec { return nodeSpec{ID: id, Cluster: "cache", Key: testKey} }
	otherKey, otherName := node("k1"), node("c1")
	otherKey.Key = make([]byte, keySize)
	otherName.Cluster = "sessions"

	began := time.Now()
	h1, h2 := l.add(addr(1), "br0", node("n1")), l.add(addr(2), "br0", node("n2"))
	k, c := l.add(addr(11), "br0", otherKey), l.add(addr(12), "br0", otherName)
	h3, h4 := l.add(addr(3), "br1", node("n3")), l.add(addr(4), "br1", node("n4"))
	for _, h := range []*host{h1, h2} {
		h.sees(10*time.Second, "n1", "n2")
	}
	for _, h := range []*host{h3, h4} {
		h.sees(10*time.Second, "n3", "n4")
	}
	t.Logf("two clusters after %v, starting the nodes included", time.Since(began))

	// The last calls at the pace of a lone node must be out, or they, not the slow ones, would
	// bring the two together. Nothing tells when they are.
	time.Sleep(3 * beaconAlone)
	l.plug()
	began = time.Now()
	for _, h := range []*host{h1, h2, h3, h4} {
		h.sees(15*time.Second, "n1", "n2", "n3", "n4")
	}
	t.Logf("one cluster %v later", time.Since(began))
	k.sees(time.Second, "k1")
	c.sees(time.Second, "c1")
	for _, h := range []*host{h1, h2, h3, h4, k, c} {
		if h.errs.count("level=WARN") > 0 || h.errs.count("level=ERROR") > 0 {
			t.Error("the neighbours left a mark in a log")
		}
	}
}
