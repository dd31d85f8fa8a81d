package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/secret"
)

const (
	demoNodes = 3
	// demoPatience bounds every wait of the demo.
	demoPatience = 30 * time.Second
	// demoStop is how long the nodes may take to stop at the end.
	demoStop = 20 * time.Second
)

func (a *app) demoCommand() *cobra.Command {
	var once bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a failover with three nodes on this machine: no root, no configuration",
		Long: `Run three nodes on loopback addresses of this machine, with real redis-servers
and redis-sentinels in a temporary directory; write to them all the time, kill the
primary's redis-server, and count what that cost. The nodes then stay up, with
` + "`redisd status`" + ` working, until Ctrl-C. At the end everything is stopped and removed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A closed terminal ends the demo like Ctrl-C.
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
			defer stop()
			d := &demo{app: a, dir: demoDir(), once: once}
			return d.run(ctx)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "end after the failover instead of waiting for Ctrl-C")
	return c
}

// demoDir is the same for every demo of a user, so that `redisd status` finds it and two demos do
// not get in each other's way.
func demoDir() string { return filepath.Join(os.TempDir(), fmt.Sprintf("redisd-demo-%d", os.Getuid())) }

// demoSocket is where `redisd status` asks when no agent runs on this host.
func demoSocket() string { return nodeSocket(1) }

func nodeDir(i int) string    { return filepath.Join(demoDir(), fmt.Sprintf("node%d", i)) }
func nodeState(i int) string  { return filepath.Join(nodeDir(i), "state") }
func nodeSocket(i int) string { return filepath.Join(nodeDir(i), "run", agent.SocketName) }

// demo is three agents in processes of their own.
type demo struct {
	*app
	dir     string
	once    bool
	network io.Closer // what reserves the addresses; nil until then
	nodes   []*demoNode
}

type demoNode struct {
	name   string
	dir    string
	addr   netip.Addr
	config string
	cmd    *exec.Cmd // nil until it runs
	input  io.Closer
	exited chan struct{}
}

func (d *demo) run(ctx context.Context) (err error) {
	for _, program := range []string{"redis-server", "redis-sentinel"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("there is no program %s on this machine: `apt-get install %s`", program, program)
		}
	}
	if err := d.makeDir(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	switch err := d.show(ctx); {
	case ctx.Err() != nil:
		d.say("\nstopping")
		return errInterrupted
	case err != nil || d.once:
		return err
	}
	d.say("\nThe cluster stays up until Ctrl-C. In another terminal: redisd status")
	<-ctx.Done()
	d.say("\nstopping")
	return nil
}

// makeDir makes the demo's directory, also in place of one whose demo was killed.
func (d *demo) makeDir(ctx context.Context) error {
	err := os.Mkdir(d.dir, 0o700)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if !ownedByMe(d.dir) {
		return fmt.Errorf("%s is in the way: it is not a demo's", d.dir)
	}
	for i := 1; i <= demoNodes; i++ {
		if dial(nodeSocket(i)) == nil {
			return fmt.Errorf("another demo runs below %s: `redisd status` shows it; end it with Ctrl-C where it was started", d.dir)
		}
	}
	for i := 1; i <= demoNodes; i++ {
		if err := stopLeftovers(ctx, nodeState(i)); err != nil {
			return fmt.Errorf("clean up after a demo that was killed: %w", err)
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return fmt.Errorf("clean up after a demo that was killed: %w", err)
	}
	return os.Mkdir(d.dir, 0o700)
}

// show forms a cluster and has it lose its primary.
func (d *demo) show(ctx context.Context) error {
	began := time.Now()
	if err := d.start(ctx); err != nil {
		return err
	}
	d.say("started %d nodes, each with its own redis-server and redis-sentinel, below %s", demoNodes, d.dir)
	s, err := d.await(ctx, "a healthy cluster", func(s agent.Status) bool { return s.Health == "healthy" && len(s.Nodes) == demoNodes })
	if err != nil {
		return err
	}
	d.say("one cluster after %v:\n", time.Since(began).Round(10*time.Millisecond))
	if err := writeStatus(d.out, s); err != nil {
		return err
	}
	return d.failover(ctx, s)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// start writes three configurations and runs an agent on each.
func (d *demo) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	secretFile := filepath.Join(d.dir, "secret")
	if err := os.WriteFile(secretFile, []byte(secret.Generate()+"\n"), 0o600); err != nil {
		return err
	}
	addrs, err := d.reserve(ctx)
	if err != nil {
		return err
	}
	var join []string
	for i, addr := range addrs {
		d.nodes = append(d.nodes, &demoNode{name: fmt.Sprintf("node%d", i+1), dir: nodeDir(i + 1), addr: addr, exited: make(chan struct{})})
		join = append(join, fmt.Sprintf("%q", addr))
	}
	for _, n := range d.nodes {
		if err := n.start(self, secretFile, strings.Join(join, ", ")); err != nil {
			return fmt.Errorf("start %s: %w", n.name, err)
		}
	}
	return nil
}

// reserve finds loopback addresses on which nobody listens: 127.77.0.1 to .3, or else those of the
// next network. No other demo takes them meanwhile: the one that has a network listens at the end
// of it.
func (d *demo) reserve(ctx context.Context) (addrs []netip.Addr, err error) {
	port := uint16(config.Default().Cluster.GossipPort)
	for third := range 256 {
		at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, byte(third), last}) }
		network, e := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at(254), port)))
		if err = e; err != nil {
			continue
		}
		addrs = nil
		for i := range demoNodes {
			addrs = append(addrs, at(byte(i+1)))
		}
		if err = allFree(ctx, addrs); err == nil {
			d.network = network
			return addrs, nil
		}
		network.Close()
	}
	return nil, fmt.Errorf("no loopback address is free for the demo: %w", err)
}

func allFree(ctx context.Context, addrs []netip.Addr) error {
	cfg := config.Default()
	for _, addr := range addrs {
		for _, port := range []int{cfg.Redis.Port, cfg.Sentinel.Port, cfg.Cluster.GossipPort} {
			if err := listen(ctx, "tcp", netip.AddrPortFrom(addr, uint16(port))); err != nil {
				return err
			}
		}
	}
	return nil
}

// start runs the node's agent. It stops in order when the demo ends, however that ends: its
// standard input is closed then.
func (n *demoNode) start(self, secretFile, join string) error {
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		return err
	}
	n.config = filepath.Join(n.dir, "redisd.toml")
	text := fmt.Sprintf(`[cluster]
name        = "demo"
secret_file = %q
expect      = %d
join        = [%s]

[node]
name      = %q
address   = %q
state_dir = %q
run_dir   = %q
`, secretFile, demoNodes, join, n.name, n.addr, filepath.Join(n.dir, "state"), filepath.Join(n.dir, "run"))
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		return err
	}
	log, err := os.Create(n.log())
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd = exec.Command(self, "agent", "--config", n.config, "--until-eof")
	n.cmd.Stdout, n.cmd.Stderr = log, log
	// Ctrl-C is for the demo alone, which then stops the agents in order.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if n.input, err = n.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := n.cmd.Start(); err != nil {
		n.cmd = nil
		return err
	}
	go func() { // ended by cleanUp, which waits for exited
		_ = n.cmd.Wait()
		close(n.exited)
	}()
	return nil
}

func (n *demoNode) log() string { return filepath.Join(n.dir, "log") }

// await asks the nodes until one of them sees what is waited for.
func (d *demo) await(ctx context.Context, what string, ok func(agent.Status) bool) (agent.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		for _, n := range d.nodes {
			var s agent.Status
			if err := d.at(n).get(ctx, "/v1/status", &s); err == nil && ok(s) {
				return s, nil
			}
			select {
			case <-n.exited:
				log, _ := os.ReadFile(n.log())
				return agent.Status{}, fmt.Errorf("the agent of %s ended:\n%s", n.name, bytes.TrimSpace(log))
			default:
			}
		}
		select {
		case <-ctx.Done():
			return agent.Status{}, fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-t.C:
		}
	}
}

func (d *demo) at(n *demoNode) *app {
	return &app{out: d.out, err: d.err, socket: filepath.Join(n.dir, "run", agent.SocketName)}
}

// failover kills the primary under a stream of writes and says what that cost.
func (d *demo) failover(ctx context.Context, before agent.Status) error {
	cfg, err := config.Load(d.nodes[0].config)
	if err != nil {
		return err
	}
	password, err := agent.ClientPassword(cfg)
	if err != nil {
		return err
	}
	var sentinels []string
	for _, n := range d.nodes {
		sentinels = append(sentinels, netip.AddrPortFrom(n.addr, uint16(cfg.Sentinel.Port)).String())
	}
	w := startWriter(ctx, cfg.Cluster.Name, sentinels, password)
	defer w.stop()
	if err := w.acknowledged(ctx, 1000); err != nil {
		return err
	}
	victim := primaryOf(before)
	d.say("\nan ordinary client (go-redis, by Sentinel, its defaults) writes %d keys a second; killing the redis-server of %s (process %d) with SIGKILL", w.rate(), victim.Name, victim.RedisPID)
	reached := d.watchReach(ctx, victim.Name)
	if err := syscall.Kill(victim.RedisPID, syscall.SIGKILL); err != nil {
		reached()
		return fmt.Errorf("kill redis-server: %w", err)
	}
	after, err := d.await(ctx, "a new primary and a full cluster", func(s agent.Status) bool {
		return s.Health == "healthy" && s.Primary != nil && s.Primary.Name != victim.Name
	})
	seen := reached()
	if err != nil {
		return err
	}
	w.stop()
	lost, err := w.lost(ctx, after.Primary.Address)
	if err != nil {
		return err
	}
	d.say("write downtime %v; writes go on at %s; %d writes acknowledged, %d of them lost",
		w.downtime().Round(100*time.Microsecond), after.Primary.Name, w.count(), lost)
	if lost > 0 {
		d.say("%s", lossText(lost, after.Primary.Name, seen))
	}
	if after, err = d.await(ctx, "all nodes to have all keys", func(s agent.Status) bool { return s.Health == "healthy" && sameKeys(s.Nodes) }); err != nil {
		return err
	}
	d.say("%s came back as a replica by itself:\n", victim.Name)
	return writeStatus(d.out, after)
}

func sameKeys(nodes []agent.NodeStatus) bool {
	for _, n := range nodes {
		if n.Keys != nodes[0].Keys {
			return false
		}
	}
	return true
}

func primaryOf(s agent.Status) agent.NodeStatus {
	for _, n := range s.Nodes {
		if n.Name == s.Primary.Name {
			return n
		}
	}
	return agent.NodeStatus{}
}

// cleanUp stops the nodes in order and removes everything.
func (d *demo) cleanUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), demoStop)
	defer cancel()
	var running []*demoNode
	for _, n := range d.nodes {
		if n.cmd != nil {
			running = append(running, n)
			_ = n.input.Close()
		}
	}
	var errs []error
	for _, n := range running {
		select {
		case <-n.exited:
		case <-ctx.Done():
			_ = n.cmd.Process.Kill()
			<-n.exited
		}
		errs = append(errs, stopLeftovers(context.Background(), filepath.Join(n.dir, "state")))
	}
	if d.network != nil {
		errs = append(errs, d.network.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}
