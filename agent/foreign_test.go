package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
)

func stranger(id, cluster string, keys int64) gossip.Stranger {
	return gossip.Stranger{
		Addr: netip.MustParseAddr("10.0.0.2"), Kind: gossip.Foreign, Since: time.Unix(1000, 0), Reason: "it belongs elsewhere",
		Meta: gossip.Meta{ID: id, Name: "name-of-" + id, ClusterID: cluster, Data: gossip.Data{Keys: keys}},
	}
}

// TestGivesWay: only a cluster of one node, to which nothing was ever written, gives way.
func TestGivesWay(t *testing.T) {
	lone := founded{ClusterID: "m", Alone: true, Pristine: true}
	later := time.Unix(1000, 0).Add(giveWayAfter)
	for name, c := range map[string]struct {
		own    founded
		others []gossip.Stranger
		at     time.Time
		want   string
	}{
		"to data":                      {lone, []gossip.Stranger{stranger("x", "z", 5)}, later, "z"},
		"to more members":              {lone, []gossip.Stranger{stranger("x", "z", 0), stranger("y", "z", 0)}, later, "z"},
		"of two alike, the higher":     {lone, []gossip.Stranger{stranger("x", "a", 0)}, later, "a"},
		"of two alike, not the lower":  {lone, []gossip.Stranger{stranger("x", "z", 0)}, later, ""},
		"never came to life":           {founded{ClusterID: "m", Unborn: true, Pristine: true}, []gossip.Stranger{stranger("x", "a", 0)}, later, "a"},
		"with data from before":        {founded{ClusterID: "m", Unborn: true}, []gossip.Stranger{stranger("x", "a", 0)}, later, ""},
		"not yet":                      {lone, []gossip.Stranger{stranger("x", "z", 5)}, later.Add(-time.Millisecond), ""},
		"not with data":                {founded{ClusterID: "m", Alone: true}, []gossip.Stranger{stranger("x", "z", 5)}, later, ""},
		"not with others":              {founded{ClusterID: "m", Pristine: true}, []gossip.Stranger{stranger("x", "z", 5)}, later, ""},
		"not before there is one":      {founded{Alone: true, Pristine: true}, []gossip.Stranger{stranger("x", "z", 5)}, later, ""},
		"not to one that is in none":   {lone, []gossip.Stranger{stranger("x", "", 5)}, later, ""},
		"not to another secret's host": {lone, []gossip.Stranger{{Addr: netip.MustParseAddr("10.0.0.2"), Kind: gossip.OtherSecret}}, later, ""},
	} {
		to, yes := givesWay(c.own, foreignClusters(c.own.ClusterID, c.others), c.at)
		if to.ClusterID != c.want || yes != (c.want != "") {
			t.Errorf("%s: to %q, %v", name, to.ClusterID, yes)
		}
	}
}

// TestStrangersAreNamed: with what is wrong, and the cure.
func TestStrangersAreNamed(t *testing.T) {
	host := netip.MustParseAddr("10.0.0.9")
	for name, c := range map[string]struct {
		own  string
		list []gossip.Stranger
		want []string
	}{
		"another cluster":           {"m", []gossip.Stranger{stranger("x", "z", 5)}, []string{"name-of-x (10.0.0.2)", "5 keys", "cluster z", "redisd join --abandon-data"}},
		"another secret":            {"m", []gossip.Stranger{{Addr: host, Kind: gossip.OtherSecret}}, []string{"10.0.0.9", "another secret", "copy /etc/redisd/secret"}},
		"another name":              {"m", []gossip.Stranger{{Addr: host, Kind: gossip.OtherName}}, []string{"10.0.0.9", "[cluster] name"}},
		"refused":                   {"m", []gossip.Stranger{stranger("x", "m", 0)}, []string{"name-of-x (10.0.0.2) is refused: it belongs elsewhere"}},
		"sealed beacons, waiting":   {"", []gossip.Stranger{{Addr: host, Kind: gossip.Sealed}}, []string{"1 hosts", "copy /etc/redisd/secret"}},
		"sealed beacons, a cluster": {"m", []gossip.Stranger{{Addr: host, Kind: gossip.Sealed}}, nil},
	} {
		got := strings.Join(strangerProblems(c.own, c.list), "\n")
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q does not say %q", name, got, want)
			}
		}
		if len(c.want) == 0 && got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestTorn: a node that belongs to no cluster joins none of two.
