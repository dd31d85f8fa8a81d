package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// newDoor starts a redis-server with a unix socket, a primary, and makes a door to it.
func newDoor(t *testing.T, more ...string) (*process, *Door, *said) {
	t.Helper()
	dir, err := os.MkdirTemp("", "door") // short enough for a socket's path
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	p, s := newServer(t, placeholder, append([]string{"unixsocket " + socket, "unixsocketperm 700"}, more...)...)
	must(t, s.Promote(t.Context(), 0))
	log := &said{}
	return p, p.door(t, socket, log), log
}

// door is one as the next agent makes it.
func (p *process) door(t *testing.T, socket string, log *said) *Door {
	t.Helper()
	d := NewDoor(DoorOptions{
		Addr: p.addr, Socket: socket, PID: func() int { return p.cmd.Process.Pid }, Agent: agent,
		Rules:  func() []string { return strings.Fields("reset on >" + testPassword + " ~* &* +@all") },
		Others: func() []Credentials { return []Credentials{{"default", testPassword}} },
		Said:   log.add,
	})
	t.Cleanup(d.Close)
	return d
}

func local(t *testing.T, d *Door) *Server {
	t.Helper()
	s := NewLocal(d)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// said are the kinds of what was done.
type said struct {
	mu    sync.Mutex
	kinds []string
}

func (s *said) add(kind, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds = append(s.kinds, kind)
}

func (s *said) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kinds)
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func operator(t *testing.T, p *process, args ...any) {
	t.Helper()
	c := client(t, p.addr, "default")
	must(t, c.Do(t.Context(), args...).Err())
	must(t, c.Close())
}

// The agent does not need the host's network, nor the port that redis-server has.
func TestLocalTakesTheSocket(t *testing.T) {
	p, d, _ := newDoor(t)
	s := local(t, d)
	operator(t, p, "CONFIG", "SET", "port", "0")
	must(t, s.Ping(t.Context()))
	if err := NewServer(p.addr, agent).Ping(t.Context()); AnswerOf(err) != Refused {
		t.Fatalf("the port still answers: %v", err)
	}
	must(t, s.CloseOthers(t.Context()))
	must(t, s.Ping(t.Context()))
}

// A socket that is another process's, or nobody's, is not the door.
func TestLocalKnowsItsProcess(t *testing.T) {
	p, d, _ := newDoor(t)
	other, _ := newServer(t, placeholder)
	d.o.Addr, d.o.PID = other.addr, func() int { return other.cmd.Process.Pid }
	s := local(t, d)
	i, err := s.Info(t.Context())
	must(t, err)
	if i.PID != other.cmd.Process.Pid {
		t.Errorf("process %d answers, not %d", i.PID, other.cmd.Process.Pid)
	}
	p.kill() // and leaves its socket behind
	must(t, s.CloseOthers(t.Context()))
	must(t, s.Ping(t.Context()))
}

// CloseClients takes no connection of the agent's, wherever the clients come in.
func TestLocalClosesClients(t *testing.T) {
	p, d, _ := newDoor(t)
	s := local(t, d)
	must(t, d.Keep(soon(t)))
	overTCP := client(t, p.addr, "app")
	c, err := enter(t.Context(), d.connect, Credentials{"app", testPassword})
	must(t, err)
	defer c.Close()
	n, err := s.CloseClients(t.Context())
	must(t, err)
	if n != 2 {
		t.Errorf("%d clients closed, not 2", n)
	}
	if err := overTCP.Ping(t.Context()).Err(); err == nil {
		t.Error("a client on TCP is still connected")
	}
	if !c.closed() {
		t.Error("a client on the socket is still connected")
	}
	must(t, d.checkSpare(soon(t)))
	must(t, s.Ping(t.Context()))
}

