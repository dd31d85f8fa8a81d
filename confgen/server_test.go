package confgen_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redisd/redisd/confgen"
)

const (
	clientPassword   = "client-password"
	agentPassword    = "agent-password"
	replicaPassword  = "replica-password"
	sentinelPassword = "redis-sentinel-password"
	peerPassword     = "peer-password"
)

// patience bounds every wait: long enough for a machine that is busy with more.
const patience = 30 * time.Second

// server is a real redis-server or redis-sentinel of a test.
type server struct {
	t    *testing.T
	addr netip.AddrPort
	dir  string
	conf string // path of its configuration file
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	mu   sync.Mutex
	out  bytes.Buffer
}

// Write collects what the process prints.
func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *server) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// start runs program with the configuration file, with the umask that doc.go asks for, and returns
// when it answers. It is killed at the end of the test.
func start(t *testing.T, program, conf string, addr netip.AddrPort) *server {
	t.Helper()
	s := &server{t: t, addr: addr, dir: filepath.Dir(conf), conf: conf, done: make(chan struct{})}
	s.cmd = exec.Command("/bin/sh", "-c", `umask 077; exec "$0" "$1"`, needs(t, program), conf)
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = s, s
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.done)
		s.cmd.Wait()
	}()
	t.Cleanup(s.kill)
	await(t, program+" to listen", func() bool {
		select {
		case <-s.done:
			t.Fatalf("%s refused its configuration:\n%s", program, s.output())
		default:
		}
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	return s
}

// kill ends the process as a crash would.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.done
}

func needs(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// as runs a command as a user and returns what redis-cli prints.
func (s *server) as(user, password string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cli := []string{"-h", s.addr.Addr().String(), "-p", fmt.Sprint(s.addr.Port())}
	if user != "" {
		cli = append(cli, "--user", user, "--pass", password, "--no-auth-warning")
	}
	cli = append(cli, args...)
	out, err := exec.CommandContext(ctx, needs(s.t, "redis-cli"), cli...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("redis-cli %q: %v\n%s\nserver:\n%s", args, err, out, s.output())
	}
	return strings.TrimSpace(string(out))
}

// do runs a command as the agent.
func (s *server) do(args ...string) string {
	s.t.Helper()
	return s.as(confgen.UserAgent, agentPassword, args...)
}

// get returns the value of a directive.
func (s *server) get(directive string) string {
	s.t.Helper()
	_, value, _ := strings.Cut(s.do("CONFIG", "GET", directive), "\n")
	return value
}

// loopback returns an address on which this test is alone, n being one number of those that no test
// beside it uses, with a port that was free just now.
func loopback(t *testing.T, n int) netip.AddrPort {
	t.Helper()
	host := fmt.Sprintf("127.88.%d.%d", os.Getpid()%250+1, n)
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Skipf("no loopback address %s: %v", host, err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// acl are the users of every redis-server in these tests.
var acl = confgen.ACL(confgen.ACLFacts{
	ClientPassword:   clientPassword,
	AgentPassword:    agentPassword,
	ReplicaPassword:  replicaPassword,
	SentinelPassword: sentinelPassword,
})
