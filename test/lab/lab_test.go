package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLab goes through everything on one lab of three hosts: booting them is most of the cost.
func TestLab(t *testing.T) {
	l := lab.New(t, lab.Options{})
	started := time.Now()
	hosts, err := l.Hosts(t.Context(), "a", "b", "c")
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(started)
	t.Logf("three hosts up after %v (a %v, b %v, c %v)", took, hosts[0].BootTime(), hosts[1].BootTime(), hosts[2].BootTime())
	s := &suite{l: l, a: hosts[0], b: hosts[1], c: hosts[2]}
	for _, step := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"hosts are Debian systems of their own", (*suite).ownSystems},
		{"everyone reaches everyone and nothing else", (*suite).reach},
		{"multicast crosses the bridge", (*suite).multicast},
		{"commands", (*suite).commands},
		{"files", (*suite).files},
		{"processes", (*suite).processes},
		{"cable pulled", (*suite).cable},
		{"cuts both ways and one way", (*suite).cuts},
		{"the client end cut off", (*suite).clientCut},
		{"a port blocked", (*suite).blockedPort},
		{"a bad link", (*suite).badLink},
		{"frozen", (*suite).frozen},
		{"power off and on", (*suite).power},
		{"faults outlast the power", (*suite).faultsStay},
		{"reboot", (*suite).reboot},
		{"shutdown, edited while off, cloned", (*suite).offline},
		{"units as hardened as redis's", (*suite).hardened},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(s, t) }) {
			return // a host may be in any state now
		}
	}
}

type suite struct {
	l       *lab.Lab
	a, b, c *lab.Host
}

// patience bounds what is awaited; the machine may be busy.
const patience = 20 * time.Second

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, h *lab.Host, args ...string) string {
	t.Helper()
	out, err := h.Run(within(t, patience), args...)
	must(t, err)
	return strings.TrimSpace(out)
}

// ping sends one and says whether the answer came.
func ping(t *testing.T, from *lab.Host, to fmt.Stringer) bool {
	t.Helper()
	_, err := from.Run(within(t, patience), "ping", "-n", "-q", "-c1", "-W1", to.String())
	var run *lab.RunError
	if errors.As(err, &run) && run.ExitCode() > 1 {
		t.Fatal(err)
	}
	return err == nil
}

// clientReaches says whether the host answers the client end, if only by refusing.
func clientReaches(t *testing.T, l *lab.Lab, to *lab.Host) bool {
	t.Helper()
	conn, err := l.DialContext(within(t, time.Second), "tcp", to.Name()+":9")
	if err == nil {
		conn.Close()
	}
	return err == nil || errors.Is(err, unix.ECONNREFUSED)
}

// wantPing gives a want of true some time: while a host still looks for the other's MAC address in
// vain, what it sends waits for that search to end.
func wantPing(t *testing.T, from, to *lab.Host, want bool) {
	t.Helper()
	if !want {
		if ping(t, from, to.Addr()) {
			t.Errorf("%s reaches %s", from.Name(), to.Name())
		}
		return
	}
	must(t, lab.Await(within(t, patience), time.Millisecond, func() error {
		if !ping(t, from, to.Addr()) {
			return fmt.Errorf("%s to reach %s", from.Name(), to.Name())
		}
		return nil
	}))
}

func (s *suite) ownSystems(t *testing.T) {
	ids := map[string]bool{}
	for _, h := range []*lab.Host{s.a, s.b, s.c} {
		if got := run(t, h, "hostname"); got != h.Name() {
			t.Errorf("host %s calls itself %q", h.Name(), got)
		}
		if got := run(t, h, "systemctl", "is-system-running"); got != "running" {
			t.Errorf("%s is %s: %s", h.Name(), got, run(t, h, "systemctl", "--failed"))
		}
		ids[run(t, h, "cat", "/etc/machine-id")] = true
		ids[run(t, h, "cat", "/proc/sys/kernel/random/boot_id")] = true
		if got := run(t, h, "stat", "-fc", "%T", "/sys/fs/cgroup"); got != "cgroup2fs" {
			t.Errorf("control groups of %s: %s", h.Name(), got)
		}
		_, err := h.Run(t.Context(), "dpkg", "-s", "redis-server")
		if err == nil {
			t.Errorf("redis-server is installed on %s", h.Name())
		}
	}
	if len(ids) != 6 {
		t.Errorf("the hosts share identities: %v", ids)
	}
	// Were the control groups shared, stopping a unit on one host would hit the other.
	for _, h := range []*lab.Host{s.a, s.b} {
		run(t, h, "systemd-run", "--service-type=exec", "--unit=same", "sleep", "1000")
	}
	run(t, s.a, "systemctl", "stop", "same")
	if got := run(t, s.b, "systemctl", "is-active", "same"); got != "active" {
		t.Errorf("a unit of b is %s after one of a of the same name was stopped", got)
	}
	run(t, s.b, "systemctl", "stop", "same")
}

