package confgen_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/confgen"
)

const usersFile = `# the applications
user app on >hunter2 ~app:* &* +@all -@dangerous

user reports reset on #f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7 %R~* resetchannels +@read (~tmp:* +get +set)
user off
`

func TestParseUsers(t *testing.T) {
	users, err := confgen.ParseUsers(usersFile)
	if err != nil {
		t.Fatal(err)
	}
	const hash = "#f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7"
	want := []confgen.User{
		{Name: "app", Rules: []string{"reset", "on", hash, "~app:*", "&*", "+@all", "-@dangerous"}},
		{Name: "reports", Rules: []string{"reset", "on", hash, "%R~*", "resetchannels", "+@read", "(~tmp:*", "+get", "+set)"}},
		{Name: "off", Rules: []string{"reset"}},
	}
	if diff := cmp.Diff(want, users); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = confgen.ParseUsers("user\nuser redisd-agent on\nuser default on\nuser a\n# user a\nuser a on\nACL SETUSER b\n")
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("the mistakes of five lines: %v", err)
	}
}

// A redis-server that starts with an operator's users has them as the file says: what it writes in
// words of its own it has not in others after it was set.
func TestUsersOfRealServer(t *testing.T) {
	t.Parallel()
	users, err := confgen.ParseUsers(usersFile)
	if err != nil {
		t.Fatal(err)
	}
	facts := confgen.ACLFacts{ClientPassword: clientPassword, AgentPassword: agentPassword, ReplicaPassword: replicaPassword, SentinelPassword: sentinelPassword, Users: users}
	dir, addr := t.TempDir(), loopback(t, 14)
	conf := write(t, filepath.Join(dir, confgen.RedisConfName), confgen.RedisConf(redisFacts(dir, addr)))
	write(t, filepath.Join(dir, confgen.ACLFileName), confgen.ACL(facts))
	s := start(t, "redis-server", conf, addr)
	list := func() []string { return strings.Split(s.do("ACL", "LIST"), "\n") }
	different, others := confgen.CompareUsers(confgen.Users(facts), list(), nil)
	if len(others) > 0 {
		t.Errorf("nobody's users: %v", others)
	}
	before := list()
	if len(before) != 7 {
		t.Errorf("its users are %q", before)
	}
	for _, d := range different {
		s.do(append([]string{"ACL", "SETUSER", d.Name}, d.Rules...)...)
	}
	if diff := cmp.Diff(before, list()); diff != "" {
		t.Errorf("set again, it has other users:\n%s", diff)
	}
}
