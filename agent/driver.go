package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// driver runs package node with real I/O: it takes in what happens from every goroutine, and
// has what comes out saved, sent and done. No I/O is done under its lock, and the goroutine
// of the clock does none that may wait for a disk, so that the end of a lease is seen
// whatever hangs.
type driver struct {
	*site
	talk     *talk
	poller   *poller
	actor    *actor
	requests *requests
	journal  *journal

	mu    sync.Mutex
	node  *node.Node
	until time.Duration // when Step(Tick) is due
	armed time.Duration // what the clock waits for
	seen  node.Members

	sooner  chan struct{}
	saves   chan node.State
	records chan node.SaveRecord
	lanes   [2]chan node.Do
	shares  chan node.Meta
	stopped chan struct{}
	once    sync.Once
	polls   sync.WaitGroup
}

func newDriver(s *site, n *node.Node) *driver {
	return &driver{
		site: s, node: n, sooner: make(chan struct{}, 1), saves: make(chan node.State, 1), records: make(chan node.SaveRecord, 1),
		lanes: [2]chan node.Do{make(chan node.Do, 1), make(chan node.Do, 1)}, shares: make(chan node.Meta, 1), stopped: make(chan struct{}),
	}
}

// step tells the node what happened, and sees to what it asks for.
func (d *driver) step(in node.Input) {
	d.mu.Lock()
	r := d.node.Step(now(), in)
	d.until = r.Until
	sooner := r.Until < d.armed
	if r.Share != nil {
		d.share(*r.Share)
	}
	d.mu.Unlock()
	if sooner {
		select {
		case d.sooner <- struct{}{}:
		default:
		}
	}
	d.carryOut(r)
}

// carryOut hands everything on to whom it belongs. None of the channels ever blocks: of each
// there is one at a time, and the node waits for its answer.
func (d *driver) carryOut(r node.Ready) {
	for _, do := range r.Do {
		if do.Lane == node.Polls {
			d.polls.Go(func() {
				if in := d.poller.poll(do); in != nil {
					d.step(in)
				}
			})
			continue
		}
		d.lanes[do.Lane] <- do
	}
	if r.Save != nil {
		d.saves <- *r.Save
	}
	if r.Record != nil {
		d.records <- *r.Record
	}
	for _, s := range r.Send {
		d.talk.sendElection(s)
	}
	if r.Lease != 0 {
		if err := d.disk.saveLease(r.Lease); err != nil {
			d.log.Debug("lease not noted for the next agent", "error", err)
		}
	}
	for _, e := range r.Events {
		d.requests.take(e)
	}
	d.journal.add(r.Events, r.Planned)
	if r.Stopped {
		d.once.Do(func() { close(d.stopped) })
	}
}

// share has gossip told of the newest; the lock is held.
func (d *driver) share(m node.Meta) {
	select {
	case <-d.shares: // an older one
	default:
	}
	d.shares <- m
}

// clock tells the node the time whenever it asked to be told.
func (d *driver) clock(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.stopped:
			return nil
		case <-d.sooner:
		case <-t.C:
			d.step(node.Tick{})
		}
		d.mu.Lock()
		d.armed = d.until
		d.mu.Unlock()
		t.Reset(max(d.armed-now(), 0))
	}
}

// saver puts the election's state on disk.
func (d *driver) saver(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case st := <-d.saves:
			d.step(node.Saved{Err: d.disk.saveElection(st)})
		}
	}
}

// recorder writes down the dataset's version, beside everything else.
func (d *driver) recorder(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-d.records:
			d.step(node.RecordSaved{Err: d.disk.saveRecord(r.Record, r.Sync)})
		}
	}
}

// work does what a lane asks for, one thing after the other.
func (d *driver) work(ctx context.Context, l node.Lane) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case do := <-d.lanes[l]:
			d.step(d.perform(ctx, do))
		}
	}
}

func (d *driver) perform(ctx context.Context, do node.Do) node.Input {
	switch do.Action.(type) {
	case node.PollRedis, node.PollSentinel, node.Probe:
		return d.poller.poll(do)
	}
	return d.actor.perform(ctx, do)
}

// watchMembers tells the node who is a member.
func (d *driver) watchMembers(ctx context.Context) error {
	// What gossip believes also changes as time passes.
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		d.tellMembers()
		select {
		case <-ctx.Done():
			return nil
		case <-d.gossip.Changed():
		case <-t.C:
		}
	}
}

func (d *driver) tellMembers() {
	in := d.members()
	d.mu.Lock()
	same := in.Conflict == d.seen.Conflict && slices.Equal(in.List, d.seen.List)
	d.seen = in
	d.mu.Unlock()
	if !same {
		d.step(in)
	}
}

// shareMeta has gossip say what the node says about itself.
func (d *driver) shareMeta(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-d.shares:
			if err := d.gossip.SetMeta(d.ownMeta(m)); err != nil {
				d.log.Warn("members not told of a change of this node", "error", err)
			}
		}
	}
}

// What the node knows, for whoever asks.

func (d *driver) view() election.View {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.View(now())
}

func (d *driver) observe() reconcile.Observed {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.Observe(now())
}

func (d *driver) plan() Plan {
	d.mu.Lock()
	o, desired := d.node.Observe(now()), d.node.Desired()
	d.mu.Unlock()
	p := Plan{Observed: o, Desired: desired, Actions: []string{}}
	for _, action := range reconcile.Plan(o, desired) {
		p.Actions = append(p.Actions, action.String())
	}
	return p
}

// primaryAddr is what Sentinel should name, "" when nobody is known to hold the lease.
func (d *driver) primaryAddr() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.PrimaryAddr(now())
}

func (d *driver) needsOperator(o reconcile.Observed) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.NeedsOperator(o)
}

func (d *driver) paused() node.Pause {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.Paused()
}

func (d *driver) recorded() reconcile.Data {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.Recorded()
}

func (d *driver) cancelSwitchover(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.CancelSwitchover(id)
}

// clusterID is that of the cluster this node belongs to, empty before there is one.
func (d *driver) clusterID() string { return d.view().ClusterID }

// lastRecord writes down what came in since the last time, or while the disk was slow.
func (d *driver) lastRecord(sync bool) {
	d.mu.Lock()
	r, changed := d.node.Unrecorded(sync)
	d.mu.Unlock()
	if !changed {
		return
	}
	if err := d.disk.saveRecord(r, sync); err != nil {
		d.log.Warn("record of the dataset not saved", "error", err)
	}
}
