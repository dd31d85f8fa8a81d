package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/redis"
)

// keptServer is a real redis-server that was started with what redisd writes, and its keeper.
type keptServer struct {
	t      *testing.T
	keeper *keeper
	addr   netip.AddrPort
}

func newKeptServer(t *testing.T, change func(*config.Config)) *keptServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed")
	}
	ip := netip.AddrFrom4([4]byte{127, 80, byte(os.Getpid()), 1})
	l, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	cfg := config.Default()
	cfg.Node.Name, cfg.Node.Address, cfg.Node.Roles, cfg.Redis.Port = "a", addr.Addr(), []string{config.RoleRedis}, int(addr.Port())
	if change != nil {
		change(&cfg)
	}
	s, pid := startConfigured(t, cfg)
	k := newKeeper(s, &files{site: s}, newJournal(s), redis.NewServer(addr, s.agentCredentials()), pid)
	t.Cleanup(func() { k.server.Close() })
	ks := &keptServer{t: t, keeper: k, addr: addr}
	awaitAnswer(t, k.server)
	return ks
}

// startConfigured starts a real redis-server as redisd does.
func startConfigured(t *testing.T, cfg config.Config) (s *site, pid func() int) {
	t.Helper()
	sec, err := secret.Parse(secret.Generate())
	if err != nil {
		t.Fatal(err)
	}
	s = &site{log: slog.New(slog.DiscardHandler), secret: sec, disk: &disk{dir: t.TempDir()}, redisAddr: redisAddr(cfg)}
	s.cfg.Store(&cfg)
	if err := os.MkdirAll(s.redisDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (&files{site: s}).writeRedisFiles(cfg, ""); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", filepath.Join(s.redisDir(), confgen.RedisConfName))
	cmd.Dir = s.redisDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return s, func() int { return cmd.Process.Pid }
}

func awaitAnswer(t *testing.T, s *redis.Server) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); s.Ping(t.Context()) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
}

// client runs a command as an application does.
func (s *keptServer) client(args ...string) string {
	s.t.Helper()
	out, err := s.try("default", s.keeper.secret.Password("redis client"), args...)
	if err != nil {
		s.t.Fatalf("%q: %v: %s", args, err, out)
	}
	return out
}

