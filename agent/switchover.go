package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
)

type (
	voter  = election.Voter
	nodeID = election.NodeID
)

const (
	// handOverWithin bounds a handover that a person asked for.
	handOverWithin = 10 * time.Second
	// takeOverWithin is how long the successor is watched once the lease is free: three
	// candidates in a row would have had their turn.
	takeOverWithin = 5 * time.Second
	// settleWithin bounds the wait for what follows when writes are accepted already: the
	// VIP, and the old primary's link to the new one.
	settleWithin = 5 * time.Second
	// lookEvery is how often the new primary is asked, and so how much later than it
	// came about the end of the stand-still is seen.
	lookEvery = time.Millisecond
)

// SwitchoverRequest asks for the primary to move; To is a node's name or ID,
// empty for the standing successor. By is the node on which it was asked for, ID the
// number that this node gave to the wish.
type SwitchoverRequest struct {
	ID      string        `json:"id,omitempty"`
	To      string        `json:"to"`
	By      string        `json:"by,omitempty"`
	Timeout time.Duration `json:"timeout"`
}

// Moved is what a switchover came to.
type Moved struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Error says why it did not work, and what state that left; empty: it did.
	Error string `json:"error,omitempty"`
	// TookMS is from the wish to the first write that the new primary would accept.
	TookMS float64 `json:"took_ms"`
	// StandstillMS is how long writes stood still at most: from the order that stopped
	// them to the moment in which the new primary was seen to accept them, both on the
	// clock of the old primary's host. Null: it was not measured.
	StandstillMS *float64 `json:"standstill_ms"`
	// Lost is 0 when the new primary was seen to have gone on from the offset at which
	// writes were stopped, or a later one of the same history. Null: that could not be
	// seen, and Unverified says why.
	Lost       *int   `json:"lost"`
	Unverified string `json:"unverified,omitempty"`
	// FencedAt is the offset at which writes were stopped, PromotedFrom the one from
	// which the new primary went on.
	FencedAt     int64 `json:"fenced_at,omitempty"`
	PromotedFrom int64 `json:"promoted_from,omitempty"`
	// Note is what else is to be known of a switchover that went through.
	Note  string `json:"note,omitempty"`
	Steps []Step `json:"steps"`
}

// startMove checks whether this node's primary can move, and begins to move it.
// progressOf tells of it then.
func (a *Agent) startMove(ctx context.Context, req SwitchoverRequest) error {
	if err := a.wishes.busy(); err != nil {
		return err
	}
	if req.Timeout <= 0 {
		req.Timeout = handOverWithin
	}
	target, err := whyNot(a.observe(), req.To)
	if err != nil {
		return err
	}
	behind, err := a.behind(ctx, target)
	if err != nil {
		return err
	}
	w := newWish(req.ID, target.ID, target.Name, req.By, req.Timeout)
	if err := a.wishes.make(w); err != nil {
		return err
	}
	answering, voters := a.answering()
	w.step("checked", "checked: %s is in sync (%d bytes behind), %d of %d voters answer", target.Name, behind, answering, voters)
	a.conduct <- w // never blocks: there is one wish at a time
	return nil
}

// conductor carries the wishes through, beside the rounds that do the work.
func (a *Agent) conductor(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case w := <-a.conduct:
			m, err := a.carryThrough(ctx, w)
			if err != nil {
				a.log.Warn("switchover failed", "to", w.name, "error", err)
				a.events.add("switchover", "to "+w.name+" failed: "+err.Error())
			}
			w.finish(m, err)
		}
	}
}

// carryThrough has the rounds hand over, and watches the successor take over.
func (a *Agent) carryThrough(ctx context.Context, w *wish) (Moved, error) {
	m := Moved{From: a.cfg.Load().Node.Name}
	a.wake()
	if err := a.awaitHandover(ctx, w); err != nil {
		return m, err
	}
	t, err := a.awaitAccepting(ctx, w)
	if err != nil {
		m.Unverified = "no other node took over"
		return m, err
	}
	defer t.server.Close()
	took, fence := now(), w.fence()
	m.To, m.TookMS = a.nameOf(t.id), millis(took-w.asked)
	still := millis(took - fence.Since)
	m.StandstillMS = &still
	w.step("promoted", "%s promoted, writes accepted", m.To)
	m.verify(ctx, t.server, fence)
	a.settle(ctx, w, t)
	if a.overtaken(t) {
		return m, fmt.Errorf("%s took over and was lost again; %s", m.To, a.whereWritesGo(ctx))
	}
	if t.id != w.to {
		return m, fmt.Errorf("%s did not take over; %s did, and accepts writes; %s", w.name, m.To, m.losses())
	}
	return m, nil
}

