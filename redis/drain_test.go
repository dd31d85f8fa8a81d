package redis

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPromoteReadsWhatHasArrived: what its primary sent before it died lies in the replica's socket
// when that one had no processor. Redis reads 16 KiB of it at a time and throws the rest away when
// it is made a primary.
func TestPromoteReadsWhatHasArrived(t *testing.T) {
	p, sp := newPrimary(t)
	r, sr := newServer(t, p.addr)
	linked(t, sr, p.addr)
	c := client(t, p.addr, "default")
	must(t, write(t, c))
	await(t, "the replica to be in sync", func() bool { return offset(t, sr) == offset(t, sp) })

	r.signal(syscall.SIGSTOP)
	defer r.signal(syscall.SIGCONT)
	const values = 50 // of 1 KiB: what a socket takes without anybody reading
	for i := range values {
		must(t, c.Set(t.Context(), "k"+strconv.Itoa(i), strings.Repeat("x", 1<<10), 0).Err())
	}
	p.kill()

	promoted := make(chan error, 1)
	go func() { promoted <- sr.Promote(t.Context(), 0) }()
	other := connect(t, r.addr, agent)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if other.Ping(ctx) == nil { // the promotion has long been sent when this fails
		t.Fatal("a stopped server answers")
	}
	r.signal(syscall.SIGCONT)
	must(t, <-promoted)
	n, err := client(t, r.addr, "default").DBSize(t.Context()).Result()
	must(t, err)
	if n != values+1 {
		t.Errorf("%d keys after the promotion, %d had arrived", n, values+1)
	}
}

// TestPromoteDoesNotWaitForASilentPrimary: a primary whose host is gone never closes the link.
func TestPromoteDoesNotWaitForASilentPrimary(t *testing.T) {
	p, _ := newPrimary(t)
	_, sr := newServer(t, p.addr)
	linked(t, sr, p.addr)
	p.signal(syscall.SIGSTOP)
	defer p.signal(syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(t.Context(), drainMost+time.Second)
	defer cancel()
	must(t, sr.Promote(ctx, 0))
	r, err := sr.Role(t.Context())
	must(t, err)
	if r.Role != Primary {
		t.Errorf("Role = %+v", r)
	}
}

func offset(t *testing.T, s *Server) int64 {
	t.Helper()
	r, err := s.Role(t.Context())
	must(t, err)
	return r.Offset
}
