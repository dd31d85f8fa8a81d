package confgen_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/internal/directive"
)

// What RedisConf writes above its defaults, and only that, is owned.
func TestOwned(t *testing.T) {
	conf, _, _ := strings.Cut(string(confgen.RedisConf(confgen.RedisFacts{Address: netip.MustParseAddr("10.0.0.1")})), "# default:")
	for line := range strings.Lines(conf) {
		if words, _ := directive.SplitArgs(line); len(words) > 0 && words[0] != "#" {
			if _, owned := directive.Owned(words[0]); !owned {
				t.Errorf("%s is written, but not owned", words[0])
			}
		}
	}
}

func TestSetValue(t *testing.T) {
	for value, want := range map[string]string{
		"yes": "yes", "": "", `""`: "", "900 1\n300 10": "900 1 300 10", "'{title} x'": "{title} x", "'broken": "'broken",
	} {
		if got := confgen.SetValue(value); got != want {
			t.Errorf("SetValue(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestUnknownLinesOfSentinelSurvive(t *testing.T) {
	existing := "sentinel monitor redisd 10.0.0.2 6379 2\n" +
		"sentinel of-a-later-release redisd 1 2 3\n" +
		"sentinel KNOWN-SLAVE redisd 10.0.0.3 6379\n"
	got, err := confgen.SentinelConf(sentinelFacts(), []byte(existing))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range strings.SplitAfter(existing, "\n")[1:] {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is lost", want)
		}
	}
}

func sentinelFacts() confgen.SentinelFacts {
	return confgen.SentinelFacts{Name: "redisd", Address: netip.MustParseAddr("10.0.0.1"), Port: 26379, Quorum: 2, Dir: "/x"}
}

func TestSentinelConfRefuses(t *testing.T) {
	id := strings.Repeat("a", 40)
	monitor := "sentinel monitor redisd 10.0.0.2 6379 2\n"
	for existing, want := range map[string]string{
		"":      "primary is not known",
		"# x\n": `no line "sentinel monitor"`,
		monitor + "sentinel monitor redisd 10.0.0.2 6379 2\n":            `line 2: a second "sentinel monitor"`,
		monitor + "sentinel myid x\n":                                    "line 2: sentinel myid: id \"x\": want 40",
		monitor + "sentinel myid " + id + "\nsentinel myid " + id + "\n": `line 3: a second "sentinel myid"`,
		monitor + "sentinel config-epoch other 1\n":                      `line 2: it is about "other", but "redisd"`,
		"sentinel known-replica other 10.0.0.3 6379\n" + monitor:         `line 1: it is about "other"`,
		monitor + "sentinel known-replica redisd db3 6379\n":             `line 2: sentinel known-replica: address "db3"`,
		monitor + "sentinel known-replica redisd 10.0.0.3 0\n":           `port "0"`,
		monitor + "sentinel known-sentinel redisd 10.0.0.3 26379 x\n":    `id "x"`,
		monitor + "sentinel current-epoch -1\n":                          `epoch "-1"`,
		monitor + "sentinel current-epoch\n":                             "0 arguments, want 1",
		"sentinel monitor redisd 10.0.0.2 6379 0\n":                      `quorum "0"`,
		"sentinel monitor redisd 10.0.0.2 6379\n":                        "3 arguments, want 4",
		"sentinel monitor other 10.0.0.2 6379 2\n":                       `belongs to the cluster "other", this node is configured for "redisd"`,
	} {
		got, err := confgen.SentinelConf(sentinelFacts(), []byte(existing))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", existing, err, want)
		}
		if got != nil {
			t.Errorf("%q: a file in spite of the error", existing)
		}
	}
}

func TestForget(t *testing.T) {
	id, other := strings.Repeat("a", 40), strings.Repeat("b", 40)
	lines := []string{
		"# about sentinel known-replica redisd 10.0.0.3 6379\n",
		"sentinel monitor redisd 10.0.0.3 6379 2\n",
		"sentinel known-replica redisd 10.0.0.3 6379\n",
		"sentinel  known-slave redisd 10.0.0.3 6379\r\n",
		"sentinel known-replica redisd 10.0.0.3 6380\n",
		"sentinel known-sentinel redisd 10.0.0.3 26379 " + id + "\n",
		"sentinel known-sentinel redisd 10.0.0.3 26379 " + other + "\n",
		"sentinel known-sentinel redisd 10.0.0.4 26379 " + id, // no newline
	}
	file := []byte(strings.Join(lines, ""))
	without := func(drop ...int) string {
		kept := ""
		for i, l := range lines {
			if !slices.Contains(drop, i) {
				kept += l
			}
		}
		return kept
	}
	got, found := confgen.ForgetReplica(file, netip.MustParseAddrPort("10.0.0.3:6379"))
	if want := without(2, 3); string(got) != want || !found {
		t.Errorf("ForgetReplica: %v\n%s", found, cmp.Diff(want, string(got)))
	}
	got, found = confgen.ForgetSentinel(file, netip.MustParseAddrPort("10.0.0.3:26379"))
	if want := without(5, 6); string(got) != want || !found {
		t.Errorf("ForgetSentinel: %v\n%s", found, cmp.Diff(want, string(got)))
	}
	got, found = confgen.ForgetSentinel(file, netip.MustParseAddrPort("10.0.0.5:26379"))
	if string(got) != string(file) || found {
		t.Errorf("forgot somebody who is not there: %v", found)
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	facts := struct {
		A confgen.ACLFacts
		R confgen.RedisFacts
		S confgen.SentinelFacts
	}{
		confgen.ACLFacts{ClientPassword: "hunter2", AgentPassword: "hunter2", ReplicaPassword: "hunter2", SentinelPassword: "hunter2"},
		confgen.RedisFacts{ReplicaPassword: "hunter2"},
		confgen.SentinelFacts{RedisPassword: "hunter2", AgentPassword: "hunter2", PeerPassword: "hunter2"},
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%v %+v %#v", facts, facts, facts)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "facts", facts, "password", facts.R.ReplicaPassword)
	js, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(js)
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("shown: %s", out.String())
	}
}

// The agent's socket gives way to an operator's own: redis-server has one only.
func TestSocket(t *testing.T) {
	facts := confgen.RedisFacts{Address: netip.MustParseAddr("10.0.0.1"), Dir: "/d", Socket: "/run/redisd/redis.sock"}
	for _, c := range []struct {
		directives map[string]string
		socket     string
		lines      []string
	}{
		{nil, "/run/redisd/redis.sock", []string{"unixsocket /run/redisd/redis.sock", "unixsocketperm 700"}},
		{map[string]string{"UnixSocket": `"/run/my redis"`}, "/run/my redis", []string{`unixsocket "/run/my redis"`}},
		{map[string]string{"unixsocket": ""}, "", []string{`unixsocket ""`}},
	} {
		facts.Directives = c.directives
		if got := confgen.Socket(facts); got != c.socket {
			t.Errorf("%v: socket %q, want %q", c.directives, got, c.socket)
		}
		var lines []string
		for line := range strings.Lines(string(confgen.RedisConf(facts))) {
			if strings.HasPrefix(line, "unixsocket") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if diff := cmp.Diff(c.lines, lines); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.directives, diff)
		}
	}
}

func TestRules(t *testing.T) {
	acl := confgen.ACL(confgen.ACLFacts{AgentPassword: "hunter2"})
	if got := strings.Join(confgen.Rules(acl, confgen.UserAgent), " "); !strings.HasPrefix(got, "reset on #") || !strings.HasSuffix(got, "~* &* +@all") {
		t.Errorf("the agent's rules: %q", got)
	}
	if got := confgen.Rules(acl, "nobody"); got != nil {
		t.Errorf("nobody's rules: %q", got)
	}
}
