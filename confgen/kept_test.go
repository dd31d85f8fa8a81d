package confgen_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/internal/directive"
)

var keptFacts = confgen.RedisFacts{
	Address: netip.MustParseAddr("10.0.0.1"), Port: 6379, Dir: "/var/lib/redisd/redis", ReplicaPassword: "secret",
}

// Every directive that redisd owns and that CONFIG SET can change is kept, but for those that
// change with the primary.
func TestKeptIsAllThatIsOwned(t *testing.T) {
	kept := map[string]string{}
	for _, s := range confgen.Kept(keptFacts) {
		kept[s.Name] = s.Value
	}
	for _, name := range directive.Names() {
		_, owned := directive.Owned(name)
		_, isKept := kept[name]
		switch {
		case name == "replicaof", name == "min-replicas-to-write", name == "bind":
			if isKept {
				t.Errorf("%s is kept, but others see to it", name)
			}
		case strings.HasPrefix(name, "cluster-"), strings.HasPrefix(name, "tls-") && name != "tls-port" && name != "tls-replication":
			// without effect while neither is on
		case owned && directive.Live(name) && !isKept && !strings.HasPrefix(name, "primary"): // Valkey's name for master…
			t.Errorf("%s is owned and can be changed, but not kept", name)
		}
	}
	for name, want := range map[string]string{
		"port": "6379", "bind-source-addr": "10.0.0.1", "masteruser": "redisd-replica", "masterauth": "secret",
		"replica-read-only": "yes", "replica-priority": "0", "min-replicas-max-lag": "2", "appendonly": "yes", "repl-diskless-load": "disabled", "requirepass": "",
	} {
		if got, ok := kept[name]; !ok || got != want {
			t.Errorf("%s is kept at %q, want %q", name, got, want)
		}
	}
}

func TestKeptAndChosen(t *testing.T) {
	f := keptFacts
	f.MaxMemory = "64mb"
	f.Directives = map[string]string{"APPENDONLY": "no", "timeout": "600", "save": "900 1\n300 10", "io-threads": "4"}
	get := func(list []confgen.Setting, name string) (confgen.Setting, bool) {
		for _, s := range list {
			if s.Name == name {
				return s, true
			}
		}
		return confgen.Setting{}, false
	}
	if s, _ := get(confgen.Kept(f), "appendonly"); s.Value != "no" || s.Source != confgen.FromFile {
		t.Errorf("redisd.toml sets appendonly to no: kept is %+v", s)
	}
	chosen := confgen.Chosen(f)
	for _, want := range []confgen.Setting{
		{Name: "maxmemory", Value: "64mb", Source: confgen.FromFile}, {Name: "timeout", Value: "600", Source: confgen.FromFile},
		{Name: "save", Value: "900 1 300 10", Source: confgen.FromFile}, {Name: "repl-timeout", Value: "20", Source: confgen.FromDefault},
	} {
		if got, _ := get(chosen, want.Name); got != want {
			t.Errorf("chosen: %+v, want %+v", got, want)
		}
	}
	for _, name := range []string{"appendonly", "io-threads", "hz"} {
		if s, ok := get(chosen, name); ok {
			t.Errorf("%+v is chosen", s)
		}
	}
}

func TestCompareKept(t *testing.T) {
	kept := []confgen.Setting{{Name: "port", Value: "6379"}, {Name: "appendonly", Value: "yes"}, {Name: "tls-port", Value: "0"}}
	for _, tt := range []struct {
		name             string
		running, inWords map[string]string
		want             []confgen.Difference
	}{
		{name: "as it should be, without TLS", running: map[string]string{"port": "6379", "appendonly": "yes"}},
		{name: "changed", running: map[string]string{"port": "1", "appendonly": "no", "tls-port": "0"},
			want: []confgen.Difference{{kept[0], "1"}, {kept[1], "no"}}},
		{name: "in other words", running: map[string]string{"appendonly": "on"}, inWords: map[string]string{"appendonly": "on"}},
		{name: "and in others again", running: map[string]string{"appendonly": "off"}, inWords: map[string]string{"appendonly": "on"},
			want: []confgen.Difference{{kept[1], "off"}}},
		{name: "nothing was said"},
	} {
		if diff := cmp.Diff(tt.want, confgen.CompareKept(kept, tt.running, tt.inWords)); diff != "" {
			t.Errorf("%s:\n%s", tt.name, diff)
		}
	}
}