// fill takes every connection that is left, without a login.
func fill(t *testing.T, p *process, n int) (held []net.Conn) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", p.addr.String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		held = append(held, c)
	}
	await(t, "every connection to be taken", func() bool {
		w, err := enter(t.Context(), dialTCP(p.addr), agent)
		if err == nil {
			w.Close()
		}
		return AnswerOf(err) == Full
	})
	return held
}

func TestFullIsAnAnswer(t *testing.T) {
	p, _, _ := newDoor(t, "maxclients 20")
	fill(t, p, 30)
	if a := NewServer(p.addr, agent).Probe(t.Context()); a != Full || !a.Answered() {
		t.Errorf("a full server's answer: %v", a)
	}
}

// An agent that was killed left a spare connection with somebody who keeps it, a question on it
// unanswered and an answer unread. The next agent gets in by it although clients have taken all
// others, and gives the room back later.
func TestSpareMakesRoom(t *testing.T) {
	p, d, _ := newDoor(t, "maxclients 20")
	must(t, d.Keep(soon(t)))
	file, err := d.spare.Conn.(*net.UnixConn).File()
	must(t, err)
	must(t, d.spare.send("CONFIG", "GET", "maxclients"))
	must(t, d.spare.send("NOSUCHCOMMAND"))
	d.Close()
	held := fill(t, p, 30)

	log := &said{}
	next := p.door(t, d.o.Socket, log)
	var kept Room
	next.o.Remember = func(r Room) { kept = r }
	kept2, err := net.FileConn(file)
	must(t, err)
	must(t, file.Close())
	next.Adopt(kept2)
	s := local(t, next)
	must(t, s.Ping(soon(t)))
	if want := []string{"maxclients_raised"}; !slices.Equal(log.all(), want) {
		t.Errorf("said %v, want %v", log.all(), want)
	}
	if kept.Was != 20 || kept.Now != 20+roomStep || kept.PID != p.cmd.Process.Pid {
		t.Errorf("remembered %+v", kept)
	}
	must(t, next.Keep(soon(t)))
	if set, _ := next.directive(soon(t), "maxclients"); set != fmt.Sprint(kept.Now) {
		t.Errorf("maxclients is %s while the clients are there", set)
	}
	for _, c := range held {
		c.Close()
	}
	await(t, "maxclients to be what it was", func() bool {
		must(t, next.Keep(soon(t)))
		set, err := next.directive(soon(t), "maxclients")
		must(t, err)
		return set == "20"
	})
	must(t, s.Ping(soon(t)))
}

// Clients that take whatever comes free at once do not keep the agent out.
func TestRoomAmongTheGreedy(t *testing.T) {
	p, d, _ := newDoor(t, "maxclients 20")
	must(t, d.Keep(soon(t)))
	fill(t, p, 30)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			c, err := net.Dial("tcp", p.addr.String())
			if err != nil {
				continue
			}
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				c.Close() // turned away
				continue
			}
			defer c.Close()
		}
	}()
	s := local(t, d)
	for range 3 {
		began := time.Now()
		await(t, "an answer", func() bool { return s.Ping(soon(t)) == nil })
		if took := time.Since(began); took > time.Second {
			t.Errorf("in only after %v", took)
		}
		must(t, s.CloseOthers(soon(t))) // the next one has to come in again, too
		await(t, "a spare connection", func() bool { return d.Keep(soon(t)) == nil })
	}
	t.Logf("maxclients %d", d.room.Now)
	cancel()
	<-done
}

// Those who take every connection that is made do not make maxclients grow for ever.
func TestRoomIsBounded(t *testing.T) {
	p, d, _ := newDoor(t, "maxclients 20")
	must(t, d.Keep(soon(t)))
	fill(t, p, 30)
	for i := 0; ; i++ {
		_, err := enter(t.Context(), d.connect, agent)
		if AnswerOf(err) == Full && d.makeRoom(soon(t)) != nil {
			break
		}
		if i > 1000 {
			t.Fatal("it grows for ever")
		}
	}
	if d.room.Was != 20 || d.room.Now != 20+roomMost {
		t.Errorf("room %+v", d.room)
	}
}

