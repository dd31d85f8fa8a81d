package writer

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReply(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       any
		err        error
	}{
		{"simple", "+OK\r\n", "OK", nil},
		{"number", ":42\r\n", int64(42), nil},
		{"bulk", "$5\r\na\r\nbc\r\n", "a\r\nbc", nil},
		{"nil", "$-1\r\n", nil, nil},
		{"array", "*3\r\n$1\r\na\r\n:1\r\n-ERR x\r\n", []any{"a", int64(1), ReplyError("ERR x")}, nil},
		{"error", "-READONLY You can't\r\n", nil, ReplyError("READONLY You can't")},
		{"cut short", "$5\r\nab", nil, io.ErrUnexpectedEOF},
		{"nothing", "", nil, io.EOF},
		{"not RESP", "HTTP/1.1 400\r\n", nil, errProtocol},
		{"no carriage return", "+OK\n", nil, errProtocol},
		{"absurd", "$99999999999\r\n", nil, errProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := (&conn{in: bufio.NewReader(strings.NewReader(c.wire))}).reply()
			if !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if kind := ReplyError("NOREPLICAS Not enough").Kind(); kind != "NOREPLICAS" {
		t.Errorf("kind %q", kind)
	}
}
