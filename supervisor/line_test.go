package supervisor

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseLine(t *testing.T) {
	for _, test := range []struct {
		line string
		want entry
	}{
		{"1234:M 20 Nov 2026 17:24:12.123 # Server initialized", entry{"1234", "20 Nov 2026 17:24:12.123", 4, "Server initialized"}},
		{"1234:S 20 Nov 2026 17:24:12.123 * MASTER <-> REPLICA", entry{"1234", "20 Nov 2026 17:24:12.123", 5, "MASTER <-> REPLICA"}},
		{"7:C 01 Jan 2027 00:00:00.000 - x - y", entry{"7", "01 Jan 2027 00:00:00.000", 6, "x - y"}},
		{"7:X 01 Jan 2027 00:00:00.000 . detail", entry{"7", "01 Jan 2027 00:00:00.000", 7, "detail"}},
		{"7:X 01 Jan 2027 00:00:00.000 #", entry{"7", "01 Jan 2027 00:00:00.000", 4, ""}},
		{"=== REDIS BUG REPORT START ===", entry{"", "", 4, "=== REDIS BUG REPORT START ==="}},
		{"12:M no date * text", entry{"", "", 4, "12:M no date * text"}},
		{"", entry{"", "", 4, ""}},
	} {
		if diff := cmp.Diff(test.want, parseLine(test.line), cmp.AllowUnexported(entry{})); diff != "" {
			t.Errorf("%q: %s", test.line, diff)
		}
	}
}

func TestSecretsAreLeftOut(t *testing.T) {
	for line, want := range map[string]string{
		">>> 'requirepass hunter2 x'":                      ">>> 'requirepass …",
		">>> 'RequirePass \"hunter2\" x'":                  ">>> 'RequirePass …",
		">>> 'masterauth hunter2 x'":                       ">>> 'masterauth …",
		">>> 'user default on >hunter2'":                   ">>> 'user …",
		">>> 'sentinel auth-pass cache hunter2 x'":         ">>> 'sentinel auth-pass …",
		">>> 'sentinel sentinel-pass hunter2 x'":           ">>> 'sentinel sentinel-pass …",
		">>> 'tls-key-file-pass hunter2 x'":                ">>> 'tls-key-file-pass …",
		">>> 'maxmemory x'":                                ">>> 'maxmemory x'",
		">>> 'sentinel monitor cache 10.0.0.1 6379'":       ">>> 'sentinel monitor cache 10.0.0.1 6379'",
		"1:M 20 Nov 2026 17:24:12.123 * user x logged in ": "1:M 20 Nov 2026 17:24:12.123 * user x logged in",
	} {
		if got := cleanLine([]byte(line)); got != want {
			t.Errorf("%s became %s", line, got)
		}
	}
}

func TestExitErrorText(t *testing.T) {
	for _, test := range []struct {
		exit ExitError
		want string
	}{
		{ExitError{Name: "redis-server", Code: 1, RanFor: 32 * time.Millisecond, Output: []string{"a", "1:M 20 Nov 2026 17:24:12.123 # b"}},
			"redis-server: exit status 1 after 32ms; last output: a | b"},
		{ExitError{Name: "redis-server", Code: 0, RanFor: 26*time.Hour + 1234*time.Millisecond}, "redis-server: exit status 0 after 26h0m1s"},
		{ExitError{Name: "redis-sentinel", Code: -1, Signal: syscall.SIGKILL, RanFor: 1500 * time.Millisecond},
			"redis-sentinel: ended by SIGKILL after 1.5s"},
		{ExitError{Name: "redis-server", Code: -1, Output: []string{"1", "2", "3", "4", "5"}},
			"redis-server: ended, exit status unknown; last output: 2 | 3 | 4 | 5"},
		{ExitError{Name: "x", Code: 2, Output: []string{strings.Repeat("é", shownWidth)}},
			"x: exit status 2; last output: " + strings.Repeat("é", shownWidth/2) + "…"},
	} {
		if got := test.exit.Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

const logged = "1234:M 20 Nov 2026 17:24:12.123 # hello"

// listenJournal plays systemd-journald.
func listenJournal(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func received(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	message := make([]byte, 4096)
	n, err := conn.Read(message)
	if err != nil {
		t.Fatal(err)
	}
	return string(message[:n])
}

func newJournal(t *testing.T) (*journal, *bytes.Buffer) {
	fallback := new(bytes.Buffer)
	j := &journal{name: "redis-server", socket: filepath.Join(tempDir(t), "journal"), limit: 50 * time.Millisecond, fallback: fallback}
	t.Cleanup(func() {
		if j.conn != nil {
			j.conn.Close()
		}
	})
	return j, fallback
}

func TestJournal(t *testing.T) {
	j, fallback := newJournal(t)
	j.receive(Line{logged}) // there is none yet
	if got := fallback.String(); got != "redis-server: "+logged+"\n" {
		t.Errorf("%q", got)
	}
	fallback.Reset()

	conn := listenJournal(t, j.socket)
	j.receive(Line{logged})
	want := "PRIORITY=4\nSYSLOG_IDENTIFIER=redis-server\nSYSLOG_PID=1234\nSYSLOG_TIMESTAMP=20 Nov 2026 17:24:12.123\nMESSAGE=hello\n"
	if got := received(t, conn); got != want {
		t.Errorf("%q", got)
	}
	j.receive(Line{"*** FATAL CONFIG FILE ERROR ***"})
	if got, want := received(t, conn), "PRIORITY=4\nSYSLOG_IDENTIFIER=redis-server\nMESSAGE=*** FATAL CONFIG FILE ERROR ***\n"; got != want {
		t.Errorf("%q", got)
	}

	conn.Close() // it is restarted
	_ = os.Remove(j.socket)
	conn = listenJournal(t, j.socket)
	j.receive(Line{logged})
	if got := received(t, conn); got != want {
		t.Errorf("after its restart: %q", got)
	}
	if fallback.Len() > 0 {
		t.Errorf("also written to the fallback: %q", fallback)
	}
}

func TestJournalThatIsFull(t *testing.T) {
	j, fallback := newJournal(t)
	conn := listenJournal(t, j.socket)
	var before, after syscall.Rusage
	begun := time.Now()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	sent := 0
	for ; fallback.Len() == 0; sent++ { // the kernel lets net.unix.max_dgram_qlen of them wait
		if time.Since(begun) > patience {
			t.Fatal("it waits for ever")
		}
		j.receive(Line{logged})
	}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	t.Logf("%d lines, %v, CPU %v", sent, time.Since(begun), time.Duration(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()))
	for range sent - 1 {
		received(t, conn)
	}
	fallback.Reset()
	j.receive(Line{logged})
	if received(t, conn); fallback.Len() > 0 {
		t.Errorf("not used again: %q", fallback)
	}
}