func (s *keptServer) try(user, password string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "redis-cli", append([]string{"-e", "-h", s.addr.Addr().String(), "-p", fmt.Sprint(s.addr.Port()),
		"--user", user, "--pass", password, "--no-auth-warning"}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (s *keptServer) get(name string) string {
	_, value, _ := strings.Cut(s.client("CONFIG", "GET", name), "\n")
	return value
}

// look has the keeper look once, and returns the new events.
func (s *keptServer) look() []string {
	before := len(s.keeper.events.all())
	s.keeper.look(s.t.Context(), false)
	s.keeper.look(s.t.Context(), true)
	var texts []string
	for _, e := range s.keeper.events.all()[before:] {
		texts = append(texts, e.Text)
	}
	return texts
}

func (s *keptServer) quiet() {
	s.t.Helper()
	for range 3 {
		if events := s.look(); len(events) > 0 {
			s.t.Errorf("nothing was changed, and it says %q", events)
		}
	}
	if problems, _ := s.keeper.changes(); len(problems) > 0 {
		s.t.Errorf("problems: %q", problems)
	}
}

// settable is another value for each directive that is kept.
var settable = map[string]string{
	"appendonly": "no", "bind": "127.0.0.1", "bind-source-addr": "127.0.0.1", "masterauth": "x", "masteruser": "x", "min-replicas-max-lag": "100",
	"port": "0", "protected-mode": "yes", "repl-diskless-load": "swapdb", "replica-announce-ip": "10.9.9.9", "replica-announce-port": "1",
	"replica-announced": "no", "replica-priority": "100", "replica-read-only": "no", "requirepass": "x", "shutdown-on-sigint": "nosave", "shutdown-on-sigterm": "nosave",
}

func TestKeeperRestoresDirectives(t *testing.T) {
	s := newKeptServer(t, nil)
	s.quiet()
	for _, k := range s.keeper.want.kept {
		if strings.HasPrefix(k.Name, "tls-") {
			continue // cannot be turned on without certificates
		}
		value, ok := settable[k.Name]
		if !ok {
			t.Errorf("%s: no other value", k.Name)
			continue
		}
		before := s.get(k.Name)
		was := s.client("ACL", "LIST")
		s.client("CONFIG", "SET", k.Name, value)
		events := s.look()
		if len(events) == 0 || !strings.Contains(strings.Join(events, "\n"), k.Name+" was") {
			t.Errorf("%s: events %q", k.Name, events)
		}
		if k.Name == "masterauth" && strings.Contains(events[0], `"`) {
			t.Errorf("a password is told: %q", events)
		}
		if after := s.get(k.Name); after != before {
			t.Errorf("%s was %q, and is %q after it was set to %q", k.Name, before, after, value)
		}
		if now := s.client("ACL", "LIST"); now != was {
			t.Errorf("%s: the users were\n%s\nand are\n%s", k.Name, was, now)
		}
		s.quiet()
	}
}

func TestKeeperRestoresUsers(t *testing.T) {
	s := newKeptServer(t, nil)
	s.client("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
	s.quiet()
	before := s.client("ACL", "LIST")
	for _, tt := range []struct{ command, event string }{
		{"ACL DELUSER redisd-replica", "user redisd-replica was gone"},
		{"ACL DELUSER redisd-sentinel", "user redisd-sentinel was gone"},
		{"ACL DELUSER redisd-replica redisd-sentinel", "was gone"},
		{"ACL SETUSER redisd-replica off", "user redisd-replica had off and lacked on"},
		{"ACL SETUSER redisd-replica resetpass >x", "had another password and lacked its password"},
		{"ACL SETUSER redisd-replica +set", "had +set"},
		{"ACL SETUSER redisd-sentinel resetchannels", "lacked &__sentinel__:hello"},
		{"ACL SETUSER redisd-agent -multi", "had -multi"},
		{"ACL SETUSER redisd-agent -config", "user redisd-agent"},
		{"ACL SETUSER redisd-agent off resetpass", "user redisd-agent"},
		{"ACL SETUSER default nopass", "had nopass and lacked its password"},
		{"ACL SETUSER default off", "user default had off"},
		{"ACL SETUSER default reset", "user default"},
		{"ACL SETUSER default +replicaof", "lacked -replicaof"},
		{"CONFIG SET requirepass other", "user default"},
	} {
		if out, err := s.try("admin", "admin", strings.Fields(tt.command)...); err != nil {
			t.Fatalf("%s: %s", tt.command, out)
		}
		s.keeper.told = map[string]time.Duration{}
		events := append(s.look(), s.look()...)
		if !strings.Contains(strings.Join(events, "\n"), tt.event) {
			t.Errorf("%s: events %q, want %q", tt.command, events, tt.event)
		}
		if after := s.client("ACL", "LIST"); after != before {
			t.Errorf("%s: the users were\n%s\nand are\n%s", tt.command, before, after)
		}
		s.quiet()
	}
	if _, drift := s.keeper.changes(); !cmp.Equal(drift, []Drift{{User: "admin"}}) {
		t.Errorf("drift: %+v", drift)
	}
	s.client("PING")
}

// What redisd.toml says, and a client changed, is shown and stays.
func TestKeeperShowsDrift(t *testing.T) {
	s := newKeptServer(t, func(c *config.Config) {
		c.Redis.MaxMemory = "64mb"
		c.Redis.Directives = map[string]string{"timeout": "600", "client-output-buffer-limit": "replica 512mb 128mb 60", "appendonly": "no"}
	})
	s.quiet()
	if _, drift := s.keeper.changes(); len(drift) > 0 {
		t.Errorf("drift of a server that nobody changed: %+v", drift)
	}
	s.client("CONFIG", "SET", "timeout", "7", "maxmemory", "1gb", "repl-timeout", "99")
	s.quiet()
	want := []Drift{
		{Directive: "maxmemory", Value: "1073741824", Configured: "64mb", Source: "redisd.toml"},
		{Directive: "repl-timeout", Value: "99", Configured: "20", Source: "redisd's default"},
		{Directive: "timeout", Value: "7", Configured: "600", Source: "redisd.toml"},
	}
	_, drift := s.keeper.changes()
	if diff := cmp.Diff(want, drift); diff != "" {
		t.Error(diff)
	}
	if got := s.get("timeout"); got != "7" {
		t.Errorf("timeout is %s", got)
	}
	s.client("CONFIG", "SET", "appendonly", "yes") // but redisd.toml says no
	if events := s.look(); len(events) != 1 || s.get("appendonly") != "no" {
		t.Errorf("appendonly is %s; events %q", s.get("appendonly"), events)
	}
}

// What redis-server does not take is said once, shown, and tried again more and more seldom; the
// rest is restored.
func TestKeeperBacksOff(t *testing.T) {
	s := newKeptServer(t, nil)
	s.quiet()
	k := s.keeper
	for i := range k.want.kept {
		if k.want.kept[i].Name == "replica-announce-port" {
			k.want.kept[i].Value = "99999" // more than there are
		}
	}
	s.client("CONFIG", "SET", "replica-read-only", "no")
	if events := s.look(); len(events) != 1 || s.get("replica-read-only") != "yes" {
		t.Errorf("replica-read-only is %s, events %q", s.get("replica-read-only"), events)
	}
	problems, _ := k.changes()
	if len(problems) != 1 || !strings.Contains(problems[0], "replica-announce-port") || !strings.Contains(problems[0], "between") {
		t.Errorf("problems: %q", problems)
	}
	f := k.faults["replica-announce-port"]
	for want := 2 * refusedWait; want <= 2*refusedMost; want *= 2 {
		s.look()
		if f.next == 0 || f.wait != min(want/2, refusedMost) {
			t.Fatalf("tried again before its time: waits %v, want %v", f.wait, want/2)
		}
		f.next = 1
		s.look()
	}
	if n := len(k.journal.todo); n != 2 { // that it does not take it, and that the other is restored
		t.Errorf("%d lines in the journal, want 2", n)
	}
	if n := len(k.events.all()); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// A redis-server that says in its own words what it took is set once to learn them, and nothing is
// told.
func TestKeeperLearnsWords(t *testing.T) {
	s := newKeptServer(t, func(c *config.Config) { c.Redis.Directives = map[string]string{"appendonly": "YES"} })
	sets := func() string {
		for line := range strings.Lines(s.client("INFO", "commandstats")) {
			if calls, ok := strings.CutPrefix(line, "cmdstat_config|set:calls="); ok {
				calls, _, _ = strings.Cut(calls, ",")
				return calls
			}
		}
		return "0"
	}
	s.quiet()
	if n := sets(); n != "1" {
		t.Errorf("%s CONFIG SET, want 1", n)
	}
	s.client("CONFIG", "SET", "appendonly", "no")
	if events := s.look(); len(events) != 1 || s.get("appendonly") != "yes" {
		t.Errorf("appendonly is %s, events %q", s.get("appendonly"), events)
	}
	s.quiet()
	if n := sets(); n != "3" { // the client's, and one to restore it
		t.Errorf("%s CONFIG SET, want 3", n)
	}
}

func TestKeeperLeavesAloneWhatStops(t *testing.T) {
	s := newKeptServer(t, nil)
	s.quiet()
	s.keeper.process = func() int { return 0 }
	s.client("CONFIG", "SET", "replica-read-only", "no")
	if events := s.look(); len(events) > 0 || s.get("replica-read-only") != "no" {
		t.Errorf("a redis-server that is being stopped was changed: %q", events)
	}
}

// To take requirepass away takes the default user's password: nobody may get in by that, not even
// for a moment.
func TestKeeperNeverOpensTheDefaultUser(t *testing.T) {
	s := newKeptServer(t, nil)
	s.quiet()
	before := s.client("ACL", "LIST")
	s.client("CONFIG", "SET", "requirepass", s.keeper.secret.Password("redis client"))
	s.keeper.look(t.Context(), false)
	if after := s.client("ACL", "LIST"); after != before || s.get("requirepass") != "" {
		t.Errorf("requirepass %q, the users were\n%s\nand are\n%s", s.get("requirepass"), before, after)
	}
	s.quiet()
}

// Without a right that lets it give itself the others, redisd says so, and goes on once it has it.
func TestKeeperSaysThatItIsRefused(t *testing.T) {
	s := newKeptServer(t, nil)
	s.quiet()
	s.client("ACL", "SETUSER", "redisd-agent", "-@all")
	s.client("CONFIG", "SET", "replica-read-only", "no")
	for range 2 {
		if events := s.look(); len(events) > 0 {
			t.Errorf("events %q", events)
		}
		if problems, _ := s.keeper.changes(); len(problems) != 1 || !strings.Contains(problems[0], "NOPERM") {
			t.Errorf("problems: %q", problems)
		}
	}
	s.client("ACL", "SETUSER", "redisd-agent", "+@all")
	if events := s.look(); len(events) != 1 || s.get("replica-read-only") != "yes" {
		t.Errorf("replica-read-only is %s, events %q", s.get("replica-read-only"), events)
	}
	s.quiet()
}
