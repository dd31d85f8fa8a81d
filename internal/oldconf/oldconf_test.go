package oldconf_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/internal/oldconf"
)

// folder has the given files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPropose(t *testing.T) {
	dir := folder(t, map[string]string{
		"redis.conf": `# what people have
bind 10.0.0.1
port 6380
daemonize yes
dir "/srv/my redis"
dbfilename cache.rdb
maxmemory 2gb
MAXMEMORY-POLICY allkeys-lru
databases 32
requirepass "hunter 2"
save 900 1
save ""
save 300 10
save 60 10000
rename-command FLUSHALL ""
rename-command CONFIG my-config
slaveof 10.0.0.9 6379
masterauth hunter2
tls-port 0
cluster-enabled no
unixsocket /run/redis/redis-server.sock
client-output-buffer-limit pubsub 64mb 16mb 90
list-max-ziplist-entries 512
proc-title-template "{title} x"
notify-keyspace-events ""
loadmodule /usr/lib/redis/a.so 1 2
include more/*.conf
`,
		"more/10.conf": "timeout 0\nmaxclients 5000\n",
		"more/20.conf": "timeout 600\nuser app on >hunter2 ~app:* +@all\nuser default on +@all ~* &* >hunter3 -@dangerous\n",
	})
	conf, err := oldconf.Read(filepath.Join(dir, "redis.conf"))
	if err != nil {
		t.Fatal(err)
	}
	p := conf.Propose(func(s oldconf.Setting) bool { return s.Name != "notify-keyspace-events" })
	var got strings.Builder
	for _, k := range p.Keys {
		got.WriteString(strings.TrimPrefix(k.At, dir+"/") + ": " + k.Name + " = " + strings.ReplaceAll(k.Value, "\n", " | "))
		if k.Matters() {
			got.WriteString(" (matters)")
		}
		got.WriteString("\n")
	}
	for _, n := range p.Notes {
		got.WriteString(strings.TrimPrefix(n.At, dir+"/") + ": " + n.What + ": " + n.Why)
		if n.Matters {
			got.WriteString(" (matters)")
		}
		got.WriteString("\n")
	}
	want := `redis.conf:3: redis.port = 6380
redis.conf:7: redis.maxmemory = 2gb (matters)
redis.conf:8: redis.directives.maxmemory-policy = allkeys-lru (matters)
redis.conf:9: redis.directives.databases = 32 (matters)
redis.conf:14: redis.directives.save = "" | 300 10 | 60 10000
redis.conf:22: redis.directives.client-output-buffer-limit = pubsub 64mb 16mb 90
redis.conf:24: redis.directives.proc-title-template = "{title} x"
redis.conf:26: redis.directives.loadmodule = /usr/lib/redis/a.so 1 2
more/20.conf:1: redis.directives.timeout = 600
more/10.conf:2: redis.directives.maxclients = 5000
more/20.conf:3: redis.password_file = 
more/20.conf:2: redis.users_file = 
`
	lines, notes := got.String(), strings.SplitN(got.String(), "redis.conf:5: dir", 2)
	if diff := cmp.Diff(want, notes[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, want := range []string{
		`dir "/srv/my redis": redisd copies`, "dbfilename cache.rdb: redisd takes", `rename-command FLUSHALL "": redisd has no renamed`, "rename-command CONFIG my-config:",
		"replicaof 10.0.0.9 6379: redisd decides", "masterauth: replicas log in", "unixsocket /run/redis", "list-max-listpack-entries 512: redis.conf has no",
		"user default: with redisd it may do everything",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("there is no note %q in\n%s", want, lines)
		}
	}
	for _, unwanted := range []string{"tls-port", "cluster-enabled", "notify-keyspace-events", "hunter", "daemonize", "bind"} {
		if strings.Contains(lines, unwanted) {
			t.Errorf("%q is in\n%s", unwanted, lines)
		}
	}
	if p.Password != "hunter3" {
		t.Errorf("the password is %q", p.Password)
	}
	if len(p.Users) != 1 || p.Users[0] != "user app on #f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7 ~app:* +@all" {
		t.Errorf("the users are %q", p.Users)
	}
	want2 := oldconf.Dataset{Dir: "/srv/my redis", DBFilename: "cache.rdb", Appendonly: "no", AOFDir: "appendonlydir", AOFName: "appendonly.aof"}
	if d := conf.Dataset(); d != want2 {
		t.Errorf("the data is in %+v, want %+v", d, want2)
	}
}

func TestReadUsersFile(t *testing.T) {
	dir := folder(t, map[string]string{
		"redis.conf": "dir DIR\naclfile users.acl\n",
		"users.acl":  "user default on #abc ~* &* +@all\nuser redisd-x on\n\nuser b on nopass +get\n",
	})
	conf, err := oldconf.Read(filepath.Join(dir, "redis.conf"))
	if err != nil {
		t.Fatal(err)
	}
	p := conf.Propose(nil)
	if p.Password != "" || len(p.Users) != 1 || p.Users[0] != "user b on nopass +get" {
		t.Errorf("%+v", p)
	}
	var why []string
	for _, n := range p.Notes {
		if n.Matters {
			why = append(why, n.What)
		}
	}
	if diff := cmp.Diff([]string{"user default", "user redisd-x"}, why); diff != "" {
		t.Errorf("what matters (-want +got):\n%s", diff)
	}
}

func TestReadMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"port 6379\nmaxmemory \"1gb\n": "redis.conf:2: quotes are not balanced",
		"include DIR/none.conf\n":      "redis.conf:1 includes",
		"include DIR/redis.conf\n":     "include one another more than",
		"aclfile DIR/none.acl\n":       "read the users",
	} {
		dir := folder(t, map[string]string{"redis.conf": text})
		if _, err := oldconf.Read(filepath.Join(dir, "redis.conf")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestStock: a configuration as Debian ships it has nothing that matters.
func TestStock(t *testing.T) {
	const stock = "/etc/redis/redis.conf"
	if _, err := os.Stat(stock); err != nil {
		t.Skipf("Debian's redis-server is not installed: %v", err)
	}
	conf, err := oldconf.Read(stock)
	if err != nil {
		t.Fatal(err)
	}
	p := conf.Propose(nil)
	for _, k := range p.Keys {
		if k.Matters() || k.Name == oldconf.KeyPassword || k.Name == oldconf.KeyUsers {
			t.Errorf("%+v", k)
		}
	}
	for _, n := range p.Notes {
		if n.Matters {
			t.Errorf("%+v", n)
		}
	}
}
