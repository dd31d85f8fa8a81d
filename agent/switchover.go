package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
)

const (
	// handOverWithin bounds a handover that an operator asked for.
	handOverWithin = 10 * time.Second
	// takeOverWithin is how long the successor is watched once the lease is free: three candidates
	// in a row would have had their turn.
	takeOverWithin = 5 * time.Second
	// settleWithin bounds the wait for what follows when writes are accepted already: the VIP, and
	// the old primary's link to the new one.
	settleWithin = 5 * time.Second
	// linkWithin is how long a target may need for its link to the primary.
	linkWithin = time.Second
	// pollAcceptingEvery is how often the new primary is asked, and so how much later than it came
	// about the end of the write downtime is seen.
	pollAcceptingEvery = time.Millisecond
)

// SwitchoverRequest asks for the primary to move; To is a node's name or ID, empty for the standing
// successor. By is the node on which it was asked for, ID the number that this node gave to the
// request.
type SwitchoverRequest struct {
	ID      string        `json:"id,omitempty"`
	To      string        `json:"to"`
	By      string        `json:"by,omitempty"`
	Timeout time.Duration `json:"timeout"`
	// AllowVersionSkew: also to a node that older replicas may not be able to follow.
	AllowVersionSkew bool `json:"allow_version_skew,omitempty"`
}

// Moved is what a switchover came to.
type Moved struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Error says why it did not work, and what state that left; empty: it did.
	Error string `json:"error,omitempty"`
	// TookMS is from the request to the first write that the new primary would accept.
	TookMS float64 `json:"took_ms"`
	// DowntimeMS is how long no write was accepted, at most: from the order that stopped them to
	// the moment in which the new primary was seen to accept them, both on the clock of the old
	// primary's host. Null: it was not measured.
	DowntimeMS *float64 `json:"write_downtime_ms"`
	// Lost is 0 when the new primary was seen to have gone on from the offset at which writes were
	// stopped, or a later one of the same history. Null: that could not be seen, and Unverified
	// says why.
	Lost       *int   `json:"lost"`
	Unverified string `json:"unverified,omitempty"`
	// FencedAt is the offset at which writes were stopped, PromotedFrom the one from which the new
	// primary went on.
	FencedAt     int64 `json:"fenced_at,omitempty"`
	PromotedFrom int64 `json:"promoted_from,omitempty"`
	// Note is what else is to be known of a switchover that went through.
	Note  string `json:"note,omitempty"`
	Steps []Step `json:"steps"`
}

// coordinator carries switchovers through, on the node whose primary moves; asked on another node,
// it has that one do it, and tells how it goes.
type coordinator struct {
	*site
	driver   *driver
	talk     *talk
	requests *requests
	vips     *vipSet
	server   *redis.Server
	todo     chan *request
}

// startMove checks whether this node's primary can move, and begins to move it. progressOf tells of
// it then.
func (c *coordinator) startMove(ctx context.Context, req SwitchoverRequest) error {
	if err := c.requests.busy(); err != nil {
		return err
	}
	if req.Timeout <= 0 {
		req.Timeout = handOverWithin
	}
	var target reconcile.Member
	var note string
	var behind int64
	if err := whenLinked(ctx, func(ctx context.Context) (err error) {
		o := c.driver.observe()
		if target, err = node.CheckSwitchover(o, req.To); err == nil {
			note, err = c.checkVersions(o, target, req.AllowVersionSkew)
		}
		if err == nil {
			behind, err = c.behind(ctx, target)
		}
		return err
	}); err != nil {
		return err
	}
	r := newRequest(req.ID, target.ID, target.Name, req.By, req.Timeout)
	if err := c.requests.make(r); err != nil {
		return err
	}
	answering, voters := c.answering()
	r.step("checked", "checked: %s is in sync (%d bytes behind), %d of %d voters answer%s", target.Name, behind, answering, voters, note)
	c.todo <- r // never blocks: there is one request at a time
	return nil
}

