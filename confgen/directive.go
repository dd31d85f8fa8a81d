package confgen

import (
	_ "embed"
	"strings"
	"sync"
)

// directivesText has a line for every directive of Redis 7.0 to 8.0 and Valkey 8:
// its name, and "live" if CONFIG SET can change it or "start" if it is only read
// when redis-server starts (their config.c: IMMUTABLE_CONFIG, PROTECTED_CONFIG).
//
//go:embed directives.txt
var directivesText string

var directives = sync.OnceValue(func() map[string]bool {
	live := map[string]bool{}
	for line := range strings.Lines(directivesText) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		live[name] = kind == "live"
	}
	return live
})

// Canonical returns the name by which redis-server knows a directive today:
// lower case, "replica" where it once was "slave", "listpack" where it was
// "ziplist". Two names with the same canonical name are one directive.
func Canonical(directive string) string {
	name := strings.ToLower(directive)
	if name == "lua-time-limit" {
		return "busy-reply-threshold"
	}
	if strings.Contains(name, ".") { // a module's: its name is its own affair
		return name
	}
	name = strings.ReplaceAll(name, "slave", "replica")
	return strings.ReplaceAll(name, "ziplist", "listpack")
}

// Known reports whether some release that redisd knows has the directive. One
// that it does not know may be of a later release, or of a module.
func Known(directive string) bool {
	_, known := directives()[Canonical(directive)]
	return known
}

// KnownDirectives returns the names of all directives that redisd knows, in no
// particular order, to look for the one that a misspelt name meant.
func KnownDirectives() []string {
	names := make([]string, 0, len(directives()))
	for name := range directives() {
		names = append(names, name)
	}
	return names
}

// Live reports whether CONFIG SET can change the directive while redis-server
// runs. For a directive that redisd does not know it answers yes: to try is
// harmless, and redis-server then says so itself.
func Live(directive string) bool {
	live, known := directives()[Canonical(directive)]
	return live || !known
}

// Default returns the value that redisd gives a directive if nobody else does;
// ok is false where it leaves that to redis-server.
func Default(directive string) (value string, ok bool) {
	name := Canonical(directive)
	for _, d := range defaults {
		if d.name == name {
			return d.value, true
		}
	}
	return "", false
}

// defaults are redisd's better values, in the words in which CONFIG REWRITE would
// write them: Merge recognizes a run-time change by its being different. Every
// entry has one line. The comments end up in redis.conf.
var defaults = []struct{ name, value, why string }{
	{"loglevel", "notice", "Changes of role and copies between nodes are logged, single connections are not."},
	{"appendonly", "yes", "A restarted node still has its data, but for the last second."},
	{"appendfsync", "everysec", "Clients do not wait for the disk; the replicas have what it still lacks."},
	{"aof-use-rdb-preamble", "yes", "The append-only file loads as fast as a snapshot."},
	{"repl-backlog-size", "64mb", "A replica that was away for a moment catches up without a full copy: 1mb is soon written."},
	{"repl-diskless-sync", "yes", "A full copy goes straight to the replicas."},
	{"repl-diskless-sync-delay", "0", "The first replica does not wait for a second one."},
	{"repl-ping-replica-period", "2", "Seconds between signs of life to the replicas: well below repl-timeout."},
	{"repl-timeout", "20", "Seconds until a dead replication link is given up and made anew."},
	{"tcp-keepalive", "30", "Seconds of silence after which a client is probed for being there."},
	{"replica-ignore-disk-write-errors", "yes", "A replica whose disk is full stays in sync in memory, instead of ending."},
	{"shutdown-timeout", "5", "Seconds that a stopping primary waits for replicas: redisd hands over before."},
}
