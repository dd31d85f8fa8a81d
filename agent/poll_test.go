package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

// polled is a poller with a real redis-server, started as the agent starts one.
type polled struct {
	*poller
	t        *testing.T
	operator *goredis.Client
}

func newPolled(t *testing.T, last byte, directives map[string]string) *polled {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed")
	}
	dir, err := os.MkdirTemp("", "poll") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := config.Default()
	cfg.Node.Name, cfg.Node.StateDir, cfg.Node.RunDir = "a", dir, filepath.Join(dir, "run")
	cfg.Node.Address = netip.AddrFrom4([4]byte{127, 78, byte(os.Getpid()), last})
	cfg.Redis.Directives = directives
	sec, err := secret.Parse(secret.Generate())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s := &site{log: log, secret: sec, redisAddr: redisAddr(cfg), gossipAddr: redisAddr(cfg), disk: &disk{dir: dir}}
	s.cfg.Store(&cfg)
	if err := os.MkdirAll(s.redisDir(), 0o750); err != nil {
		t.Fatal(err)
	}
	f := &files{site: s}
	if err := f.writeRedisFiles(cfg, ""); err != nil {
		t.Fatal(err)
	}
	proc := &supervised{which: node.Redis, log: log, Process: supervisor.New(log, filepath.Join(dir, "supervisor"), "redis-server", nil)}
	if err := proc.Start(t.Context(), supervisor.Spec{Argv: []string{"redis-server", filepath.Join(s.redisDir(), "redis.conf")}, Dir: s.redisDir()}); err != nil {
		t.Fatal(err)
	}
	j := newJournal(s)
	door := newDoor(s, f, j, proc)
	p := &polled{t: t, poller: &poller{
		site: s, journal: j, server: redis.NewLocal(door), door: door, proc: proc.Process,
		sentinel: redis.NewSentinel(netip.AddrPort{}, redis.Credentials{}),
	}}
	password, err := clientPassword(cfg, sec)
	if err != nil {
		t.Fatal(err)
	}
	p.operator = goredis.NewClient(&goredis.Options{Addr: s.redisAddr.String(), Password: password, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() {
		_ = p.operator.Close()
		p.close()
		door.Close()
		_ = proc.Kill()
		_ = proc.Close()
	})
	p.await("an answer", func(in node.RedisPolled) bool { return in.Info != nil })
	return p
}

func (p *polled) poll() node.RedisPolled {
	ctx, cancel := context.WithTimeout(p.t.Context(), node.PollTimeout)
	defer cancel()
	return p.pollRedis(ctx, 1, node.PollRedis{}).(node.RedisPolled)
}

func (p *polled) await(what string, is func(node.RedisPolled) bool) {
	p.t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for {
		in := p.poll()
		if is(in) {
			return
		}
		if time.Now().After(limit) {
			p.t.Fatalf("waited in vain for %s: %+v", what, in)
		}
	}
}

// awaitRefused waits for a refusal with that word, which status shows too.
func (p *polled) awaitRefused(word string) {
	p.t.Helper()
	p.await("a refusal: "+word, func(in node.RedisPolled) bool {
		if in.Info == nil && in.Refused == "" {
			p.t.Errorf("%q counts as silence: %+v", word, in)
		}
		return in.Info == nil && strings.Contains(in.Refused, word)
	})
	if !strings.Contains(p.refusal(), word) {
		p.t.Errorf("status says %q", p.refusal())
	}
}

func (p *polled) awaitAnswer() {
	p.t.Helper()
	p.await("an answer", func(in node.RedisPolled) bool { return in.Info != nil })
	if p.refusal() != "" {
		p.t.Errorf("status still says %q", p.refusal())
	}
}

func (p *polled) command(args ...any) {
	p.t.Helper()
	if err := p.operator.Do(p.t.Context(), args...).Err(); err != nil {
		p.t.Fatal(err)
	}
}

func TestPausedIsRefused(t *testing.T) {
	p := newPolled(t, 1, nil)
	p.command("CLIENT", "PAUSE", "1000", "ALL")
	p.awaitRefused("paused")
	p.awaitAnswer()
}

func TestBusyScriptIsRefused(t *testing.T) {
	p := newPolled(t, 2, map[string]string{"busy-reply-threshold": "10"})
	ended := make(chan error, 1)
	go func() { ended <- p.operator.Do(t.Context(), "EVAL", "while true do end", "0").Err() }()
	p.await("the script", func(in node.RedisPolled) bool { return strings.Contains(in.Refused, "script") })
	p.command("SCRIPT", "KILL")
	<-ended
	p.awaitAnswer()
}

func TestLockedOutIsRefused(t *testing.T) {
	p := newPolled(t, 3, nil)
	p.command("ACL", "SETUSER", "other", "on", ">x", "+@all", "~*")
	p.command("ACL", "DELUSER", "redisd-agent")
	p.awaitAnswer() // it was made anew
	p.command("ACL", "SETUSER", "redisd-agent", "-@all")
	p.command("ACL", "SETUSER", "default", "resetpass", ">another")
	p.awaitRefused("user")
}

func TestStoppedIsSilent(t *testing.T) {
	p := newPolled(t, 4, nil)
	if err := p.proc.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	first := p.poll()
	for range 3 {
		in := p.poll()
		if in.Info != nil || in.Refused != "" || !in.Silent.Known || in.Silent.State != 'T' {
			t.Fatalf("a stopped process: %+v", in)
		}
		if in.Silent.Switches == 0 || in.Silent.Switches != first.Silent.Switches {
			t.Errorf("its main thread was woken %d times, then %d", first.Silent.Switches, in.Silent.Switches)
		}
	}
	if err := p.proc.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p.awaitAnswer()
}
