package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

const (
	volumeSize = 1 << 30
	// healthLimit is how long a cluster may take to become whole again that has little to copy.
	healthLimit = 60 * time.Second
	faultLimit  = 180 * time.Second
	seldom      = 100 * time.Millisecond // between the writes of a client that hardly writes
	quietGap    = 700 * time.Millisecond // that it adds: its timeouts, and its pause
	warmUp      = 500 * time.Millisecond // of writing before a fault
	coolDown    = 500 * time.Millisecond // of writing after the last one
	agreeLimit  = 5 * time.Second        // for the replicas to have what the primary has
	keepOlder   = 3                      // earlier rounds whose writes are looked for again, beside the first one's
)

// world is a cluster under a schedule.
type world struct {
	c     *cluster.Cluster
	vip   *sampler
	story *story
	// patience is how long the cluster may take to become whole again.
	patience time.Duration
	older    []past
	minKeys  int
	began    map[string]map[string]string // the settings of each redis-server at the beginning
	reigns   []Reign
	mu       sync.Mutex
	later    []verification // of this round
}

// past is an earlier round's client, and how many of its writes were missing then.
type past struct {
	round int
	w     *writer.Writer
	lost  int
}

// newWorld is a cluster of so many nodes, each with a disk of so many bytes.
func newWorld(t *testing.T, nodes int, disk int64) *world {
	t.Helper()
	var names []string
	for i := range nodes {
		names = append(names, string(rune('a'+i)))
	}
	c := cluster.New(t, cluster.Lab(t), cluster.Options{Nodes: names, Host: []lab.HostOption{lab.WithVolume(StateDir, disk)}})
	w := &world{c: c, patience: healthLimit, began: map[string]map[string]string{}}
	var hosts []*lab.Host
	for _, name := range names {
		hosts = append(hosts, c.Host(name))
	}
	w.vip = startSampler(context.Background(), hosts, c.VIP)
	t.Cleanup(w.vip.close)
	c.Start(t.Context())
	return w
}

// round injects the faults of a round into the cluster.
func (w *world) round(ctx context.Context, r Round) (Seen, error) {
	s := Seen{Extra: r.Extra}
	if r.Quiet {
		s.Extra += quietGap
	}
	w.story, w.later = newStory(), nil
	before, err := w.healthy(ctx, w.patience)
	if err != nil {
		return s, fmt.Errorf("not whole before the round: %w", err)
	}
	s.Before, s.Nodes = cluster.Primary(before), nodes(before)
	hosts, err := w.places(before)
	if err != nil {
		return s, err
	}
	client := w.client(ctx, r.Quiet)
	defer client.Stop()
	if err := awaitAck(ctx, client); err != nil {
		return s, err
	}
	if len(w.began) == 0 {
		if _, err := w.changedSettings(ctx, before); err != nil {
			return s, err
		}
	}
	pause(ctx, warmUp)

	s.Faults = w.inject(ctx, r, hosts)
	over := time.Now()
	w.restore(ctx)
	w.story.add(over, "", "every fault is over")
	ackErr := awaitAck(ctx, client)
	after, err := w.healthy(ctx, w.patience-time.Since(over))
	s.TimeToHealth, s.Healthy = time.Since(over), err == nil && ackErr == nil
	if !s.Healthy {
		s.Health = errors.Join(err, ackErr).Error()
	}
	w.story.add(time.Now(), "", "healthy: %v %s", s.Healthy, s.Health)
	pause(ctx, coolDown)
	report := client.Stop()
	s.Strays = w.strays(report, s.Faults)
	w.take(&s, report)
	s.After, s.Then = cluster.Primary(after), nodes(after)
	err = w.read(ctx, &s, report)
	if s.Healthy {
		err = errors.Join(err, w.verify(ctx, &s, r.Number, client, report, after))
	}
	s.Held, s.Overlaps = w.vip.between(w.story.began, time.Now())
	w.story.seen(s, report)
	return s, err
}

