package directive_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redisd/redisd/internal/directive"
)

func TestSplitArgs(t *testing.T) {
	tests := []struct {
		line string
		want []string // nil: an error
	}{
		{"", []string{}},
		{" \t\r\n", []string{}},
		{"port 6379", []string{"port", "6379"}},
		{"  save\t900  1 ", []string{"save", "900", "1"}},
		{`logfile ""`, []string{"logfile", ""}},
		{`x "a b" 'c d'`, []string{"x", "a b", "c d"}},
		{`x "\x41\x4a\n\r\t\a\b\q\\\""`, []string{"x", "AJ\n\r\t\a\bq\\\""}},
		{`x "\x4"`, []string{"x", "x4"}},
		{`x 'it\'s' 'a\nb'`, []string{"x", "it's", `a\nb`}},
		{`ab"cd" e'f g'`, []string{"abcd", "ef g"}},
		{`x # y`, []string{"x", "#", "y"}},
		{`x "`, nil},
		{`x '`, nil},
		{`x "a"b`, nil},
		{`x 'a'b`, nil},
		{`x "a\`, nil},
	}
	for _, tt := range tests {
		got, err := directive.SplitArgs(tt.line)
		if (err != nil) != (tt.want == nil) || err == nil && !slices.Equal(got, tt.want) {
			t.Errorf("SplitArgs(%q) = %q, %v; want %q", tt.line, got, err, tt.want)
		}
	}
}

func TestCheckValue(t *testing.T) {
	for value, want := range map[string]string{
		"": "", "yes": "", "900 1\n300 10": "", "'{title} x'": "", "a\tb": "",
		"'x":       "quotes",
		`"x"y`:     "quotes",
		"a\n\nb":   "empty line",
		"a\n":      "empty line",
		" ":        "empty line",
		"a\rb":     "control character",
		"a\x00b":   "control character",
		"a\nb\x7f": "control character",
	} {
		err := directive.CheckValue(value)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("CheckValue(%q) = %v, want %q", value, err, want)
		}
	}
}

func TestCanonical(t *testing.T) {
	for name, want := range map[string]string{
		"Port": "port", "slaveof": "replicaof", "slave-priority": "replica-priority", "min-slaves-to-write": "min-replicas-to-write",
		"repl-ping-slave-period": "repl-ping-replica-period", "hash-max-ziplist-value": "hash-max-listpack-value",
		"lua-time-limit": "busy-reply-threshold", "module.slave": "module.slave",
	} {
		if got := directive.Canonical(name); got != want {
			t.Errorf("Canonical(%s) = %s, want %s", name, got, want)
		}
		if !strings.Contains(name, ".") && !directive.Known(name) {
			t.Errorf("%s is not known", name)
		}
	}
}

func TestOwned(t *testing.T) {
	for _, name := range []string{
		"port", "bind", "dir", "daemonize", "supervised", "pidfile", "logfile", "replicaof", "slaveof", "masteruser", "masterauth",
		"requirepass", "aclfile", "user", "replica-priority", "slave-priority", "min-replicas-to-write", "min-slaves-to-write",
		"min-replicas-max-lag", "min-slaves-max-lag", "replica-announce-ip", "slave-announce-port", "protected-mode", "rename-command",
		"cluster-enabled", "include", "tls-port", "tls-replication", "REPLICAOF", "bind-source-addr", "replica-read-only",
	} {
		if reason, owned := directive.Owned(name); !owned || len(reason) < 20 {
			t.Errorf("Owned(%s) = %q, %v; want it owned, with a reason", name, reason, owned)
		}
	}
	for _, name := range []string{"maxmemory", "save", "loadmodule", "appendonly", "unixsocket", "repl-timeout", "search.timeout"} {
		if reason, owned := directive.Owned(name); owned {
			t.Errorf("%s is owned: %s", name, reason)
		}
	}
}

func TestDefault(t *testing.T) {
	if v, ok := directive.Default("repl-ping-slave-period"); !ok || v != "2" {
		t.Errorf("got %q, %v", v, ok)
	}
	if v, ok := directive.Default("hz"); ok {
		t.Errorf("hz has the default %q", v)
	}
}

func TestNamesAreCanonical(t *testing.T) {
	names := directive.Names()
	if len(names) < 200 {
		t.Errorf("only %d directives known", len(names))
	}
	for _, name := range names {
		if c := directive.Canonical(name); c != name {
			t.Errorf("%s is in the table, but it is called %s", name, c)
		}
	}
}
