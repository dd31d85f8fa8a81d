package supervisor

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputKept is how many of the last lines an ExitError carries: a refused configuration takes 4,
// and what led to a fatal error is seldom further back.
const outputKept = 20

// outputShown and shownWidth are how many of them its text shows, and how much of each.
const (
	outputShown = 4
	shownWidth  = 160
)

// ExitError says how a process ended, well or not.
type ExitError struct {
	Name   string
	Code   int            // exit status; -1 if it was ended by a signal, or if the status cannot be known since it was not our child
	Signal syscall.Signal // 0 unless it is known that a signal ended it
	Output []string       // its last lines
	RanFor time.Duration  // 0 if not known
}

func (e *ExitError) Error() string {
	var text strings.Builder
	text.WriteString(e.Name)
	switch {
	case e.Signal != 0:
		fmt.Fprintf(&text, ": ended by %s", unix.SignalName(e.Signal))
	case e.Code < 0:
		text.WriteString(": ended, exit status unknown")
	default:
		fmt.Fprintf(&text, ": exit status %d", e.Code)
	}
	if e.RanFor > 0 {
		unit := time.Millisecond
		if e.RanFor > time.Minute {
			unit = time.Second
		}
		fmt.Fprintf(&text, " after %v", e.RanFor.Round(unit))
	}
	shown := e.Output[max(0, len(e.Output)-outputShown):]
	for i, line := range shown {
		separator := " | "
		if i == 0 {
			separator = "; last output: "
		}
		text.WriteString(separator + shorten(parseLine(line).text))
	}
	return text.String()
}

func shorten(line string) string {
	if len(line) <= shownWidth {
		return line
	}
	return strings.ToValidUTF8(line[:shownWidth], "") + "…"
}
