package writer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options of a Writer. Dial and Addrs are needed, all else has a default.
type Options struct {
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Addrs []string // the VIP; or several addresses, of which a worker tries the next whenever one fails it

	// Direct are addresses of the nodes themselves. Each gets a writer of its own that stays there
	// whatever it answers: these tell whether two nodes ever acknowledge at the same time. They do
	// not count as service.
	Direct []string

	User, Password string

	Workers     int           // connections that write at the same time; 4
	Pause       time.Duration // of a worker between two writes; 1 ms, negative: none
	DialTimeout time.Duration // 50 ms
	ReadTimeout time.Duration // 200 ms: how long a worker waits for an answer before it takes another connection

	// ProbeAfter: when nobody was acknowledged for so long, a probe with a fresh connection is sent
	// every 2 ms until somebody is again. Without these the end of one would be seen only when the
	// workers' own timeouts run out. 5 ms; negative: no probes.
	ProbeAfter time.Duration

	Prefix string // of the keys; "writer:" and something random, so that runs do not mix
}

const (
	probeEvery   = 2 * time.Millisecond
	probeTimeout = 100 * time.Millisecond // the whole of a probe: fifty are under way at most
	retryPause   = time.Millisecond       // after an error that came at once: not to spin
	stallTick    = time.Millisecond       // of the watch over this process's own stalls
)

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	def(&o.Pause, time.Millisecond)
	def(&o.DialTimeout, 50*time.Millisecond)
	def(&o.ReadTimeout, 200*time.Millisecond)
	def(&o.ProbeAfter, 5*time.Millisecond)
	if o.Workers == 0 {
		o.Workers = 4
	}
	if o.Prefix == "" {
		o.Prefix = "writer:" + rand.Text()[:8] + ":"
	}
	return o
}

// Writer is a running client. Its methods may be called from any goroutine.
type Writer struct {
	opts  Options
	start time.Time // of the clock of everything that is recorded; monotonic
	stop  context.CancelFunc
	done  sync.WaitGroup
	lanes []*lane

	lastAck atomic.Int64 // time.Duration since start; of lanes that count as service
	acked   atomic.Int64

	mu     sync.Mutex
	marks  []Mark
	stalls []Gap
	nodes  []string // by index in Ack.Node
}

// Ack is one acknowledged write. Times are since the writer's start.
type Ack struct {
	Invoked, Acked time.Duration // sent, and acknowledged
	Seq            uint32        // within its lane
	Node           uint16        // index in Report.Nodes; 0: not known
}

// lane is a sequence of writes, one after the other, to one key: a worker's, a direct writer's, or
// that of all probes.
type lane struct {
	key    string
	kind   laneKind
	direct string // the address of a direct writer

	mu     sync.Mutex // the probes share a lane
	seq    uint32     // last used
	acks   []Ack
	errors map[string]int
}

type laneKind int

const (
	workerLane laneKind = iota
	probeLane
	directLane
)

const directPrefix = "direct:" // of the address, in a lane's name

// Start begins to write; it returns at once. The caller must call Stop.
func Start(ctx context.Context, o Options) (*Writer, error) {
	o = o.withDefaults()
	if o.Dial == nil || len(o.Addrs)+len(o.Direct) == 0 {
		return nil, errors.New("start a writer: it needs Dial, and Addrs or Direct")
	}
	w := &Writer{opts: o, start: time.Now(), nodes: []string{"?"}}
	ctx, w.stop = context.WithCancel(ctx)
	if len(o.Addrs) > 0 {
		for i := range o.Workers {
			l := w.addLane(fmt.Sprintf("worker%d", i), workerLane, "")
			w.done.Go(func() { w.work(ctx, l, o.Addrs, i) })
		}
		if o.ProbeAfter > 0 {
			l := w.addLane("probe", probeLane, "")
			w.done.Go(func() { w.probe(ctx, l) })
		}
	}
	for _, address := range o.Direct {
		l := w.addLane(directPrefix+address, directLane, address)
		w.done.Go(func() { w.work(ctx, l, []string{address}, 0) })
	}
	w.done.Go(func() { w.watchOwnStalls(ctx) })
	return w, nil
}

func (w *Writer) addLane(name string, kind laneKind, direct string) *lane {
	l := &lane{key: w.opts.Prefix + name, kind: kind, direct: direct, errors: map[string]int{}}
	w.lanes = append(w.lanes, l)
	return l
}

