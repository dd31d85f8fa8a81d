package confgen

import (
	"maps"
	"slices"
	"strings"

	"github.com/redisd/redisd/internal/directive"
)

// Setting is a directive and its value, in the form of an argument of CONFIG SET.
type Setting struct {
	Name, Value string
	// Source says who gives it the value, for people; "" for redisd itself.
	Source string
}

// Where the value of a setting comes from that is not redisd's own.
const (
	FromFile    = "redisd.toml"
	FromDefault = "redisd's default"
)

// decided are the directives that redisd owns and that others see to: which value is right depends
// on who is the primary, and on the addresses that the host has.
var decided = []string{"replicaof", "min-replicas-to-write", "bind"}

// unwritten are the directives that redisd owns and redis.conf leaves out, because redis-server's
// own value is the right one.
var unwritten = []Setting{
	{Name: "bind-source-addr"},
	{Name: "replica-announced", Value: "yes"},
	{Name: "replica-read-only", Value: "yes"},
	{Name: "requirepass"},
	{Name: "shutdown-on-sigint", Value: "default"},
	{Name: "shutdown-on-sigterm", Value: "default"},
	{Name: "tls-port", Value: "0"},
	{Name: "tls-replication", Value: "no"},
}

// Kept are the settings that a running redis-server must have, whatever its clients set: those that
// redisd owns, and those that redisd.toml alone may change. What redis-server reads only when it
// starts is not among them, nor what changes with the primary.
func Kept(f RedisFacts) []Setting {
	w := new(confWriter)
	ownedPart(w, f)
	kept := map[string]Setting{}
	for _, s := range unwritten {
		kept[s.Name] = s
	}
	for _, l := range parseLines(w.Bytes()) {
		if name := l.name(); name != "" && directive.Live(name) && !slices.Contains(decided, name) {
			kept[name] = Setting{Name: name, Value: strings.Join(l.words[1:], " ")}
		}
	}
	for _, d := range directive.HeldDirectives {
		kept[d.Name] = Setting{Name: d.Name, Value: d.Value}
	}
	for name, value := range f.Directives {
		if _, held := directive.Held(name); held {
			name = directive.Canonical(name)
			kept[name] = Setting{Name: name, Value: SetValue(value), Source: FromFile}
		}
	}
	return sorted(kept)
}

// Chosen are the settings that a redis-server starts with, and that its clients may change while it
// runs: those of redisd.toml, and redisd's defaults.
func Chosen(f RedisFacts) []Setting {
	chosen := map[string]Setting{}
	add := func(name, value, source string) {
		name = directive.Canonical(name)
		if _, held := directive.Held(name); directive.Live(name) && !held {
			chosen[name] = Setting{name, SetValue(value), source}
		}
	}
	for _, d := range directive.Defaults {
		add(d.Name, d.Value, FromDefault)
	}
	if f.MaxMemory != "" {
		add("maxmemory", f.MaxMemory, FromFile)
	}
	for name, value := range f.Directives {
		add(name, value, FromFile)
	}
	return sorted(chosen)
}

func sorted(settings map[string]Setting) []Setting {
	var out []Setting
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		out = append(out, settings[name])
	}
	return out
}

// Difference is a setting that a running redis-server has otherwise.
type Difference struct {
	Setting
	Is string
}

// CompareKept returns the settings that differ, by the letter. What is missing from running, which
// is what CONFIG GET said, this redis-server does not have. InWords has the values that it writes
// in words of its own: what it said of a setting right after it had taken it.
func CompareKept(kept []Setting, running, inWords map[string]string) []Difference {
	var out []Difference
	for _, s := range kept {
		is, has := running[s.Name]
		words, known := inWords[s.Name]
		if has && is != s.Value && !(known && is == words) {
			out = append(out, Difference{s, is})
		}
	}
	return out
}

// CompareChosen returns the settings that differ in what they mean. Nobody sets these again, so it
// has to be known how redis-server writes what redisd.toml says.
func CompareChosen(chosen []Setting, running map[string]string) []Difference {
	var out []Difference
	for _, s := range chosen {
		if is, has := running[s.Name]; has && !means(s.Name, s.Value, is) {
			out = append(out, Difference{s, is})
		}
	}
	return out
}

// User is an ACL user with the rules that make it what it is, whatever it was before.
type User struct {
	Name  string
	Rules []string
}

// Users are the users that redisd writes into users.acl.
func Users(f ACLFacts) []User {
	var out []User
	for line := range strings.Lines(string(ACL(f))) {
		words := strings.Fields(line)
		out = append(out, User{Name: words[1], Rules: words[2:]})
	}
	return out
}

// UserDifference is a user that a running redis-server does not have as redisd wrote it.
type UserDifference struct {
	User
	Is         string // its line of ACL LIST; "": it does not exist
	Has, Lacks []string
}

// CompareUsers returns the users that differ from what ACL LIST said of them, and the names of all
// others, which somebody made. InWords is as in CompareKept: lines of ACL LIST, by user.
func CompareUsers(users []User, list []string, inWords map[string]string) (different []UserDifference, others []string) {
	lines := map[string]string{}
	for _, line := range list {
		lines[aclUser(line)] = line
	}
	for _, u := range users {
		is := lines[u.Name]
		delete(lines, u.Name)
		words, known := inWords[u.Name]
		if known && slices.Equal(userRules(is), userRules(words)) {
			continue
		}
		d := UserDifference{User: u, Is: is}
		want, has := plainRules(u.Rules), userRules(is)
		d.Has, d.Lacks = without(has, want), without(want, has)
		if is == "" || len(d.Has)+len(d.Lacks) > 0 {
			different = append(different, d)
		}
	}
	delete(lines, "")
	return different, slices.Sorted(maps.Keys(lines))
}

// userRules are the rules of a line of ACL LIST.
func userRules(line string) []string {
	words := strings.Fields(line)
	return plainRules(words[min(2, len(words)):])
}

// neutral are the rules that say what a user has anyway when it is made anew.
var neutral = []string{"reset", "resetchannels", "resetkeys", "sanitize-payload", "clearselectors"}

// plainRules sorts rules, those left out that change nothing: ACL LIST has its own order, another
// one in each process, but always of one and the same form, from nothing (-@all) or all (+@all).
func plainRules(rules []string) []string {
	out := slices.DeleteFunc(slices.Clone(rules), func(rule string) bool { return slices.Contains(neutral, rule) })
	slices.Sort(out)
	return out
}

func without(list, these []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(these, s) })
}
