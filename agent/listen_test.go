package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
	"github.com/redisd/redisd/vip"
)

// inNamespace runs a test in a process that has a network of its own: an interface e0, up, with the
// addresses 10.0.0.1, fd00::1 and 203.0.113.5.
func inNamespace(t *testing.T, test func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make a network")
	}
	if os.Getenv("REDISD_TEST_NETWORK") != "" {
		ip(t, "link set lo up", "link add e0 type veth peer name e1", "link set e0 up", "link set e1 up",
			"addr add 10.0.0.1/24 dev e0", "addr add 203.0.113.5/24 dev e0", "addr add fd00::1/64 dev e0 nodad")
		test()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), "REDISD_TEST_NETWORK=own")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

func ip(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
}

// listeningServer is a real redis-server with several addresses, as redisd starts it, and what sees
// to its listening.
type listeningServer struct {
	t *testing.T
	*listener
	cfg config.Config
}

const listenPort = 6379

func newListeningServer(t *testing.T, list ...string) *listeningServer {
	t.Helper()
	cfg := config.Default()
	cfg.Node = config.Node{Name: "a", Address: netip.MustParseAddr("10.0.0.1"), Roles: []string{config.RoleRedis}, StateDir: t.TempDir(), RunDir: t.TempDir()}
	cfg.VIPs = []config.VIP{{Address: netip.MustParsePrefix("10.0.0.100/24"), Role: config.RolePrimary}}
	cfg.Redis.Listen = list
	s, pid := startConfigured(t, cfg)
	door := redis.NewDoor(redis.DoorOptions{Addr: s.redisAddr, Socket: redisSocket(cfg), Agent: s.agentCredentials(), PID: pid})
	t.Cleanup(door.Close)
	l := &listener{site: s, journal: newJournal(s), server: redis.NewLocal(door), process: pid, sooner: make(chan struct{}, 1)}
	l.sentry.proc = &supervised{Process: supervisor.New(s.log, t.TempDir(), "redis-sentinel", nil)}
	awaitAnswer(t, l.server)
	l.learn()
	return &listeningServer{t: t, listener: l, cfg: cfg}
}

// now has the listener look at the host once, as it does when something changes.
func (s *listeningServer) now() {
	s.learn()
	s.look(s.t.Context())
}

// expect has redis-server answer at these addresses, and at no others of the host.
func (s *listeningServer) expect(want ...string) {
	s.t.Helper()
	var got []string
	host, err := HostInterfaces()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, i := range host {
		for _, a := range i.Addresses {
			if !a.Addr().IsLinkLocalUnicast() && answersAt(a.Addr()) {
				got = append(got, a.Addr().String())
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Errorf("it answers at %v, want %v", got, want)
	}
}

func answersAt(a netip.Addr) bool {
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(a, listenPort).String(), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprint(c, "PING\r\n")
	_, err = c.Read(make([]byte, 1))
	return err == nil
}

func (s *listeningServer) quiet() {
	s.t.Helper()
	if p := s.problems(); len(p) > 0 {
		s.t.Errorf("problems: %q", p)
	}
}

// sockets are the kernel's numbers of those that redis-server listens on.
func (s *listeningServer) sockets() (inodes string) {
	out, err := exec.Command("ss", "-Hltne", "sport", "=", fmt.Sprint(listenPort)).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "ino:") {
			inodes += word + " "
		}
	}
	return inodes
}

// TestListenFollowsTheVIP: where redis-server answers before, with and after the VIP.
func TestListenFollowsTheVIP(t *testing.T) {
	inNamespace(t, func() {
		s := newListeningServer(t)
		s.now()
		s.expect("10.0.0.1", "127.0.0.1", "::1")
		s.quiet()
		ip(t, "addr add 10.0.0.100/32 dev e0")
		s.ready(netip.MustParseAddr("10.0.0.100"))
		s.expect("10.0.0.1", "10.0.0.100", "127.0.0.1", "::1")
		before := s.sockets()
		ip(t, "addr del 10.0.0.100/32 dev e0")
		s.now()
		ip(t, "addr add 10.0.0.100/32 dev e0")
		s.expect("10.0.0.1", "10.0.0.100", "127.0.0.1", "::1")
		s.ready(netip.MustParseAddr("10.0.0.100"))
		if after := s.sockets(); after != before {
			t.Errorf("it was told again for a VIP that it knew: %s, before %s", after, before)
		}
		s.now()

		s.close(t.Context(), []netip.Addr{netip.MustParseAddr("10.0.0.100")})
		s.expect("10.0.0.1", "127.0.0.1", "::1")
		s.now()
		s.expect("10.0.0.1", "127.0.0.1", "::1") // it is meant to be so
		s.open(t.Context())
		s.expect("10.0.0.1", "10.0.0.100", "127.0.0.1", "::1")
		s.close(t.Context(), []netip.Addr{netip.MustParseAddr("10.0.0.100")})
		s.until = now() // whoever closed it never came back
		s.now()
		s.expect("10.0.0.1", "10.0.0.100", "127.0.0.1", "::1")
		s.quiet()
		if events := s.events.all(); len(events) > 0 {
			t.Errorf("nobody changed anything, and it says %+v", events)
		}
	})
}

