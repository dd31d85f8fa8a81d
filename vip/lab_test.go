package vip

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The tests run in a network namespace of their own: as root, the test binary starts itself once
// more in a new one, so that nothing here can touch the host's interfaces, and nothing is left
// behind. That namespace is one host of the lab ("home", where the package is called directly);
// others are further namespaces, in which the package is run by a process of its own ("agent").
const (
	envHome  = "REDISD_VIP_TEST_HOME"  // the namespace the tests were started from
	envAgent = "REDISD_VIP_TEST_AGENT" // the agent's Config
)

func TestMain(m *testing.M) {
	switch outside := os.Getenv(envHome); {
	case os.Getenv(envAgent) != "":
		os.Exit(runAgent())
	case outside == "" && os.Getuid() == 0:
		os.Exit(runInNewNamespace())
	case outside != "" && outside == namespace():
		fmt.Fprintln(os.Stderr, "the tests are not in a namespace of their own")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func runInNewNamespace() int {
	runtime.LockOSThread() // Pdeathsig is about this thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envHome+"="+namespace())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "start the tests in a network namespace:", err)
		}
		return 1
	}
	return 0
}

func namespace() string {
	id, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		panic(err)
	}
	return id
}

// needRoot skips a test that needs namespaces; where CI is set, it fails it.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getenv(envHome) != "" {
		return
	}
	const why = "NOT TESTED: needs root for network namespaces and real interfaces (sudo go test ./vip)"
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// in calls f on a thread that is in the namespace. The thread ends with it.
func in(ns netns.NsHandle, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: nobody else gets this thread
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lan is a switch, in a namespace of its own so that no host is also the switch.
type lan struct {
	t     testing.TB
	ns    netns.NsHandle
	nl    *netlink.Handle
	ports int
}

// node is one host of the lab: its namespace, and its port of the switch.
type node struct {
	lan  *lan
	ns   netns.NsHandle
	nl   *netlink.Handle
	port string

	server net.Listener // of listen
}

func newLAN(t testing.TB) *lan {
	t.Helper()
	needRoot(t)
	if t, ok := t.(*testing.T); ok { // benchmarks have goroutines of their own
		t.Cleanup(func() { goleak.VerifyNone(t) }) // registered first: runs last
	}
	l := &lan{t: t}
	l.ns, l.nl = newNamespace(t)
	snooping := false // flood multicast, as a switch without a querier does
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, MulticastSnooping: &snooping}
	must(t, l.nl.LinkAdd(bridge))
	must(t, l.nl.LinkSetUp(bridge))
	return l
}

func newNamespace(t testing.TB) (ns netns.NsHandle, nl *netlink.Handle) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		var err error
		if ns, err = netns.New(); err == nil {
			nl, err = setUpNamespace()
		}
		done <- err
	}()
	must(t, <-done)
	t.Cleanup(func() { nl.Close(); ns.Close() })
	return ns, nl
}

// setUpNamespace prepares the namespace of the calling thread.
func setUpNamespace() (*netlink.Handle, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	lo, err := nl.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	// Link-local addresses of the lab need not wait for duplicate detection.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0); err != nil {
		return nil, err
	}
	return nl, nl.LinkSetUp(lo)
}

// host plugs a new host into the switch.
func (l *lan) host(addrs ...string) *node {
	l.t.Helper()
	ns, nl := newNamespace(l.t)
	return l.plug(&node{lan: l, ns: ns, nl: nl}, addrs)
}

// home plugs the namespace of the tests themselves into the switch, until the test ends.
func (l *lan) home(addrs ...string) *node {
	l.t.Helper()
	nl, err := setUpNamespace()
	must(l.t, err)
	ns, err := netns.Get()
	must(l.t, err)
	n := l.plug(&node{lan: l, ns: ns, nl: nl}, addrs)
	l.t.Cleanup(func() {
		n.unplug()
		nl.Close()
		ns.Close()
	})
	return n
}