// places says which host is at which place.
func (w *world) places(s agent.Status) (map[Place]*lab.Host, error) {
	replicas := slices.DeleteFunc(slices.Clone(s.Nodes), func(n agent.NodeStatus) bool { return n.Role != "replica" })
	slices.SortStableFunc(replicas, func(a, b agent.NodeStatus) int {
		rank := func(n agent.NodeStatus) int {
			if n.Successor == 0 {
				return len(replicas) + 1
			}
			return n.Successor
		}
		return rank(a) - rank(b)
	})
	if len(replicas) < 2 {
		return nil, fmt.Errorf("%d replicas: two are needed", len(replicas))
	}
	return map[Place]*lab.Host{
		Primary:   w.c.Host(cluster.Primary(s)),
		Everyone:  w.c.Host(cluster.Primary(s)),
		Successor: w.c.Host(replicas[0].Name),
		Replica:   w.c.Host(replicas[len(replicas)-1].Name),
	}, nil
}

// client writes through the VIP, and to each node itself: these tell whether two acknowledge at
// once.
func (w *world) client(ctx context.Context, quiet bool) *writer.Writer {
	return w.c.Writer(ctx, func(o *writer.Options) {
		o.Workers, o.Pause = 2, 2*time.Millisecond
		if quiet {
			o.Workers, o.Pause, o.ProbeAfter = 1, seldom, -1 // probes would keep it busy
		}
		o.DialTimeout = 300 * time.Millisecond // a link that takes 50 ms must let it connect anew
		for _, name := range w.c.Names() {
			o.Direct = append(o.Direct, w.c.Host(name).Addr().String()+":6379")
		}
	})
}

func awaitAck(ctx context.Context, c *writer.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	return c.AwaitAck(ctx)
}

// inject does all steps, each at its time, and undoes them.
func (w *world) inject(ctx context.Context, r Round, hosts map[Place]*lab.Host) []Fault {
	faults := make([]Fault, len(r.Steps))
	begun := make([]chan struct{}, len(r.Steps)) // closed when the step has been done
	for i := range begun {
		begun[i] = make(chan struct{})
	}
	var wg sync.WaitGroup
	for i, step := range r.Steps {
		wg.Go(func() {
			if step.Then {
				<-begun[i-1]
			}
			pause(ctx, step.After)
			faults[i] = w.step(ctx, step, hosts, func() { close(begun[i]) })
		})
	}
	wg.Wait()
	return faults
}

// step does one; begun is called when it has been done, and before it is undone.
func (w *world) step(ctx context.Context, step Step, hosts map[Place]*lab.Host, begun func()) Fault {
	ctx, cancel := context.WithTimeout(ctx, faultLimit)
	defer cancel()
	h := hosts[step.On]
	name := h.Name()
	in := injection{c: w.c, host: h, primary: hosts[Primary], lasts: step.For, note: func(format string, args ...any) {
		w.story.add(time.Now(), name, format, args...)
	}, later: func(v verification) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.later = append(w.later, v)
	}}
	s := Fault{Step: step, Host: name}
	if step.On == Everyone {
		s.Host = ""
	}
	do, err := injectors[step.Kind](ctx, in)
	s.Begin = time.Now()
	s.Done = s.Begin
	if err != nil {
		begun()
		s.Err = err
		in.note("FAULT %s did not come about: %v", step.Kind, err)
		return s
	}
	undo, err := do(ctx)
	s.Done, s.Err = time.Now(), err
	begun()
	w.story.add(s.Begin, name, "FAULT %s (took %v) %s", step.Kind, s.Done.Sub(s.Begin).Round(time.Millisecond), problem(err))
	if undo == nil {
		return s
	}
	pause(ctx, step.For)
	s.Mending = time.Now()
	err = undo(ctx)
	s.Mended = time.Now()
	s.Err = errors.Join(s.Err, err)
	w.story.add(s.Mending, name, "END of %s (took %v) %s", step.Kind, s.Mended.Sub(s.Mending).Round(time.Millisecond), problem(err))
	return s
}

func problem(err error) string {
	if err == nil {
		return ""
	}
	return "ERROR: " + err.Error()
}

