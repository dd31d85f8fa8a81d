package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// serveStatus is an agent that answers with a status, and with each of its calls does what the test
// wants.
func serveStatus(t *testing.T, called func(n int)) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		called(calls)
		_ = json.NewEncoder(w).Encode(healthy())
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return socket
}

func TestWatchGoesOnUntilInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	socket := serveStatus(t, func(n int) {
		if n == 3 {
			cancel()
		}
	})
	var out, errOut bytes.Buffer
	if code := run(ctx, []string{"status", "--socket", socket, "-w", "100ms"}, &out, &errOut); code != 0 || errOut.Len() > 0 {
		t.Fatalf("exit code %d: %s", code, errOut.String())
	}
	var one bytes.Buffer
	if err := writeStatus(&one, healthy()); err != nil {
		t.Fatal(err)
	}
	if want := one.String() + "\n" + one.String(); out.String() != want {
		t.Errorf("printed:\n%s\nwant:\n%s", out.String(), want)
	}
}

// TestWatchSurvivesTheAgent: while one agent replaces another, there is none.
func TestWatchSurvivesTheAgent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := &told{when: 2, then: cancel}
	socket := filepath.Join(t.TempDir(), "none")
	if code := run(ctx, []string{"status", "--socket", socket, "--watch=100ms"}, io.Discard, said); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if n := strings.Count(said.String(), "no agent runs on this host"); n < 2 {
		t.Errorf("told %d times, want 2:\n%s", n, said)
	}
}

// told does something at the line of that number.
type told struct {
	bytes.Buffer
	when int
	then func()
}

func (l *told) Write(b []byte) (int, error) {
	n, err := l.Buffer.Write(b)
	if strings.Count(l.String(), "\n") >= l.when {
		l.then()
	}
	return n, err
}

func TestPageRedrawsATerminal(t *testing.T) {
	var got bytes.Buffer
	p := page{w: &got, screen: true}
	for _, text := range []string{"one\ntwo\n", "1\n"} {
		if err := p.show(text); err != nil {
			t.Fatal(err)
		}
	}
	// All is cleared once; then each line is overwritten, and what is left cleared.
	if want := "\x1b[2J\x1b[Hone\ntwo\n" + "\x1b[H1\x1b[K\n\x1b[J"; got.String() != want {
		t.Errorf("%q, want %q", got.String(), want)
	}
}

func TestIsTerminal(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) || isTerminal(&bytes.Buffer{}) {
		t.Error("neither /dev/null nor a buffer is a terminal")
	}
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	defer ptmx.Close()
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	defer tty.Close()
	if !isTerminal(tty) {
		t.Error("a terminal is not seen as one")
	}
}
