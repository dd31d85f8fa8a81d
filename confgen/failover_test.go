package confgen_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/confgen"
)

// trio is a cluster of three nodes as redisd would start it, without any agent.
type trio struct {
	t         *testing.T
	redis     [3]*server
	sentinels [3]*server
}

func startTrio(t *testing.T) *trio {
	c := &trio{t: t}
	var redis, sentinels [3]netip.AddrPort
	for i := range 3 {
		redis[i], sentinels[i] = loopback(t, 10+i), loopback(t, 10+i)
	}
	for i := range 3 {
		facts := redisFacts(t.TempDir(), redis[i])
		facts.Primary = redis[0]
		conf := write(t, filepath.Join(facts.Dir, confgen.RedisConfName), confgen.RedisConf(facts))
		write(t, filepath.Join(facts.Dir, confgen.ACLFileName), acl)
		c.redis[i] = start(t, "redis-server", conf, redis[i])
	}
	c.redis[0].do("REPLICAOF", "NO", "ONE")
	for _, s := range c.redis {
		s.do("CONFIG", "SET", "min-replicas-to-write", "0")
		s.do("CONFIG", "SET", "replica-priority", "100")
	}
	for i := range 3 {
		facts := c.sentinelFacts(t.TempDir(), sentinels[i])
		facts.Primary = redis[0]
		conf, err := confgen.SentinelConf(facts, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.sentinels[i] = start(t, "redis-sentinel", write(t, filepath.Join(facts.Dir, confgen.SentinelConfName), conf), sentinels[i])
	}
	c.settle(2, 2)
	return c
}

func (c *trio) sentinelFacts(dir string, addr netip.AddrPort) confgen.SentinelFacts {
	return confgen.SentinelFacts{
		Name: "redisd", Address: addr.Addr(), Port: int(addr.Port()), Dir: dir, Quorum: 2,
		DownAfter: 1500 * time.Millisecond, FailoverTimeout: 10 * time.Second, ParallelSyncs: 2,
		RedisPassword: sentinelPassword, AgentPassword: agentPassword, PeerPassword: peerPassword,
	}
}

// settle waits until every Sentinel sees that many healthy replicas and peers.
func (c *trio) settle(replicas, sentinels int) {
	c.t.Helper()
	for _, s := range c.sentinels {
		await(c.t, "the sentinels to find all", func() bool {
			r, p := healthy(s.do("SENTINEL", "REPLICAS", "redisd")), healthy(s.do("SENTINEL", "SENTINELS", "redisd"))
			return r >= replicas && p >= sentinels && strings.HasPrefix(s.do("SENTINEL", "CKQUORUM", "redisd"), "OK")
		})
	}
}

// healthy counts those whose flags name no trouble.
func healthy(list string) int {
	n := 0
	lines := strings.Split(list, "\n")
	for i := 0; i+1 < len(lines); i++ {
		if lines[i] == "flags" && (lines[i+1] == "slave" || lines[i+1] == "sentinel") {
			n++
		}
	}
	return n
}

// primary returns whom a Sentinel names, to somebody without a password.
func (c *trio) primary(i int) string {
	return strings.ReplaceAll(c.sentinels[i].as("", "", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "redisd"), "\n", ":")
}

// noDenials reports every command that an ACL refused.
func (c *trio) noDenials() {
	c.t.Helper()
	for _, s := range slices.Concat(c.redis[:], c.sentinels[:]) {
		select {
		case <-s.done:
		default:
			if log := s.do("ACL", "LOG"); log != "" {
				c.t.Errorf("an ACL is too tight: %s", log)
			}
		}
	}
}

// TestFailover lets the Sentinels replace a crashed primary and take it back as a
// replica, with no more rights than the generated users have.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 s")
	}
	c := startTrio(t)
	old := c.redis[0]
	if got := c.primary(1); got != old.addr.String() {
		t.Fatalf("the sentinels name %s, want %s", got, old.addr)
	}
	old.do("SET", "k", "v")
	old.kill()
	await(t, "a failover", func() bool {
		return c.primary(0) != old.addr.String() && c.primary(1) == c.primary(0) && c.primary(2) == c.primary(0)
	})
	i := slices.IndexFunc(c.redis[:], func(s *server) bool { return s.addr.String() == c.primary(0) })
	promoted, other := c.redis[i], c.redis[3-i]
	await(t, "a promoted replica", func() bool { return strings.HasPrefix(promoted.do("ROLE"), "master") })
	await(t, "the other replica to follow it", func() bool { return strings.Contains(other.do("ROLE"), "connected") })
	if got := promoted.do("GET", "k"); got != "v" {
		t.Errorf("the promoted replica has %q, want v", got)
	}

	// The old primary comes back the way redisd starts it: at the placeholder.
	facts := redisFacts(old.dir, old.addr)
	write(t, old.conf, confgen.Merge(read(t, old.conf), confgen.RedisConf(facts)))
	c.redis[0] = start(t, "redis-server", old.conf, old.addr)
	await(t, "Sentinel to fetch the old primary", func() bool { return strings.Contains(c.redis[0].do("ROLE"), "connected") })
	c.noDenials()
	c.restartSentinel(t, promoted)
	c.forgetOther(t, other)
}