// restore undoes what a step that failed may have left.
func (w *world) restore(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, faultLimit)
	defer cancel()
	if err := w.c.Lab.HealAll(ctx); err != nil {
		w.story.add(time.Now(), "", "heal all: %v", err)
	}
	for _, name := range w.c.Names() {
		h := w.c.Host(name)
		err := h.Thaw(ctx)
		if !h.Running() {
			err = errors.Join(err, h.PowerOn(ctx))
		}
		if err != nil {
			w.story.add(time.Now(), name, "restore: %v", err)
		}
	}
}

// healthy waits until every node says that all is well, and all of the same cluster, and until the
// replicas have what the primary has.
func (w *world) healthy(ctx context.Context, limit time.Duration) (agent.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, max(limit, time.Second))
	defer cancel()
	var found agent.Status
	err := lab.Await(ctx, 100*time.Millisecond, func() error {
		said := ""
		for i, name := range w.c.Names() {
			s, err := w.c.Status(ctx, name)
			switch {
			case err != nil:
				return err
			case s.Health != "healthy" || len(s.Nodes) < len(w.c.Names()) || s.Primary == nil:
				return fmt.Errorf("%s says: %s, %d nodes: %s", name, s.Health, len(s.Nodes), strings.Join(s.Problems, "; "))
			case cluster.Linked(s) != nil:
				return cluster.Linked(s)
			case i > 0 && outline(s) != said:
				return fmt.Errorf("%s says %s, others say %s", name, outline(s), said)
			}
			said, found = outline(s), s
		}
		return nil
	})
	if err == nil {
		err = w.caughtUp(ctx, found)
	}
	return found, err
}

// outline is what all nodes must say alike: who is the primary, in which term, who else there is,
// and where the VIP is.
func outline(s agent.Status) string {
	text := fmt.Sprintf("%s is the primary in term %d", s.Primary.Name, s.Term)
	for _, n := range s.Nodes {
		text += fmt.Sprintf(", %s %s%v", n.Name, n.Role, n.VIPs)
	}
	return text
}

// caughtUp waits until every replica has what the primary has now. A link that was cut for a while
// is up by all accounts until TCP has sent again what was lost, which the replica does not have
// before.
func (w *world) caughtUp(ctx context.Context, s agent.Status) error {
	goal, err := w.offset(ctx, cluster.Primary(s))
	if err != nil {
		return err
	}
	return each(w.c.Others(cluster.Primary(s)), func(name string) error {
		return lab.Await(ctx, 10*time.Millisecond, func() error {
			has, err := w.offset(ctx, name)
			if err == nil && has < goal {
				err = fmt.Errorf("%s is %d bytes behind", name, goal-has)
			}
			return err
		})
	})
}

// offset is how far a redis-server has come, whichever its role is.
func (w *world) offset(ctx context.Context, name string) (int64, error) {
	c := dial(w.c, w.c.Host(name).Addr().String())
	defer c.Close()
	info, err := c.InfoMap(ctx, "replication").Result()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(info["Replication"]["master_repl_offset"], 10, 64)
}

func nodes(s agent.Status) []Node {
	var out []Node
	for _, n := range s.Nodes {
		out = append(out, Node{Name: n.Name, PID: n.RedisPID, Keys: n.Keys})
	}
	return out
}

// take has the record of the client's say.
func (w *world) take(s *Seen, r *writer.Report) {
	s.Acked = r.Acked()
	for _, g := range r.Gaps(0) {
		s.Downtime = max(s.Downtime, g.Length()-r.OwnShare(g))
	}
	if d := r.LongestDual(); d.Length() > 0 {
		s.Dual = d.Length()
		for _, n := range d.Nodes {
			s.DualNodes = append(s.DualNodes, w.hostOf(n))
		}
	}
}

// strays takes out of the record what replicas took that a fault had opened for writes.
func (w *world) strays(r *writer.Report, faults []Fault) (all []writer.Write) {
	for _, f := range faults {
		if open := f.may().opened; open > 0 {
			address := w.c.Host(f.Host).Addr().String() + ":6379"
			all = append(all, r.TakeOut(address, f.Begin.Sub(r.Started), f.Done.Add(open).Sub(r.Started))...)
		}
	}
	return all
}

