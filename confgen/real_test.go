package confgen_test

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/internal/directive"
)

// TestRealProgramsAcceptTheGoldenFiles starts redis-server and redis-sentinel with every golden
// file, moved to a loopback address and a folder of the test.
func TestRealProgramsAcceptTheGoldenFiles(t *testing.T) {
	t.Parallel()
	for _, path := range goldens(t) {
		a := readArchive(t, path)
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			switch {
			case !a.has("want"): // it expects an error
			case a.has("redis.toml"):
				checkRedis(t, a.file("want"))
			case a.has("sentinel.toml"):
				checkSentinel(t, a.file("want"))
			case a.has("acl.toml"):
				checkACL(t, a.file("want"))
			}
		})
	}
}

func checkRedis(t *testing.T, golden string) {
	dir, addr := t.TempDir(), loopback(t, 1)
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), []byte(move(golden, dir, addr)))
	write(t, filepath.Join(dir, confgen.ACLFileName), acl)
	s := start(t, "redis-server", conf, addr)

	if role := s.do("ROLE"); !strings.HasPrefix(role, "slave") {
		t.Errorf("it starts as %q, want a replica", role)
	}
	// Promoted by whomever: it must not accept a write.
	s.do("REPLICAOF", "NO", "ONE")
	if got := s.do("SET", "k", "v"); !strings.HasPrefix(got, "NOREPLICAS") {
		t.Errorf("a write on a fenced node: %q, want NOREPLICAS", got)
	}
	for _, l := range strings.Split(golden, "\n") {
		words, err := directive.SplitArgs(l)
		if err != nil || len(words) != 2 || strings.HasPrefix(l, "#") {
			continue
		}
		switch words[0] {
		case "port", "bind", "unixsocket", "dir", "aclfile", "replica-announce-port", "maxmemory", "repl-backlog-size", "bind-source-addr", "replica-announce-ip":
			continue // moved, or shown in bytes
		}
		if got := s.get(words[0]); got != words[1] {
			t.Errorf("%s is %q, want %q", words[0], got, words[1])
		}
	}
}

func checkSentinel(t *testing.T, golden string) {
	dir, addr := t.TempDir(), loopback(t, 2)
	conf := write(t, filepath.Join(dir, confgen.SentinelConfName), []byte(move(golden, dir, addr)))
	before, err := confgen.ParseSentinelState(read(t, conf))
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "redis-sentinel", conf, addr)
	if got := s.do("SENTINEL", "FLUSHCONFIG"); got != "OK" {
		t.Fatal(got)
	}
	after, err := confgen.ParseSentinelState(read(t, conf))
	if err != nil {
		t.Fatal(err)
	}
	if before.MyID == "" { // its first start
		before.MyID = after.MyID
	}
	if diff := cmp.Diff(sorted(before), sorted(after), compareAddrs); diff != "" {
		t.Errorf("Sentinel understood the file differently (-written +understood):\n%s", diff)
	}
	checkDiscoveryUser(t, s, before.Name)
}

// checkDiscoveryUser looks at what somebody without a password can do.
func checkDiscoveryUser(t *testing.T, s *server, name string) {
	t.Helper()
	for command, allowed := range map[string]bool{
		"PING": true,
		"SENTINEL GET-MASTER-ADDR-BY-NAME " + name: true,
		"SENTINEL MASTERS":                         true,
		"SENTINEL REPLICAS " + name:                true,
		"SENTINEL SENTINELS " + name:               true,
		"CLIENT SETNAME x":                         true,
		"ROLE":                                     true,
		"INFO":                                     true,
		"SENTINEL CKQUORUM " + name:                true,
		"SENTINEL SET " + name + " quorum 1":       false,
		"SENTINEL FAILOVER " + name:                false,
		"SENTINEL RESET *":                         false,
		"SENTINEL REMOVE " + name:                  false,
		"SENTINEL CONFIG GET *":                    false,
		"SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 9 " + strings.Repeat("a", 40): false,
		"PUBLISH __sentinel__:hello x":                                             false,
		"CLIENT KILL TYPE normal":                                                  false,
		"SHUTDOWN NOSAVE":                                                          false,
		"ACL LIST":                                                                 false,
	} {
		got := s.as("", "", strings.Fields(command)...)
		if refused := strings.HasPrefix(got, "NOPERM"); refused == allowed {
			t.Errorf("%s without a password: %q, want it allowed: %v", command, got, allowed)
		}
	}
}