func (s *suite) reach(t *testing.T) {
	for _, from := range []*lab.Host{s.a, s.b, s.c} {
		for _, to := range []*lab.Host{s.a, s.b, s.c} {
			wantPing(t, from, to, true)
			if !ping(t, from, to.Addr6()) {
				t.Errorf("%s does not reach %s", from.Name(), to.Addr6())
			}
		}
		if !ping(t, from, s.l.Addr()) {
			t.Errorf("%s does not reach the client end", from.Name())
		}
		if out := run(t, from, "ip", "route", "show", "default"); out != "" {
			t.Errorf("%s has a way out: %s", from.Name(), out)
		}
		if got := run(t, from, "getent", "ahostsv4", "c"); !strings.HasPrefix(got, s.c.Addr().String()+" ") {
			t.Errorf("%s takes c for %s", from.Name(), got)
		}
	}
	out, err := s.l.Command(t.Context(), "ip", "route", "show", "default").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("the client end has a way out: %s %v", out, err)
	}
}

func (s *suite) multicast(t *testing.T) {
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 77), Port: 7777}
	var conn *net.UDPConn
	must(t, s.l.InNetwork(func() error {
		ifc, err := net.InterfaceByName("br0")
		if err != nil {
			return err
		}
		conn, err = net.ListenMulticastUDP("udp4", ifc, group)
		return err
	}))
	defer conn.Close()
	const script = `ip route replace 224.0.0.0/4 dev host0
exec 3>/dev/udp/224.0.0.77/7777; echo hello >&3`
	run(t, s.a, "bash", "-ec", script)
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
	message := make([]byte, 100)
	n, from, err := conn.ReadFromUDPAddrPort(message)
	must(t, err)
	if got := string(message[:n]); got != "hello\n" || from.Addr() != s.a.Addr() {
		t.Errorf("got %q from %s", got, from)
	}
}

func (s *suite) commands(t *testing.T) {
	_, err := s.a.Shell(t.Context(), "echo so; echo because >&2; exit 7")
	var re *lab.RunError
	if !errors.As(err, &re) || re.ExitCode() != 7 || !strings.Contains(err.Error(), "because") {
		t.Errorf("got %v, want exit code 7 and the reason", err)
	}
	started := time.Now()
	_, err = s.a.RunTimeout(100*time.Millisecond, "sleep", "777")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) > 5*time.Second {
		t.Errorf("a command over its time: %v after %v", err, time.Since(started))
	}
	must(t, lab.Await(within(t, patience), 10*time.Millisecond, func() error {
		if left, err := s.a.Processes(t.Context(), "sleep"); err != nil || len(left) > 0 {
			return fmt.Errorf("%d left, %w", len(left), err)
		}
		return nil
	}))
	run(t, s.a, "logger", "-t", "lab-test", "hello journal")
	must(t, lab.Await(within(t, patience), 10*time.Millisecond, func() error {
		text, err := s.a.Journal(t.Context(), "")
		if err == nil && !strings.Contains(text, "hello journal") {
			err = errors.New("the line in the journal")
		}
		return err
	}))
}

func (s *suite) files(t *testing.T) {
	must(t, s.a.WriteFile(t.Context(), "/etc/new/folder/file", []byte("one\x00two"), 0o640))
	got, err := s.a.ReadFile(t.Context(), "/etc/new/folder/file")
	must(t, err)
	if string(got) != "one\x00two" {
		t.Errorf("read %q", got)
	}
	if mode := run(t, s.a, "stat", "-c", "%a %U", "/etc/new/folder/file"); mode != "640 root" {
		t.Errorf("mode %s", mode)
	}
	local := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(local, []byte("#!/bin/sh\necho ran\n"), 0o755))
	must(t, s.a.CopyIn(t.Context(), local, "/run/script"))
	if got := run(t, s.a, "/run/script"); got != "ran" {
		t.Errorf("the copy says %q", got)
	}
	_, err = s.b.ReadFile(t.Context(), "/etc/new/folder/file")
	if err == nil {
		t.Error("a file of a is on b")
	}
}

