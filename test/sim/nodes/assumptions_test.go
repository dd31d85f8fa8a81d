package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/redis"
)

const password = "correct-horse"

const users = `user default on nopass ~* &* +@all
user redisd-agent on >` + password + ` ~* &* +@all
user redisd-replica on >` + password + ` +psync +replconf +ping
user redisd-sentinel on >` + password + ` &__sentinel__:hello +ping +info +role +publish +subscribe +client|setname +script|kill
`

var nobody = netip.MustParseAddrPort("127.0.0.1:1")

// program is a real redis-server or redis-sentinel.
type program struct {
	t      *testing.T
	binary string
	dir    string
	addr   netip.AddrPort
	cmd    *exec.Cmd
	agent  *redis.Server
	client *goredis.Client
}

func newProgram(t *testing.T, binary, conf string) *program {
	t.Helper()
	if _, err := exec.LookPath(binary); err != nil {
		t.Fatalf("%v: `make deps-redis` installs it", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, binary: binary, dir: t.TempDir(), addr: l.Addr().(*net.TCPAddr).AddrPort()}
	l.Close()
	text := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nlogfile %s\n%s", p.addr.Port(), p.dir, filepath.Join(p.dir, "log"), conf)
	for name, text := range map[string]string{"conf": text, "users.acl": users} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(p.kill)
	p.start()
	p.agent = redis.NewServer(p.addr, redis.Credentials{User: redis.AgentUser, Password: password})
	p.client = goredis.NewClient(&goredis.Options{Addr: p.addr.String(), MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = p.agent.Close(); _ = p.client.Close() })
	if binary == "redis-server" {
		p.await("answer", func() bool { return p.agent.Probe(t.Context()) == redis.OK })
	}
	return p
}

// newServer starts a redis-server as redisd does: a fenced replica.
func newServer(t *testing.T, primary netip.AddrPort) *program {
	return newProgram(t, "redis-server", fmt.Sprintf("aclfile users.acl\nmasteruser redisd-replica\nmasterauth %s\nreplicaof %s %d\n"+
		"min-replicas-to-write %d\nmin-replicas-max-lag 2\nsave \"\"\nappendonly yes\nrepl-diskless-sync-delay 0\n",
		password, primary.Addr(), primary.Port(), redis.Fence))
}

func (p *program) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.binary, filepath.Join(p.dir, "conf"))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the process and what it has forked, which would go on writing its files.
func (p *program) kill() {
	if p.cmd == nil {
		return
	}
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGKILL)
	_ = p.cmd.Wait()
	p.cmd = nil
	for err := error(nil); err == nil || errors.Is(err, syscall.EINTR); { // what it forked is this process' now
		_, err = syscall.Wait4(group, nil, 0, nil)
	}
}

func (p *program) await(what string, is func() bool) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(3 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (p *program) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) write() error { return p.client.Incr(p.t.Context(), "n").Err() }

func (p *program) info() redis.Info {
	p.t.Helper()
	i, err := p.agent.Info(p.t.Context())
	p.must(err)
	return i
}

// follows waits until p is in sync with the primary.
func (p *program) follows(primary *program) {
	p.t.Helper()
	p.await("the replica's link", func() bool {
		i, err := p.agent.Info(p.t.Context())
		return err == nil && i.LinkUp && i.PrimaryAddr == primary.addr && !i.SyncInProgress
	})
}

// pair is a primary that accepts writes, and n replicas in sync.
func pair(t *testing.T, n int) []*program {
	t.Helper()
	list := []*program{newServer(t, nobody)}
	list[0].must(list[0].agent.Promote(t.Context(), 0))
	for range n {
		r := newServer(t, list[0].addr)
		r.follows(list[0])
		list = append(list, r)
	}
	list[0].must(list[0].write())
	return list
}

// refused: the server answers that it may not write.
func refused(err error) bool { return redis.Code(err) == "NOREPLICAS" }

// TestAssumptions tries on the real programs what the models assume; see doc.go.
func TestAssumptions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, a := range []struct {
		name string
		try  func(*testing.T)
	}{
		{"1 a fenced server acknowledges no write", fenced},
		{"2 promotion and unfencing are one", promotedAtOnce},
		{"3 4 a promoted replica keeps its offset, the others resync partially", promoted},
		{"5 what min-replicas-to-write does", minReplicas},
		{"6 9 a killed process closes its connections, its replica knows how far it came", killed},
		{"7 a stopped process carries out later what it received", stopped},
		{"8 a restarted server has its data and another offset", restarted},
		{"10 sentinels publish and change nothing", published},
		{"11 a replica shows the history of its primary, a promotion begins a new one", histories},
		{"12 after a full copy the file is the old one until the rewrite has ended", staleFile},
		{"13 a full copy that cannot be loaded leaves an empty memory and the old file", flushed},
		{"14 without an append-only file a kill leaves the last snapshot", lastSnapshot},
		{"15 a server that loads answers, and takes a fence", loadingAnswers},
		{"16 a script: no answer, then -BUSY, and no fence", scripted},
		{"17 CLIENT PAUSE", paused},
		{"18 a refused login and a full server are answers", loginRefused},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			a.try(t)
		})
	}
}

