package confgen_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/confgen"
)

// trio is a cluster of three nodes as redisd would start it, without any agent: the tests do what
// the agents do, as their user. Sentinel never acts by itself in it, because nothing is down for as
// long as a test takes.
type trio struct {
	t         *testing.T
	redis     [3]*server
	sentinels [3]*server
}

// startTrio makes node 0 the primary, and node 1 the one that Sentinel would choose.
func startTrio(t *testing.T) *trio {
	c := &trio{t: t}
	var redis, sentinels [3]netip.AddrPort
	for i := range 3 {
		redis[i], sentinels[i] = loopback(t, 10+i), loopback(t, 10+i)
	}
	for i := range 3 {
		facts := redisFacts(t.TempDir(), redis[i])
		if i > 0 {
			facts.Primary = redis[0]
		}
		conf := write(t, filepath.Join(facts.Dir, confgen.RedisConfName), confgen.RedisConf(facts))
		write(t, filepath.Join(facts.Dir, confgen.ACLFileName), acl)
		c.redis[i] = start(t, "redis-server", conf, redis[i])
		if i == 0 {
			c.redis[0].promote()
			continue
		}
		c.redis[i].do("CONFIG", "SET", "replica-priority", []string{1: "1", 2: "100"}[i])
	}
	for i := range 3 {
		facts := trioFacts(t.TempDir(), sentinels[i])
		facts.Primary = redis[0]
		conf, err := confgen.SentinelConf(facts, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := start(t, "redis-sentinel", write(t, filepath.Join(facts.Dir, confgen.SentinelConfName), conf), sentinels[i])
		s.do("SENTINEL", "DEBUG", "INFO-PERIOD", "300", "PUBLISH-PERIOD", "100")
		c.sentinels[i] = s
	}
	return c
}

func trioFacts(dir string, addr netip.AddrPort) confgen.SentinelFacts {
	return confgen.SentinelFacts{
		Name: "redisd", Address: addr.Addr(), Port: int(addr.Port()), Dir: dir, Quorum: 2,
		DownAfter: time.Minute, FailoverTimeout: time.Minute, ParallelSyncs: 2,
		RedisPassword: sentinelPassword, AgentPassword: agentPassword, PeerPassword: peerPassword,
	}
}

// promote does what package redis does.
func (s *server) promote() {
	s.t.Helper()
	c := s.connect(confgen.UserAgent, agentPassword)
	for _, step := range [][2]string{
		{"MULTI", "+OK"}, {"REPLICAOF NO ONE", "+QUEUED"}, {"CONFIG SET min-replicas-to-write 0", "+QUEUED"}, {"EXEC", "*2"},
	} {
		if got := c.say(step[0]); got != step[1] {
			s.t.Fatalf("%s: %s", step[0], got)
		}
	}
}

// user is one connection, which notices when it is closed.
type user struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (s *server) connect(name, password string) *user {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * patience))
	u := &user{s.t, conn, bufio.NewReader(conn)}
	if got := u.say("AUTH " + name + " " + password); got != "+OK" {
		s.t.Fatalf("log in as %s: %s", name, got)
	}
	return u
}

// say returns the first line of the reply.
func (u *user) say(command string) string {
	u.t.Helper()
	fmt.Fprintf(u.conn, "%s\r\n", command)
	line, err := u.r.ReadString('\n')
	if err != nil {
		u.t.Errorf("%s: %v", command, err)
	}
	return strings.TrimRight(line, "\r\n")
}

// settled waits until every Sentinel sees all replicas and peers, each in good health.
func (c *trio) settled() {
	c.t.Helper()
	for _, s := range c.sentinels {
		await(c.t, "the sentinels to find all", func() bool {
			return len(healthy(s, "REPLICAS")) == 2 && len(healthy(s, "SENTINELS")) == 2 &&
				strings.HasPrefix(s.do("SENTINEL", "CKQUORUM", "redisd"), "OK")
		})
	}
}

// healthy returns the ports of the REPLICAS or SENTINELS whose flags name no trouble.
func healthy(sentinel *server, list string) (ports []string) {
	port := ""
	lines := strings.Split(sentinel.do("SENTINEL", list, "redisd"), "\n")
	for i := 0; i+1 < len(lines); i++ {
		switch lines[i] {
		case "port":
			port = lines[i+1]
		case "flags":
			if lines[i+1] == "slave" || lines[i+1] == "sentinel" {
				ports = append(ports, port)
			}
		}
	}
	return ports
}