// Now is the time on the clock of the record.
func (w *Writer) Now() time.Duration { return time.Since(w.start) }

// Mark notes that something was done just now, on the clock of the record.
func (w *Writer) Mark(what string) {
	m := Mark{At: w.Now(), What: what}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marks = append(w.marks, m)
}

// Acked is how many writes have been acknowledged so far.
func (w *Writer) Acked() int { return int(w.acked.Load()) }

// AwaitAck waits until a write is acknowledged that was sent after the call; the way to learn that
// service is back.
func (w *Writer) AwaitAck(ctx context.Context) error {
	since := w.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if time.Duration(w.lastAck.Load()) > since && w.ackedSince(since) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no write is acknowledged: %w (errors so far: %v)", context.Cause(ctx), w.errorCounts())
		case <-tick.C:
		}
	}
}

func (w *Writer) ackedSince(since time.Duration) bool {
	for _, l := range w.lanes {
		if l.kind == directLane {
			continue
		}
		l.mu.Lock()
		n := len(l.acks)
		late := n > 0 && l.acks[n-1].Invoked > since
		l.mu.Unlock()
		if late {
			return true
		}
	}
	return false
}

// Stop ends the writing and returns the record. It may be called again.
func (w *Writer) Stop() *Report {
	w.stop()
	w.done.Wait()
	return w.report()
}

// work writes on one connection after the other until ctx ends.
func (w *Writer) work(ctx context.Context, l *lane, addresses []string, offset int) {
	for turn := offset; ctx.Err() == nil; turn++ {
		address := addresses[turn%len(addresses)]
		c, err := w.opts.dial(ctx, address, w.opts.DialTimeout)
		if err != nil {
			l.failed(ctx, err)
			pause(ctx, retryPause)
			continue
		}
		// Stop must not wait for a read.
		unhook := context.AfterFunc(ctx, func() { c.Close() })
		w.writeOn(ctx, l, c)
		unhook()
		c.Close()
	}
}

// writeOn writes until the connection is of no use any more.
func (w *Writer) writeOn(ctx context.Context, l *lane, c *conn) {
	node, err := w.first(l, c, w.opts.ReadTimeout)
	for ctx.Err() == nil {
		var refused ReplyError
		switch {
		case err == nil:
			pause(ctx, w.opts.Pause)
		case errors.As(err, &refused) && w.stays(l, refused):
			l.failed(ctx, err)
			pause(ctx, max(w.opts.Pause, retryPause))
		default:
			l.failed(ctx, err)
			pause(ctx, retryPause)
			return
		}
		err = w.write(l, c, node)
	}
}

// stays says whether the lane keeps its connection at such an answer, rather than look for another
// node.
func (w *Writer) stays(l *lane, answer ReplyError) bool {
	if l.kind == directLane {
		return true
	}
	switch answer.Kind() {
	case "READONLY", "NOAUTH", "MASTERDOWN": // not soon to change here
		return false
	}
	return len(w.opts.Addrs) == 1
}

// first makes the first write of a connection, in one go with what must come before it; and learns
// whom it talks to only after that, so that learning it costs the measurement nothing.
func (w *Writer) first(l *lane, c *conn, limit time.Duration) (node uint16, err error) {
	seq := l.next()
	invoked := w.Now()
	auth := w.opts.auth()
	deadline := time.Now().Add(limit)
	if err := c.send(deadline, auth, l.command(seq), []string{"INFO", "server"}); err != nil {
		return 0, err
	}
	if auth != nil {
		if _, err := c.reply(); err != nil {
			return 0, asConnError(err)
		}
	}
	_, refused := c.reply()
	acked := w.Now()
	if refused != nil && !errors.As(refused, new(ReplyError)) {
		return 0, refused
	}
	if refused == nil {
		w.note(l, Ack{Invoked: invoked, Acked: acked, Seq: seq})
	}
	info, err := c.reply()
	if err != nil && !errors.As(err, new(ReplyError)) {
		return 0, err
	}
	if text, ok := info.(string); ok {
		node = w.node(runID(text), l.direct)
		if refused == nil {
			l.identify(seq, node)
		}
	}
	return node, refused
}