func TestCompareChosen(t *testing.T) {
	for _, tt := range []struct {
		name, value, is string
		same            bool
	}{
		{"maxmemory", "64mb", "67108864", true},
		{"maxmemory", "64MB", "67108864", true},
		{"maxmemory", "64m", "64000000", true},
		{"maxmemory", "64m", "67108864", false},
		{"maxmemory", "0", "67108864", false},
		{"maxmemory-clients", "5%", "5%", true},
		{"maxmemory-clients", "5%", "0", false},
		{"maxmemory-policy", "ALLKEYS-LRU", "allkeys-lru", true},
		{"save", "900 1 300 10", "900 1 300 10", true},
		{"save", "900 1", "900 1 300 10", false},
		{"save", "", "", true},
		{"save", "", "900 1", false},
		{"hz", "600", "500", true},
		{"hz", "10", "500", false},
		{"oom-score-adj", "relative", "yes", true},
		{"oom-score-adj", "relative", "no", false},
		{"client-output-buffer-limit", "replica 512mb 128mb 60", "normal 0 0 0 slave 536870912 134217728 60 pubsub 33554432 8388608 60", true},
		{"client-output-buffer-limit", "replica 512mb 128mb 60", "normal 0 0 0 slave 1 134217728 60 pubsub 33554432 8388608 60", false},
		{"client-output-buffer-limit", "replica 1 1 1 slave 2 2 2", "normal 0 0 0 slave 2 2 2 pubsub 0 0 0", true},
		{"notify-keyspace-events", "KEA", "AKE", true},
		{"notify-keyspace-events", "Kg$lshzxetdE", "AKE", true},
		{"notify-keyspace-events", "KE", "AKE", false},
		{"proc-title-template", "{title} x", "{title} x", true},
		{"latency-tracking-info-percentiles", "50 99.90", "50 99.9", true},
	} {
		s := []confgen.Setting{{Name: tt.name, Value: tt.value}}
		got := confgen.CompareChosen(s, map[string]string{tt.name: tt.is})
		if (len(got) == 0) != tt.same {
			t.Errorf("%s: %q and %q: %+v, want same %v", tt.name, tt.value, tt.is, got, tt.same)
		}
	}
}

func TestCompareUsers(t *testing.T) {
	const hash = "#aaaa"
	user := confgen.User{Name: "default", Rules: []string{"reset", "on", hash, "~*", "&*", "+@all", "-replicaof", "-failover"}}
	ok := "user default on sanitize-payload " + hash + " ~* &* +@all -failover -replicaof"
	for _, tt := range []struct {
		name, is   string
		inWords    map[string]string
		same       bool
		has, lacks []string
	}{
		{name: "as ACL LIST has it", is: ok, same: true},
		{name: "gone", lacks: []string{hash, "&*", "+@all", "-failover", "-replicaof", "on", "~*"}},
		{name: "off", is: strings.Replace(ok, " on ", " off ", 1), has: []string{"off"}, lacks: []string{"on"}},
		{name: "another password", is: strings.Replace(ok, hash, "#bbbb", 1), has: []string{"#bbbb"}, lacks: []string{hash}},
		{name: "no password", is: strings.Replace(ok, hash, "nopass", 1), has: []string{"nopass"}, lacks: []string{hash}},
		{name: "one more password", is: ok + " #bbbb", has: []string{"#bbbb"}},
		{name: "more rights", is: strings.Replace(ok, " -failover", "", 1), lacks: []string{"-failover"}},
		{name: "a selector", is: ok + " (~x +get)", has: []string{"(~x", "+get)"}},
		{name: "in other words", is: "user default on alltheother words", inWords: map[string]string{"default": "user default on words alltheother"}, same: true},
	} {
		got, others := confgen.CompareUsers([]confgen.User{user}, []string{tt.is, "user app on nopass ~* +@all", "user b off"}, tt.inWords)
		var want []confgen.UserDifference
		if !tt.same {
			want = []confgen.UserDifference{{User: user, Is: tt.is, Has: tt.has, Lacks: tt.lacks}}
			if len(got) == 1 && len(got[0].Has) == 0 {
				want[0].Has = got[0].Has // nil or empty
			}
			if len(got) == 1 && len(got[0].Lacks) == 0 {
				want[0].Lacks = got[0].Lacks
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", tt.name, diff)
		}
		if diff := cmp.Diff([]string{"app", "b"}, others); diff != "" {
			t.Errorf("%s: others:\n%s", tt.name, diff)
		}
	}
}