// whenLinked does a check, and again for as long as a link that it needs may be about to be made,
// as after another switchover.
func whenLinked(ctx context.Context, check func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, linkWithin)
	defer cancel()
	until(ctx, func() bool {
		err = check(ctx)
		return !errors.Is(err, node.ErrNotLinked)
	})
	return err
}

// behind asks the target how many bytes it lacks, and refuses one that lacks too many to have them
// in the time for which writes may wait.
func (c *coordinator) behind(parent context.Context, m reconcile.Member) (int64, error) {
	ctx, cancel := context.WithTimeout(parent, node.ActTimeout)
	defer cancel()
	own, err := c.server.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask how far %s is behind: %w", m.Name, err)
	}
	s, err := c.serverOf(m)
	if err != nil {
		return 0, fmt.Errorf("ask how far %s is behind: %w", m.Name, err)
	}
	defer s.Close()
	info, err := s.Info(ctx)
	switch {
	case err != nil:
		return 0, fmt.Errorf("ask how far %s is behind: %w", m.Name, err)
	case info.Role != redis.Replica || info.PrimaryAddr != c.redisAddr || !info.LinkUp:
		return 0, fmt.Errorf("%s %w: see `redisd status` and `journalctl -u redisd` on %s", m.Name, node.ErrNotLinked, m.Name)
	}
	behind := max(0, own.Offset-info.Offset)
	return behind, node.CheckBehind(m.Name, behind)
}

// answering is how many voters answer the renewals of this node, itself included.
func (c *coordinator) answering() (n, voters int) {
	v := c.driver.view()
	n = 1
	for _, id := range v.Answered {
		if v.Roster.Has(id) && string(id) != c.self {
			n++
		}
	}
	return n, len(v.Roster.Voters)
}

// run carries the requests through, beside the rounds that do the work.
func (c *coordinator) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-c.todo:
			m, err := c.carryThrough(ctx, r)
			if err != nil {
				c.log.Warn("switchover failed", "to", r.name, "error", err)
				c.events.add("switchover", "to "+r.name+" failed: "+err.Error())
			}
			r.finish(m, err)
		}
	}
}

// carryThrough has the rounds hand over, and watches the successor take over.
func (c *coordinator) carryThrough(ctx context.Context, r *request) (Moved, error) {
	m := Moved{From: c.name()}
	c.driver.step(node.RequestSwitchover{ID: r.id, To: r.to})
	if err := c.awaitHandover(ctx, r); err != nil {
		return m, err
	}
	p, err := c.awaitAccepting(ctx, r)
	if err != nil {
		m.Unverified = "no other node took over"
		return m, err
	}
	defer p.server.Close()
	took, fence := now(), r.fence()
	m.To, m.TookMS = c.nameOf(p.id), millis(took-r.asked)
	downtime := millis(took - fence.Since)
	m.DowntimeMS = &downtime
	r.step("promoted", "%s promoted, writes accepted", m.To)
	m.verify(ctx, p.server, fence)
	c.settle(ctx, r, p)
	if c.overtaken(p) {
		return m, fmt.Errorf("%s took over and was lost again; %s", m.To, c.whereWritesGo(ctx))
	}
	if p.id != r.to {
		return m, fmt.Errorf("%s did not take over; %s did, and accepts writes; %s", r.name, m.To, m.losses())
	}
	return m, nil
}

// awaitHandover waits until a round has handed over. What has not begun when the time is over is
// cancelled; what has begun ends soon, and how is told truly.
func (c *coordinator) awaitHandover(ctx context.Context, r *request) error {
	limit := time.NewTimer(r.timeout)
	defer limit.Stop()
	t := time.NewTicker(node.TickEvery)
	defer t.Stop()
	cancel := (<-chan struct{})(r.cancel)
	for {
		why := ""
		select {
		case <-ctx.Done():
			return errors.New("the agent of the primary ends; see `redisd status`")
		case e := <-r.handed:
			return c.handed(ctx, r, e)
		case <-limit.C:
			why = fmt.Sprintf("it did not begin within %v (%s)", r.timeout, c.whyWaiting(r))
		case <-cancel:
			why, cancel = "interrupted", nil
		case <-t.C:
			if c.driver.view().Lease {
				continue
			}
			why = "this node is not the primary any more"
		}
		if c.driver.cancelSwitchover(r.id) {
			return fmt.Errorf("the switchover to %s was cancelled before anything was done: %s; %s", r.name, why, c.whereWritesGo(ctx))
		}
	}
}