// hostOf is the host of a redis-server as the report names it; "" if it is not known.
func (w *world) hostOf(node string) string {
	_, addr, _ := strings.Cut(node, "@")
	for _, name := range w.c.Names() {
		if addr == w.c.Host(name).Addr().String()+":6379" {
			return name
		}
	}
	return ""
}

// verify looks for the writes of this round and of earlier ones.
func (w *world) verify(ctx context.Context, s *Seen, round int, client *writer.Writer, r *writer.Report, after agent.Status) error {
	address := after.Primary.Address
	v, err := client.Verify(ctx, address)
	if err != nil {
		return err
	}
	spans := r.Spans()
	for _, l := range v.Lost {
		if slices.Contains(s.Strays, l) {
			continue
		}
		s.Lost = append(s.Lost, w.lostWrite(r, spans, l))
	}
	for _, p := range w.older {
		v, err := p.w.Verify(ctx, address)
		if err != nil {
			return err
		}
		if len(v.Lost) > p.lost {
			s.Older = append(s.Older, fmt.Sprintf("of round %d, %d writes are missing now that were there after it", p.round, len(v.Lost)-p.lost))
		}
	}
	// What is there now is to survive any later round, also one that takes the power from all
	// hosts: appendfsync everysec alone may leave the last two seconds of it to chance.
	for _, name := range w.c.Names() {
		if err := w.c.Host(name).SyncDisks(); err != nil {
			return err
		}
	}
	w.older = append(w.older, past{round, client, len(v.Lost)})
	if len(w.older) > keepOlder+1 {
		w.older = slices.Delete(w.older, 1, 2)
	}
	if err := w.verifyLater(ctx, s, after); err != nil {
		return err
	}
	var keys int
	if s.Differ, keys, err = w.same(ctx, after, s.Strays); err != nil {
		return err
	}
	if keys < w.minKeys {
		s.Older = append(s.Older, fmt.Sprintf("the primary has %d keys, it had %d", keys, w.minKeys))
	}
	w.minKeys = keys
	if s.Settings, err = w.changedSettings(ctx, after); err != nil {
		return err
	}
	s.VIP = w.vipProblem(ctx, after)
	return nil
}

// verifyLater has those of the round's own clients verified that asked for it.
func (w *world) verifyLater(ctx context.Context, s *Seen, after agent.Status) error {
	c := dial(w.c, w.c.Host(cluster.Primary(after)).Addr().String())
	defer c.Close()
	return each(w.later, func(v verification) error { return v(ctx, c, s) })
}

// vipProblem is what is wrong with the VIP: it is to be on the primary's host alone, and to lead
// there. "" is nothing.
func (w *world) vipProblem(ctx context.Context, after agent.Status) string {
	if on := w.vip.now(ctx); len(on) != 1 || on[0] != cluster.Primary(after) {
		return fmt.Sprintf("the VIP is on %v, the primary is %s", on, cluster.Primary(after))
	}
	var ids [2]string
	for i, address := range []string{w.c.VIP, w.c.Host(cluster.Primary(after)).Addr().String()} {
		c := dial(w.c, address)
		info, err := c.InfoMap(ctx, "server").Result()
		c.Close()
		if err != nil {
			return fmt.Sprintf("%s cannot be reached: %v", address, err)
		}
		ids[i] = info["Server"]["run_id"]
	}
	if ids[0] != ids[1] {
		return "the VIP leads to another redis-server than the primary's"
	}
	return ""
}

// lostWrite says of a lost write who had acknowledged it, and when.
func (w *world) lostWrite(r *writer.Report, spans []writer.Span, l writer.Write) LostWrite {
	lost := LostWrite{At: r.Started.Add(l.Acked), Until: r.Started.Add(l.Acked)}
	if l.Node == 0 {
		return lost
	}
	lost.By = w.hostOf(r.Nodes[l.Node])
	began, since := false, ""
	for _, span := range spans {
		switch {
		case span.Node != r.Nodes[l.Node]:
			if began && span.From < l.Acked {
				since = w.hostOf(span.Node)
			}
		case span.To >= l.Acked:
			lost.Until, lost.Since = r.Started.Add(span.To), since
			return lost
		default:
			began = true
		}
	}
	return lost
}