func fenced(t *testing.T) {
	p := pair(t, 1)[0]
	p.must(p.agent.SetFence(t.Context()))
	if err := p.write(); !refused(err) {
		t.Errorf("a fenced primary answers a write with %v", err)
	}
	if err := p.client.Get(t.Context(), "n").Err(); err != nil {
		t.Errorf("a fenced primary answers a read with %v", err)
	}
}

func promotedAtOnce(t *testing.T) {
	p := pair(t, 1)
	// Whoever looks while it is promoted sees a fenced replica or a primary let in.
	seen := make(chan error, 1)
	go func() {
		for {
			reply, err := p[1].client.TxPipelined(context.Background(), func(c goredis.Pipeliner) error {
				c.Do(context.Background(), "ROLE")
				c.ConfigGet(context.Background(), "min-replicas-to-write")
				return nil
			})
			if err != nil {
				seen <- err
				return
			}
			role := reply[0].(*goredis.Cmd).Val().([]any)[0] == "master"
			open := reply[1].(*goredis.MapStringStringCmd).Val()["min-replicas-to-write"] == "0"
			if role != open {
				seen <- fmt.Errorf("primary %v, let in %v", role, open)
				return
			}
			if role {
				seen <- nil
				return
			}
		}
	}()
	p[1].must(p[1].agent.Promote(t.Context(), 0))
	if err := <-seen; err != nil {
		t.Error(err)
	}
}

func promoted(t *testing.T) {
	p := pair(t, 2)
	p[0].must(p[0].agent.SetFence(t.Context()))
	own := p[0].info().Offset
	for _, r := range p[1:] {
		r.await("all bytes", func() bool { return r.info().Offset >= own })
	}
	before := p[1].info().Offset
	p[1].must(p[1].agent.Promote(t.Context(), 0))
	if i := p[1].info(); i.Offset < before || i.Offset > before+1000 {
		t.Errorf("offset %d before the promotion, %d after it", before, i.Offset)
	}
	p[1].must(p[1].write())
	for _, r := range []*program{p[0], p[2]} {
		p[1].must(r.agent.Follow(t.Context(), p[1].addr, false))
		r.follows(p[1])
	}
	stats, err := p[1].client.Info(t.Context(), "stats").Result()
	p[1].must(err)
	if full := statistic(stats, "sync_full"); full != "0" {
		t.Errorf("%s full resyncs after the promotion", full)
	}
}

func histories(t *testing.T) {
	p := pair(t, 2)
	first := p[0].info().ReplID
	same := func(r *program, want string) {
		t.Helper()
		if got := r.info().ReplID; got != want {
			t.Errorf("%s shows %s, its primary has %s", r.addr, got, want)
		}
	}
	same(p[1], first)
	same(p[2], first)
	p[0].kill()
	p[1].await("the end of the link", func() bool { return !p[1].info().LinkUp })
	same(p[1], first)
	p[1].must(p[1].agent.Promote(t.Context(), 0))
	second := p[1].info()
	if second.ReplID == first || second.ReplID2 != first {
		t.Errorf("promoted from %s, it has %s and before that %s", first, second.ReplID, second.ReplID2)
	}
	p[2].must(p[2].agent.Follow(t.Context(), p[1].addr, false))
	p[2].follows(p[1])
	same(p[2], second.ReplID)
	p[1].must(p[1].agent.Promote(t.Context(), 0))
	same(p[1], second.ReplID)
	p[0].start()
	p[0].await("its dataset", func() bool { i, err := p[0].agent.Info(t.Context()); return err == nil && !i.Loading })
	if got := p[0].info().ReplID; got == first {
		t.Errorf("started again, it has %s as before", got)
	}
}

func minReplicas(t *testing.T) {
	p := pair(t, 1)
	p[0].must(p[0].agent.SetMinReplicas(t.Context(), 1))
	p[0].await("a write with its replica", func() bool { return p[0].write() == nil })
	p[1].kill()
	p[0].await("a refusal without its replica", func() bool { return refused(p[0].write()) })
	p[0].must(p[0].agent.SetMinReplicas(t.Context(), 0))
	if err := p[0].write(); err != nil {
		t.Errorf("with min-replicas-to-write 0: %v", err)
	}
}

