package supervisor

import (
	"regexp"
	"strings"
)

// Line is one line of a process's output, as it was written.
type Line struct {
	Text string
}

// The form of Redis' log: "1234:M 20 Nov 2026 17:24:12.123 * Ready to accept connections".
var redisLine = regexp.MustCompile(`^(\d+):([A-Z]) (\d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2}\.\d{3}) ([.*#-]) ?(.*)$`)

// secretLine matches the line of a configuration that Redis refuses and prints for that, if it
// holds a password.
var secretLine = regexp.MustCompile(
	`(?i)^(>>> '\s*(?:requirepass|masterauth|primaryauth|user|tls-key-file-pass|tls-client-key-file-pass|sentinel\s+(?:auth-pass|sentinel-pass))\s).*`)

// cleanLine makes a line of bytes: valid text, without blanks at its end, empty if blank, and
// without passwords.
func cleanLine(raw []byte) string {
	line := strings.ToValidUTF8(strings.TrimRight(string(raw), " \t\r\n"), "\uFFFD")
	if strings.HasPrefix(line, ">>> '") {
		line = secretLine.ReplaceAllString(line, "$1…")
	}
	return line
}

// Priorities of the journal, see syslog(3).
const (
	priorityWarning = 4
	priorityNotice  = 5
	priorityInfo    = 6
	priorityDebug   = 7
)

var levels = map[string]int{"#": priorityWarning, "*": priorityNotice, "-": priorityInfo, ".": priorityDebug}

// entry is a line taken apart.
type entry struct {
	pid      string // of the process that wrote it; empty, like stamp, if the line has not the form of Redis' log
	stamp    string
	priority int
	text     string
}

func parseLine(line string) entry {
	part := redisLine.FindStringSubmatch(line)
	if part == nil {
		// Without that form Redis writes only what is wrong: a refused configuration, a failed
		// assertion, the report of a crash.
		return entry{priority: priorityWarning, text: line}
	}
	return entry{pid: part[1], stamp: part[3], priority: levels[part[4]], text: part[5]}
}