// handed says how a handover went.
func (c *coordinator) handed(ctx context.Context, r *request, e node.HandoverEnded) error {
	if e.Err == nil {
		return nil
	}
	where := c.whereWritesGo(ctx)
	switch {
	case !e.Stopped:
		return fmt.Errorf("%w; nothing was done, and %s", e.Err, where)
	case e.Drained:
		// Only the release did not get to the disk; it is sent as soon as it does.
		return fmt.Errorf("%w; %s", e.Err, where)
	}
	r.step("undone", "undone: %s", where)
	return fmt.Errorf("%w; this was undone, and %s", e.Err, where)
}

// whyWaiting says what keeps a handover from beginning.
func (c *coordinator) whyWaiting(r *request) string {
	if _, err := node.CheckSwitchover(c.driver.observe(), r.to); err != nil {
		return err.Error()
	}
	return "nothing is known to stand in its way: give it more time, or see `journalctl -u redisd`"
}

// newPrimary is a node that accepts writes.
type newPrimary struct {
	id     string
	server *redis.Server
}

// awaitAccepting waits, after the lease was given back, until a node accepts writes: its
// redis-server says that it is a primary without a fence.
func (c *coordinator) awaitAccepting(ctx context.Context, r *request) (newPrimary, error) {
	ctx, cancel := context.WithTimeout(ctx, takeOverWithin)
	defer cancel()
	t := time.NewTicker(pollAcceptingEvery)
	defer t.Stop()
	var at newPrimary
	for {
		id, addr := c.successor(r)
		if at.server == nil || id != at.id || at.server.Addr() != addr {
			at.close()
			at = newPrimary{id: id, server: redis.NewServer(addr, c.agentCredentials())}
		}
		if accepts(ctx, at.server) {
			return at, nil
		}
		if c.driver.view().Lease {
			at.close()
			r.step("undone", "lease taken back by %s: %s", c.name(), c.whereWritesGo(ctx))
			return newPrimary{}, fmt.Errorf("%s did not take over when the lease was released; %s", r.name, c.whereWritesGo(ctx))
		}
		select {
		case <-ctx.Done():
			at.close()
			return newPrimary{}, fmt.Errorf("the lease was released with nothing lost, and nobody has taken it within %v: no writes are accepted now; see `redisd status`", takeOverWithin)
		case <-t.C:
		}
	}
}

func (p newPrimary) close() {
	if p.server != nil {
		p.server.Close()
	}
}

// successor is who is to accept writes next: the node asked for, or another one that has come
// before it.
func (c *coordinator) successor(r *request) (string, netip.AddrPort) {
	v := c.driver.view()
	if addr, err := netip.ParseAddrPort(v.Primary); err == nil && string(v.Holder) != c.self && !v.Released {
		return string(v.Holder), addr
	}
	for _, m := range c.members().List {
		if addr, err := netip.ParseAddrPort(m.Redis); err == nil && m.ID == r.to {
			return m.ID, addr
		}
	}
	return r.to, netip.AddrPort{}
}

// accepts: the server is a primary that its agent lets accept writes.
func accepts(ctx context.Context, s *redis.Server) bool {
	ctx, cancel := context.WithTimeout(ctx, node.ActTimeout)
	defer cancel()
	if r, err := s.Role(ctx); err != nil || r.Role != redis.Primary {
		return false
	}
	set, err := s.Settings(ctx)
	return err == nil && set.MinReplicas != redis.Fence
}

