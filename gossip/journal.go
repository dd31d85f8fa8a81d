package gossip

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// journalDepth bounds the lines that wait to be logged. More than this at once is a storm, and
	// its first lines say what it is about.
	journalDepth = 256

	// repeatEvery is how often one and the same complaint is logged. A peer with a wrong key knocks
	// several times a second, for as long as nobody looks at it.
	repeatEvery = time.Minute

	// repeatKeys bounds the memory of what has been complained of: sources of garbage can be as
	// many as there are addresses.
	repeatKeys = 256
)

// journal takes log lines in memberlist's callbacks, where its lock is held and nothing may block,
// and hands them to the logger from one goroutine.
type journal struct {
	log  *slog.Logger
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	waiting []line
	missed  int
	repeats map[string]*repeat
}

type line struct {
	level slog.Level
	msg   string
	args  []any
}

type repeat struct {
	next time.Time
	held int // suppressed since the last one
}

func newJournal(log *slog.Logger) *journal {
	return &journal{log: log, wake: make(chan struct{}, 1), repeats: make(map[string]*repeat)}
}

// note queues a line.
func (j *journal) note(level slog.Level, msg string, args ...any) {
	if !j.log.Enabled(context.Background(), level) {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue(line{level, msg, args})
}

// complain queues a line unless the same key was used within repeatEvery; the next one then says
// how many were held back.
func (j *journal) complain(key string, level slog.Level, msg string, args ...any) {
	if !j.log.Enabled(context.Background(), level) {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	held, due := j.due(key, time.Now())
	if !due {
		return
	}
	if held > 0 {
		args = append(args, "suppressed", held)
	}
	j.queue(line{level, msg, args})
}

func (j *journal) due(key string, now time.Time) (held int, due bool) {
	r, known := j.repeats[key]
	if known && now.Before(r.next) {
		r.held++
		return 0, false
	}
	if !known {
		if len(j.repeats) >= repeatKeys {
			for k, old := range j.repeats {
				if now.After(old.next) {
					delete(j.repeats, k)
				}
			}
		}
		if len(j.repeats) >= repeatKeys {
			return 0, false
		}
		r = &repeat{}
		j.repeats[key] = r
	}
	held = r.held
	*r = repeat{next: now.Add(repeatEvery)}
	return held, true
}

// queue is called with mu held.
func (j *journal) queue(l line) {
	if len(j.waiting) >= journalDepth {
		j.missed++
		return
	}
	j.waiting = append(j.waiting, l)
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// flush logs what waits.
func (j *journal) flush() {
	j.mu.Lock()
	lines, missed := j.waiting, j.missed
	j.waiting, j.missed = nil, 0
	j.mu.Unlock()
	for _, l := range lines {
		j.log.Log(context.Background(), l.level, l.msg, l.args...)
	}
	if missed > 0 {
		j.log.Warn("log lines left out", "count", missed)
	}
}

// memberlistWriter turns memberlist's log lines into the journal's. They look like "[WARN]
// memberlist: text from=192.0.2.1:7946".
type memberlistWriter struct {
	journal   *journal
	suspected func(id string)
	closing   func() bool // whether failures are of this node's own making
	met       func(StrangerKind, netip.Addr)
}

// relevel is for lines whose level misleads the operator: by how they begin. At debug are those of
// which this package logs its own, with more in them.
var relevel = []struct {
	head  string
	level slog.Level
}{
	{"Conflicting address for ", slog.LevelDebug},
	{"ignoring alive message for ", slog.LevelDebug},
	{"Failed push/pull merge: ", slog.LevelDebug},
	{"failed to receive and remove the stream label header: " + errNoWord.Error(), slog.LevelDebug},
	{"Marking ", slog.LevelDebug},
	{"Push/Pull with ", slog.LevelDebug},
	{"Refuting an alive message ", slog.LevelDebug}, // a node is back after a restart
	{"Refuting ", slog.LevelInfo},                   // others took this one for gone, and learn better
}

func (w memberlistWriter) Write(p []byte) (int, error) {
	level, text := parseLine(string(p))
	if id, ok := suspicion(text); ok {
		w.suspected(id)
	}
	if kind, host := strangerIn(text); kind != 0 {
		w.met(kind, host)
	}
	for _, r := range relevel {
		if strings.HasPrefix(text, r.head) {
			level = r.level
			break
		}
	}
	if level == slog.LevelDebug || w.closing() {
		level = slog.LevelDebug
		w.journal.note(level, "memberlist", "said", text)
		return len(p), nil
	}
	text, from, _ := strings.Cut(text, " from=")
	args := []any{"said", text}
	if from != "" {
		args = append(args, "from", from)
	}
	w.journal.complain(complaint(text, from), level, "memberlist", args...)
	return len(p), nil
}

// parseLine splits off the level. memberlist's ERR is one packet or stream that did not work out,
// mostly through no fault of this node: for the operator that is a warning.
func parseLine(s string) (slog.Level, string) {
	s = strings.TrimSpace(s)
	level := slog.LevelWarn
	if tag, rest, ok := strings.Cut(s, "] "); ok && strings.HasPrefix(tag, "[") {
		s = rest
		switch tag {
		case "[DEBUG":
			level = slog.LevelDebug
		case "[INFO":
			level = slog.LevelInfo
		}
	}
	return level, strings.TrimPrefix(s, "memberlist: ")
}

// suspicion reads the one line that tells what no callback of memberlist does: that a probe went
// unanswered. Should a later version word it otherwise, members go from alive to dead without
// suspect in between, and TestCrashIsNoticed fails.
func suspicion(text string) (id string, ok bool) {
	id, found := strings.CutPrefix(text, "Suspect ")
	if !found {
		return "", false
	}
	return strings.CutSuffix(id, " has failed, no acks received")
}

// complaint tells complaints apart: by what is said up to the first detail, and by the host that
// caused it. Ports change with every connection.
func complaint(text, from string) string {
	head, _, _ := strings.Cut(text, ":")
	host := from
	if i := strings.LastIndexByte(from, ':'); i >= 0 {
		host = from[:i]
	}
	return "memberlist " + head + " " + host
}
