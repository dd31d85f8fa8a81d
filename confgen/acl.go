package confgen

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
)

// Users of redis-server and redis-sentinel. Names that begin with UserPrefix are redisd's; all
// others but UserClients are free for operators to use.
const (
	UserPrefix   = "redisd-"
	UserClients  = "default"         // everybody who does not name a user
	UserAgent    = "redisd-agent"    // the agents, on redis-server and on redis-sentinel
	UserReplica  = "redisd-replica"  // replicas, on their primary
	UserSentinel = "redisd-sentinel" // sentinels, on redis-server and on each other
)

// ACLFacts are the passwords of the users of redis-server.
type ACLFacts struct {
	ClientPassword   Password
	AgentPassword    Password
	ReplicaPassword  Password
	SentinelPassword Password
	Users            []User // an operator's own: see ParseUsers
}

// clientRules let clients do everything but change who replicates from whom: a REPLICAOF typed on
// the wrong node would throw its data away.
const clientRules = "~* &* +@all -replicaof -slaveof -failover"

const agentRules = "~* &* +@all"

// replicaRules are what a replica says to its primary.
const replicaRules = "-@all +psync +replconf +ping"

// sentinelRules are what a Sentinel may say to a redis-server, at all times: it names its
// connections, pings, looks (INFO; ROLE stands for later releases), exchanges greetings over one
// channel, and ends a script that keeps the server busy.
//
// It changes nothing. The agents decide who is primary, and Sentinel publishes it: the transaction
// by which it reconfigures a server (SLAVEOF, CONFIG REWRITE, CLIENT KILL) is refused word by word,
// and Sentinel, which goes by INFO alone, does not mind (docs/findings-sentinel.md). Allow none of
// these words by itself: without MULTI, the rest of the transaction is carried out as far as it is
// allowed.
const sentinelRules = "resetchannels &__sentinel__:hello -@all +ping +info +role +publish +subscribe" +
	" +client|setname +script|kill"

// ACL writes users.acl.
func ACL(f ACLFacts) []byte {
	var b bytes.Buffer
	writeUser(&b, UserClients, f.ClientPassword, clientRules)
	writeUser(&b, UserAgent, f.AgentPassword, agentRules)
	writeUser(&b, UserReplica, f.ReplicaPassword, replicaRules)
	writeUser(&b, UserSentinel, f.SentinelPassword, sentinelRules)
	for _, u := range f.Users {
		fmt.Fprintf(&b, "user %s %s\n", u.Name, strings.Join(u.Rules, " "))
	}
	return b.Bytes()
}

// discoveryRules let everybody ask a Sentinel who is primary, follow its events and look around,
// without a password; nothing that changes anything.
const discoveryRules = "resetkeys &* -@all +ping +info +role +command +client|setname +client|getname +client|id" +
	" +subscribe +unsubscribe +psubscribe +punsubscribe" +
	" +sentinel|get-master-addr-by-name +sentinel|masters +sentinel|master +sentinel|replicas +sentinel|slaves" +
	" +sentinel|sentinels +sentinel|ckquorum +sentinel|myid +sentinel|help"

// peerRules are what a Sentinel says to another one.
const peerRules = "resetkeys resetchannels &__sentinel__:hello -@all +ping +publish +client|setname +sentinel|is-master-down-by-addr"

// sentinelUsers are the user lines of sentinel.conf.
func sentinelUsers(agent, peer Password) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "user %s reset on nopass %s\n", UserClients, discoveryRules)
	writeUser(&b, UserAgent, agent, agentRules)
	writeUser(&b, UserSentinel, peer, peerRules)
	return b.Bytes()
}

func writeUser(b *bytes.Buffer, name string, p Password, rules string) {
	fmt.Fprintf(b, "user %s reset on #%x %s\n", name, sha256.Sum256([]byte(p)), rules)
}

// Rules are what a user may by the text of users.acl, as ACL SETUSER takes them; none if it is not
// in there.
func Rules(acl []byte, user string) []string {
	for line := range strings.Lines(string(acl)) {
		if aclUser(line) == user {
			return strings.Fields(line)[2:]
		}
	}
	return nil
}

// ACLMerge adds to a generated users.acl the users that an operator made with ACL SETUSER and ACL
// SAVE: all of the existing file that generated does not define and whose names redisd does not
// claim.
func ACLMerge(existing, generated []byte) []byte {
	merged := bytes.Clone(generated)
	seen := map[string]bool{}
	for line := range strings.Lines(string(generated)) {
		seen[aclUser(line)] = true
	}
	for line := range strings.Lines(string(existing)) {
		name := aclUser(line)
		if name == "" || seen[name] || strings.HasPrefix(name, UserPrefix) {
			continue
		}
		seen[name] = true // redis-server refuses a file that defines one twice
		merged = append(merged, strings.Trim(line, " \t\r\n")+"\n"...)
	}
	return merged
}

// aclUser returns the user that a line of users.acl defines, "" if none: an ACL file knows no
// comments and no quotes, only "user NAME RULE …" with single spaces.
func aclUser(line string) string {
	line = strings.Trim(line, " \t\r\n")
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return ""
	}
	rest, ok := strings.CutPrefix(line, "user ")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, " ")
	return name
}
