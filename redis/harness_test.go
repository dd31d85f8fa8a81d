package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const testPassword = "correct-horse"

// The users as redisd has them; package confgen writes them and tries their limits.
const testUsers = `user default on >` + testPassword + ` ~* &* +@all
user app on >` + testPassword + ` ~* &* +@all
user redisd-agent on >` + testPassword + ` ~* &* +@all
user redisd-replica on >` + testPassword + ` +psync +replconf +ping
user redisd-sentinel on >` + testPassword + ` &__sentinel__:hello +ping +info +role +publish +subscribe +client|setname +script|kill
`

var (
	agent       = Credentials{AgentUser, testPassword}
	placeholder = netip.MustParseAddrPort("127.0.0.1:1")
	noAddr      netip.AddrPort
)

// process is a real redis-server or redis-sentinel of one test.
type process struct {
	t    *testing.T
	bin  string
	dir  string
	addr netip.AddrPort
	cmd  *exec.Cmd
}

// newProcess finds the binary and writes its configuration.
func newProcess(t *testing.T, bin, config string) *process {
	t.Helper()
	if _, err := exec.LookPath(bin); err != nil {
		t.Skipf("%s is not installed", bin)
	}
	p := &process{t: t, bin: bin, dir: quickDir(t), addr: freeAddr(t)}
	p.write("users.acl", testUsers)
	p.write("conf", fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nlogfile %s\n%s",
		p.addr.Port(), p.dir, filepath.Join(p.dir, "log"), config))
	t.Cleanup(p.kill)
	return p
}

func (p *process) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.bin, filepath.Join(p.dir, "conf"))
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// serverConfig is a redis-server as redisd starts one: a fenced replica.
func serverConfig(primary netip.AddrPort, more ...string) string {
	return fmt.Sprintf("aclfile users.acl\nmasteruser %s\nmasterauth %s\nreplicaof %s %d\n%s %d\n%s 2\nsave \"\"\nrepl-diskless-sync-delay 0\n%s\n",
		ReplicaUser, testPassword, primary.Addr(), primary.Port(), dirMinReplicas, Fence, dirMaxLag, strings.Join(more, "\n"))
}

// newServer starts a redis-server and returns the agent's way to it.
func newServer(t *testing.T, primary netip.AddrPort, more ...string) (*process, *Server) {
	t.Helper()
	p := newProcess(t, "redis-server", serverConfig(primary, more...))
	p.start()
	s := connect(t, p.addr, agent)
	await(t, "the server's answer", func() bool { return s.Probe(t.Context()) == OK })
	return p, s
}

func newPrimary(t *testing.T) (*process, *Server) {
	t.Helper()
	p, s := newServer(t, placeholder)
	must(t, s.Promote(t.Context(), 0))
	return p, s
}

func connect(t *testing.T, addr netip.AddrPort, cred Credentials) *Server {
	t.Helper()
	s := NewServer(addr, cred)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// client is a user's connection, apart from the package under test.
func client(t *testing.T, addr netip.AddrPort, user string) *goredis.Conn {
	t.Helper()
	pool := goredis.NewClient(&goredis.Options{
		Addr: addr.String(), Username: user, Password: testPassword, Protocol: 2,
		MaxRetries: -1, PoolSize: 1, DisableIdentity: true,
	})
	c := pool.Conn()
	t.Cleanup(func() { _ = c.Close(); _ = pool.Close() })
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, c *goredis.Conn) error {
	t.Helper()
	return c.Incr(t.Context(), "counter").Err()
}

// linked waits until replica has its link to primary.
func linked(t *testing.T, replica *Server, primary netip.AddrPort) {
	t.Helper()
	await(t, "the replica's link", func() bool {
		r, err := replica.Role(t.Context())
		return err == nil && r.LinkUp && r.PrimaryAddr == primary
	})
}

func freeAddr(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// await asks every few milliseconds, for at most 20 s.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// must fails the test unless err is nil or, if given, the one that is wanted.
func must(t *testing.T, err error, want ...error) {
	t.Helper()
	if err != nil && (len(want) == 0 || !errors.Is(err, want[0])) {
		t.Fatal(err)
	}
}

// subscribe returns what ends a subscription.
func subscribe(t *testing.T, p *process) <-chan error {
	t.Helper()
	pool := goredis.NewClient(&goredis.Options{
		Addr: p.addr.String(), Username: "app", Password: testPassword, Protocol: 2, DisableIdentity: true,
	})
	sub := pool.Subscribe(t.Context(), "channel")
	t.Cleanup(func() { _ = sub.Close(); _ = pool.Close() })
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := sub.Receive(context.Background())
		ended <- err
	}()
	return ended
}

// within gives a call a deadline of its own.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// fakeServer answers each command with what reply returns: one RESP reply without its last line
// end. "" closes the connection.
func fakeServer(t *testing.T, reply func(args []string) string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveFake(c, reply)
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func serveFake(c net.Conn, reply func([]string) string) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		args, err := readCommand(r)
		if err != nil {
			return
		}
		text := "-ERR unknown command" // HELLO, by which the library begins
		if args[0] != "hello" {
			text = reply(args)
		}
		if text == "" {
			return
		}
		if _, err := io.WriteString(c, text+"\r\n"); err != nil {
			return
		}
	}
}

func readCommand(r *bufio.Reader) ([]string, error) {
	line := func() (string, error) {
		s, err := r.ReadString('\n')
		return strings.TrimRight(s, "\r\n"), err
	}
	head, err := line()
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimPrefix(head, "*"))
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		if _, err := line(); err != nil { // its length
			return nil, err
		}
		if args[i], err = line(); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// bulk is a string reply for fakeServer.
func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s", len(s), s) }

// quickDir is a directory in memory where there is one: Sentinel answers to what it is told when it
// has synced its file, and these tests are about its words, not about a disk that others keep busy.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "redisd-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
