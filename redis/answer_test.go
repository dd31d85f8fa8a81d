package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAnswerOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Answer
	}{
		{nil, OK},
		{context.Canceled, Unknown},
		{errors.New("something else"), Unknown},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}, Unreachable},
		{context.DeadlineExceeded, Timeout},
		{os.ErrDeadlineExceeded, Timeout},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, Refused},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, Unreachable},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, Closed},
		{io.EOF, Closed},
		{fmt.Errorf("ask: %w", io.ErrUnexpectedEOF), Closed},
	} {
		if got := AnswerOf(tt.err); got != tt.want {
			t.Errorf("AnswerOf(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestAnswerString(t *testing.T) {
	seen := map[string]bool{}
	for a := Unknown; a <= Timeout; a++ {
		if s := a.String(); s == "" || s == "invalid" || seen[s] {
			t.Errorf("Answer(%d).String() = %q", int(a), s)
		}
		seen[a.String()] = true
	}
	if got := Answer(-1).String(); got != "invalid" {
		t.Errorf("Answer(-1) = %q", got)
	}
}

// Every error reply, and nothing but its first word, counts.
func TestProbeReplies(t *testing.T) {
	for reply, want := range map[string]Answer{
		"+PONG":           OK,
		"-LOADING words":  Loading,
		"-BUSY":           Busy,
		"-MISCONF words":  Misconf,
		"-MASTERDOWN x":   PrimaryDown,
		"-NOPERM words":   NoAuth,
		"-ERR BUSY words": Refusal,
		"-BUSYGROUP x":    Refusal,
		"":                Closed,
	} {
		addr := fakeServer(t, func([]string) string { return reply })
		s := connect(t, addr, Credentials{})
		if got := s.Probe(within(t, time.Second)); got != want {
			t.Errorf("%q: %v, want %v", reply, got, want)
		}
	}
}

func TestProbeRefused(t *testing.T) {
	s := connect(t, freeAddr(t), agent)
	for range 3 * poolSize { // no attempt is saved
		if got := s.Probe(t.Context()); got != Refused {
			t.Fatalf("Probe = %v, want %v", got, Refused)
		}
	}
}

// A listener that nobody accepts from: the kernel connects, nothing answers.
func TestProbeSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	s := connect(t, l.Addr().(*net.TCPAddr).AddrPort(), agent)
	start := time.Now()
	for range 2 * poolSize { // none waits for another
		if got := s.Probe(within(t, 50*time.Millisecond)); got != Timeout {
			t.Errorf("Probe = %v, want %v", got, Timeout)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestProbeForeign(t *testing.T) {
	addr := fakeServer(t, func([]string) string { return "HTTP/1.1 400 Bad Request" })
	if got := connect(t, addr, Credentials{}).Probe(t.Context()); got != Unknown {
		t.Errorf("Probe = %v, want %v", got, Unknown)
	}
}

func TestProbeClosedPool(t *testing.T) {
	s := NewServer(placeholder, agent)
	must(t, s.Close())
	must(t, s.Close())
	if got := s.Probe(t.Context()); got != Unknown {
		t.Errorf("Probe = %v, want %v", got, Unknown)
	}
}

// A process that returns is found at once, and not a second later, as the library's memory of
// failed dials would have it.
func TestProbeReturns(t *testing.T) {
	p, s := newServer(t, placeholder)
	p.kill()
	for range 3 * poolSize {
		if got := s.Probe(t.Context()); got != Refused && got != Closed {
			t.Fatalf("Probe = %v", got)
		}
	}
	p.start()
	var start time.Time
	await(t, "the port", func() bool {
		c, err := net.Dial("tcp", p.addr.String())
		if err != nil {
			return false
		}
		start = time.Now()
		return c.Close() == nil
	})
	await(t, "the server's answer", func() bool { return s.Probe(t.Context()) == OK })
	if took := time.Since(start); took > 700*time.Millisecond { // the library's own pause is 1 s
		t.Errorf("found %v after it was back", took)
	}
}

func TestProbeTimeout(t *testing.T) {
	t.Parallel()
	p, s := newServer(t, placeholder)
	p.signal(syscall.SIGSTOP)
	defer p.signal(syscall.SIGCONT)
	start := time.Now()
	if got := s.Probe(within(t, 100*time.Millisecond)); got != Timeout {
		t.Errorf("Probe = %v, want %v", got, Timeout)
	}
	if took := time.Since(start); took > callTimeout {
		t.Errorf("took %v with 100ms to go", took)
	}
	start = time.Now()
	if got := s.Probe(context.Background()); got != Timeout {
		t.Errorf("Probe without a deadline = %v, want %v", got, Timeout)
	}
	if took := time.Since(start); took > 3*callTimeout {
		t.Errorf("took %v without a deadline", took)
	}
}

func TestProbeNoAuth(t *testing.T) {
	p, _ := newServer(t, placeholder)
	for _, cred := range []Credentials{{}, {AgentUser, "wrong"}, {"nobody", testPassword}} {
		if got := connect(t, p.addr, cred).Probe(t.Context()); got != NoAuth {
			t.Errorf("Probe as %q = %v, want %v", cred.User, got, NoAuth)
		}
	}
}

func TestProbeLoading(t *testing.T) {
	p, s := newPrimary(t)
	c := client(t, p.addr, "default")
	must(t, s.ConfigSet(t.Context(), Directive{"rdbcompression", "no"}))
	for i := range 600 {
		must(t, c.Set(t.Context(), fmt.Sprint("key", i), strings.Repeat("x", 2000), 0).Err())
	}
	must(t, s.Shutdown(within(t, 5*time.Second), true))
	must(t, p.cmd.Wait())
	config, err := os.ReadFile(filepath.Join(p.dir, "conf"))
	must(t, err)
	// 10 ms a key, and a look at the connections after each.
	p.write("conf", string(config)+"\nkey-load-delay 10000\nloading-process-events-interval-bytes 1024\n")
	p.start()
	await(t, "it to load", func() bool { return s.Probe(t.Context()) == Loading })
	i, err := s.Info(t.Context())
	must(t, err)
	if !i.Loading || i.Role != Replica {
		t.Errorf("Info while loading: Loading %v, Role %v", i.Loading, i.Role)
	}
	if err := s.Promote(t.Context(), 0); AnswerOf(err) != Loading {
		t.Errorf("Promote while loading: %v", err)
	}
}

func TestProbeBusy(t *testing.T) {
	p, s := newPrimary(t)
	must(t, s.ConfigSet(t.Context(), Directive{"busy-reply-threshold", "1"}))
	script := client(t, p.addr, "default")
	done := make(chan error, 1)
	go func() { done <- script.Eval(context.Background(), "while true do end", nil).Err() }()
	await(t, "the script", func() bool { return s.Probe(within(t, 100*time.Millisecond)) == Busy })
	if err := s.SetFence(t.Context()); AnswerOf(err) != Busy {
		t.Errorf("SetFence: %v, want it busy", err)
	}
	_, err := s.do(t.Context(), call("kill script", "SCRIPT", "KILL"))
	must(t, err)
	<-done
}

func TestProbeMisconf(t *testing.T) {
	p, s := newPrimary(t)
	must(t, s.ConfigSet(t.Context(), Directive{"save", "3600 1"}))
	must(t, write(t, client(t, p.addr, "default")))
	must(t, os.RemoveAll(p.dir))
	_, err := s.do(t.Context(), call("bgsave", "BGSAVE"))
	must(t, err)
	await(t, "the failed save", func() bool { return s.Probe(t.Context()) == Misconf })
	i, err := s.Info(t.Context())
	must(t, err)
	if i.RDBOK {
		t.Error("Info: RDBOK")
	}
}

func TestProbePrimaryDown(t *testing.T) {
	_, s := newServer(t, placeholder)
	must(t, s.ConfigSet(t.Context(), Directive{"replica-serve-stale-data", "no"}))
	if got := s.Probe(t.Context()); got != PrimaryDown {
		t.Errorf("Probe = %v, want %v", got, PrimaryDown)
	}
}