func checkACL(t *testing.T, golden string) {
	dir, addr := t.TempDir(), loopback(t, 1)
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), confgen.RedisConf(redisFacts(dir, addr)))
	users := write(t, filepath.Join(dir, confgen.ACLFileName), []byte(golden))
	s := start(t, "redis-server", conf, addr)

	for user, password := range map[string]string{
		confgen.UserClients: clientPassword, confgen.UserAgent: agentPassword,
		confgen.UserReplica: replicaPassword, confgen.UserSentinel: "sentinel-password",
	} {
		if got := s.as(user, password, "PING"); got != "PONG" {
			t.Errorf("%s cannot log in: %q", user, got)
		}
	}
	if got := s.as("", "", "PING"); !strings.HasPrefix(got, "NOAUTH") {
		t.Errorf("without a password: %q, want NOAUTH", got)
	}
	for command, allowed := range map[string]bool{
		"SET k v": true, "CONFIG GET maxmemory": true, "SUBSCRIBE": true, "EVAL return(1) 0": true,
		"REPLICAOF NO ONE": false, "SLAVEOF NO ONE": false, "FAILOVER ABORT": false,
	} {
		got := s.as(confgen.UserClients, clientPassword, strings.Fields(command)...)
		if refused := strings.HasPrefix(got, "NOPERM"); refused == allowed {
			t.Errorf("%s as a client: %q, want it allowed: %v", command, got, allowed)
		}
	}
	before := s.do("ACL", "LIST")
	if got := s.do("ACL", "SAVE"); got != "OK" {
		t.Fatal(got)
	}
	// What redis-server wrote, merged again, must be the same users.
	write(t, users, confgen.ACLMerge(read(t, users), []byte(golden)))
	if got := s.do("ACL", "LOAD"); got != "OK" {
		t.Fatal(got)
	}
	if diff := cmp.Diff(before, s.do("ACL", "LIST")); diff != "" {
		t.Errorf("ACL SAVE, merge, ACL LOAD changed the users:\n%s", diff)
	}
}

// move puts a golden file onto a loopback address and into a folder.
func move(golden, dir string, addr netip.AddrPort) string {
	port := strconv.Itoa(int(addr.Port()))
	for _, sub := range [][2]string{
		{`\b63(79|80)\b`, "1"}, // nobody must be there: it could be somebody's
		{`\b26379\b`, "2"},
		{`(?m)^dir .*$`, "dir " + dir},
		{`(?m)^aclfile .*$`, "aclfile " + filepath.Join(dir, confgen.ACLFileName)},
		{`(?m)^port .*$`, "port " + port},
		{`(?m)^unixsocket .*$`, "unixsocket s"}, // below dir: a socket's path is short
		{`(?m)^bind .*$`, "bind " + addr.Addr().String()},
		{`(?m)^bind-source-addr .*$`, "bind-source-addr " + addr.Addr().String()},
		{`\b10\.0\.0\.`, "127.88.0."},
		{`\b2001:db8::[0-9]\b`, "::1"},
	} {
		golden = regexp.MustCompile(sub[0]).ReplaceAllString(golden, sub[1])
	}
	return golden
}

func redisFacts(dir string, addr netip.AddrPort) confgen.RedisFacts {
	return confgen.RedisFacts{Address: addr.Addr(), Port: int(addr.Port()), Dir: dir, ReplicaPassword: replicaPassword}
}

// TestMergeAfterConfigRewrite lets a real redis-server rewrite its file, merges and starts it
// again.
func TestMergeAfterConfigRewrite(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), loopback(t, 4)
	facts := redisFacts(dir, addr)
	facts.MaxMemory, facts.Socket = "100mb", filepath.Join(dir, "s")
	facts.Directives = map[string]string{"timeout": "600", "save": "900 1\n300 10"}
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), confgen.RedisConf(facts))
	write(t, filepath.Join(dir, confgen.ACLFileName), acl)
	s := start(t, "redis-server", conf, addr)

	s.do("CONFIG", "REWRITE")
	rewritten := read(t, conf)
	head, _, _ := strings.Cut(string(confgen.Merge(rewritten, confgen.RedisConf(facts))), "\n# Generated by CONFIG REWRITE")
	if diff := cmp.Diff(string(confgen.RedisConf(facts)), head); diff != "" {
		t.Errorf("CONFIG REWRITE alone looks like a change at run time:\n%s", diff)
	}
	if info, err := os.Stat(conf); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the rewritten file has the mode %v, want 0600: it holds a password", info.Mode())
	}

	// What Sentinel and the agents do, and what an operator does.
	s.do("REPLICAOF", "NO", "ONE")
	for directive, value := range map[string]string{
		"min-replicas-to-write": "0", "replica-priority": "1", "masterauth": "other", // owned
		"appendfsync": "always", "repl-backlog-size": "1gb", // defaults of redisd
		"slowlog-max-len": "1000", "maxmemory-policy": "allkeys-lru", "notify-keyspace-events": "Ex", // free
		"timeout": "5", "maxmemory": "1gb", "save": "60 1", // set in redisd.toml
		"client-output-buffer-limit": "replica 512mb 128mb 60",
	} {
		if got := s.do("CONFIG", "SET", directive, value); got != "OK" {
			t.Fatalf("CONFIG SET %s: %s", directive, got)
		}
	}
	s.do("CONFIG", "REWRITE")
	s.kill()

	facts.Primary = netip.MustParseAddrPort("127.88.0.9:6379")
	merged := confgen.Merge(read(t, conf), confgen.RedisConf(facts))
	if again := confgen.Merge(merged, confgen.RedisConf(facts)); string(again) != string(merged) {
		t.Error("merging twice is not the same as once")
	}
	write(t, conf, merged)
	s = start(t, "redis-server", conf, addr)
	for directive, want := range map[string]string{
		"min-replicas-to-write": "1000000", "replica-priority": "0", "masterauth": replicaPassword, "replicaof": "127.88.0.9 6379",
		"appendfsync": "always", "repl-backlog-size": "1073741824",
		"slowlog-max-len": "1000", "maxmemory-policy": "allkeys-lru", "notify-keyspace-events": "xE",
		"timeout": "600", "maxmemory": "104857600", "save": "900 1 300 10",
		"client-output-buffer-limit": "normal 0 0 0 slave 536870912 134217728 60 pubsub 33554432 8388608 60",
		"repl-timeout":               "20",
	} {
		if got := s.get(directive); got != want {
			t.Errorf("after the restart %s is %q, want %q", directive, got, want)
		}
	}
}