// verify looks whether the new primary went on from where writes were stopped: its redis-server
// says from which history, and from which offset of it.
func (m *Moved) verify(ctx context.Context, s *redis.Server, fence fencePoint) {
	m.FencedAt = fence.Offset
	ctx, cancel := context.WithTimeout(ctx, node.ActTimeout)
	defer cancel()
	info, err := s.Info(ctx)
	switch {
	case err != nil:
		m.Unverified = err.Error()
	case fence.ReplID == "":
		m.Unverified = "the offset at which writes stopped is not known"
	case info.ReplID2 != fence.ReplID:
		m.Unverified = "the history of the new primary has changed again since"
	default:
		m.PromotedFrom = info.SecondOffset - 1 // the first offset that is its own
		if m.PromotedFrom < fence.Offset {
			m.Unverified = fmt.Sprintf("%d bytes of the history are missing on the new primary", fence.Offset-m.PromotedFrom)
			return
		}
		none := 0
		m.Lost, m.Unverified = &none, ""
	}
}

// overtaken: somebody else has the lease by now.
func (c *coordinator) overtaken(p newPrimary) bool {
	v := c.driver.view()
	return v.Lease || string(v.Holder) != c.self && string(v.Holder) != p.id && string(v.Holder) != ""
}

// losses says in words what verify saw.
func (m *Moved) losses() string {
	if m.Lost == nil {
		return "whether a write was lost could not be verified: " + m.Unverified
	}
	return "no write was lost (verified)"
}

// settle tells what follows once writes are accepted again, as long as the primary does not move
// on.
func (c *coordinator) settle(ctx context.Context, r *request, t newPrimary) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	name, own := c.nameOf(t.id), c.name()
	for _, address := range c.vips.ofPrimary() {
		held := false
		until(ctx, func() bool {
			held = c.holdsVIP(ctx, t.id, address)
			return held || c.overtaken(t)
		})
		switch {
		case held:
			r.step("vip_held", "VIP %s held by %s", address, name)
		case c.overtaken(t):
			return
		default:
			r.step("vip_held", "VIP %s is not held by %s after %v: see `redisd status`", address, name, settleWithin)
		}
	}
	follows := false
	until(ctx, func() bool {
		short, cancel := context.WithTimeout(ctx, node.ActTimeout)
		defer cancel()
		r, err := c.server.Role(short)
		follows = err == nil && r.Role == redis.Replica && r.LinkUp && r.PrimaryAddr == t.server.Addr()
		return follows || c.overtaken(t)
	})
	switch {
	case follows:
		r.step("follows", "%s follows %s", own, name)
	case !c.overtaken(t):
		r.step("follows", "%s does not follow %s after %v: see `redisd status`", own, name, settleWithin)
	}
}

func (c *coordinator) holdsVIP(ctx context.Context, id, address string) bool {
	addr, ok := c.talk.address(id)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var n NodeStatus
	if err := c.talk.ask(ctx, addr, opStatus, nil, &n); err != nil {
		return false
	}
	for _, held := range n.VIPs {
		if held == address {
			return true
		}
	}
	return false
}

// until repeats the question until the answer is yes, and reports whether it was.
func until(ctx context.Context, done func() bool) bool {
	t := time.NewTicker(5 * pollAcceptingEvery)
	defer t.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	return true
}

// whereWritesGo says what became of the writes after a switchover that did not work, once that is
// clear.
func (c *coordinator) whereWritesGo(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	text := ""
	done := until(ctx, func() bool {
		v := c.driver.view()
		switch r := c.driver.observe().Redis; {
		case v.Lease && r.Known && r.Role == reconcile.Primary && r.MinReplicas != reconcile.Fence && r.MinReplicas != reconcile.Unknown:
			text = "writes go on at " + c.name()
		case !v.Lease && c.driver.primaryAddr() != "":
			text = "the primary is " + c.nameOf(string(v.Holder))
		}
		return text != ""
	})
	if !done {
		return "no writes are accepted at the moment: see `redisd status`"
	}
	return text
}

// PrimaryAddress is where the primary is now, as far as this node knows.
func (d *driver) PrimaryAddress() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddrPort(d.primaryAddr())
	return addr, err == nil
}
