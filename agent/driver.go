package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/feature"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// driver runs package node with real I/O: it takes in what happens from every goroutine, and has
// what comes out saved, sent and done. No I/O is done under its lock, and the goroutine of the
// clock does none that may wait for a disk, so that the end of a lease is seen whatever hangs.
type driver struct {
	*site
	talk     *talk
	poller   *poller
	actor    *actor
	requests *requests
	journal  *journal

	mu    sync.Mutex
	ctx   context.Context // of the rooms; nil before they run
	node  *node.Node
	until time.Duration // when Step(Tick) is due
	armed time.Duration // what the clock waits for
	seen  node.Members
	// refused is why the last pause could not be kept, and how many could not.
	refused      error
	refusedCount int

	sooner  chan struct{}
	saves   chan node.State
	records chan node.SaveRecord
	lanes   [2]chan node.Do
	shares  chan node.Meta
	leases  chan time.Duration
	stopped chan struct{}
	once    sync.Once
	polls   sync.WaitGroup
}

func newDriver(s *site, n *node.Node) *driver {
	return &driver{
		site: s, node: n, sooner: make(chan struct{}, 1), saves: make(chan node.State, 1), records: make(chan node.SaveRecord, 1),
		lanes: [2]chan node.Do{make(chan node.Do, 1), make(chan node.Do, 1)}, shares: make(chan node.Meta, 1), leases: make(chan time.Duration, 1), stopped: make(chan struct{}),
	}
}

// step tells the node what happened, and sees to what it asks for. Once the rooms have ended,
// nothing happens any more: the next agent is to find what this one left.
func (d *driver) step(in node.Input) {
	d.mu.Lock()
	if d.ctx != nil && d.ctx.Err() != nil {
		d.mu.Unlock()
		return
	}
	r := d.node.Step(now(), in)
	d.until = r.Until
	sooner := r.Until < d.armed
	if r.Share != nil {
		latest(d.shares, *r.Share)
	}
	if r.Lease != 0 {
		latest(d.leases, r.Lease)
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

// carryOut hands everything on to whom it belongs. None of the channels ever blocks: of each there
// is one at a time, and the node waits for its answer.
func (d *driver) carryOut(r node.Ready) {
	for _, do := range r.Do {
		if do.Lane == node.Polls {
			d.polls.Go(func() {
				if in := d.poller.poll(d.ctx, do); in != nil {
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
	for _, e := range r.Events {
		d.requests.take(e)
		if e, ok := e.(node.PauseRefused); ok {
			d.mu.Lock()
			d.refused, d.refusedCount = e.Err, d.refusedCount+1
			d.mu.Unlock()
		}
	}
	d.journal.add(r.Events, r.Planned)
	if r.Stopped {
		d.once.Do(func() { close(d.stopped) })
	}
}

// latest puts v into a channel of one, in place of what is there; the driver's lock is held.
func latest[T any](ch chan T, v T) {
	select {
	case <-ch: // an older one
	default:
	}
	ch <- v
}

// leaser tells the next agent until when the lease runs.
func (d *driver) leaser(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case until := <-d.leases:
			if err := d.disk.saveLease(until); err != nil {
				d.log.Debug("lease not noted for the next agent", "error", err)
			}
		}
	}
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
			if ctx.Err() != nil {
				return nil // nothing is begun any more
			}
			d.step(d.perform(ctx, do))
		}
	}
}

func (d *driver) perform(ctx context.Context, do node.Do) node.Input {
	switch do.Action.(type) {
	case node.PollRedis, node.PollSentinel, node.Probe:
		return d.poller.poll(ctx, do)
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
	at := now()
	p := Plan{Observed: d.node.Observe(at), Desired: d.node.Desired(), Actions: []string{}}
	actions := d.node.Plan(at)
	d.mu.Unlock()
	for _, action := range actions {
		p.Actions = append(p.Actions, action.String())
	}
	return p
}

// features are what the agents of all voters can do.
func (d *driver) features() feature.Set {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.Features()
}

// primaryAddr is what Sentinel should name, "" when nobody is known to hold the lease.
func (d *driver) primaryAddr() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.PrimaryAddr(now())
}

// holderSince is when this node learnt of the term of the last holder.
func (d *driver) holderSince() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.HolderSince()
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

// pauseRefused is why a pause could not be kept since there were so many of these.
func (d *driver) pauseRefused(since int) (count int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusedCount > since {
		return d.refusedCount, d.refused
	}
	return d.refusedCount, nil
}

// removed are the removals that this node knows of; saved: they are on its disk.
func (d *driver) removed() (list []node.Removal, saved bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.Removed()
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