// restartSentinel generates the file anew from what the Sentinel left behind.
func (c *trio) restartSentinel(t *testing.T, primary *server) {
	s := c.sentinels[2]
	s.kill()
	before, err := confgen.ParseSentinelState(read(t, s.conf))
	if err != nil {
		t.Fatal(err)
	}
	if before.Primary != primary.addr || before.ConfigEpoch == 0 || len(before.Replicas) != 2 || len(before.Sentinels) != 2 {
		t.Errorf("state after the failover: %+v", before)
	}
	facts := c.sentinelFacts(s.dir, s.addr)
	facts.Primary = c.redis[0].addr // not to be believed: the file knows better
	conf, err := confgen.SentinelConf(facts, read(t, s.conf))
	if err != nil {
		t.Fatal(err)
	}
	c.sentinels[2] = start(t, "redis-sentinel", write(t, s.conf, conf), s.addr)
	if got := c.sentinels[2].do("SENTINEL", "MYID"); got != before.MyID {
		t.Errorf("its id became %s, was %s", got, before.MyID)
	}
	c.settle(2, 2)
	if got := c.primary(2); got != primary.addr.String() {
		t.Errorf("it names %s, want %s", got, primary.addr)
	}
}

// forgetOther takes a replica that is gone for good, and a Sentinel, out of the file
// of a stopped Sentinel.
func (c *trio) forgetOther(t *testing.T, replica *server) {
	replica.kill()
	c.sentinels[1].kill()
	s := c.sentinels[2]
	s.kill()
	file, foundReplica := confgen.ForgetReplica(read(t, s.conf), replica.addr)
	file, foundSentinel := confgen.ForgetSentinel(file, c.sentinels[1].addr)
	if !foundReplica || !foundSentinel {
		t.Errorf("found replica: %v, sentinel: %v", foundReplica, foundSentinel)
	}
	s = start(t, "redis-sentinel", write(t, s.conf, file), s.addr)
	await(t, "the rest to be seen", func() bool {
		return healthy(s.do("SENTINEL", "REPLICAS", "redisd")) == 1 && healthy(s.do("SENTINEL", "SENTINELS", "redisd")) == 1
	})
	for who, list := range map[*server]string{replica: "REPLICAS", c.sentinels[1]: "SENTINELS"} {
		if got := s.do("SENTINEL", list, "redisd"); strings.Contains(got, fmt.Sprintf("\n%d\n", who.addr.Port())) {
			t.Errorf("it was not forgotten:\n%s", got)
		}
	}
}

// TestSentinelMayReconfigure says what Sentinel says to demote a primary, and looks
// whether redis-server and a client of it notice.
func TestSentinelMayReconfigure(t *testing.T) {
	dir, addr := t.TempDir(), loopback(t, 1)
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), confgen.RedisConf(redisFacts(dir, addr)))
	write(t, filepath.Join(dir, confgen.ACLFileName), acl)
	s := start(t, "redis-server", conf, addr)
	s.do("REPLICAOF", "NO", "ONE")
	id := s.do("CLIENT", "ID") // grows with each connection

	demote := func() string {
		cli := exec.Command(needs(t, "redis-cli"), "-h", addr.Addr().String(), "-p", fmt.Sprint(addr.Port()),
			"--user", confgen.UserSentinel, "--pass", sentinelPassword, "--no-auth-warning")
		cli.Stdin = strings.NewReader("MULTI\nSLAVEOF 127.0.0.1 1\nCONFIG REWRITE\nCLIENT KILL TYPE normal\nCLIENT KILL TYPE pubsub\nEXEC\n")
		out, err := cli.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	setuser := func(may bool) {
		t.Helper()
		if got := s.do(append([]string{"ACL", "SETUSER", confgen.UserSentinel}, confgen.SentinelMayReconfigure(may)...)...); got != "OK" {
			t.Fatal(got)
		}
	}
	setuser(false)
	before := read(t, conf)
	if got := demote(); !strings.Contains(got, "EXECABORT") {
		t.Errorf("while forbidden: %q, want EXECABORT", got)
	}
	if role := s.do("ROLE"); !strings.HasPrefix(role, "master") {
		t.Errorf("demoted all the same: %s", role)
	}
	if !bytes.Equal(before, read(t, conf)) {
		t.Error("the file was rewritten all the same")
	}
	setuser(true)
	if got := demote(); strings.Contains(got, "EXECABORT") || strings.Contains(got, "NOPERM") {
		t.Errorf("while allowed: %q", got)
	}
	if role := s.do("ROLE"); !strings.HasPrefix(role, "slave") {
		t.Errorf("not demoted: %s (client ids from %s)", role, id)
	}
}
