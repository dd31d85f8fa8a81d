package agent

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redisd/redisd/redis"
)

// TestImport starts a real redis-server, with appendonly, on what was copied from one that had
// none, and one that had it.
func TestImport(t *testing.T) {
	for _, appendonly := range []string{"no", "yes"} {
		t.Run("appendonly "+appendonly, func(t *testing.T) {
			from, to := t.TempDir(), t.TempDir()
			old := startRedisServer(t, from, appendonly)
			for i := range 10 {
				redisCLI(t, old, "SET", fmt.Sprint("key", i), "value")
			}
			old.stop(t)
			copied, err := importFrom(from, to)
			if err != nil || copied == "" {
				t.Fatalf("copied %q: %v", copied, err)
			}
			if info := startRedisServer(t, to, "yes").info(t); info.Keys != 10 {
				t.Errorf("%d keys were taken over, want 10", info.Keys)
			}
		})
	}
}

func TestImportNothing(t *testing.T) {
	copied, err := importFrom(t.TempDir(), t.TempDir())
	if err != nil || copied != "" {
		t.Errorf("copied %q from an empty directory: %v", copied, err)
	}
	from := t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "dump.rdb"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if copied, err := importFrom(from, t.TempDir()); err != nil || copied != "" {
		t.Errorf("copied %q, an empty dump: %v", copied, err)
	}
}

// TestImportFirst: of several places where data may be, what belongs to the program that runs here
// goes first, and one that has none leaves the turn to the next.
func TestImportFirst(t *testing.T) {
	f := &files{site: &site{log: slog.New(slog.DiscardHandler)}}
	empty, first, second := t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := os.WriteFile(filepath.Join(dir, "dump.rdb"), []byte("REDIS0011 of "+dir), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		dirs []string
		want string
	}{
		{[]string{first, second}, first},
		{[]string{empty, second}, second},
		{[]string{filepath.Join(empty, "none"), second}, second},
		{[]string{empty, filepath.Join(empty, "none")}, ""},
	} {
		to := t.TempDir()
		copied, err := f.importFirstOf(tt.dirs, to)
		if err != nil || tt.want == "" && copied != "" || tt.want != "" && copied != filepath.Join(tt.want, "dump.rdb") {
			t.Errorf("of %v, %q was copied: %v", tt.dirs, copied, err)
		}
		if tt.want == "" {
			continue
		}
		if text, err := os.ReadFile(filepath.Join(to, "appendonlydir", "appendonly.aof.1.base.rdb")); string(text) != "REDIS0011 of "+tt.want {
			t.Errorf("of %v, the copy is %q: %v", tt.dirs, text, err)
		}
	}
	if got := dataDirs("/usr/bin/valkey-server"); got[0] != valkeyData {
		t.Errorf("valkey-server takes over %v", got)
	}
	if got := dataDirs("redis-server"); got[0] != redisData {
		t.Errorf("redis-server takes over %v", got)
	}
}

// testServer is a redis-server on a loopback address of its own.
type testServer struct {
	cmd  *exec.Cmd
	addr netip.AddrPort
}

func startRedisServer(t *testing.T, dir, appendonly string) *testServer {
	t.Helper()
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 78, byte(os.Getpid()), byte(1 + time.Now().UnixNano()%250)}), 6390)
	s := &testServer{addr: addr}
	s.cmd = exec.Command("redis-server", "--bind", addr.Addr().String(), "--port", fmt.Sprint(addr.Port()), "--dir", dir, "--appendonly", appendonly)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
	})
	s.info(t)
	return s
}

// info waits until the server has loaded its data.
func (s *testServer) info(t *testing.T) redis.Info {
	t.Helper()
	c := redis.NewServer(s.addr, redis.Credentials{})
	defer c.Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		info, err := c.Info(t.Context())
		if err == nil && !info.Loading {
			return info
		}
		if time.Now().After(deadline) {
			t.Fatalf("redis-server does not answer: %v", err)
		}
		time.Sleep(5 * time.Millisecond) // between two looks at a condition
	}
}

func (s *testServer) stop(t *testing.T) {
	t.Helper()
	c := redis.NewServer(s.addr, redis.Credentials{})
	defer c.Close()
	if err := c.Shutdown(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
}

func redisCLI(t *testing.T, s *testServer, args ...string) {
	t.Helper()
	args = append([]string{"-h", s.addr.Addr().String(), "-p", fmt.Sprint(s.addr.Port())}, args...)
	if out, err := exec.Command("redis-cli", args...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli %v: %v %s", args, err, out)
	}
}
