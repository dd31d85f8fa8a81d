package supervisor

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// outputTrim is the size from which the file is emptied as soon as all of it is delivered: some
	// months of a quiet server's log.
	outputTrim = 4 << 20
	// outputFlood is how much may await delivery before it is given up: it is written faster than
	// anyone can take it, and must not fill the disk that the data is on.
	outputFlood = 64 << 20
	// lineLimit cuts what is no line any more. Redis' own are at most 1 KiB (LOG_MAX_LEN).
	lineLimit = 16 << 10
	// positionEvery is how much output, in time, may be delivered twice after the agent was killed.
	positionEvery = 5 * time.Second
	// pollEvery is used where the kernel grants no inotify instance
	// (fs.inotify.max_user_instances).
	pollEvery = time.Second
)

// output is the file that a process writes its output to, and the one that follows it. The child
// appends to a file and not to a pipe, so that it neither ends with the agent (EPIPE) nor waits for
// it (a full pipe); the file also keeps its last words for the next agent.
type output struct {
	log          *slog.Logger
	path         string // of the file; the position is in positionPath
	positionPath string
	lines        func(Line)
	trim, flood  int64
	saveEvery    time.Duration

	wake  chan struct{} // holds one token when there may be something to deliver
	done  chan struct{} // closed by quit
	tasks sync.WaitGroup

	file *os.File // set by begin, before any other use

	mu     sync.Mutex
	watch  *os.File // inotify; nil where it cannot be had
	pos    int64    // all before it was delivered; written by follow only
	from   int64    // where the output of the present run begins
	before []string // the last lines of the present run that were in the file when it was emptied
	final  bool     // the writer has ended: what there is of a line is a line
}

