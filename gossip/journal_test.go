package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func testJournal(level slog.Level) (*journal, *bytes.Buffer) {
	var buf bytes.Buffer
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return newJournal(slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: level, ReplaceAttr: drop}))), &buf
}

// TestMemberlistLines: memberlist's line, and what the operator gets to read.
func TestMemberlistLines(t *testing.T) {
	for said, want := range map[string]string{
		"[DEBUG] memberlist: Stream connection from=192.0.2.1:33000\n": `level=DEBUG msg=memberlist said="Stream connection from=192.0.2.1:33000"`,
		"[INFO] memberlist: Suspect n3 has failed, no acks received\n": `level=INFO msg=memberlist said="Suspect n3 has failed, no acks received"`,
		"[WARN] memberlist: Got ping for unexpected node 'x' from=192.0.2.1:7946\n": `level=WARN msg=memberlist ` +
			`said="Got ping for unexpected node 'x'" from=192.0.2.1:7946`,
		"[ERR] memberlist: Decrypt packet failed: no key from=192.0.2.1:7946\n":  `level=WARN msg=memberlist said="Decrypt packet failed: no key" from=192.0.2.1:7946`,
		"[ERR] memberlist: Conflicting address for n1. Mine: a Theirs: b\n":      `level=DEBUG msg=memberlist said="Conflicting address for n1. Mine: a Theirs: b"`,
		"[WARN] memberlist: Refuting an alive message for 'n1' (a) meta:([1 2\n": `level=DEBUG msg=memberlist said="Refuting an alive message for 'n1' (a) meta:([1 2"`,
		"[WARN] memberlist: Refuting a dead message (from: n2)\n":                `level=INFO msg=memberlist said="Refuting a dead message (from: n2)"`,
		"[ERROR] memberlist: Failed to encrypt local state: x\n":                 `level=WARN msg=memberlist said="Failed to encrypt local state: x"`,
		"Err: Could not set the deadline: x\n":                                   `level=WARN msg=memberlist said="Err: Could not set the deadline: x"`,
	} {
		j, buf := testJournal(slog.LevelDebug)
		var suspects []string
		w := memberlistWriter{j, func(id string) { suspects = append(suspects, id) }, func() bool { return false }, func(StrangerKind, netip.Addr) {}}
		if _, err := w.Write([]byte(said)); err != nil {
			t.Fatal(err)
		}
		j.flush()
		if got := strings.TrimSpace(buf.String()); got != want {
			t.Errorf("%q:\n got %s\nwant %s", said, got, want)
		}
		if (len(suspects) == 1 && suspects[0] == "n3") != strings.Contains(said, "Suspect") {
			t.Errorf("%q: suspects %v", said, suspects)
		}
	}
}

// While this node closes, what fails is its own doing.
func TestMemberlistLinesWhileClosing(t *testing.T) {
	j, buf := testJournal(slog.LevelInfo)
	w := memberlistWriter{j, func(string) {}, func() bool { return true }, func(StrangerKind, netip.Addr) {}}
	_, _ = w.Write([]byte("[ERR] memberlist: Failed to send gossip to x: closed\n"))
	j.flush()
	if buf.Len() > 0 {
		t.Error(buf.String())
	}
}

func TestComplaintsAreNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, buf := testJournal(slog.LevelInfo)
		w := memberlistWriter{j, func(string) {}, func() bool { return false }, func(StrangerKind, netip.Addr) {}}
		for n := range 130 { // one a second, each from another port
			fmt.Fprintf(w, "[ERR] memberlist: failed to receive: no key from=192.0.2.1:%d\n", 30000+n)
			j.flush()
			time.Sleep(time.Second)
		}
		fmt.Fprintf(w, "[ERR] memberlist: failed to receive: no key from=192.0.2.2:7946\n")
		j.flush()
		if got := strings.Count(buf.String(), "from=192.0.2.1:"); got != 3 {
			t.Errorf("%d lines in 130 s, want 3", got)
		}
		if got := strings.Count(buf.String(), "suppressed=59"); got != 2 {
			t.Errorf("suppressed named %d times in\n%s", got, buf)
		}
		if !strings.Contains(buf.String(), "from=192.0.2.2:7946") {
			t.Error("another host's is not told apart")
		}
	})
}

// Neither many kinds nor many lines take memory without end, nor does a logger that hangs hold up
// the one who notes.
func TestJournalIsBounded(t *testing.T) {
	j := newJournal(slog.New(stuck{}))
	for n := range 10 * journalDepth {
		j.complain(fmt.Sprint(n), slog.LevelWarn, "x")
		j.note(slog.LevelWarn, "y")
	}
	if len(j.waiting) != journalDepth || len(j.repeats) != repeatKeys || j.missed == 0 {
		t.Errorf("%d wait, %d kinds, %d missed", len(j.waiting), len(j.repeats), j.missed)
	}
}

// stuck is a handler whose Handle never returns.
type stuck struct{ slog.Handler }

func (stuck) Enabled(context.Context, slog.Level) bool  { return true }
func (stuck) Handle(context.Context, slog.Record) error { select {} }