// TestDefaultsAreSpelledAsRedisDoes holds for all defaults what Merge relies on.
func TestDefaultsAreSpelledAsRedisDoes(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), loopback(t, 5)
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), confgen.RedisConf(redisFacts(dir, addr)))
	write(t, filepath.Join(dir, confgen.ACLFileName), acl)
	s := start(t, "redis-server", conf, addr)
	s.do("CONFIG", "REWRITE")
	rewritten := string(read(t, conf))
	for _, l := range strings.Split(rewritten, "\n") {
		if d, ok := strings.CutPrefix(l, "# default: "); ok && !strings.Contains(rewritten, "\n"+d+"\n") {
			t.Errorf("redis-server does not write %q as redisd does", d)
		}
	}
}

// TestDirectivesTable compares the table of directives with this redis-server: each is known, and
// CONFIG SET agrees on which can change.
func TestDirectivesTable(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), loopback(t, 6)
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), confgen.RedisConf(redisFacts(dir, addr)))
	write(t, filepath.Join(dir, confgen.ACLFileName), acl)
	s := start(t, "redis-server", conf, addr)
	lines := strings.Split(s.do("CONFIG", "GET", "*"), "\n")
	checked := 0
	for i := 0; i+1 < len(lines); i += 2 {
		name, value := lines[i], lines[i+1]
		if !directive.Known(name) {
			t.Errorf("%s is not known", name)
			continue
		}
		if _, owned := directive.Owned(name); owned {
			continue
		}
		checked++
		got := s.do("CONFIG", "SET", name, value)
		immutable := strings.Contains(got, "can't set immutable config") || strings.Contains(got, "can't set protected config")
		if directive.Live(name) == immutable {
			t.Errorf("CONFIG SET %s: %q, but Live is %v", name, got, directive.Live(name))
		}
	}
	if checked < 80 {
		t.Errorf("only %d directives checked", checked)
	}
}

func TestTrial(t *testing.T) {
	try := func(maxMemory string, directives map[string]string) error {
		dir := t.TempDir()
		cmd := exec.Command(needs(t, "redis-server"), "-")
		cmd.Dir = dir
		cmd.Stdin = strings.NewReader(string(confgen.TrialConf(maxMemory, directives)))
		out, _ := cmd.CombinedOutput() // it always ends with 1
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("the trial left files behind: %v", left)
		}
		return confgen.TrialVerdict(out)
	}
	if err := try("2gb", map[string]string{
		"maxmemory-policy": "allkeys-lru", "save": "900 1\n300 10", "notify-keyspace-events": "", "appendonly": "no",
		"loadmodule": "/no/such/module.so x", "search.timeout": "100", "unixsocket": "/tmp/redisd-trial.sock",
	}); err != nil {
		t.Errorf("good values are refused: %v", err)
	}
	for directive, value := range map[string]string{
		"maxmemory-policy": "allkey-lru", "hz": "many", "no-such-directive": "1", "save": "900", "timeout": "'1",
	} {
		err := try("", map[string]string{directive: value})
		refused, ok := errors.AsType[*confgen.RefusedError](err)
		if !ok {
			t.Errorf("%s %s: error %v, want a RefusedError", directive, value, err)
			continue
		}
		if refused.Directive != directive || refused.Reason == "" {
			t.Errorf("%s %s: %#v", directive, value, refused)
		}
	}
	if err := confgen.TrialVerdict([]byte("sh: redis-server: not found\n")); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("redis-server did not run: error %v", err)
	}
}

var compareAddrs = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// sorted puts the lists of a state into order: Sentinel writes them in none.
func sorted(s confgen.SentinelState) confgen.SentinelState {
	slices.SortFunc(s.Replicas, netip.AddrPort.Compare)
	slices.SortFunc(s.Sentinels, func(a, b confgen.KnownSentinel) int { return a.Addr.Compare(b.Addr) })
	return s
}
