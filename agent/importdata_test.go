package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/oldconf"
	"github.com/redisd/redisd/redis"
)

// importingNode is a node with these directives, and nothing else.
func importingNode(t *testing.T, directives map[string]string) *files {
	t.Helper()
	s := &site{log: slog.New(slog.DiscardHandler), disk: &disk{dir: t.TempDir()}}
	cfg := config.Default()
	cfg.Redis.Directives = directives
	s.cfg.Store(&cfg)
	return &files{site: s}
}

func usualIn(dir, appendonly string) oldDataset {
	d := oldconf.Usual(dir)
	d.Appendonly = appendonly
	return oldDataset{d}
}

// TestImport starts a real redis-server, with and without appendonly, on what was copied from one
// that had none, and one that had it.
func TestImport(t *testing.T) {
	for _, appendonly := range []string{"no", "yes"} {
		for _, here := range []string{"no", "yes"} {
			t.Run("appendonly "+appendonly+", here "+here, func(t *testing.T) {
				from, to := t.TempDir(), t.TempDir()
				old := startRedisServer(t, from, appendonly)
				for i := range 10 {
					redisCLI(t, old, "SET", fmt.Sprint("key", i), "value")
				}
				old.stop(t)
				node := importingNode(t, map[string]string{"appendonly": here, "appenddirname": "mine", "appendfilename": "own.aof", "dbfilename": "own.rdb"})
				copied, err := node.importFrom(usualIn(from, appendonly), to)
				if appendonly == "yes" && here == "no" {
					if _, is := errors.AsType[*config.Mistake](err); !is {
						t.Errorf("what would not be loaded was copied: %q, %v", copied, err)
					}
					return
				}
				if err != nil || copied == "" {
					t.Fatalf("copied %q: %v", copied, err)
				}
				s := startRedisServer(t, to, here, "--appenddirname", "mine", "--appendfilename", "own.aof", "--dbfilename", "own.rdb")
				if info := s.info(t); info.Keys != 10 {
					t.Errorf("%d keys were taken over, want 10", info.Keys)
				}
			})
		}
	}
}

// TestImportRedis6 takes over what Redis 6.0.16 has written: one append-only file, with and without
// an RDB file at its start, and keys in three databases.
func TestImportRedis6(t *testing.T) {
	for _, name := range []string{"redis6-plain.aof", "redis6-preamble.aof"} {
		t.Run(name, func(t *testing.T) {
			from, to := t.TempDir(), t.TempDir()
			text, err := os.ReadFile(filepath.Join("..", "redis", "testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(from, "appendonly.aof"), string(text), time.Minute)
			_, err = importingNode(t, nil).importFrom(usualIn(from, "yes"), to)
			if err == nil || !strings.Contains(err.Error(), "keys in database 20, and redis-server has 16 databases: set databases = 21") {
				t.Fatalf("with 16 databases: %v", err)
			}
			copied, err := importingNode(t, map[string]string{"databases": "21"}).importFrom(usualIn(from, "yes"), to)
			if err != nil || copied != filepath.Join(from, "appendonly.aof") {
				t.Fatalf("copied %q: %v", copied, err)
			}
			s := startRedisServer(t, to, "yes", "--databases", "21")
			for db, want := range map[string]string{"0": "7", "5": "1", "20": "1"} {
				if keys := redisCLI(t, s, "-n", db, "DBSIZE"); strings.TrimSpace(keys) != want {
					t.Errorf("database %s has %s keys, want %s", db, keys, want)
				}
			}
		})
	}
}

// put writes a file that is as old as age.
func put(t *testing.T, path, text string, age time.Duration) {
	t.Helper()
	at := time.Now().Add(-age)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, at, at)); err != nil {
		t.Fatal(err)
	}
}

// TestWhichData: of an append-only file and a dump the one that is in use is taken.
func TestWhichData(t *testing.T) {
	const old, older = time.Hour, 2 * time.Hour
	for _, tt := range []struct {
		appendonly     string
		aof, rdb       time.Duration // how old; 0: it is not there
		single         bool
		want, leftOver string
	}{
		{"", 0, 0, false, "", ""},
		{"yes", old, 0, false, "appendonlydir", ""},
		{"yes", older, old, false, "appendonlydir", ""}, // a dump is made at the end, too
		{"yes", 0, old, false, "dump.rdb", ""},
		{"no", 0, old, false, "dump.rdb", ""},
		{"no", older, old, false, "dump.rdb", "appendonlydir"}, // it was in use once
		{"no", old, older, false, "appendonlydir", "dump.rdb"}, // CONFIG SET appendonly yes
		{"no", old, 0, false, "appendonlydir", ""},
		{"", older, old, false, "dump.rdb", "appendonlydir"},
		{"", old, older, false, "appendonlydir", "dump.rdb"},
		{"", old, older, true, "appendonly.aof", "dump.rdb"},
		{"yes", older, old, true, "appendonly.aof", ""},
	} {
		dir := t.TempDir()
		switch {
		case tt.aof != 0 && tt.single:
			put(t, filepath.Join(dir, "appendonly.aof"), "x", tt.aof)
		case tt.aof != 0:
			put(t, filepath.Join(dir, "appendonlydir", "appendonly.aof.manifest"), "file appendonly.aof.1.incr.aof seq 1 type i\n", tt.aof+time.Hour)
			put(t, filepath.Join(dir, "appendonlydir", "appendonly.aof.1.incr.aof"), "x", tt.aof)
		}
		if tt.rdb != 0 {
			put(t, filepath.Join(dir, "dump.rdb"), "x", tt.rdb)
		}
		found, err := usualIn(dir, tt.appendonly).find()
		base := func(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, dir), "/") }
		if err != nil || base(found.path) != tt.want || base(found.older) != tt.leftOver {
			t.Errorf("%+v: %s, not %s: %v", tt, found.path, found.older, err)
		}
	}
}

