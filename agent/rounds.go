package agent

import (
	"context"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

const (
	// tick is how often a round runs when nothing happens: half the time between two
	// renewals. When all is calm each second one is left out, so that an idle host
	// sleeps longer.
	tick     = 50 * time.Millisecond
	calmTick = 2 * tick
	// recordEvery is how often the dataset's worth is written down, syncEvery how often
	// it is made to survive a power loss. After one of all hosts it decides who wins.
	recordEvery = 100 * time.Millisecond
	syncEvery   = time.Second
	// stalled is how late a round may be for this agent to have stood still, on a host
	// that is overloaded or was paused. What others said meanwhile is read first, for the
	// time of listen, before anything is concluded from their silence.
	stalled = tick
	listen  = 5 * time.Millisecond
	// moreRounds bounds how many rounds follow one another without a pause, so that
	// a plan that never settles costs a tick, not a processor.
	moreRounds = 8
)

// rounds runs observe, plan, apply until the agent ends or the node has stopped.
func (a *Agent) rounds(ctx context.Context) error {
	t := newBeat(tick)
	defer t.Stop()
	NotifyReady()
	due := now() + tick
	for {
		if now() > due+stalled {
			time.Sleep(listen)
		}
		period := tick
		for range moreRounds {
			again, calm := a.round(ctx)
			if calm {
				period = calmTick
			}
			if !again {
				break
			}
		}
		if a.stopping.Load() && reconcile.Stopped(a.observe()) {
			a.log.Info("stopped in order")
			return nil
		}
		t.in(period)
		due = now() + period
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-a.woken:
		}
	}
}

// round observes, plans and acts once, and reports whether something was done that
// another round should look at without waiting, or else whether nothing will be due
// soon.
func (a *Agent) round(ctx context.Context) (again, calm bool) {
	o, d := a.observe(), a.desired()
	learners := learnersOf(o)
	_ = a.ballot.do(func(e *election.Elector) []election.Envelope { return e.Tick(now(), learners) })
	a.guard.lease(o.Election.Lease, o.Election.LeaseUntil)
	a.readNote(a.ballot.view())
	a.announce(o)
	a.keepLease(o)
	actions := reconcile.Plan(o, d)
	if why := a.waits(o); why != a.waiting {
		a.waiting = why
		if why != "" {
			a.log.Warn("waiting for a person: " + why)
			a.events.add("waits", why)
		}
	}
	a.notify.alive(o)
	sentinel, failed := false, false
	for _, action := range actions {
		if _, renewal := action.(reconcile.HoldVIP); !renewal {
			again = true
			a.log.Debug("action", "action", action.String())
		}
		err := a.apply(ctx, o, action)
		if err != nil && ctx.Err() == nil {
			a.failed(action, err)
		}
		switch action.(type) {
		case reconcile.HoldVIP:
			continue // an address that cannot be had keeps nothing else from being done
		case reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
			sentinel = err == nil
			a.sentW.acted(err)
		}
		if err != nil {
			again, failed = false, true
			break
		}
	}
	if !o.Election.Lease && !failed {
		a.guard.over(o.At, o.FenceAfter) // what the end of the lease asks for is done
	}
	if again {
		a.redisW.poll(ctx)
	}
	if sentinel {
		a.sentW.poll(ctx)
	}
	a.shareMeta(o.Election.Lease || o.Election.EverHeard && o.At < o.Election.HeardAt+reconcile.Lapse)
	return again, !again && !failed && reconcile.Calm(o, d)
}

// announce has the renewals say where the primary is, once it is one: a replica
// that came before it is ready would be sent away, and try again a second later. The
// history goes with the address: one is worth nothing without the other.
func (a *Agent) announce(o reconcile.Observed) {
	if !o.Election.Lease {
		return
	}
	primary, note := "", a.ownNote(o)
	if o.Redis.Known && o.Redis.Role == reconcile.Primary {
		note.ReplID = a.redisW.leads()
	}
	if note.ReplID != "" {
		primary = a.redisAddr.String()
	}
	atOnce := primary != o.Election.Primary || note.Pause != a.noted.Pause || note.ReplID != a.noted.ReplID
	if !atOnce && note == a.noted {
		return
	}
	a.noted = note
	_ = a.ballot.do(func(e *election.Elector) []election.Envelope {
		i := e.Announced()
		i.Primary, i.Note = primary, note.encode()
		if atOnce {
			return e.Announce(now(), i, learnersOf(o))
		}
		e.SetInfo(i) // the offset goes with the next renewal
		return nil
	})
}

// keepLease tells the next agent how long this one's lease runs, and logs when
// it comes and goes.
func (a *Agent) keepLease(o reconcile.Observed) {
	held := o.Election.Lease
	switch asking := o.Election.Holder == a.self && !o.Election.Released && !held; {
	case !asking:
		a.lapsedAt.Store(0)
	case a.lapsedAt.Load() == 0:
		a.lapsedAt.Store(int64(now()))
	}
	if held && o.Election.LeaseUntil > a.leaseNoted {
		a.leaseNoted = o.Election.LeaseUntil
		if err := a.disk.saveLease(o.Election.LeaseUntil); err != nil {
			a.log.Debug("lease not noted for the next agent", "error", err)
		}
	}
	if held != a.held {
		a.held = held
		if held {
			a.log.Info("lease held: this node is the primary", "term", o.Election.Term)
			a.events.add("lease_held", "this node is the primary")
		} else {
			a.log.Warn("lease lost", "term", o.Election.Term, "released", o.Election.Released)
			a.events.add("lease_lost", "this node is not the primary any more")
		}
	}
}

// recorder writes down what the dataset is worth, beside the rounds: a disk that is
// slow must not cost the lease.
func (a *Agent) recorder(ctx context.Context) error {
	t := newBeat(recordEvery)
	defer t.Stop()
	var synced time.Duration
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			t.again()
		}
		sync := now() >= synced+syncEvery
		if sync {
			synced = now()
		}
		a.record(sync)
	}
}

// record puts the dataset's worth on disk.
func (a *Agent) record(sync bool) {
	r, changed := a.redisW.unsavedRecord(sync)
	if !changed {
		return
	}
	if err := a.disk.saveRecord(r, sync); err != nil {
		if a.recordErr.due(err) {
			a.log.Warn("record of the dataset not saved", "error", err)
		}
		return
	}
	a.redisW.recordSaved(r, sync)
}

// failed reports an action that did not work; the same failure is a warning once
// a minute only.
func (a *Agent) failed(action reconcile.Action, err error) {
	text := action.String() + ": " + err.Error()
	if text == a.lastFailure && now() < a.lastFailureAt+time.Minute {
		a.log.Debug("action did not work", "action", action.String(), "error", err)
		return
	}
	a.lastFailure, a.lastFailureAt = text, now()
	a.log.Warn("action did not work; it is tried again as long as it is needed", "action", action.String(), "error", err)
}