// primary returns whom a Sentinel names, to somebody without a password.
func (c *trio) primary(i int) string {
	return strings.ReplaceAll(c.sentinels[i].as("", "", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "redisd"), "\n", ":")
}

// state returns how far the failover of a Sentinel is, "" for none.
func (c *trio) state(i int) string {
	_, after, _ := strings.Cut(c.sentinels[i].do("SENTINEL", "MASTER", "redisd"), "failover-state\n")
	state, _, _ := strings.Cut(after, "\n")
	return state
}

// ask has a Sentinel begin a failover; for a moment it may see nobody fit for it.
func (c *trio) ask(i int) {
	c.t.Helper()
	await(c.t, "a sentinel to take the request", func() bool { return c.sentinels[i].do("SENTINEL", "FAILOVER", "redisd") == "OK" })
}

// denied lists what the ACL of a server refused to Sentinels.
func denied(s *server) (commands []string) {
	command := ""
	lines := strings.Split(s.do("ACL", "LOG"), "\n")
	for i := 0; i+1 < len(lines); i++ {
		switch {
		case lines[i] == "object":
			command = lines[i+1]
		case lines[i] == "username" && lines[i+1] == confgen.UserSentinel:
			commands = append(commands, command)
		}
	}
	return commands
}

// TestPublish promotes by the agents' hand and has Sentinel publish it, with no more rights than
// the generated users have: the Sentinels agree on it, and no server, client or file notices, not
// even where a Sentinel chooses another one.
func TestPublish(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 3 s")
	}
	t.Parallel()
	c := startTrio(t)
	c.settled()
	for _, s := range slices.Concat(c.redis[:], c.sentinels[:]) {
		if log := s.do("ACL", "LOG"); log != "" {
			t.Errorf("an ACL is too tight: %s", log)
		}
	}
	old, next, other := c.redis[0], c.redis[1], c.redis[2]
	for i := range 3 {
		if got := c.primary(i); got != old.addr.String() {
			t.Errorf("sentinel %d names %s, want %s", i, got, old.addr)
		}
	}
	writer, reader := next.connect(confgen.UserClients, clientPassword), other.connect(confgen.UserClients, clientPassword)
	for _, s := range []*server{next, other} {
		s.connect(confgen.UserClients, clientPassword).say("SUBSCRIBE news")
	}
	before := [][]byte{read(t, next.conf), read(t, other.conf)}
	untouched := func(when string) {
		t.Helper()
		if got := writer.say("SET k v"); got != "+OK" {
			t.Errorf("%s: a write on the promoted one: %s", when, got)
		}
		if got := reader.say("PING"); got != "+PONG" {
			t.Errorf("%s: a client of the replica: %s", when, got)
		}
		for i, s := range []*server{next, other} {
			if !bytes.Equal(read(t, s.conf), before[i]) {
				t.Errorf("%s: %s was rewritten", when, s.conf)
			}
			if _, n, _ := strings.Cut(s.do("PUBSUB", "NUMSUB", "news"), "\n"); n != "1" {
				t.Errorf("%s: %s has %s subscribers, want 1", when, s.addr, n)
			}
		}
		// "slave", then its primary's address, and how the link is.
		want := fmt.Sprintf("slave\n%s\n%d\nconnected\n", next.addr.Addr(), next.addr.Port())
		await(t, "the replica's link", func() bool { return strings.HasPrefix(other.do("ROLE"), want) })
	}

	old.kill()
	next.promote()
	other.do("REPLICAOF", next.addr.Addr().String(), fmt.Sprint(next.addr.Port()))
	c.ask(2)
	for i := range 3 {
		await(t, "the sentinels to agree", func() bool { return c.primary(i) == next.addr.String() && c.state(i) == "" })
	}
	untouched("published")
	if got := denied(next); !slices.Contains(got, "slaveof") || !slices.Contains(got, "exec") {
		t.Errorf("refused to Sentinel: %q; it should have tried to promote", got)
	}

	other.do("ACL", "LOG", "RESET")
	c.ask(0) // the replica is the only choice
	await(t, "its attempt to promote", func() bool { return slices.Contains(denied(other), "exec") && c.state(0) == "wait_promotion" })
	untouched("wrong choice")
	for i := range 3 {
		if got := c.primary(i); got != next.addr.String() {
			t.Errorf("after a wrong choice sentinel %d names %s, want %s", i, got, next.addr)
		}
	}
	c.restart(t, next.addr)
}

