package atomicfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redisd/redisd/internal/atomicfile"
)

// writerEnv turns the test binary into a process that writes for ever, to be killed.
const writerEnv = "ATOMICFILE_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		for n := 0; ; n++ {
			if err := atomicfile.WriteFile(path, content(n), 0o600); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

// content is a text that shows whether it is whole, and whose length varies.
func content(n int) []byte {
	line := strconv.Itoa(n) + "\n"
	return []byte(strings.Repeat(line, 1+n%4000) + "end " + line)
}

func whole(data []byte) bool {
	first, _, _ := bytes.Cut(data, []byte("\n"))
	n, err := strconv.Atoi(string(first))
	return err == nil && bytes.Equal(data, content(n))
}

func TestKilledWriterLeavesAWholeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	seen := map[string]bool{}
	for round := range 20 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitForChange(t, path, seen)
		time.Sleep(time.Duration(round) * 333 * time.Microsecond) // an arbitrary point of its loop
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
			t.Fatalf("the writer ended by itself: %v", err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !whole(data) {
			t.Fatalf("round %d: torn file of %d bytes", round, len(data))
		}
		seen[string(data)] = true
		if left, _ := os.ReadDir(dir); len(left) > 2 {
			t.Fatalf("killed writers pile up files: %v", left)
		}
	}
	if err := atomicfile.WriteFile(path, content(7), 0o600); err != nil {
		t.Fatalf("writing after a crash: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("a left-over was not used up: %v", left)
	}
}

// waitForChange returns once the file has a content that was not seen before.
func waitForChange(t *testing.T, path string, seen map[string]bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		data, err := os.ReadFile(path)
		if err == nil && !seen[string(data)] {
			return
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the writer wrote nothing for 20 s")
}

func TestConcurrentWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := range 25 {
				if err := atomicfile.WriteFile(path, content(w*1000+n), 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !whole(data) {
		t.Errorf("torn file of %d bytes", len(data))
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left over: %v", left)
	}
}

func TestModeIsExact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, mode := range []fs.FileMode{0o644, 0o600, 0o666} {
		if err := atomicfile.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != mode {
			t.Errorf("mode %v, want %v", got, mode)
		}
	}
}

func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 1234, 2345); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "f")
	write := func() {
		t.Helper()
		if err := atomicfile.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	wantOwner(t, path, 1234, 2345) // new: the directory's
	if err := os.Chown(path, 3456, 4567); err != nil {
		t.Fatal(err)
	}
	write()
	wantOwner(t, path, 3456, 4567) // replaced: the file's own
}

func wantOwner(t *testing.T, path string, uid, gid uint32) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid != uid || st.Gid != gid {
		t.Errorf("owner %d:%d, want %d:%d", st.Uid, st.Gid, uid, gid)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{sub, filepath.Join(dir, "absent", "f")} {
		err := atomicfile.WriteFile(path, []byte("x"), 0o600)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("WriteFile(%s) = %v, want an error that names it", path, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("a refused write left something behind: %v", left)
	}
}

func TestLinkIsReplaced(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.WriteFile(link, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(target); string(data) != "old" {
		t.Errorf("the link was followed: target has %q", data)
	}
	if info, _ := os.Lstat(link); !info.Mode().IsRegular() {
		t.Errorf("link is %v, want a regular file", info.Mode())
	}
}