// A spare connection of a process that has ended is replaced.
func TestSpareOfAnother(t *testing.T) {
	p, d, _ := newDoor(t)
	must(t, d.Keep(soon(t)))
	p.kill()
	p.start()
	var made int
	d.o.Spare = func(net.Conn) { made++ }
	await(t, "a spare connection", func() bool { return d.Keep(soon(t)) == nil })
	if made != 1 {
		t.Errorf("%d spare connections made", made)
	}
	must(t, d.checkSpare(soon(t)))
}

func TestAgentUserIsRestored(t *testing.T) {
	for what, change := range map[string][]any{
		"deleted":  {"ACL", "DELUSER", AgentUser},
		"password": {"ACL", "SETUSER", AgentUser, "resetpass", ">another"},
		"off":      {"ACL", "SETUSER", AgentUser, "off"},
		"rights":   {"ACL", "SETUSER", AgentUser, "-@all"},
	} {
		t.Run(what, func(t *testing.T) {
			p, d, log := newDoor(t)
			s := local(t, d)
			must(t, s.Ping(t.Context()))
			must(t, d.Keep(soon(t)))
			operator(t, p, change...)
			must(t, d.Keep(soon(t)))
			if want := []string{"agent_user_restored"}; !slices.Equal(log.all(), want) {
				t.Errorf("said %v, want %v", log.all(), want)
			}
			must(t, s.SetFence(t.Context()))
			must(t, NewServer(p.addr, agent).Ping(t.Context())) // another node's
		})
	}
}

// One whose other users cannot restore it is refused, in words, and alive.
func TestAgentUserIsLockedOut(t *testing.T) {
	p, d, log := newDoor(t)
	s := local(t, d)
	operator(t, p, "ACL", "DELUSER", AgentUser)
	operator(t, p, "ACL", "SETUSER", "default", "-acl")
	if err := s.Ping(soon(t)); AnswerOf(err) != NoAuth {
		t.Errorf("the answer is %v: %v", AnswerOf(err), err)
	}
	if !d.Alive(soon(t)) {
		t.Error("it does not count as alive")
	}
	if len(log.all()) != 0 {
		t.Errorf("said %v", log.all())
	}
}

func TestAliveWhilePaused(t *testing.T) {
	p, d, _ := newDoor(t)
	s := local(t, d)
	must(t, s.Ping(t.Context()))
	operator(t, p, "CLIENT", "PAUSE", "1000", "ALL")
	began := time.Now()
	_, _, err := s.Poll(soon(t))
	if AnswerOf(err) != Timeout {
		t.Fatalf("a pause lets INFO through: %v", err)
	}
	if !d.Alive(soon(t)) {
		t.Error("paused counts as dead")
	}
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Skipf("the pause was over after %v", took)
	}
	await(t, "the pause to end", func() bool { return s.Ping(soon(t)) == nil })
}

func TestAliveWhenFull(t *testing.T) {
	p, d, _ := newDoor(t, "maxclients 20")
	fill(t, p, 30)
	if !d.Alive(soon(t)) {
		t.Error("full counts as dead")
	}
}

func TestStoppedIsNotAlive(t *testing.T) {
	p, d, _ := newDoor(t)
	must(t, d.Keep(soon(t)))
	p.signal(syscall.SIGSTOP)
	for range 3 {
		if d.Alive(soon(t)) {
			t.Error("a stopped process counts as alive")
		}
	}
	if err := d.Keep(soon(t)); AnswerOf(err) != Timeout {
		t.Errorf("kept: %v", err)
	}
	spare := d.spare
	p.signal(syscall.SIGCONT)
	await(t, "a sign of life", func() bool { return d.Alive(soon(t)) })
	must(t, d.Keep(soon(t)))
	if d.spare != spare || spare == nil {
		t.Error("the spare connection was given up for its being slow")
	}
}