func TestTorn(t *testing.T) {
	m := func(cluster string, s gossip.State) gossip.Member {
		return gossip.Member{Meta: gossip.Meta{ClusterID: cluster}, State: s}
	}
	for name, c := range map[string]struct {
		own     string
		members []gossip.Member
		want    bool
	}{
		"two":            {"", []gossip.Member{m("", gossip.Alive), m("a", gossip.Alive), m("b", gossip.Suspect)}, true},
		"one":            {"", []gossip.Member{m("", gossip.Alive), m("a", gossip.Alive), m("a", gossip.Alive)}, false},
		"one is gone":    {"", []gossip.Member{m("a", gossip.Alive), m("b", gossip.Dead)}, false},
		"of one already": {"a", []gossip.Member{m("a", gossip.Alive), m("b", gossip.Alive)}, false},
	} {
		if got := torn(c.own, c.members); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, msg := range []election.Message{election.Renew{ClusterID: "a"}, election.Claim{ClusterID: "a"}} {
		if invites(msg) != "a" {
			t.Errorf("%T makes no member", msg)
		}
	}
	if invites(election.Claim{ClusterID: "a", Bootstrapping: true}) != "" {
		t.Error("a bootstrap asks who is there, and belongs to no cluster yet")
	}
}

// TestSetNodeAside: everything that makes a node what it is goes, and nothing is lost.
func TestSetNodeAside(t *testing.T) {
	cfg := config.Default()
	cfg.Node.StateDir = t.TempDir()
	at := func(name string) string { return filepath.Join(cfg.Node.StateDir, name) }
	files := map[string]string{
		"state": "s", "record": "r", "redis/appendonlydir/appendonly.aof.1.incr.aof": "a", "redis/dump.rdb": "d",
		"redis/redis.conf": "c", "redis/.imported": "", "sentinel/sentinel.conf": "n",
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	aside, err := SetNodeAside(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"state": "state", "record": "record", "redis/appendonlydir/appendonly.aof.1.incr.aof": "appendonlydir/appendonly.aof.1.incr.aof",
		"redis/dump.rdb": "dump.rdb", "sentinel/sentinel.conf": "sentinel.conf",
	} {
		if _, err := os.Stat(at(from)); err == nil {
			t.Errorf("%s is still there", from)
		}
		if got, err := os.ReadFile(filepath.Join(aside, to)); err != nil || string(got) != files[from] {
			t.Errorf("%s is not kept: %q, %v", from, got, err)
		}
	}
	for _, stays := range []string{"redis/redis.conf", "redis/.imported"} {
		if _, err := os.Stat(at(stays)); err != nil {
			t.Errorf("%s is gone", stays)
		}
	}
	if again, err := SetNodeAside(cfg); again != "" || err != nil {
		t.Errorf("with nothing there: %q, %v", again, err)
	}
}

// TestPristine: the files say that nothing was ever written, or it was.
func TestPristine(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]int
		want  bool
	}{
		"a fresh append-only file": {map[string]int{"appendonly.aof.manifest": 88, "appendonly.aof.1.base.rdb": 88, "appendonly.aof.1.incr.aof": 0}, true},
		"something was written":    {map[string]int{"appendonly.aof.manifest": 88, "appendonly.aof.1.base.rdb": 88, "appendonly.aof.1.incr.aof": 52}, false},
		"written and rewritten":    {map[string]int{"appendonly.aof.manifest": 88, "appendonly.aof.2.base.rdb": 188, "appendonly.aof.2.incr.aof": 0}, false},
		"a dump beside it":         {map[string]int{"appendonly.aof.manifest": 88, "appendonly.aof.1.base.rdb": 88, "../dump.rdb": 500}, false},
		"no files":                 {nil, false},
	} {
		cfg := config.Default()
		cfg.Node.StateDir = t.TempDir()
		s := &site{disk: &disk{dir: cfg.Node.StateDir}}
		s.cfg.Store(&cfg)
		if err := os.MkdirAll(s.aofDir(), 0o750); err != nil {
			t.Fatal(err)
		}
		for file, size := range c.files {
			if err := os.WriteFile(filepath.Join(s.aofDir(), file), make([]byte, size), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.pristine(); got != c.want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
