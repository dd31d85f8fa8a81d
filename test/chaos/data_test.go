package chaos

import (
	"maps"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

// startRedis is a redis-server of this machine that ends with the test.
func startRedis(t *testing.T) *goredis.Client {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("NOT TESTED: redis-server is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	silenceLibrary()
	c := goredis.NewClient(&goredis.Options{Addr: addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() {
		c.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	if err := awaitWithin(t.Context(), 10*time.Second, func() error { return c.Ping(t.Context()).Err() }); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDigest(t *testing.T) {
	ctx, a, b := t.Context(), startRedis(t), startRedis(t)
	both := func(args ...any) {
		t.Helper()
		for _, c := range []*goredis.Client{a, b} {
			if err := c.Do(ctx, args...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	unlike := func() string {
		t.Helper()
		want, err := digest(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		has, err := digest(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		return difference(has, want)
	}
	both("SET", "text", "x")
	both("RPUSH", "list", "1", "2")
	both("SET", "lasting", "x", "PXAT", time.Now().Add(time.Hour).UnixMilli())
	if got := unlike(); got != "nothing" {
		t.Errorf("the same: %s", got)
	}
	for _, c := range []struct {
		do, undo []any
		on       *goredis.Client
		want     string
	}{
		{[]any{"SET", "text", "y"}, []any{"SET", "text", "x"}, b, "text"},
		{[]any{"RPUSH", "list", "3"}, []any{"RPOP", "list"}, a, "list"},
		{[]any{"SET", "more", "y"}, []any{"DEL", "more"}, b, "more"},
		{[]any{"SET", "less", "y"}, []any{"DEL", "less"}, a, "less"},
		{[]any{"PERSIST", "lasting"}, []any{"PEXPIREAT", "lasting", 1}, b, "lasting"},
		{[]any{"SET", "brief", "y", "PX", "3000"}, []any{"DEL", "brief"}, b, "nothing"},
	} {
		if err := c.on.Do(ctx, c.do...).Err(); err != nil {
			t.Fatal(err)
		}
		if got := unlike(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v: %s", c.do, got)
		}
		if c.want == "lasting" {
			both("DEL", "lasting")
			continue
		}
		if err := c.on.Do(ctx, c.undo...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStraysAreNoDifference(t *testing.T) {
	ctx, c := t.Context(), startRedis(t)
	if err := c.RPush(ctx, "list", "1", "2", "3", "4").Err(); err != nil {
		t.Fatal(err)
	}
	stray := func(seqs ...uint32) (all []writer.Write) {
		for _, seq := range seqs {
			all = append(all, writer.Write{Key: "list", Ack: writer.Ack{Seq: seq}})
		}
		return all
	}
	for _, test := range []struct {
		strays []writer.Write
		want   map[string]string
	}{
		{stray(2, 4), map[string]string{"list": "1,3", "other": "x"}},
		{stray(1, 2, 3, 4), map[string]string{"other": "x"}},
		{stray(9), map[string]string{"list": "1,2,3,4", "other": "x"}},
		{nil, map[string]string{"list": "sum", "other": "x"}},
	} {
		got := map[string]string{"list": "sum", "other": "x"}
		if err := without(ctx, c, got, test.strays); err != nil || !maps.Equal(got, test.want) {
			t.Errorf("without %v: %v (%v), want %v", test.strays, got, err, test.want)
		}
	}
}

func TestSettingsSetBack(t *testing.T) {
	ctx, c := t.Context(), startRedis(t)
	was, err := aclLine(ctx, c, "default")
	if err != nil || !strings.HasPrefix(was, "user default ") {
		t.Fatalf("%q, %v", was, err)
	}
	if none, err := aclLine(ctx, c, "def"); err != nil || none != "" {
		t.Errorf("there is a user %q, %v", none, err)
	}
	if got := unlike(sorted("a b c"), sorted("c a "+strings.Repeat("secret", 9))); got != ", it had b" {
		t.Errorf("told as %q", got)
	}
}

// TestDelaysAreThere: the stages of a copy are made long by directives that redis-server has for
// tests of its own; one without them would make every such round fail, or none.
func TestDelaysAreThere(t *testing.T) {
	ctx, c := t.Context(), startRedis(t)
	if err := fillSmall(ctx, c, 0); err != nil {
		t.Fatal(err)
	}
	for _, directive := range []string{saveDelay, loadDelay} {
		if err := dawdle(ctx, c, directive, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if got, err := c.ConfigGet(ctx, directive).Result(); err != nil || got[directive] != "100" {
			t.Errorf("%s is %v, %v", directive, got, err)
		}
	}
	if err := c.BgSave(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	under := persistence("rdb_bgsave_in_progress", "1")
	if err := lab.Await(ctx, time.Millisecond, func() error { return under(ctx, c) }); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	time.Sleep(500 * time.Millisecond) // nothing to wait for: it must go on
	if err := under(ctx, c); err != nil {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if err := dawdle(ctx, c, loadDelay, time.Hour); err == nil {
		t.Error("it would not answer while it loads")
	}
}
