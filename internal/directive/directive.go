// Package directive knows the directives of redis.conf: their names, which of them redisd keeps for
// itself, its better defaults for others, and how a value is written. Packages config and confgen
// both need this, and neither is to need the other. It reads no file and asks nobody: its table is
// part of the program.
package directive

import (
	_ "embed"
	"strings"
	"sync"
)

// tableText has a line for every directive of Redis 7.0 to 8.0 and Valkey 8: its name, and "live"
// if CONFIG SET can change it or "start" if it is only read when redis-server starts (their
// config.c: IMMUTABLE_CONFIG, PROTECTED_CONFIG).
//
//go:embed directives.txt
var tableText string

var table = sync.OnceValue(func() map[string]bool {
	live := map[string]bool{}
	for line := range strings.Lines(tableText) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		live[name] = kind == "live"
	}
	return live
})

// Canonical returns the name by which redis-server knows a directive today: lower case, "replica"
// where it once was "slave", "listpack" where it was "ziplist". Two names with the same canonical
// name are one directive.
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

// Known reports whether some release that redisd knows has the directive. One that it does not know
// may be of a later release, or of a module.
func Known(directive string) bool {
	_, known := table()[Canonical(directive)]
	return known
}

// Names returns the names of all directives that redisd knows, in no particular order, to look for
// the one that a misspelt name meant.
func Names() []string {
	names := make([]string, 0, len(table()))
	for name := range table() {
		names = append(names, name)
	}
	return names
}

// Live reports whether CONFIG SET can change the directive while redis-server runs. For a directive
// that redisd does not know it answers yes: to try is harmless, and redis-server then says so
// itself.
func Live(directive string) bool {
	live, known := table()[Canonical(directive)]
	return live || !known
}