func (s *suite) processes(t *testing.T) {
	run(t, s.a, "systemd-run", "--service-type=exec", "--unit=target", "sleep", "888")
	pid, err := s.a.PIDOf(t.Context(), "sleep")
	must(t, err)
	if got := run(t, s.a, "systemctl", "show", "-P", "MainPID", "target"); got != fmt.Sprint(pid) {
		t.Errorf("PIDOf says %d, systemd %s", pid, got)
	}
	p, err := s.a.Process(t.Context(), "sleep")
	must(t, err)
	state := func(want string) {
		t.Helper()
		must(t, lab.Await(within(t, patience), time.Millisecond, func() error {
			if got := run(t, s.a, "ps", "-o", "state=", "-p", fmt.Sprint(pid)); got != want {
				return fmt.Errorf("the process is %s, not %s", got, want)
			}
			return nil
		}))
	}
	must(t, p.Pause())
	state("T")
	must(t, p.Resume())
	state("S")
	if _, err := s.b.Process(t.Context(), "sleep"); err == nil {
		t.Error("b has a's process")
	}
	must(t, s.a.Signal(t.Context(), unix.SIGKILL, pid))
	must(t, lab.Await(within(t, patience), time.Millisecond, func() error {
		if p.Alive() {
			return errors.New("it lives")
		}
		return nil
	}))
}

func (s *suite) frozen(t *testing.T) {
	run(t, s.a, "systemd-run", "--service-type=exec", "--unit=clock", "bash", "-c", "while sleep 0.01; do echo >>/run/ticks; done")
	ticks := func() string { return run(t, s.a, "sh", "-c", "cat /run/ticks 2>/dev/null | wc -l") }
	must(t, lab.Await(within(t, patience), time.Millisecond, func() error {
		if ticks() == "0" {
			return errors.New("the first tick")
		}
		return nil
	}))
	must(t, s.a.Freeze(t.Context()))
	before := ticks()
	wantPing(t, s.b, s.a, false) // takes a second
	if after := ticks(); after != before {
		t.Errorf("a frozen host went from %s to %s ticks", before, after)
	}
	must(t, s.l.HealAll(t.Context()))
	wantPing(t, s.b, s.a, false)
	must(t, s.a.Thaw(t.Context()))
	wantPing(t, s.b, s.a, true)
	must(t, lab.Await(within(t, patience), time.Millisecond, func() error {
		if ticks() == before {
			return errors.New("another tick")
		}
		return nil
	}))
	run(t, s.a, "systemctl", "stop", "clock")

	must(t, s.a.Freeze(t.Context()))
	must(t, s.a.PowerOff(within(t, patience)))
	must(t, s.a.PowerOn(within(t, patience)))
	wantPing(t, s.b, s.a, true)
}

func (s *suite) power(t *testing.T) {
	must(t, s.a.WriteFile(t.Context(), "/var/lib/kept", []byte("kept"), 0o600))
	// Someone connected to a host that loses its power must not be told.
	conn := s.accept(t)
	defer conn.Close()
	boot := run(t, s.a, "cat", "/proc/sys/kernel/random/boot_id")

	started := time.Now()
	must(t, s.a.PowerOff(within(t, patience)))
	t.Logf("power off took %v", time.Since(started))
	if s.a.Running() {
		t.Error("it is on")
	}
	if _, err := s.a.Run(t.Context(), "true"); err == nil {
		t.Error("ran a command without power")
	}
	if clientReaches(t, s.l, s.a) {
		t.Error("it answers without power")
	}
	must(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection to a host without power: %v", err)
	}
	if text, err := s.a.Journal(t.Context(), ""); err != nil || !strings.Contains(text, "hello journal") {
		t.Errorf("journal without power: %v", err)
	}
	must(t, s.a.PowerOn(within(t, patience)))
	t.Logf("power on took %v", s.a.BootTime())
	if got := run(t, s.a, "cat", "/var/lib/kept"); got != "kept" {
		t.Errorf("the disk has %q", got)
	}
	if run(t, s.a, "cat", "/proc/sys/kernel/random/boot_id") == boot {
		t.Error("it is the same boot")
	}
	wantPing(t, s.b, s.a, true)
}

// accept waits at the client end for the connection that the host is about to make.
func (s *suite) accept(t *testing.T) net.Conn {
	t.Helper()
	var listener net.Listener
	must(t, s.l.InNetwork(func() (err error) {
		listener, err = net.Listen("tcp", s.l.Addr().String()+":7004")
		return err
	}))
	defer listener.Close()
	run(t, s.a, "systemd-run", "--service-type=exec", "--unit=quiet", "bash", "-c",
		fmt.Sprintf("exec 3<>/dev/tcp/%s/7004; sleep 1000", s.l.Addr()))
	must(t, listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience)))
	conn, err := listener.Accept()
	must(t, err)
	return conn
}

