package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestZeroTail starts a real redis-server on an append-only file that a power loss has left with
// zeros at its end, behind a whole command and behind the beginning of one.
func TestZeroTail(t *testing.T) {
	for name, tail := range map[string]string{
		"a few":            strings.Repeat("\x00", 17),
		"many":             strings.Repeat("\x00", 200_000),
		"behind a command": "*3\r\n$3\r\nSET\r\n$5\r\nhalf" + strings.Repeat("\x00", 3453),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			server := startRedisServer(t, dir, "yes")
			for i := range 10 {
				redisCLI(t, server, "SET", fmt.Sprint("key", i), "value")
			}
			server.stop(t)
			if cut, err := cutZeroTail(dir); cut != 0 || err != nil {
				t.Fatalf("of a file that is whole %d bytes were cut: %v", cut, err)
			}
			f, err := os.OpenFile(filepath.Join(dir, "appendonlydir", "appendonly.aof.1.incr.aof"), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(tail); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			want := int64(strings.Count(tail, "\x00"))
			if cut, err := cutZeroTail(dir); cut != want || err != nil {
				t.Fatalf("%d bytes were cut, want %d: %v", cut, want, err)
			}
			if info := startRedisServer(t, dir, "yes").info(t); info.Keys != 10 {
				t.Errorf("%d keys are left, want 10", info.Keys)
			}
		})
	}
}

func TestZeroTailOfNothing(t *testing.T) {
	dir := t.TempDir()
	if cut, err := cutZeroTail(dir); cut != 0 || err != nil {
		t.Errorf("without a dataset %d bytes were cut: %v", cut, err)
	}
	aof := filepath.Join(dir, "appendonlydir")
	if err := os.Mkdir(aof, 0o700); err != nil {
		t.Fatal(err)
	}
	manifest := "file base.rdb seq 2 type b\nfile old seq 1 type i\nfile incr seq 2 type i\n"
	for name, text := range map[string]string{"appendonly.aof.manifest": manifest, "old": "\x00", "incr": "\x00\x00", "base.rdb": "\x00"} {
		if err := os.WriteFile(filepath.Join(aof, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if cut, err := cutZeroTail(dir); cut != 2 || err != nil {
		t.Errorf("of a file with nothing but zeros %d bytes were cut: %v", cut, err)
	}
	if info, err := os.Stat(filepath.Join(aof, "old")); err != nil || info.Size() != 1 {
		t.Errorf("another file was changed: %v, %v", info, err)
	}
}