func newOutput(log *slog.Logger, path string, lines func(Line)) *output {
	if lines == nil {
		lines = func(Line) {}
	}
	return &output{
		log: log, path: path + ".out", positionPath: path + ".pos", lines: lines,
		trim: outputTrim, flood: outputFlood, saveEvery: positionEvery,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// begin opens the file and follows it from where an earlier agent left off. Only the first call
// does anything.
func (o *output) begin() error {
	if o.file != nil {
		return nil
	}
	file, err := os.OpenFile(o.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	o.file = file
	o.pos = o.loadPosition(info.Size())
	if o.watch, err = watchWrites(o.path); err != nil {
		o.log.Warn("output is polled", "error", err)
		o.tasks.Go(o.poll)
	} else {
		o.tasks.Go(o.awaitWrites)
	}
	o.tasks.Go(o.follow)
	return nil
}

func watchWrites(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

// awaitWrites turns writes to the file into wake-ups, until watch is closed.
func (o *output) awaitWrites() {
	events := make([]byte, 4096)
	for {
		if _, err := o.watch.Read(events); err != nil {
			return
		}
		o.poke()
	}
}

func (o *output) poll() {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			o.poke()
		case <-o.done:
			return
		}
	}
}

func (o *output) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// quit makes the goroutines end; wait for tasks, then close.
func (o *output) quit() {
	close(o.done)
	if o.watch != nil {
		o.watch.Close()
	}
}

func (o *output) close() error {
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}

func (o *output) quitting() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// follow delivers what is written, and keeps note of how far it came.
func (o *output) follow() {
	chunk := make([]byte, 2*lineLimit)
	var save <-chan time.Time
	for {
		if o.drain(chunk) && save == nil {
			save = time.After(o.saveEvery)
		}
		select {
		case <-o.wake:
		case <-save:
			o.savePosition()
			save = nil
		case <-o.done:
			o.savePosition()
			return
		}
	}
}

// drain delivers all complete lines, and reports whether there were any.
func (o *output) drain(chunk []byte) (progress bool) {
	o.mu.Lock()
	final := o.final
	o.final = false
	o.mu.Unlock()
	for !o.quitting() {
		o.checkSize()
		n, err := o.file.ReadAt(chunk, o.pos)
		if err != nil && !errors.Is(err, io.EOF) {
			o.log.Warn("output not readable", "error", err)
			return progress
		}
		used := o.deliver(chunk[:n], final && n < len(chunk))
		if used == 0 {
			break
		}
		o.move(o.pos + int64(used))
		progress = true
	}
	o.empty(o.trim)
	return progress
}

// deliver passes on the lines in text and returns how much of it that was.
func (o *output) deliver(text []byte, final bool) int {
	used := 0
	for rest := text; len(rest) > 0 && !o.quitting(); rest = text[used:] {
		end := bytes.IndexByte(rest, '\n')
		next := end + 1
		switch {
		case end < 0 && len(rest) < lineLimit && !final:
			return used
		case end < 0 || end > lineLimit:
			end = min(len(rest), lineLimit)
			next = end
		}
		if line := cleanLine(rest[:end]); line != "" {
			o.lines(Line{Text: line})
		}
		used += next
	}
	return used
}

// checkSize deals with a file that is shorter than expected, as when someone else emptied it, or
// too long to be delivered.
func (o *output) checkSize() {
	info, err := o.file.Stat()
	switch {
	case err != nil:
	case info.Size() < o.pos:
		o.mu.Lock()
		o.pos, o.from = 0, 0
		o.mu.Unlock()
	case info.Size()-o.pos > o.flood:
		lost := info.Size() - o.pos
		o.move(info.Size())
		o.empty(0)
		o.log.Warn("output was written faster than it could be delivered", "lost_bytes", lost)
	}
}

func (o *output) move(pos int64) {
	o.mu.Lock()
	o.pos = pos
	o.mu.Unlock()
}

// empty truncates the file if it holds at least limit bytes. They must all be delivered, but for a
// flood (limit 0), which does not end on its own. A line written between the look at the size and
// the truncation, some microseconds, is lost.
func (o *output) empty(limit int64) {
	if o.pos == 0 || o.pos < limit {
		return
	}
	o.mu.Lock()
	info, err := o.file.Stat()
	if err == nil && limit > 0 && info.Size() != o.pos {
		o.mu.Unlock()
		return
	}
	last := o.lastLocked()
	if err == nil {
		err = o.file.Truncate(0) // the child appends, so it goes on at the new end
	}
	if err == nil {
		o.pos, o.from, o.before = 0, 0, last
	}
	o.mu.Unlock()
	if err != nil {
		o.log.Warn("output not emptied", "error", err)
		return
	}
	o.savePosition()
}

// loadPosition returns where to go on in a file of the given size.
func (o *output) loadPosition(size int64) int64 {
	raw, err := os.ReadFile(o.positionPath)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	pos, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil || pos < 0 {
		// Damaged by a power loss. Neither all of it again nor nothing of it.
		o.log.Warn("position in the output is unknown")
		return max(0, size-lineLimit)
	}
	if pos > size {
		return 0 // emptied, and the agent was killed before it could note that
	}
	return pos
}

func (o *output) savePosition() {
	if err := replaceFile(o.positionPath, strconv.AppendInt(nil, o.pos, 10)); err != nil {
		o.log.Warn("position in the output not written", "error", err)
	}
}

// forChild opens the file for a process to be started, and tells where its output will begin.
func (o *output) forChild() (*os.File, int64, error) {
	child, err := os.OpenFile(o.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, err
	}
	info, err := child.Stat()
	if err != nil {
		child.Close()
		return nil, 0, err
	}
	size := info.Size()
	last := []byte{'\n'}
	if size > 0 {
		_, _ = o.file.ReadAt(last, size-1)
	}
	if last[0] != '\n' { // an earlier process ended within a line
		if n, err := child.WriteString("\n"); err == nil {
			size += int64(n)
		}
	}
	o.resume(size)
	return child, size, nil
}

// resume says where the output of the present run begins.
func (o *output) resume(from int64) {
	o.mu.Lock()
	o.from, o.before = from, nil
	o.mu.Unlock()
}

// finish says that the writer has ended.
func (o *output) finish() {
	o.mu.Lock()
	o.final = true
	o.mu.Unlock()
	o.poke()
}

// last returns the last lines of the present run, delivered or not.
func (o *output) last() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lastLocked()
}

func (o *output) lastLocked() []string {
	info, err := o.file.Stat()
	if err != nil {
		return nil
	}
	from := o.from
	if from > info.Size() {
		from = 0 // emptied since that was recorded
	}
	start := max(from, info.Size()-lineLimit)
	text := make([]byte, info.Size()-start)
	n, _ := o.file.ReadAt(text, start)
	lines := strings.Split(string(text[:n]), "\n")
	if start > from && len(lines) > 1 {
		lines = lines[1:] // begins within a line
	}
	last := append([]string(nil), o.before...)
	for _, line := range lines {
		if line := cleanLine([]byte(line)); line != "" {
			last = append(last, line)
		}
	}
	return last[max(0, len(last)-outputKept):]
}
