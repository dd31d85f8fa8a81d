package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
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
` + "`redisd status`" + ` working, until Ctrl-C.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{app: a, dir: demoDir(), once: once}
			return d.run(cmd.Context())
		},
	}
	c.Flags().BoolVar(&once, "once", false, "end after the failover instead of waiting for Ctrl-C")
	return c
}

// demoDir is the same for every demo of a user, so that `redisd status` finds it
// and two demos do not get in each other's way.
func demoDir() string { return filepath.Join(os.TempDir(), fmt.Sprintf("redisd-demo-%d", os.Getuid())) }

func demoSocket() string { return filepath.Join(demoDir(), "node1", "run", agent.SocketName) }

// demo is three agents in processes of their own.
type demo struct {
	*app
	dir   string
	once  bool
	nodes []*demoNode
}

type demoNode struct {
	name   string
	addr   netip.Addr
	config string
	cmd    *exec.Cmd
	exited chan struct{}
}

func (d *demo) run(ctx context.Context) (err error) {
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%s exists: another demo runs, or was killed; end it and remove that directory", d.dir)
		}
		return err
	}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	began := time.Now()
	if err := d.start(); err != nil {
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
	if err := d.failover(ctx, s); err != nil {
		return err
	}
	if d.once {
		return nil
	}
	d.say("\nThe cluster stays up until Ctrl-C. In another terminal: redisd status")
	<-ctx.Done()
	d.say("\nstopping")
	return nil
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// start writes three configurations and runs an agent on each.
func (d *demo) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	secretFile := filepath.Join(d.dir, "secret")
	if err := os.WriteFile(secretFile, []byte(secret.Generate()+"\n"), 0o600); err != nil {
		return err
	}
	var join []string
	for i := 1; i <= demoNodes; i++ {
		n := &demoNode{name: fmt.Sprintf("node%d", i), addr: netip.AddrFrom4([4]byte{127, 77, 0, byte(i)}), exited: make(chan struct{})}
		d.nodes = append(d.nodes, n)
		join = append(join, fmt.Sprintf("%q", n.addr))
	}
	for _, n := range d.nodes {
		if err := d.startNode(self, secretFile, strings.Join(join, ", "), n); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startNode(self, secretFile, join string, n *demoNode) error {
	dir := filepath.Join(d.dir, n.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	n.config = filepath.Join(dir, "redisd.toml")
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
`, secretFile, demoNodes, join, n.name, n.addr, filepath.Join(dir, "state"), filepath.Join(dir, "run"))
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd = exec.Command(self, "agent", "--config", n.config)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	// Ctrl-C is for the demo alone, which then stops the agents in order.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	go func() {
		_ = n.cmd.Wait()
		close(n.exited)
	}()
	return nil
}

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
				log, _ := os.ReadFile(filepath.Join(d.dir, n.name, "log"))
				return agent.Status{}, fmt.Errorf("the agent of %s ended:\n%s", n.name, log)
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
	return &app{out: d.out, err: d.err, socket: filepath.Join(d.dir, n.name, "run", agent.SocketName)}
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
	var addrs []string
	for _, n := range d.nodes {
		addrs = append(addrs, netip.AddrPortFrom(n.addr, uint16(cfg.Redis.Port)).String())
	}
	w := startWriter(ctx, addrs, password)
	defer w.stop()
	if err := w.acknowledged(ctx, 1000); err != nil {
		return err
	}
	victim := primaryOf(before)
	d.say("\nwriting %d keys a second; killing the redis-server of %s (process %d) with SIGKILL", w.rate(), victim.Name, victim.RedisPID)
	if err := syscall.Kill(victim.RedisPID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill redis-server: %w", err)
	}
	after, err := d.await(ctx, "a new primary and a full cluster", func(s agent.Status) bool {
		return s.Health == "healthy" && s.Primary != nil && s.Primary.Name != victim.Name
	})
	if err != nil {
		return err
	}
	w.stop()
	lost, err := w.lost(ctx, after.Primary.Address)
	if err != nil {
		return err
	}
	d.say("writes stood still for %v and went on at %s; %d writes acknowledged, %d of them lost",
		w.standstill().Round(100*time.Microsecond), after.Primary.Name, w.count(), lost)
	d.say("%s came back as a replica by itself:\n", victim.Name)
	return writeStatus(d.out, after)
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
	for _, n := range d.nodes {
		if n.cmd != nil && n.cmd.Process != nil {
			_ = n.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	deadline := time.After(demoStop)
	for _, n := range d.nodes {
		if n.cmd == nil || n.cmd.Process == nil {
			continue
		}
		select {
		case <-n.exited:
		case <-deadline:
			_ = n.cmd.Process.Kill()
			<-n.exited
		}
		_ = stopLeftovers(context.Background(), filepath.Join(d.dir, n.name, "state"))
	}
	return os.RemoveAll(d.dir)
}