func TestImportNothing(t *testing.T) {
	from := t.TempDir()
	for range 2 { // at first there is nothing, then an empty dump
		if copied, err := importingNode(t, nil).importFrom(usualIn(from, ""), t.TempDir()); err != nil || copied != "" {
			t.Errorf("copied %q, nothing: %v", copied, err)
		}
		put(t, filepath.Join(from, "dump.rdb"), "", 0)
	}
}

// TestImportInto: the copy is there as a whole, and made once.
func TestImportInto(t *testing.T) {
	dir, calls := t.TempDir(), 0
	copyTo := func(to string) (string, error) {
		calls++
		put(t, filepath.Join(to, "appendonlydir", "file"), "x", 0)
		if calls == 1 {
			return "", errors.New("the disk is full")
		}
		return "there", nil
	}
	for i, want := range []string{"", "there", ""} {
		copied, err := importInto(dir, copyTo)
		if copied != want || (err != nil) != (i == 0) {
			t.Errorf("copy %d: %q, %v", i, copied, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "appendonlydir", "file")); (err == nil) != (i > 0) {
			t.Errorf("after copy %d: %v", i, err)
		}
	}
}

// TestOldDatasets: the configuration says where the data is; what is usual counts beside it, and
// where there is none.
func TestOldDatasets(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "redis.conf")
	put(t, conf, "dir /srv/redis\ndbfilename mine.rdb\nappendonly no\nappendfilename \"mine.aof\"\n", 0)
	got, err := oldDatasets([]OldServer{{conf, "/var/lib/redis"}, {filepath.Join(dir, "none"), "/var/lib/valkey"}})
	if err != nil {
		t.Fatal(err)
	}
	custom := oldconf.Dataset{Dir: "/srv/redis", DBFilename: "mine.rdb", Appendonly: "no", AOFDir: "appendonlydir", AOFName: "mine.aof"}
	want := []oldDataset{{custom}, {oldconf.Usual("/var/lib/redis")}, {oldconf.Usual("/var/lib/valkey")}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	put(t, conf, "dir /var/lib/redis/\nappendonly yes\n", 0)
	got, err = oldDatasets([]OldServer{{conf, "/var/lib/redis"}})
	if want := []oldDataset{usualIn("/var/lib/redis", "yes")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	put(t, conf, "include /nowhere/else.conf\n", 0)
	if got, err := oldDatasets([]OldServer{{conf, "/var/lib/redis"}}); err == nil {
		t.Errorf("a file that is missing: %+v", got)
	}
}

// TestImportFirst: of several places where data may be, what belongs to the program that runs here
// goes first, and one that has none leaves the turn to the next.
func TestImportFirst(t *testing.T) {
	f := importingNode(t, nil)
	empty, first, second := t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		put(t, filepath.Join(dir, "dump.rdb"), "REDIS0011\xff of "+dir, 0)
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
		var datasets []oldDataset
		for _, dir := range tt.dirs {
			datasets = append(datasets, usualIn(dir, ""))
		}
		copied, err := f.importFirstOf(datasets, to)
		if err != nil || tt.want == "" && copied != "" || tt.want != "" && copied != filepath.Join(tt.want, "dump.rdb") {
			t.Errorf("of %v, %q was copied: %v", tt.dirs, copied, err)
		}
		if tt.want == "" {
			continue
		}
		if text, err := os.ReadFile(filepath.Join(to, "appendonlydir", "appendonly.aof.1.base.rdb")); string(text) != "REDIS0011\xff of "+tt.want {
			t.Errorf("of %v, the copy is %q: %v", tt.dirs, text, err)
		}
	}
	cfg := config.Default()
	for binary, want := range map[string]OldServer{"/usr/bin/valkey-server": oldValkey, "redis-server": oldRedis} {
		cfg.Redis.Binary = binary
		if got := OldServers(cfg); got[0] != want {
			t.Errorf("%s takes over %v", binary, got)
		}
	}
}

// testServer is a redis-server on a loopback address of its own.
type testServer struct {
	cmd  *exec.Cmd
	addr netip.AddrPort
}

func startRedisServer(t *testing.T, dir, appendonly string, more ...string) *testServer {
	t.Helper()
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 78, byte(os.Getpid()), byte(1 + time.Now().UnixNano()%250)}), 6390)
	s := &testServer{addr: addr}
	args := []string{"--bind", addr.Addr().String(), "--port", fmt.Sprint(addr.Port()), "--dir", dir, "--appendonly", appendonly}
	s.cmd = exec.Command("redis-server", append(args, more...)...)
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

func redisCLI(t *testing.T, s *testServer, args ...string) string {
	t.Helper()
	args = append([]string{"-h", s.addr.Addr().String(), "-p", fmt.Sprint(s.addr.Port())}, args...)
	out, err := exec.Command("redis-cli", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %v: %v %s", args, err, out)
	}
	return string(out)
}
