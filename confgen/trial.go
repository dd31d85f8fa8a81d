package confgen

import (
	"fmt"
	"strings"

	"github.com/redisd/redisd/internal/directive"
)

// TrialConf writes a configuration with which redis-server only says whether it would accept the
// values of redisd.toml. Run it as
//
//	redis-server -
//
// with this text on its standard input, in an empty directory, and give what it prints to
// [TrialVerdict]. It ends by itself within a few milliseconds, because it has nowhere to listen:
// before it reads a data set, loads a module, or opens anything. So a wrong value is found while
// the running redis-server is untouched.
//
// Not tried are modules, what only a module knows, and whether a file or an amount of memory that a
// value names can be had.
func TrialConf(maxMemory string, directives map[string]string) []byte {
	w := new(confWriter)
	w.set("port", "0")
	child(w)
	for _, l := range userLines(maxMemory, directives) {
		switch name := parseLines([]byte(l))[0].name(); {
		case name == "loadmodule", strings.Contains(name, "."):
		case strings.HasPrefix(name, "unixsocket"): // it would listen there
		case strings.HasPrefix(name, "syslog"): // it would say its last words there
		default:
			w.line(l)
		}
	}
	return w.Bytes()
}

// A RefusedError is a directive that redis-server does not accept.
type RefusedError struct {
	Directive string // its canonical name
	Line      string // of the configuration
	Reason    string // redis-server's words
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("redis-server refuses %q: %s", e.Line, e.Reason)
}

// TrialVerdict reads what a redis-server printed that was started with TrialConf. It returns nil if
// the configuration was accepted and a *RefusedError if not. Any other error means that
// redis-server could not be asked. It reads just as well the last words of a redis-server that
// refused its redis.conf at a real start.
func TrialVerdict(output []byte) error {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	for i, l := range lines {
		if strings.Contains(l, "Configured to not listen anywhere") {
			return nil
		}
		quoted, ok := strings.CutPrefix(strings.TrimSpace(l), ">>> '")
		if !ok || i+1 >= len(lines) {
			continue
		}
		line := strings.TrimSuffix(quoted, "'")
		return &RefusedError{
			Directive: parseLines([]byte(line + "\n"))[0].firstWord(),
			Line:      line,
			Reason:    strings.TrimSpace(lines[i+1]),
		}
	}
	return fmt.Errorf("try the configuration with redis-server: %s", last)
}

// firstWord is the directive even of a line whose quotes are not balanced.
func (l confLine) firstWord() string {
	word, _, _ := strings.Cut(l.text, " ")
	return directive.Canonical(word)
}
