package redis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// everyKind makes a value of each kind that this redis-server has, small and large, and one with
// each that may stand before a key.
func everyKind(t *testing.T, c *goredis.Conn) {
	t.Helper()
	const fill = "for i = 1, ARGV[1] do redis.call(KEYS[1], KEYS[2], unpack(loadstring('local i = ...; return {' .. ARGV[2] .. '}')(i))) end return 1"
	for _, kind := range []struct{ command, args string }{
		{"RPUSH", `"element " .. i`}, {"SADD", `i`}, {"SADD", `"member " .. i`}, {"ZADD", `i / 7, "member " .. i`}, {"HSET", `"field " .. i, i`},
		{"XADD", `"*", "field", i`}, {"PFADD", `i`}, {"SETBIT", `i, 1`}, {"APPEND", `string.rep("x", 40)`}, {"GEOADD", `i / 20, i / 40, "place " .. i`},
	} {
		for _, size := range []string{"3", "2000"} {
			must(t, c.Do(t.Context(), "EVAL", fill, 2, kind.command, kind.command+kind.args+size, size, kind.args).Err())
		}
	}
	for _, args := range [][]any{
		{"SET", "number", "123456789"}, {"SET", "minus", "-3"}, {"SET", "expires", "x", "EX", "100000"},
		{"RPUSH", "large", strings.Repeat("random ", 1<<16)}, {"ZADD", "infinite", "+inf", "a", "-inf", "b"},
		{"XGROUP", "CREATE", `XADD"*", "field", i3`, "group", "0"}, {"XREADGROUP", "GROUP", "group", "consumer", "COUNT", "2", "STREAMS", `XADD"*", "field", i3`, ">"},
		{"FUNCTION", "LOAD", "REPLACE", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"},
	} {
		must(t, c.Do(t.Context(), args...).Err())
	}
}

// TestHighestDB has a real redis-server write its files, with values of every kind, and reads from
// each which databases it has.
func TestHighestDB(t *testing.T) {
	for _, policy := range []string{"noeviction", "allkeys-lfu", "allkeys-lru"} { // the last two are written with each key
		t.Run(policy, func(t *testing.T) {
			p, s := newServer(t, placeholder, "databases 64", "maxmemory 1gb", "maxmemory-policy "+policy, "appendonly yes", "aof-timestamp-enabled yes")
			must(t, s.Promote(t.Context(), 0))
			c := client(t, p.addr, "default")
			dump := filepath.Join(p.dir, "dump.rdb")
			want := func(path string, want int) {
				t.Helper()
				if db, err := HighestDB(path); err != nil || db != want {
					t.Errorf("%s: the highest is %d, want %d: %v", filepath.Base(path), db, want, err)
				}
			}
			save := func() { must(t, c.Do(within(t, 20*time.Second), "SAVE").Err()) }
			save()
			want(dump, -1)
			everyKind(t, c)
			save()
			want(dump, 0)
			must(t, c.Select(t.Context(), 20).Err())
			everyKind(t, c)
			save()
			want(dump, 20)
			must(t, c.Do(t.Context(), "CONFIG", "SET", "appendfsync", "always").Err())
			must(t, c.Do(t.Context(), "MOVE", "number", "33").Err())
			want(only(t, p.dir, "appendonlydir/*.incr.aof"), 33)
			must(t, c.Do(t.Context(), "COPY", "minus", "minus", "DB", "35").Err())
			want(only(t, p.dir, "appendonlydir/*.incr.aof"), 35)
		})
	}
}

func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}

// TestHighestDBOfRedis6 reads append-only files that Redis 6.0.16 has written.
func TestHighestDBOfRedis6(t *testing.T) {
	for _, name := range []string{"redis6-plain.aof", "redis6-preamble.aof"} {
		path := filepath.Join("testdata", name)
		if db, err := HighestDB(path); err != nil || db != 20 {
			t.Errorf("%s: the highest is %d, want 20: %v", name, db, err)
		}
		whole, err := os.ReadFile(path)
		must(t, err)
		last := strings.LastIndex(string(whole), "*2\r\n$6\r\nSELECT")
		for cut, want := range map[int]int{last: 5, last + 9: 5} { // a power loss in the midst of the last SELECT
			short := filepath.Join(t.TempDir(), name)
			must(t, os.WriteFile(short, append(whole[:cut:cut], 0, 0, 0, 0), 0o600))
			if db, err := HighestDB(short); db != want {
				t.Errorf("%s, cut at %d: the highest is %d, want %d: %v", name, cut, db, want, err)
			}
		}
	}
}

func TestHighestDBOfOthers(t *testing.T) {
	for name, text := range map[string]string{
		"a text": "appendonly yes\n", "a value of the future": "REDIS0099\xfe\x00\xc8\x01kx\xff", "an RDB file that is cut": "REDIS0010\xfe\x14\x00\x01k",
		"a command without an end": "*1\r\n$x\r\n",
	} {
		path := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(path, []byte(text), 0o600))
		if db, err := HighestDB(path); err == nil {
			t.Errorf("%s: %d, and no error", name, db)
		}
	}
}