// awaitHandover waits until a round has handed over. What has not begun when the time
// is over is taken back; what has begun ends soon, and how is told truly.
func (a *Agent) awaitHandover(ctx context.Context, w *wish) error {
	limit := time.NewTimer(w.timeout)
	defer limit.Stop()
	t := time.NewTicker(tick)
	defer t.Stop()
	cancel := (<-chan struct{})(w.cancel)
	for {
		why := ""
		select {
		case <-ctx.Done():
			return errors.New("the agent of the primary ends; see `redisd status`")
		case err := <-w.handed:
			if err == nil {
				return nil
			}
			if w.fence().Since == 0 {
				return fmt.Errorf("%w; nothing was done, and %s", err, a.whereWritesGo(ctx))
			}
			where := a.whereWritesGo(ctx)
			if a.drained.Load() != nil {
				// Only the release did not get to the disk; it is sent as soon as it does.
				return fmt.Errorf("%w; %s", err, where)
			}
			w.step("undone", "undone: %s", where)
			return fmt.Errorf("%w; this was undone, and %s", err, where)
		case <-limit.C:
			why = fmt.Sprintf("it did not begin within %v (%s)", w.timeout, a.whyWaiting(w))
		case <-cancel:
			why, cancel = "interrupted", nil
		case <-t.C:
			if a.ballot.view().Lease {
				continue
			}
			why = "this node is not the primary any more"
		}
		if w.withdraw() {
			return fmt.Errorf("the switchover to %s was cancelled before anything was done: %s; %s", w.name, why, a.whereWritesGo(ctx))
		}
	}
}

// whyWaiting says what keeps a handover from beginning.
func (a *Agent) whyWaiting(w *wish) string {
	if _, err := whyNot(a.observe(), w.to); err != nil {
		return err.Error()
	}
	return "nothing is known to stand in its way: give it more time, or see `journalctl -u redisd`"
}

// taker is a node that accepts writes.
type taker struct {
	id     string
	server *redis.Server
}

// awaitAccepting waits, after the lease was given back, until a node accepts writes:
// its redis-server says that it is a primary without a fence.
func (a *Agent) awaitAccepting(ctx context.Context, w *wish) (taker, error) {
	ctx, cancel := context.WithTimeout(ctx, takeOverWithin)
	defer cancel()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	var at taker
	for {
		id, addr := a.successor(w)
		if at.server == nil || id != at.id || at.server.Addr() != addr {
			at.close()
			at = taker{id: id, server: redis.NewServer(addr, a.agentCredentials())}
		}
		if accepts(ctx, at.server) {
			return at, nil
		}
		if a.ballot.view().Lease {
			at.close()
			w.step("undone", "lease taken back by %s: %s", a.cfg.Load().Node.Name, a.whereWritesGo(ctx))
			return taker{}, fmt.Errorf("%s did not take over when the lease was released; %s", w.name, a.whereWritesGo(ctx))
		}
		select {
		case <-ctx.Done():
			at.close()
			return taker{}, fmt.Errorf("the lease was released with nothing lost, and nobody has taken it within %v: no writes are accepted now; see `redisd status`", takeOverWithin)
		case <-t.C:
		}
	}
}

func (t taker) close() {
	if t.server != nil {
		t.server.Close()
	}
}

