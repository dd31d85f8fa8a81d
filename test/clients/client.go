package clients

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redisd/redisd/test/lab"
)

// event is a line that a program has printed.
type event struct {
	At   time.Time
	Kind string // ok, err, note
	What string
}

// settings are those that programs know: the libraries' own, and those of docs/CLIENTS.md.
var settings = []string{"defaults", "documented"}

// vias are the ways to find the primary.
var vias = []string{"vip", "sentinel"}

// groups are what programs do, those together that run at the same time: few enough to leave the
// processors idle most of the time.
var groups = [][]string{{"writer", "blpop", "subscribe"}, {"pool", "multi", "pipeline"}}

func allModes() []string { return slices.Concat(groups...) }

// client is a program that runs.
type client struct {
	library library
	via     string // vip, sentinel
	mode    string
	key     string // of what it writes or listens to

	cmd    *exec.Cmd
	input  io.WriteCloser
	read   chan struct{} // closed at the end of its output
	stderr bytes.Buffer

	mu       sync.Mutex
	events   []event
	verified int           // so many events have been looked for in the dataset
	written  map[int64]int // what was found there, and not looked for yet
}

func (c *client) String() string { return c.library.id + " " + c.mode + " by " + c.via }

// startClient runs a program at the lab's client end.
func startClient(ctx context.Context, l *lab.Lab, c *client, env []string) error {
	args := append([]string{"--pdeathsig", "KILL", "--"}, c.library.program...)
	c.written = map[int64]int{}
	c.cmd = l.Command(ctx, "setpriv", append(args, c.mode, c.key)...)
	c.cmd.Env = append(append(os.Environ(), c.library.env...), env...)
	c.cmd.Stderr = &c.stderr
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c, err)
	}
	c.read = make(chan struct{})
	go func() {
		defer close(c.read)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if e, err := parse(lines.Text()); err == nil {
				c.mu.Lock()
				c.events = append(c.events, e)
				c.mu.Unlock()
			}
		}
	}()
	return nil
}

// stop kills the program.
func (c *client) stop() {
	_ = c.cmd.Process.Kill()
	<-c.read
	_ = c.cmd.Wait() // it was killed
}

// ended returns why a program that is to go on for ever has ended; nil: it has not.
func (c *client) ended() error {
	select {
	case <-c.read:
		err := c.cmd.Wait()
		return fmt.Errorf("%s ended: %w; %s", c, cmp.Or(err, errors.New("by itself")), c.stderr.String())
	default:
		return nil
	}
}

// since are the events from a time on.
func (c *client) since(t time.Time) []event {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.events)
	for i > 0 && !c.events[i-1].At.Before(t) {
		i--
	}
	return append([]event(nil), c.events[i:]...)
}

// count of the events of a kind from a time on.
func (c *client) count(t time.Time, kind string) (n int) {
	for _, e := range c.since(t) {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// say writes a line to the program's standard input; what comes back shows whether it got there.
func (c *client) say(line string) { _, _ = io.WriteString(c.input, line+"\n") }

// parse reads "<µs since 1970> <kind> <what>".
func parse(line string) (event, error) {
	at, rest, _ := strings.Cut(line, " ")
	kind, what, _ := strings.Cut(rest, " ")
	us, err := strconv.ParseInt(at, 10, 64)
	if err != nil || (kind != "ok" && kind != "err" && kind != "note") {
		return event{}, fmt.Errorf("no event: %q", line)
	}
	return event{At: time.UnixMicro(us), Kind: kind, What: what}, nil
}

// writes says whether a mode is to have an acknowledgement every few milliseconds.
func writes(mode string) bool { return mode == "writer" || mode == "multi" || mode == "pipeline" }

// numbers are those of an acknowledged write: "7", or "70-79" of a pipeline.
func numbers(what string) (from, to int64, err error) {
	low, high, isRange := strings.Cut(what, "-")
	if from, err = strconv.ParseInt(low, 10, 64); err != nil || !isRange {
		return from, from, err
	}
	to, err = strconv.ParseInt(high, 10, 64)
	return from, to, err
}

// longestGap is the longest time without an acknowledgement between begin and end.
func longestGap(events []event, begin, end time.Time) (gap time.Duration) {
	last := begin
	for _, e := range append(slices.Clone(events), event{At: end, Kind: "ok"}) {
		if e.Kind == "ok" && e.At.After(last) {
			gap, last = max(gap, e.At.Sub(last)), e.At
		}
	}
	return gap
}
