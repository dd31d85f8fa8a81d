package redis

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRDBHeader: the file of a server that has a replica says the history and how far it goes, one
// that never had any says neither.
func TestRDBHeader(t *testing.T) {
	p, primary := newPrimary(t)
	ctx := within(t, 20*time.Second)
	save := func() RDBHeader {
		t.Helper()
		await(t, "SAVE", func() bool { // not while a child still copies to a replica
			_, err := primary.do(ctx, call("save", "SAVE"))
			return err == nil
		})
		h, err := ReadRDBHeader(filepath.Join(p.dir, "dump.rdb"))
		must(t, err)
		return h
	}
	if h := save(); h != (RDBHeader{}) {
		t.Errorf("it never had a replica, and its file says %+v", h)
	}
	_, replica := newServer(t, p.addr)
	linked(t, replica, p.addr)
	must(t, write(t, client(t, p.addr, "default")))
	h := save()
	i, err := primary.Info(context.Background())
	must(t, err)
	if h.ReplID != i.ReplID || h.Offset <= 0 || h.Offset > i.Offset {
		t.Errorf("its file says %+v, INFO %s at %d", h, i.ReplID, i.Offset)
	}
}

func TestRDBHeaderOfOthers(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "a text": "appendonly yes", "cut after a field's name": "REDIS0010\xfa\x07repl-id",
		"a string that is longer than the file": "REDIS0010\xfa\x7f\xffx", "a compressed name": "REDIS0010\xfa\xc3x",
		"an offset that is no number": "REDIS0010\xfa\x0brepl-offset\x01x",
	} {
		if _, err := readRDBHeader(bufio.NewReader(strings.NewReader(text))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if h, err := readRDBHeader(bufio.NewReader(strings.NewReader("REDIS0010\xfa\x07repl-id\x02h1\xfa\x0brepl-offset\xc1\x10\x27\xfe"))); err != nil || h != (RDBHeader{"h1", 10000}) {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := ReadRDBHeader(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}
