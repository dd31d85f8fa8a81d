package nodes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/redis"
)

// within asks a server, for as long as an agent would.
func (p *program) within(d time.Duration, do func(context.Context) error) redis.Answer {
	ctx, cancel := context.WithTimeout(p.t.Context(), d)
	defer cancel()
	return redis.AnswerOf(do(ctx))
}

// stranger is an agent without a connection yet.
func (p *program) stranger() *redis.Server {
	s := redis.NewServer(p.addr, redis.Credentials{User: redis.AgentUser, Password: password})
	p.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (p *program) set(directive, value string) {
	p.t.Helper()
	p.must(p.client.ConfigSet(p.t.Context(), directive, value).Err())
}

func (p *program) persistence(name string) string {
	text, err := p.client.Info(p.t.Context(), "persistence").Result()
	if err != nil {
		return ""
	}
	return statistic(text, name)
}

// rewritten waits until the append-only file has everything.
func (p *program) rewritten() {
	p.t.Helper()
	p.await("the end of the rewrite", func() bool {
		return p.persistence("aof_rewrite_in_progress") == "0" && p.persistence("aof_rewrite_scheduled") == "0"
	})
}

// again starts a process that was killed, and waits for its dataset.
func (p *program) again() {
	p.t.Helper()
	p.start()
	p.await("its dataset", func() bool { i, err := p.agent.Info(p.t.Context()); return err == nil && !i.Loading })
}

func (p *program) count() int {
	p.t.Helper()
	n, err := p.client.Get(p.t.Context(), "n").Int()
	if err != nil && !errors.Is(err, goredis.Nil) {
		p.t.Fatal(err)
	}
	return n
}

func staleFile(t *testing.T) {
	p := pair(t, 1)
	r := p[1]
	r.await("the first write", func() bool { return r.count() == 1 })
	r.rewritten()
	p[0].must(r.agent.Promote(t.Context(), redis.Fence)) // a history of its own: it needs a full copy
	p[0].must(p[0].write())
	r.set("rdb-key-save-delay", "100000000") // its rewrite takes minutes
	p[0].must(r.agent.Follow(t.Context(), p[0].addr, false))
	r.follows(p[0])
	if n := r.count(); n != 2 {
		t.Fatalf("after the copy n is %d", n)
	}
	r.await("the rewrite after the copy", func() bool { return r.persistence("aof_rewrite_in_progress") == "1" })
	if a := r.within(2*time.Second, func(ctx context.Context) error { return r.agent.Shutdown(ctx, false) }); !a.Answered() || a == redis.OK {
		t.Errorf("SHUTDOWN during the first rewrite: %v", a)
	}
	p[0].kill()
	r.kill()
	r.again()
	if n := r.count(); n != 1 {
		t.Errorf("killed before the rewrite had ended, it has n = %d", n)
	}
}

// brokenPrimary sends a full copy that no redis-server can load, for ever.
func brokenPrimary(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					name, err := readCommand(in)
					switch {
					case err != nil:
						return
					case name == "PING":
						fmt.Fprint(c, "+PONG\r\n")
					case name == "PSYNC":
						fmt.Fprintf(c, "+FULLRESYNC %040d 1\r\n$9\r\nREDIS9999", 7)
					default:
						fmt.Fprint(c, "+OK\r\n")
					}
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// readCommand reads an array of bulk strings and returns the first, in capitals.
func readCommand(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "*") {
		return "", err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	name := ""
	for i := range n {
		if line, err = in.ReadString('\n'); err != nil {
			return "", err
		}
		size, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
		word := make([]byte, size+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return "", err
		}
		if i == 0 {
			name = strings.ToUpper(string(word[:size]))
		}
	}
	return name, nil
}

func flushed(t *testing.T) {
	p := pair(t, 1)
	r := p[1]
	r.await("the first write", func() bool { return r.count() == 1 })
	r.rewritten()
	before := r.info()
	r.must(r.agent.Follow(t.Context(), brokenPrimary(t), false))
	r.await("an empty memory", func() bool { return r.info().Keys == 0 })
	if i := r.info(); i.RunID != before.RunID || i.LinkUp {
		t.Errorf("before %+v, after %+v", before, i)
	}
	r.kill()
	p[0].kill()
	r.again()
	if n := r.count(); n != 1 {
		t.Errorf("its file had n = %d", n)
	}
}

func lastSnapshot(t *testing.T) {
	p := newProgram(t, "redis-server", "aclfile users.acl\nappendonly no\nsave 3600 1\n")
	p.must(p.write())
	p.must(p.client.Save(t.Context()).Err())
	p.must(p.write())
	p.kill()
	p.again()
	if n := p.count(); n != 1 {
		t.Errorf("without an append-only file a killed server leaves n = %d", n)
	}
}

func loadingAnswers(t *testing.T) {
	p := pair(t, 0)[0]
	// It looks after its connections once in so many bytes of the file, so none is compressed away.
	random := make([]byte, 2000)
	rand.NewChaCha8([32]byte{}).Read(random)
	value := string(random)
	_, err := p.client.Pipelined(t.Context(), func(c goredis.Pipeliner) error {
		for i := range 500 {
			c.Set(t.Context(), strconv.Itoa(i), value, 0)
		}
		return nil
	})
	p.must(err)
	p.rewritten()
	p.must(p.client.BgRewriteAOF(t.Context()).Err())
	p.rewritten()
	p.kill()
	conf, err := os.OpenFile(filepath.Join(p.dir, "conf"), os.O_APPEND|os.O_WRONLY, 0)
	p.must(err)
	_, err = conf.WriteString("key-load-delay 20000\nloading-process-events-interval-bytes 1024\n")
	p.must(errors.Join(err, conf.Close()))
	p.start()
	p.await("-LOADING", func() bool { return p.agent.Probe(t.Context()) == redis.Loading })
	if i := p.info(); !i.Loading {
		t.Errorf("INFO says %+v", i)
	}
	if a := p.within(time.Second, p.agent.SetFence); a != redis.OK {
		t.Errorf("the fence while it loads: %v", a)
	}
	if a := p.within(time.Second, func(ctx context.Context) error { return p.agent.Follow(ctx, nobody, false) }); a != redis.Loading && a != redis.Refusal {
		t.Errorf("REPLICAOF while it loads: %v", a)
	}
}

func scripted(t *testing.T) {
	p := pair(t, 0)[0]
	p.set("busy-reply-threshold", "300")
	ended := make(chan error, 1)
	go func() { ended <- p.client.Eval(context.Background(), "while true do end", nil).Err() }()
	p.await("the script", func() bool { return p.within(30*time.Millisecond, p.agent.Ping) == redis.Timeout })
	p.await("-BUSY", func() bool { return p.within(30*time.Millisecond, p.agent.Ping) == redis.Busy })
	if a := p.within(time.Second, p.agent.SetFence); a != redis.Busy {
		t.Errorf("the fence during a script: %v", a)
	}
	p.must(p.client.ScriptKill(t.Context()).Err())
	<-ended
	if err := p.write(); err != nil {
		t.Errorf("the fence that was refused: %v", err)
	}
}

func paused(t *testing.T) {
	p := pair(t, 0)[0]
	p.must(p.client.Do(t.Context(), "CLIENT", "PAUSE", "300", "ALL").Err())
	for name, ask := range map[string]func(context.Context) error{
		"PING": p.agent.Ping,
		"INFO": func(ctx context.Context) error { _, err := p.agent.Info(ctx); return err },
	} {
		if a := p.within(50*time.Millisecond, ask); a != redis.Timeout {
			t.Errorf("%s in a pause of all: %v", name, a)
		}
	}
	p.await("the end of the pause", func() bool { return p.within(30*time.Millisecond, p.agent.Ping) == redis.OK })
	p.must(p.client.Do(t.Context(), "CLIENT", "PAUSE", "60000", "WRITE").Err())
	if a := p.within(time.Second, p.agent.Ping); a != redis.OK {
		t.Errorf("PING in a pause of writes: %v", a)
	}
	if a := p.within(50*time.Millisecond, func(ctx context.Context) error { return p.client.Incr(ctx, "n").Err() }); a != redis.Timeout {
		t.Errorf("a write in a pause of writes: %v", a)
	}
	if a := p.within(time.Second, p.agent.SetFence); a != redis.OK {
		t.Errorf("the fence in a pause of writes: %v", a)
	}
	if err := p.write(); !refused(err) {
		t.Errorf("a write in a pause of writes, with the fence: %v", err)
	}
}

func loginRefused(t *testing.T) {
	p := pair(t, 0)[0]
	p.must(p.client.Do(t.Context(), "ACL", "SETUSER", redis.AgentUser, "resetpass", ">another").Err())
	if a := p.within(time.Second, p.stranger().Ping); a != redis.NoAuth || !a.Answered() {
		t.Errorf("a refused login is %v", a)
	}
	p.set("maxclients", "1") // those that are connected stay
	if a := p.within(time.Second, p.stranger().Ping); a == redis.OK || a == redis.Timeout || a == redis.Refused {
		t.Errorf("maxclients is reached: %v", a)
	}
	if a := p.within(time.Second, p.agent.Ping); a != redis.OK {
		t.Errorf("who is connected is answered %v", a)
	}
}