func killed(t *testing.T) {
	p := pair(t, 1)
	own := p[0].info().Offset
	p[1].await("all bytes", func() bool { return p[1].info().Offset >= own })
	c, err := net.Dial("tcp", p[0].addr.String())
	p[0].must(err)
	defer c.Close()
	p[0].kill()
	began := time.Now()
	p[0].must(c.SetReadDeadline(began.Add(time.Second)))
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) || time.Since(began) > 300*time.Millisecond {
		t.Errorf("the connection ends with %v after %v", err, time.Since(began))
	}
	p[1].await("the end of the link", func() bool { return !p[1].info().LinkUp })
	if i := p[1].info(); i.Offset < own || i.PrimaryAddr != p[0].addr {
		t.Errorf("the replica shows %d of %d bytes, of %v", i.Offset, own, i.PrimaryAddr)
	}
}

func stopped(t *testing.T) {
	p := pair(t, 0)[0]
	p.must(p.agent.SetFence(t.Context()))
	c, err := net.Dial("tcp", p.addr.String())
	p.must(err)
	_, err = fmt.Fprintf(c, "PING\r\n")
	p.must(err)
	_, err = c.Read(make([]byte, 64)) // it is accepted
	p.must(err)
	p.must(p.cmd.Process.Signal(syscall.SIGSTOP))
	_, err = fmt.Fprintf(c, "CONFIG SET min-replicas-to-write 0\r\n")
	p.must(err)
	p.must(c.Close())
	p.must(p.cmd.Process.Signal(syscall.SIGCONT))
	p.await("a write, let in by a command whose sender has gone", func() bool { return p.write() == nil })
}

func restarted(t *testing.T) {
	p := pair(t, 1)[0] // without a replica it would not count
	// Where a disk is so busy that an fsync takes long, everysec keeps back what is written
	// meanwhile, for up to 2 s, and a crash of the process loses that.
	p.set("appendfsync", "always")
	for range 100 {
		p.must(p.write())
	}
	before := p.info()
	p.kill()
	p.start()
	p.await("answer", func() bool { return p.agent.Probe(t.Context()) == redis.OK })
	if n, err := p.client.Get(t.Context(), "n").Int(); err != nil || n != 101 {
		t.Errorf("n is %d, %v", n, err)
	}
	if after := p.info(); after.Offset >= before.Offset || after.RunID == before.RunID || after.Role != redis.Replica {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if err := p.write(); err == nil {
		t.Error("it acknowledges a write after a restart")
	}
}

func published(t *testing.T) {
	p := pair(t, 2)
	const name = "cache"
	var sentinels []*redis.Sentinel
	for range 3 {
		s := newProgram(t, "redis-sentinel", "")
		view := redis.NewSentinel(s.addr, redis.Credentials{})
		t.Cleanup(func() { _ = view.Close() })
		s.await("answer", func() bool { return view.Probe(t.Context()) == redis.OK })
		s.must(view.Monitor(t.Context(), name, p[0].addr, 2))
		s.must(view.Set(t.Context(), name,
			redis.Directive{Name: "auth-user", Value: redis.SentinelUser}, redis.Directive{Name: "auth-pass", Value: password},
			redis.Directive{Name: "down-after-milliseconds", Value: "3000"}, redis.Directive{Name: "failover-timeout", Value: "15000"}))
		s.must(view.Tune(t.Context(), redis.Timers{Info: time.Second, Publish: 500 * time.Millisecond}))
		sentinels = append(sentinels, view)
	}
	for _, s := range sentinels {
		p[0].await("the sentinels to know all", func() bool {
			list, err := s.Replicas(t.Context(), name)
			peers, perr := s.Peers(t.Context(), name)
			return err == nil && perr == nil && len(list) == 2 && len(peers) == 2
		})
	}
	p[0].kill()
	p[0].must(p[1].agent.Promote(t.Context(), 0))
	p[0].must(p[2].agent.Follow(t.Context(), p[1].addr, false))
	p[2].follows(p[1])
	names := func(s *redis.Sentinel) bool {
		v, err := s.Primary(t.Context(), name)
		return err == nil && v.Addr == p[1].addr && v.ConfigEpoch == 1000
	}
	p[0].must(sentinels[1].Announce(t.Context(), name, p[1].addr, 1000))
	if !names(sentinels[1]) {
		t.Error("it does not name the primary that it was told")
	}
	began := time.Now()
	for _, s := range sentinels {
		p[0].await("the new address", func() bool { return names(s) })
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("the others name it after %v", d)
	}
	if i := p[2].info(); i.Role != redis.Replica || i.PrimaryAddr != p[1].addr || !i.LinkUp {
		t.Errorf("the replica is now %+v", i)
	}
	if err := p[1].write(); err != nil {
		t.Errorf("the primary answers %v", err)
	}
}

// statistic reads one line of INFO.
func statistic(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	return ""
}