func (s *suite) faultsStay(t *testing.T) {
	ctx := t.Context()
	must(t, s.a.Netem(lab.Impairment{Delay: 20 * time.Millisecond}))
	must(t, s.a.CutFrom(ctx, s.c))
	must(t, s.b.Cut())
	must(t, s.c.Silence(ctx))
	must(t, s.c.PowerOff(within(t, patience)))
	must(t, s.c.PowerOn(within(t, patience)))
	if clientReaches(t, s.l, s.c) {
		t.Error("the client reaches c, which was silent before its power was cut")
	}
	must(t, s.c.Unsilence(ctx))
	must(t, s.a.PowerOff(within(t, patience)))
	must(t, s.b.PowerOff(within(t, patience)))
	must(t, s.a.PowerOn(within(t, patience)))
	must(t, s.b.PowerOn(within(t, patience)))
	wantPing(t, s.a, s.c, false)
	wantPing(t, s.b, s.c, false)
	must(t, s.b.Heal())
	wantPing(t, s.a, s.b, true)
	if _, average := roundTrips(t, s.b, s.a, 10); average < 40 {
		t.Errorf("the delay is %.1f ms after power off and on", average)
	}
	must(t, s.l.HealAll(ctx))
	wantPing(t, s.a, s.c, true)
}

func (s *suite) reboot(t *testing.T) {
	boot := run(t, s.a, "cat", "/proc/sys/kernel/random/boot_id")
	started := time.Now()
	must(t, s.a.Reboot(within(t, patience)))
	t.Logf("reboot took %v", time.Since(started))
	if run(t, s.a, "cat", "/proc/sys/kernel/random/boot_id") == boot {
		t.Error("it is the same boot")
	}
	wantPing(t, s.b, s.a, true)
	if got := run(t, s.a, "hostname"); got != "a" {
		t.Errorf("it calls itself %q", got)
	}
}

func (s *suite) offline(t *testing.T) {
	ctx := within(t, patience)
	must(t, s.c.Shutdown(ctx))
	must(t, s.c.WriteFile(ctx, "/etc/written", []byte("while off"), 0o644))
	if got, err := s.c.ReadFile(ctx, "/etc/written"); string(got) != "while off" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := s.c.ReadFile(ctx, "/etc/absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	if _, err := s.l.Clone(ctx, s.a, "d"); err == nil {
		t.Error("cloned a host that is on")
	}
	d, err := s.l.Clone(ctx, s.c, "d")
	must(t, err)
	must(t, s.c.PowerOn(ctx))
	must(t, d.PowerOn(ctx))
	if got := run(t, d, "cat", "/etc/written"); got != "while off" {
		t.Errorf("the clone has %q", got)
	}
	if run(t, d, "cat", "/etc/machine-id") != run(t, s.c, "cat", "/etc/machine-id") {
		t.Error("the clone has an identity of its own")
	}
	wantPing(t, s.a, d, true)
	if got := run(t, d, "hostname"); got != "d" {
		t.Errorf("the clone calls itself %s", got)
	}
}

// hardened checks what the product's and redis's units ask of the kernel.
func (s *suite) hardened(t *testing.T) {
	run(t, s.a, "useradd", "--system", "ordinary")
	unit := func(properties ...string) []string {
		args := []string{"systemd-run", "--wait", "--pipe", "--quiet", "-pUser=ordinary"}
		for _, p := range properties {
			args = append(args, "-p"+p)
		}
		return args
	}
	strict := []string{"ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes",
		"ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectControlGroups=yes", "ProtectClock=yes",
		"MemoryDenyWriteExecute=yes", "RestrictNamespaces=yes", "SystemCallArchitectures=native", "NoNewPrivileges=yes",
		"SystemCallFilter=@system-service", "StateDirectory=ordinary", "RuntimeDirectory=ordinary"}
	capable := slices.Concat(strict, []string{"AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",
		"CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW", "Nice=-10", "LimitNOFILE=65535", "LimitMEMLOCK=infinity"})
	const script = `touch /var/lib/ordinary/x; ip addr add 10.99.0.1/32 dev host0 valid_lft 60 preferred_lft 60
arping -q -c1 -U -I host0 10.99.0.1; ip addr del 10.99.0.1/32 dev host0; test "$(nice)" = -10; ! touch /etc/x; ulimit -n`
	// A machine whose root may not raise limits gives its hosts no more than it has.
	var own unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &own))
	files, err := strconv.ParseUint(run(t, s.a, append(unit(capable...), "sh", "-ec", script)...), 10, 64)
	if err != nil || files < min(65535, own.Max) {
		t.Errorf("the unit may open %d files, %v", files, err)
	}
	private := append(strict, "PrivateUsers=yes")
	if got := run(t, s.a, append(unit(private...), "id", "-un")...); got != "ordinary" {
		t.Errorf("with PrivateUsers it is %s", got)
	}
	_, err = s.a.Run(t.Context(), append(unit(), "ip", "link", "set", "host0", "mtu", "1400")...)
	if err == nil {
		t.Error("an ordinary user without capabilities changed a link")
	}
}
