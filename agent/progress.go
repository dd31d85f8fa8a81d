package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/redis"
)

const (
	// newsWithin is how long a question for progress waits for some.
	newsWithin = 200 * time.Millisecond
	// silentFor is how long the primary's agent may not answer: the watchdog replaces one that
	// hangs after 2 s, and its next one knows nothing of the switchover.
	silentFor = 4 * time.Second
	// clearWithin is how long it may take then until it is clear who accepts writes: the longest
	// failover, that from an agent that is gone for good, takes 8 s.
	clearWithin = 12 * time.Second
)

// progressQuery asks for the steps of a switchover after the first Seen. Cancel asks for it to be
// taken back if it has not begun.
type progressQuery struct {
	ID     string `json:"id"`
	Seen   int    `json:"seen"`
	Cancel bool   `json:"cancel,omitempty"`
}

// progress is the answer. Known is false when the agent was replaced meanwhile.
type progress struct {
	Known    bool       `json:"known"`
	Steps    []Step     `json:"steps,omitempty"`
	Fenced   fencePoint `json:"fenced"`
	Finished bool       `json:"finished,omitempty"`
	Problem  string     `json:"problem,omitempty"`
	Result   *Moved     `json:"result,omitempty"`
}

// progressOf tells how a switchover goes, as soon as there is something to tell.
func (c *coordinator) progressOf(ctx context.Context, q progressQuery) (progress, error) {
	r := c.requests.find(q.ID)
	switch {
	case r == nil && q.Cancel:
		c.requests.refuse(q.ID)
		fallthrough
	case r == nil:
		return progress{}, nil
	}
	if q.Cancel {
		r.takeBack()
	}
	t := time.NewTimer(newsWithin)
	defer t.Stop()
	for {
		p, more := r.progress(q.Seen)
		if p.Finished || len(p.Steps) > 0 {
			return p, nil
		}
		select {
		case <-more:
		case <-t.C:
			return p, nil
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
}

// Switchover has the primary's agent move the primary, and tells every step as it passes.
func (c *coordinator) Switchover(ctx context.Context, req SwitchoverRequest, say func(Step)) (Moved, error) {
	req.ID, req.By = randomID(8), c.name()
	v := c.driver.view()
	if v.Lease || string(v.Holder) == c.self && !v.Released {
		if err := c.startMove(ctx, req); err != nil {
			return Moved{}, err
		}
		f := follower{c: c, say: say, from: req.By, to: req.To, id: req.ID, ask: c.progressOf}
		return f.follow(ctx)
	}
	if err := c.noPrimary(v); err != nil {
		return Moved{}, err
	}
	addr, ok := c.talk.address(string(v.Holder))
	if !ok {
		return Moved{}, errNoPrimary
	}
	from := c.nameOf(string(v.Holder))
	f := follower{c: c, say: say, from: from, to: req.To, id: req.ID, ask: func(ctx context.Context, q progressQuery) (p progress, err error) {
		err = c.talk.ask(ctx, addr, opMoved, q, &p)
		return p, err
	}}
	short, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var begun bool
	err := c.talk.ask(short, addr, opMove, req, &begun)
	if err != nil && short.Err() != nil {
		err = f.unanswered(ctx)
	}
	if err != nil {
		return Moved{}, err
	}
	return f.follow(ctx)
}

// unanswered finds out whether a request that was not answered has begun: it is cancelled, also if
// it comes in later.
func (f *follower) unanswered(ctx context.Context) error {
	switch p, err := f.poll(ctx, true); {
	case err != nil:
		return fmt.Errorf("the agent of %s, the primary, does not answer: see `systemctl status redisd` there, and `redisd status` before you try again", f.from)
	case !p.Known:
		return fmt.Errorf("the agent of %s, the primary, did not answer in time: nothing was begun", f.from)
	}
	return nil
}

var errNoPrimary = errors.New("there is no primary to move; see `redisd status`")

// noPrimary says why there is none whom this node could ask.
func (c *coordinator) noPrimary(v election.View) error {
	if v.ClusterID == "" || v.Holder == "" {
		return errNoPrimary
	}
	silent := now() - v.HeardAt
	if !v.Released && v.EverHeard && silent < election.Lapse {
		return nil
	}
	here := 0
	for _, m := range c.members().List {
		if m.Alive && v.Roster.Has(election.NodeID(m.ID)) {
			here++
		}
	}
	if n := v.Roster.Majority(); here < n {
		return fmt.Errorf("there is no primary to move: %d of %d voters are here, and a primary needs %d; `redisd members` lists those to start", here, len(v.Roster.Voters), n)
	}
	why := c.nameOf(string(v.Holder)) + " has given the lease back"
	if !v.Released {
		why = c.nameOf(string(v.Holder)) + " is silent"
	}
	return fmt.Errorf("there is no primary to move: a failover is under way (%s); try again when `redisd status` shows a primary", why)
}

// follower passes on how a switchover goes on the primary's node.
type follower struct {
	c    *coordinator
	ask  func(context.Context, progressQuery) (progress, error)
	say  func(Step)
	from string
	to   string // a name or an ID; empty: anybody
	id   string

	steps []Step
	last  progress
}

func (f *follower) follow(ctx context.Context) (Moved, error) {
	heard := now()
	for {
		p, err := f.poll(ctx, false)
		switch {
		case ctx.Err() != nil:
			// Whoever asked is gone. What has not begun is not to begin any more.
			short, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
			defer cancel()
			_, _ = f.poll(short, true)
			return Moved{}, ctx.Err()
		case err == nil && !p.Known, err != nil && now() > heard+silentFor:
			return f.afterSilence(ctx, err == nil)
		case err != nil:
			select {
			case <-ctx.Done():
			case <-time.After(newsWithin):
			}
			continue
		}
		heard = now()
		if p.Finished && p.Result != nil {
			if p.Problem != "" {
				return *p.Result, errors.New(p.Problem)
			}
			return *p.Result, nil
		}
	}
}

// poll asks for news once, and tells it.
func (f *follower) poll(parent context.Context, cancelIt bool) (progress, error) {
	ctx, cancel := context.WithTimeout(parent, statusTimeout)
	defer cancel()
	p, err := f.ask(ctx, progressQuery{ID: f.id, Seen: len(f.steps), Cancel: cancelIt})
	if err != nil || !p.Known {
		return p, err
	}
	f.last = p
	f.steps = append(f.steps, p.Steps...)
	for _, s := range p.Steps {
		f.say(s)
	}
	return p, nil
}

// afterSilence says what has become of a switchover when the agent that did it is gone: whoever
// holds the lease knows.
func (f *follower) afterSilence(ctx context.Context, replaced bool) (Moved, error) {
	c, m := f.c, Moved{From: f.from, Steps: f.steps, Unverified: "the agent of " + f.from + " ended meanwhile"}
	gone := fmt.Sprintf("the agent of %s was not heard any more", f.from)
	if replaced {
		gone = fmt.Sprintf("the agent of %s ended", f.from)
	}
	if n := len(f.steps); n > 0 {
		gone += fmt.Sprintf(" after the step %q", f.steps[n-1].Text)
	}
	addr, clear := f.whoAccepts(ctx)
	if !clear {
		return m, fmt.Errorf("%s, and nobody accepts writes %v later: see `redisd status`", gone, clearWithin)
	}
	m.To = c.nameOf(string(c.driver.view().Holder))
	if m.To == f.from {
		return m, fmt.Errorf("%s; the primary did not move, and writes go on at %s", gone, f.from)
	}
	s := redis.NewServer(addr, c.agentCredentials())
	defer s.Close()
	m.verify(ctx, s, f.last.Fenced)
	if m.Lost == nil {
		return m, fmt.Errorf("%s; the primary is %s now, and whether it has every write could not be verified: %s", gone, m.To, m.Unverified)
	}
	m.Note = gone
	if f.to != "" && m.To != f.to && string(c.driver.view().Holder) != f.to {
		return m, fmt.Errorf("%s; the primary is %s now, not %s; %s", gone, m.To, f.to, m.losses())
	}
	return m, nil
}

// whoAccepts waits for a primary whose redis-server accepts writes.
func (f *follower) whoAccepts(ctx context.Context) (addr netip.AddrPort, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, clearWithin)
	defer cancel()
	ok = until(ctx, func() bool {
		var known bool
		if addr, known = f.c.driver.PrimaryAddress(); !known {
			return false
		}
		s := redis.NewServer(addr, f.c.agentCredentials())
		defer s.Close()
		return accepts(ctx, s)
	})
	return addr, ok
}