// newPair is the LAN that most tests need: the package is called on one host, and the other sees
// what a neighbour sees. Both have an address of each family.
func newPair(t testing.TB) (me, peer *node) {
	t.Helper()
	l := newLAN(t)
	return l.home(own4, own6), l.host(peer4, peer6)
}

func (l *lan) plug(n *node, addrs []string) *node {
	l.t.Helper()
	l.ports++
	n.port = fmt.Sprintf("port%d", l.ports)
	bridge, err := l.nl.LinkByName("br0")
	must(l.t, err)
	must(l.t, l.nl.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: n.port, MasterIndex: bridge.Attrs().Index},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(n.ns),
	}))
	n.add(addrs...)
	must(l.t, n.nl.LinkSetUp(n.link()))
	n.connect(true)
	return n
}

// unplug deletes the host's interface, and with it the port.
func (n *node) unplug() {
	n.lan.t.Helper()
	must(n.lan.t, n.nl.LinkDel(n.link()))
}

// connect plugs the cable in or pulls it.
func (n *node) connect(on bool) {
	n.lan.t.Helper()
	port, err := n.lan.nl.LinkByName(n.port)
	must(n.lan.t, err)
	if !on {
		must(n.lan.t, n.lan.nl.LinkSetDown(port))
		return
	}
	must(n.lan.t, n.lan.nl.LinkSetUp(port))
	await(n.lan.t, "the cable carries", 3*time.Second, func() bool {
		port, err := n.lan.nl.LinkByName(n.port)
		must(n.lan.t, err)
		return port.Attrs().OperState == netlink.OperUp && n.link().Attrs().OperState == netlink.OperUp
	})
}

func (n *node) link() netlink.Link {
	n.lan.t.Helper()
	l, err := n.nl.LinkByName("eth0")
	must(n.lan.t, err)
	return l
}

func (n *node) hw() net.HardwareAddr { return n.link().Attrs().HardwareAddr }

// add does what `ip addr add ADDR dev eth0 nodad` does; del the contrary.
func (n *node) add(addrs ...string) {
	n.lan.t.Helper()
	for _, s := range addrs {
		a := parseAddr(n.lan.t, s)
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		must(n.lan.t, n.nl.AddrAdd(n.link(), a))
	}
}

func (n *node) del(addr string) {
	n.lan.t.Helper()
	must(n.lan.t, n.nl.AddrDel(n.link(), parseAddr(n.lan.t, addr)))
}

func parseAddr(t testing.TB, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	must(t, err)
	return a
}

// addresses lists what eth0 has, without link-local ones.
func (n *node) addresses() (out []string) {
	n.lan.t.Helper()
	all, err := n.nl.AddrList(n.link(), netlink.FAMILY_ALL)
	must(n.lan.t, err)
	for _, a := range all {
		if !a.IP.IsLinkLocalUnicast() {
			out = append(out, a.IPNet.String())
		}
	}
	return out
}

func (n *node) has(addr string) bool {
	n.lan.t.Helper()
	for _, a := range n.addresses() {
		if strings.HasPrefix(a, addr+"/") {
			return true
		}
	}
	return false
}

// await polls until the condition holds, and returns how long that took.
func await(t testing.TB, what string, within time.Duration, holds func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !holds() {
		if time.Since(begin) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin)
}

// An agent is the package in a process of its own, on a host of its own.
type agent struct {
	t       testing.TB
	cmd     *exec.Cmd
	in      io.WriteCloser
	replies *bufio.Scanner
}

// answer is the agent's answer to one command.
type answer struct {
	Err   string
	Held  bool
	N     int
	Owner string
	Took  time.Duration
}

var nothingLogged = slog.New(slog.DiscardHandler)

// agentUser are the credentials of the service: a user with the two capabilities.
var agentUser = &syscall.SysProcAttr{
	Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
	AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
}

// agent starts one and waits until it is ready.
func (n *node) agent(cfg Config, attr *syscall.SysProcAttr) *agent {
	n.lan.t.Helper()
	a := n.start(cfg, attr)
	a.do("ready")
	return a
}