// TestListenSurvivesTheHost: addresses and interfaces that come and go, another program in the way,
// and a client that changes bind. It never is without a listener for good.
func TestListenSurvivesTheHost(t *testing.T) {
	inNamespace(t, func() {
		s := newListeningServer(t, "10.7.0.0/16", "203.0.113.5", "e7")
		s.now()
		s.expect("10.0.0.1", "203.0.113.5")
		ip(t, "addr add 10.7.7.7/24 dev e0")
		s.now()
		s.expect("10.0.0.1", "10.7.7.7", "203.0.113.5")
		ip(t, "link add e7 type veth peer name e8", "addr add 192.0.2.7/24 dev e7", "link set e7 up", "link set e8 up")
		s.now()
		s.expect("10.0.0.1", "10.7.7.7", "192.0.2.7", "203.0.113.5")
		ip(t, "link del e7")
		s.now()
		s.expect("10.0.0.1", "10.7.7.7", "203.0.113.5")
		ip(t, "link add e7 type veth peer name e8", "addr add 192.0.2.8/24 dev e7", "link set e7 up", "link set e8 up")
		s.now()
		s.expect("10.0.0.1", "10.7.7.7", "192.0.2.8", "203.0.113.5")
		ip(t, "link del e7", "addr del 10.0.0.1/24 dev e0")
		s.now()
		s.expect("10.7.7.7", "203.0.113.5")
		ip(t, "addr add 10.0.0.1/24 dev e0")
		s.now()
		s.expect("10.0.0.1", "10.7.7.7", "203.0.113.5")
		s.quiet()

		// Another program has the VIP's port: the rest goes on, and status says so.
		ip(t, "addr add 10.0.0.100/32 dev e0")
		other, err := net.Listen("tcp", "10.0.0.100:6379")
		if err != nil {
			t.Fatal(err)
		}
		ip(t, "addr add 10.7.7.8/24 dev e0")
		s.now()
		s.expect("10.0.0.1", "10.7.7.7", "10.7.7.8", "203.0.113.5")
		if p := s.problems(); len(p) != 1 || !strings.Contains(p[0], "does not listen at 10.0.0.100: ") {
			t.Errorf("problems: %q", p)
		}
		other.Close()
		s.fault.next = 0
		s.now()
		s.expect("10.0.0.1", "10.0.0.100", "10.7.7.7", "10.7.7.8", "203.0.113.5")
		s.quiet()

		// A list whose addresses have gone is refused, and so is the way back: no socket is left.
		events := len(s.events.all())
		for _, bind := range []string{"127.0.0.1", "*", "", "10.9.9.9"} {
			s.server.Listen(t.Context(), []string{bind}) // the last one is refused
			s.now()
			s.expect("10.0.0.1", "10.0.0.100", "10.7.7.7", "10.7.7.8", "203.0.113.5")
			s.quiet()
		}
		var told []string
		for _, e := range s.events.all()[events:] {
			told = append(told, e.Text)
		}
		if len(told) != 3 || !strings.Contains(told[0], "bind was") {
			t.Errorf("what was restored: %q", told)
		}
		ip(t, "addr add 10.6.6.6/24 dev e0")
		if err := s.server.Listen(t.Context(), []string{"10.6.6.6"}); err != nil {
			t.Fatal(err)
		}
		ip(t, "addr del 10.6.6.6/24 dev e0")
		if err := s.server.Listen(t.Context(), []string{"10.9.9.9"}); err == nil {
			t.Error("an address that is not there was taken")
		}
		if sockets, err := vip.Listening(listenPort); len(sockets) > 0 || err != nil {
			t.Fatalf("it listens at %v (%v): this test is no use", sockets, err)
		}
		s.now()
		s.expect("10.0.0.1", "10.0.0.100", "10.7.7.7", "10.7.7.8", "203.0.113.5")
		s.quiet()

		// Reloaded.
		cfg := s.cfg
		cfg.Redis.Listen = []string{config.Everywhere}
		s.site.cfg.Store(&cfg)
		s.now()
		s.expect("10.0.0.1", "10.0.0.100", "10.7.7.7", "10.7.7.8", "127.0.0.1", "203.0.113.5", "::1", "fd00::1")
		s.close(t.Context(), []netip.Addr{netip.MustParseAddr("10.0.0.100")})
		s.expect("10.0.0.1", "10.7.7.7", "10.7.7.8", "127.0.0.1", "203.0.113.5", "::1", "fd00::1")
		s.quiet()
	})
}

// TestListenByItself: what the kernel says is acted upon, without a look of the clock.
func TestListenByItself(t *testing.T) {
	inNamespace(t, func() {
		s := newListeningServer(t, "10.0.0.0/8", "fd00::/8")
		ctx, cancel := context.WithCancel(t.Context())
		var ended atomic.Bool
		go func() { s.run(ctx); ended.Store(true) }()
		for _, a := range []string{"10.5.0.1/24", "fd00:5::1/64"} { // the second is tentative for a while
			began := time.Now()
			ip(t, "addr add "+a+" dev e0")
			for addr := netip.MustParsePrefix(a).Addr(); !answersAt(addr); time.Sleep(time.Millisecond) {
				if time.Since(began) > 20*time.Second {
					t.Fatalf("it does not answer at %s", a)
				}
			}
			t.Logf("%s answers after %s", a, time.Since(began).Round(time.Millisecond))
		}
		cancel()
		for began := time.Now(); !ended.Load(); time.Sleep(time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatal("it does not end")
			}
		}
	})
}