// asConnError makes of a refused AUTH an error that ends the connection.
func asConnError(err error) error {
	if errors.As(err, new(ReplyError)) {
		return fmt.Errorf("authenticate: %s", err)
	}
	return err
}

func (w *Writer) write(l *lane, c *conn, node uint16) error {
	seq := l.next()
	invoked := w.Now()
	if err := c.send(time.Now().Add(w.opts.ReadTimeout), l.command(seq)); err != nil {
		return err
	}
	if _, err := c.reply(); err != nil {
		return err
	}
	w.note(l, Ack{Invoked: invoked, Acked: w.Now(), Seq: seq, Node: node})
	return nil
}

func (w *Writer) note(l *lane, a Ack) {
	l.mu.Lock()
	l.acks = append(l.acks, a)
	l.mu.Unlock()
	w.acked.Add(1)
	if l.kind == directLane {
		return
	}
	for {
		last := w.lastAck.Load()
		if last >= int64(a.Acked) || w.lastAck.CompareAndSwap(last, int64(a.Acked)) {
			return
		}
	}
}

// probe sends fresh connections while nobody is acknowledged.
func (w *Writer) probe(ctx context.Context, l *lane) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var under sync.WaitGroup
	defer under.Wait()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		last := time.Duration(w.lastAck.Load())
		if last == 0 || w.Now()-last < w.opts.ProbeAfter {
			continue // before the first acknowledgement there is nothing to interrupt
		}
		address := w.opts.Addrs[turn%len(w.opts.Addrs)]
		under.Go(func() {
			deadline := time.Now().Add(probeTimeout)
			c, err := w.opts.dial(ctx, address, probeTimeout)
			if err != nil {
				l.failed(ctx, err)
				return
			}
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			if _, err := w.first(l, c, time.Until(deadline)); err != nil {
				l.failed(ctx, err)
			}
		})
	}
}

// watchOwnStalls notes when this process did not get to run: a write downtime then may be its own.
func (w *Writer) watchOwnStalls(ctx context.Context) {
	last := w.Now()
	for ctx.Err() == nil {
		pause(ctx, stallTick)
		now := w.Now()
		if now-last > 5*stallTick {
			w.mu.Lock()
			w.stalls = append(w.stalls, Gap{From: last, To: now})
			w.mu.Unlock()
		}
		last = now
	}
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// node returns the index of a redis-server, by its run id; of a direct writer's it learns the
// address, too.
func (w *Writer) node(runID, direct string) uint16 {
	if runID == "" {
		return 0
	}
	name := runID[:min(8, len(runID))]
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, known := range w.nodes {
		if known != name && !strings.HasPrefix(known, name+"@") {
			continue
		}
		if direct != "" {
			w.nodes[i] = name + "@" + direct
		}
		return uint16(i)
	}
	if direct != "" {
		name += "@" + direct
	}
	w.nodes = append(w.nodes, name)
	return uint16(len(w.nodes) - 1)
}

func runID(info string) string {
	for line := range strings.Lines(info) {
		if id, ok := strings.CutPrefix(line, "run_id:"); ok {
			return strings.TrimSpace(id)
		}
	}
	return ""
}

// command appends the number to the lane's list: no write is the same as another, and the list
// shows which are there.
func (l *lane) command(seq uint32) []string { return []string{"RPUSH", l.key, fmt.Sprint(seq)} }

func (l *lane) next() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	return l.seq
}

func (l *lane) identify(seq uint32, node uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.acks) - 1; i >= 0; i-- {
		if l.acks[i].Seq == seq {
			l.acks[i].Node = node
			return
		}
	}
}

func (l *lane) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors[errorKind(err)]++
}

func (w *Writer) errorCounts() map[string]int {
	counts := map[string]int{}
	for _, l := range w.lanes {
		l.mu.Lock()
		for kind, n := range l.errors {
			if l.kind == directLane {
				kind = "direct " + kind
			}
			counts[kind] += n
		}
		l.mu.Unlock()
	}
	return maps.Clone(counts)
}

// errorKind is what errors are counted under.
func errorKind(err error) string {
	var reply ReplyError
	var number syscall.Errno
	var op net.Error
	switch {
	case errors.As(err, &reply):
		return reply.Kind()
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &op) && op.Timeout():
		return "timeout"
	}
	return err.Error()
}