// restart generates the file of a Sentinel anew from what it left behind, takes out of it the dead
// server and another Sentinel, and starts it again.
func (c *trio) restart(t *testing.T, primary netip.AddrPort) {
	s, gone := c.sentinels[2], c.sentinels[1]
	id := s.do("SENTINEL", "MYID")
	gone.kill()
	s.kill()
	before, err := confgen.ParseSentinelState(read(t, s.conf))
	if err != nil {
		t.Fatal(err)
	}
	if before.MyID != id || before.Primary != primary || before.ConfigEpoch == 0 || len(before.Replicas) != 2 || len(before.Sentinels) != 2 {
		t.Errorf("state that it left behind: %+v", before)
	}
	facts := trioFacts(s.dir, s.addr)
	facts.Primary = c.redis[0].addr // not to be believed: the file knows better
	conf, err := confgen.SentinelConf(facts, read(t, s.conf))
	if err != nil {
		t.Fatal(err)
	}
	conf, foundReplica := confgen.ForgetReplica(conf, c.redis[0].addr)
	conf, foundSentinel := confgen.ForgetSentinel(conf, gone.addr)
	if !foundReplica || !foundSentinel {
		t.Errorf("found replica: %v, sentinel: %v", foundReplica, foundSentinel)
	}
	s = start(t, "redis-sentinel", write(t, s.conf, conf), s.addr)
	c.sentinels[2] = s
	await(t, "the rest to be seen", func() bool { return len(healthy(s, "REPLICAS")) == 1 && len(healthy(s, "SENTINELS")) == 1 })
	if got := c.primary(2); got != primary.String() {
		t.Errorf("it names %s, want %s", got, primary)
	}
	if got := s.do("SENTINEL", "MYID"); got != id {
		t.Errorf("its id became %s, was %s", got, id)
	}
	for list, who := range map[string]*server{"REPLICAS": c.redis[0], "SENTINELS": gone} {
		if got := s.do("SENTINEL", list, "redisd"); strings.Contains(got, fmt.Sprintf("\n%d\n", who.addr.Port())) {
			t.Errorf("it was not forgotten:\n%s", got)
		}
	}
}

// TestSentinelUser tries what a Sentinel may say to a redis-server, and says what it says to demote
// a primary: nothing comes of it.
func TestSentinelUser(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), loopback(t, 3)
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), confgen.RedisConf(redisFacts(dir, addr)))
	write(t, filepath.Join(dir, confgen.ACLFileName), acl)
	s := start(t, "redis-server", conf, addr)
	s.promote()
	for command, allowed := range map[string]bool{
		"PING":                               true,
		"INFO":                               true,
		"ROLE":                               true,
		"CLIENT SETNAME sentinel-x-cmd":      true,
		"PUBLISH __sentinel__:hello x":       true,
		"SUBSCRIBE __sentinel__:hello":       true,
		"SCRIPT KILL":                        true,
		"PUBLISH news x":                     false,
		"SUBSCRIBE news":                     false,
		"PSUBSCRIBE *":                       false,
		"SCRIPT FLUSH":                       false,
		"REPLICAOF NO ONE":                   false,
		"FAILOVER":                           false,
		"CONFIG GET *":                       false,
		"CONFIG SET min-replicas-to-write 0": false,
		"GET k":                              false,
		"SET k v":                            false,
		"SHUTDOWN NOSAVE":                    false,
		"ACL LIST":                           false,
	} {
		got := s.connect(confgen.UserSentinel, sentinelPassword).say(command)
		if refused := strings.HasPrefix(got, "-NOPERM"); refused == allowed {
			t.Errorf("%s as a Sentinel: %q, want it allowed: %v", command, got, allowed)
		}
	}

	client := s.connect(confgen.UserClients, clientPassword)
	before := read(t, conf)
	sentinel := s.connect(confgen.UserSentinel, sentinelPassword)
	for _, command := range []string{
		"MULTI", "SLAVEOF 127.0.0.1 1", "CONFIG REWRITE", "CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub", "EXEC",
	} {
		if got := sentinel.say(command); !strings.Contains(got, "NOPERM") {
			t.Errorf("%s as a Sentinel: %q, want it refused", command, got)
		}
	}
	if got := client.say("SET k v"); got != "+OK" {
		t.Errorf("a client's write: %s", got)
	}
	if role := s.do("ROLE"); !strings.HasPrefix(role, "master") {
		t.Errorf("demoted all the same: %s", role)
	}
	if !bytes.Equal(before, read(t, conf)) {
		t.Error("the file was rewritten all the same")
	}
}
