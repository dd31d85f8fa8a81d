package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// callbacks is what memberlist calls. Most of it runs while memberlist holds the lock of its node
// list: nothing here may block, log directly, or call memberlist, whose Members would wait for that
// lock for ever.
type callbacks struct{ g *Gossip }

var (
	_ memberlist.Delegate         = callbacks{}
	_ memberlist.EventDelegate    = callbacks{}
	_ memberlist.PingDelegate     = callbacks{}
	_ memberlist.AliveDelegate    = callbacks{}
	_ memberlist.MergeDelegate    = callbacks{}
	_ memberlist.ConflictDelegate = callbacks{}
)

// NodeMeta returns what encode has made, which is never too long.
func (c callbacks) NodeMeta(int) []byte { return *c.g.encoded.Load() }

// NotifyMsg takes a message. The bytes are memberlist's, so they are copied.
func (c callbacks) NotifyMsg(buf []byte) {
	if len(buf) == 0 {
		return
	}
	g, now, body := c.g, time.Now(), buf[1:]
	switch kind(buf[0]) {
	case kindPayload:
		m := Message{Payload: append([]byte(nil), body...), At: now}
		if lost, overflow := g.inbox.put(m); overflow {
			g.journal.complain("overflow", slog.LevelWarn, "messages dropped: nobody reads them", "total", lost)
		}
	case kindLeaving:
		g.roster.leaves(string(body), now)
		g.remember()
	case kindAsk:
		g.claims.onAsk(body)
	case kindAnswer:
		g.claims.onAnswer(body)
	}
}

func (callbacks) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState and MergeRemoteState carry what the agents tell one another when two nodes meet.
func (c callbacks) LocalState(bool) []byte {
	if c.g.cfg.State == nil {
		return nil
	}
	return c.g.cfg.State()
}

// MergeRemoteState: an agent of an earlier build tells nothing.
func (c callbacks) MergeRemoteState(state []byte, _ bool) {
	if c.g.cfg.Learn != nil && len(state) > 0 {
		c.g.cfg.Learn(state)
	}
}

// NotifyAlive is asked before memberlist believes in a node's being alive.
func (c callbacks) NotifyAlive(n *memberlist.Node) error {
	if n.Name == c.g.cfg.ID {
		return nil // this node, or one that claims its id: NotifyConflict's concern
	}
	err := c.g.vet(n)
	if err != nil {
		c.g.roster.refuse(n.Name)
	}
	return err
}

// NotifyMerge is asked when two nodes exchange all they know. The exchange is refused if nobody on
// the other side is acceptable; of a mixed crowd, NotifyAlive picks those that are.
func (c callbacks) NotifyMerge(nodes []*memberlist.Node) error {
	var refusal error
	accepted := false
	for _, n := range nodes {
		up := n.State == memberlist.StateAlive || n.State == memberlist.StateSuspect
		switch {
		case n.Name == c.g.cfg.ID:
			c.g.judged(n)
		case !up: // hearsay of the gone
		default:
			if err := c.g.vet(n); err != nil {
				refusal = err
			} else {
				accepted = true
			}
		}
	}
	if accepted {
		return nil
	}
	return refusal
}

// NotifyJoin tells of a node that is alive and was not, as far as known.
func (c callbacks) NotifyJoin(n *memberlist.Node) {
	g := c.g
	if n.Name == g.cfg.ID {
		return
	}
	m, addr, err := identify(n)
	if err != nil {
		return // NotifyAlive has refused it already
	}
	news, old := g.roster.joined(m, addr, time.Now())
	g.strangers.joined(addr)
	g.remember()
	if !news {
		return
	}
	args := []any{"id", m.ID, "name", m.Name, "addr", addr}
	if old.IsValid() {
		args = append(args, "was", old)
	}
	g.journal.note(slog.LevelInfo, "member joined", args...)
	g.rejoiner.hurry()
}

// NotifyLeave tells of a node that is gone; whether it left or died is not memberlist's to say.
func (c callbacks) NotifyLeave(n *memberlist.Node) {
	g := c.g
	state := g.roster.gone(n.Name, time.Now())
	if n.Name == g.cfg.ID {
		return
	}
	g.remember()
	level := slog.LevelInfo
	if state == Dead {
		level = slog.LevelWarn
		g.rejoiner.hurry()
	}
	g.journal.note(level, "member "+state.String(), "id", n.Name, "addr", n.Address())
}

// NotifyUpdate tells of a node's new metadata.
func (c callbacks) NotifyUpdate(n *memberlist.Node) {
	if n.Name == c.g.cfg.ID {
		return
	}
	if m, _, err := identify(n); err == nil {
		c.g.roster.updated(m)
	}
}

// NotifyConflict tells of a node that claims the name of another.
func (c callbacks) NotifyConflict(held, other *memberlist.Node) {
	a, ok := nodeAddr(held)
	b, good := nodeAddr(other)
	if !ok || !good {
		return
	}
	if held.Name == c.g.cfg.ID {
		// Either a clone of this node, or others still remember where it was before: in both cases
		// they must hear from it until that is settled.
		c.g.rejoiner.misjudged(time.Now())
	}
	c.g.claims.dispute(held.Name, a, b)
}

func (callbacks) AckPayload() []byte { return nil }

// NotifyPingComplete tells of an answered probe.
func (c callbacks) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	c.g.roster.answered(n.Name, time.Now())
}

var errAsks = errors.New("it only asks, and is no member")

// vet decides whether a node may be a member.
func (g *Gossip) vet(n *memberlist.Node) error {
	if strings.HasPrefix(n.Name, AskerPrefix) {
		return errAsks
	}
	m, addr, err := identify(n)
	if err == nil {
		err = g.accept(m)
	}
	if err != nil {
		g.refused(n.Name, m, addr, err)
	}
	return err
}

func (g *Gossip) accept(m Meta) error {
	if g.cfg.Accept == nil {
		return nil
	}
	return g.cfg.Accept(m)
}

func (g *Gossip) refused(id string, m Meta, addr netip.AddrPort, why error) {
	g.strangers.met(Stranger{Addr: addr.Addr(), Port: addr.Port(), Kind: Foreign, Meta: m, Reason: why.Error()}, time.Now())
	g.journal.complain("refused "+id, slog.LevelWarn, "node refused", "id", id, "addr", addr, "reason", why)
}

// judged compares what another node believes of this one with the truth.
func (g *Gossip) judged(n *memberlist.Node) {
	if addr, ok := nodeAddr(n); n.State != memberlist.StateAlive || !ok || addr != g.cfg.Advertise {
		g.rejoiner.misjudged(time.Now())
	}
}

// identify returns what a node says about itself, checked.
func identify(n *memberlist.Node) (Meta, netip.AddrPort, error) {
	addr, ok := nodeAddr(n)
	if !ok {
		return Meta{}, addr, errors.New("it advertises no address")
	}
	if err := checkReachable(addr); err != nil {
		return Meta{}, addr, fmt.Errorf("it advertises %s: %w", addr, err)
	}
	m, err := decodeMeta(n.Meta)
	if err != nil {
		return Meta{}, addr, err
	}
	if m.ID != n.Name {
		return Meta{}, addr, fmt.Errorf("its metadata is of node %q", m.ID)
	}
	return m, addr, nil
}

func nodeAddr(n *memberlist.Node) (netip.AddrPort, bool) {
	ip, ok := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(ip.Unmap(), n.Port), ok
}