// successor is who is to accept writes next: the node wished for, or another one that
// has come before it.
func (a *Agent) successor(w *wish) (string, netip.AddrPort) {
	v := a.ballot.view()
	if addr, err := netip.ParseAddrPort(v.Primary); err == nil && string(v.Holder) != a.self && !v.Released {
		return string(v.Holder), addr
	}
	for _, m := range a.observedMembers(a.gossip.Members()) {
		if addr, err := netip.ParseAddrPort(m.Redis); err == nil && m.ID == w.to {
			return m.ID, addr
		}
	}
	return w.to, netip.AddrPort{}
}

// accepts: the server is a primary that its agent lets accept writes.
func accepts(ctx context.Context, s *redis.Server) bool {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	if r, err := s.Role(ctx); err != nil || r.Role != redis.Primary {
		return false
	}
	set, err := s.Settings(ctx)
	return err == nil && set.MinReplicas != redis.Fence
}

// verify looks whether the new primary went on from where writes were stopped: its
// redis-server says from which history, and from which offset of it.
func (m *Moved) verify(ctx context.Context, s *redis.Server, fence fencePoint) {
	m.FencedAt = fence.Offset
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
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
func (a *Agent) overtaken(t taker) bool {
	v := a.ballot.view()
	return v.Lease || string(v.Holder) != a.self && string(v.Holder) != t.id && string(v.Holder) != ""
}

// losses says in words what verify saw.
func (m *Moved) losses() string {
	if m.Lost == nil {
		return "whether a write was lost could not be verified: " + m.Unverified
	}
	return "no write was lost (verified)"
}

// settle tells what follows once writes are accepted again, as long as the primary does
// not move on.
func (a *Agent) settle(ctx context.Context, w *wish, t taker) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	name, own := a.nameOf(t.id), a.cfg.Load().Node.Name
	for _, address := range a.primaryVIPs() {
		held := false
		until(ctx, func() bool {
			held = a.holdsVIP(ctx, t.id, address)
			return held || a.overtaken(t)
		})
		switch {
		case held:
			w.step("vip_held", "VIP %s held by %s", address, name)
		case a.overtaken(t):
			return
		default:
			w.step("vip_held", "VIP %s is not held by %s after %v: see `redisd status`", address, name, settleWithin)
		}
	}
	follows := false
	until(ctx, func() bool {
		short, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		r, err := a.redisW.server.Role(short)
		follows = err == nil && r.Role == redis.Replica && r.LinkUp && r.PrimaryAddr == t.server.Addr()
		return follows || a.overtaken(t)
	})
	switch {
	case follows:
		w.step("follows", "%s follows %s", own, name)
	case !a.overtaken(t):
		w.step("follows", "%s does not follow %s after %v: see `redisd status`", own, name, settleWithin)
	}
}

func (a *Agent) holdsVIP(ctx context.Context, id, address string) bool {
	addr, ok := a.address(id)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var n NodeStatus
	if err := a.ask(ctx, addr, opStatus, nil, &n); err != nil {
		return false
	}
	for _, held := range n.VIPs {
		if held == address {
			return true
		}
	}
	return false
}

// until repeats the look until it says yes, and reports whether it did.
func until(ctx context.Context, look func() bool) bool {
	t := time.NewTicker(5 * lookEvery)
	defer t.Stop()
	for !look() {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	return true
}

// whereWritesGo says what became of the writes after a switchover that did not work,
// once that is clear.
func (a *Agent) whereWritesGo(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	text := ""
	done := until(ctx, func() bool {
		v := a.ballot.view()
		switch r := a.redisW.observed(); {
		case v.Lease && r.Known && r.Role == reconcile.Primary && r.MinReplicas != reconcile.Fence && r.MinReplicas != reconcile.Unknown:
			text = "writes go on at " + a.cfg.Load().Node.Name
		case !v.Lease && a.primaryAddr() != "":
			text = "the primary is " + a.nameOf(string(v.Holder))
		}
		return text != ""
	})
	if !done {
		return "no writes are accepted at the moment: see `redisd status`"
	}
	return text
}

func (a *Agent) nameOf(id string) string {
	for _, m := range a.gossip.Members() {
		if m.ID == id {
			return m.Name
		}
	}
	return id
}

// PrimaryAddress is where the primary is now, as far as this node knows.
func (a *Agent) PrimaryAddress() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddrPort(a.primaryAddr())
	return addr, err == nil
}