func (n *node) start(cfg Config, attr *syscall.SysProcAttr) *agent {
	t := n.lan.t
	t.Helper()
	text, err := json.Marshal(cfg)
	must(t, err)
	a := &agent{t: t, cmd: exec.Command("/proc/self/exe")}
	a.cmd.Env = append(os.Environ(), envAgent+"="+string(text))
	a.cmd.Stderr = os.Stderr
	a.cmd.SysProcAttr = attr
	a.in, err = a.cmd.StdinPipe()
	must(t, err)
	out, err := a.cmd.StdoutPipe()
	must(t, err)
	a.replies = bufio.NewScanner(out)
	must(t, in(n.ns, a.cmd.Start))
	t.Cleanup(a.kill)
	return a
}

// do sends a command and returns the answer, which must not be an error.
func (a *agent) do(command string) answer {
	a.t.Helper()
	r := a.try(command)
	if r.Err != "" {
		a.t.Fatalf("agent: %s: %s", command, r.Err)
	}
	return r
}

func (a *agent) try(command string) (r answer) {
	a.t.Helper()
	_, err := fmt.Fprintln(a.in, command)
	must(a.t, err)
	if !a.replies.Scan() {
		a.t.Fatalf("agent: %s: no answer: %v", command, a.replies.Err())
	}
	must(a.t, json.Unmarshal(a.replies.Bytes(), &r))
	return r
}

func (a *agent) signal(s syscall.Signal) {
	a.t.Helper()
	must(a.t, a.cmd.Process.Signal(s))
}

// freeze stops the process, and returns when all of it stands still.
func (a *agent) freeze() {
	a.t.Helper()
	a.signal(unix.SIGSTOP)
	_, err := unix.Wait4(a.cmd.Process.Pid, nil, unix.WUNTRACED, nil)
	must(a.t, err)
}

func (a *agent) kill() {
	if a.cmd.ProcessState == nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	}
}

// runAgent is the agent's process: commands in, answers out.
func runAgent() int {
	var cfg Config
	if err := json.Unmarshal([]byte(os.Getenv(envAgent)), &cfg); err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	a, err := New(cfg, nothingLogged)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err != nil {
			_ = out.Encode(answer{Err: err.Error()})
			return 1
		}
		_ = out.Encode(a.obey(lines.Text()))
	}
	return 0
}

func (a *Address) obey(command string) (r answer) {
	var err error
	ctx, begin := context.Background(), time.Now()
	command, argument, _ := strings.Cut(command, ":")
	switch command {
	case "ready":
	case "hold":
		err = a.Hold(ctx)
	case "drop":
		err = a.Drop(ctx)
	case "held":
		r.Held, err = a.Held()
	case "elsewhere":
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var owner net.HardwareAddr
		owner, err = a.AwaitElsewhere(ctx, time.Time{})
		r.Owner = owner.String()
	case "tickle":
		r.N, err = a.Tickle(ctx, testPort, []netip.AddrPort{netip.MustParseAddrPort(argument)})
	case "send away":
		var peers []netip.AddrPort
		peers, err = Connections(a.addr, testPort)
		a.SendAway(testPort, peers)
		r.N = len(peers)
	case "destroy":
		r.N, err = Destroy(a.addr, testPort)
	case "connections":
		var peers []netip.AddrPort
		peers, err = Connections(a.addr, testPort)
		r.N = len(peers)
	case "park":
		err = a.Park(ctx, testPort)
	case "parked":
		r.N = a.parked()
	case "parking":
		r.Held = a.isParking()
	case "probe":
		var owner net.HardwareAddr
		owner, err = a.Probe(ctx, 100*time.Millisecond)
		r.Owner = owner.String()
	case "release":
		err = Release(a.Prefix())
	case "close":
		if err = a.Close(); err == nil {
			err = goleak.Find()
		}
	default:
		err = fmt.Errorf("unknown command")
	}
	r.Took = time.Since(begin)
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

// prefix is MustParsePrefix under a name that keeps tables narrow.
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
