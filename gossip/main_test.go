package gossip

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// nodeEnv makes the test binary a node of its own, in a network namespace.
const nodeEnv = "REDISD_GOSSIP_TEST_NODE"

func TestMain(m *testing.M) {
	if spec := os.Getenv(nodeEnv); spec != "" {
		if err := serveNode(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if code == 0 {
		code = checkLeaks()
	}
	os.Exit(code)
}

// checkLeaks waits for memberlist's last timers: a probe under way at Close runs for up to eight
// times its half second.
func checkLeaks() int {
	var err error
	for deadline := time.Now().Add(6 * time.Second); time.Now().Before(deadline); {
		if err = goleak.Find(); err == nil {
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, "goroutines left behind:", err)
	return 1
}

// nodeSpec is what a node in a namespace is told.
type nodeSpec struct {
	ID, Cluster string
	Key         []byte
	Bind        netip.AddrPort
}

// serveNode is the main of a node in a namespace: it prints the members whenever they change, until
// its standard input ends.
func serveNode(spec string) error {
	var n nodeSpec
	if err := json.Unmarshal([]byte(spec), &n); err != nil {
		return err
	}
	cfg := Config{
		ID: n.ID, Cluster: n.Cluster, Key: n.Key, Bind: n.Bind, Advertise: n.Bind,
		Discovery: true, Meta: Meta{ID: n.ID},
	}
	g, err := Start(cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for {
		fmt.Println(show(g.Members()))
		select {
		case <-g.Changed():
		case <-ended:
			return g.Close()
		}
	}
}

var lastHost atomic.Uint32

// newAddr returns a loopback address that no other test, and no other run of them at the same time,
// uses.
func newAddr() netip.AddrPort {
	n := lastHost.Add(1)
	pid := os.Getpid()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(64 + pid>>8%64), byte(pid), byte(n + 1)}), 7946)
}

var testKey = bytes.Repeat([]byte{7}, keySize)

func testConfig(id string, join ...netip.AddrPort) Config {
	addr := newAddr()
	cfg := Config{
		ID: id, Cluster: "test", Key: testKey, Bind: addr, Advertise: addr,
		Meta: Meta{ID: id, Name: "name-of-" + id, RedisPort: 6379},
	}
	for _, a := range join {
		cfg.Join = append(cfg.Join, a.String())
	}
	return cfg
}

// lines keeps what was logged, for tests that ask.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// start starts a node for the length of the test.
func start(t testing.TB, cfg Config) *Gossip {
	g, _ := startLogged(t, cfg)
	return g
}

func startLogged(t testing.TB, cfg Config) (*Gossip, *lines) {
	t.Helper()
	return startAt(t, cfg, slog.LevelInfo)
}

// startAt starts one that logs from a level on.
func startAt(t testing.TB, cfg Config, level slog.Level) (*Gossip, *lines) {
	t.Helper()
	l := &lines{}
	h := slog.NewTextHandler(io.MultiWriter(l, t.Output()), &slog.HandlerOptions{Level: level})
	g, err := Start(cfg, slog.New(h).With("node", cfg.ID))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g, l
}

// startCluster starts n nodes that join the first, and waits until each sees all.
func startCluster(t testing.TB, n int, change func(i int, cfg *Config)) ([]*Gossip, []Config) {
	t.Helper()
	var nodes []*Gossip
	var cfgs []Config
	for i := range n {
		cfg := testConfig(fmt.Sprintf("n%d", i+1))
		if i > 0 {
			cfg.Join = []string{cfgs[0].Advertise.String()}
		}
		if change != nil {
			change(i, &cfg)
		}
		cfgs = append(cfgs, cfg)
		nodes = append(nodes, start(t, cfg))
	}
	want := make(map[string]State)
	for _, c := range cfgs {
		want[c.ID] = Alive
	}
	for _, g := range nodes {
		awaitStates(t, g, 5*time.Second, want)
	}
	return nodes, cfgs
}

// await returns the members once cond holds of them.
func await(t testing.TB, g *Gossip, within time.Duration, what string, cond func([]Member) bool) []Member {
	t.Helper()
	timeout := time.After(within)
	for {
		members := g.Members()
		if cond(members) {
			return members
		}
		select {
		case <-g.Changed():
		case <-timeout:
			t.Fatalf("%s: not %s within %v: %s", g.cfg.ID, what, within, show(members))
		}
	}
}

func awaitStates(t testing.TB, g *Gossip, within time.Duration, want map[string]State) {
	t.Helper()
	await(t, g, within, fmt.Sprint(want), func(members []Member) bool {
		return maps.Equal(states(members), want)
	})
}

func states(members []Member) map[string]State {
	got := make(map[string]State)
	for _, m := range members {
		got[m.ID] = m.State
	}
	return got
}

func find(members []Member, id string) Member {
	if i := slices.IndexFunc(members, func(m Member) bool { return m.ID == id }); i >= 0 {
		return members[i]
	}
	return Member{}
}

func show(members []Member) string {
	var b strings.Builder
	for _, m := range members {
		fmt.Fprintf(&b, "%s=%s@%s ", m.ID, m.State, m.Addr)
	}
	return strings.TrimSpace(b.String())
}

// receive returns the next message.
func receive(t testing.TB, g *Gossip, within time.Duration) Message {
	t.Helper()
	select {
	case m := <-g.Messages():
		return m
	case <-time.After(within):
		t.Fatalf("%s: no message within %v", g.cfg.ID, within)
		return Message{}
	}
}
