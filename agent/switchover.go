package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/redisd/redisd/election"
)

type (
	voter  = election.Voter
	nodeID = election.NodeID
)

// SwitchoverRequest asks for the primary to move; To is a node's name or ID,
// empty for the standing successor.
type SwitchoverRequest struct {
	To      string        `json:"to"`
	Timeout time.Duration `json:"timeout"`
}

// SwitchoverResult says how it went.
type SwitchoverResult struct {
	From string        `json:"from"`
	To   string        `json:"to"`
	Took time.Duration `json:"took"`
}

// Switchover has the holder move the primary.
func (a *Agent) Switchover(ctx context.Context, req SwitchoverRequest) (SwitchoverResult, error) {
	v := a.ballot.view()
	if v.Lease {
		return a.switchoverHere(ctx, req)
	}
	var res SwitchoverResult
	addr, ok := a.address(string(v.Holder))
	if v.Holder == "" || v.Released || !ok || string(v.Holder) == a.self {
		return res, errors.New("there is no primary to move; see `redisd status`")
	}
	err := a.ask(ctx, addr, opSwitchover, req, &res)
	return res, err
}

// switchoverHere moves the primary away from this node.
func (a *Agent) switchoverHere(ctx context.Context, req SwitchoverRequest) (SwitchoverResult, error) {
	if req.Timeout <= 0 {
		req.Timeout = handOverWithin
	}
	ctx, cancel := context.WithTimeout(ctx, req.Timeout)
	defer cancel()
	res := SwitchoverResult{From: a.cfg.Load().Node.Name}
	to, err := a.checkTarget(req.To)
	if err != nil {
		return res, err
	}
	began := now()
	done, err := a.wish.make(to)
	if err != nil {
		return res, err
	}
	defer a.wish.cancel()
	a.wake()
	select {
	case err := <-done:
		if err != nil {
			return res, fmt.Errorf("%w; %s", err, a.whereWritesGo())
		}
	case <-ctx.Done():
		return res, errors.New("no handover came about in time; " + a.whereWritesGo())
	}
	return a.awaitHolder(ctx, res, began)
}

// whereWritesGo says what became of the writes after a handover that did not work.
func (a *Agent) whereWritesGo() string {
	if a.ballot.view().Lease {
		return "writes go on here"
	}
	return "see `redisd status`"
}

// awaitHolder waits for somebody to hold the lease again.
func (a *Agent) awaitHolder(ctx context.Context, res SwitchoverResult, began time.Duration) (SwitchoverResult, error) {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for {
		v := a.ballot.view()
		if v.Lease {
			return res, errors.New("the successor did not take over; this node is the primary again")
		}
		if v.Holder != nodeID(a.self) && !v.Released && v.EverHeard && v.Primary != "" {
			res.To, res.Took = a.nameOf(string(v.Holder)), now()-began
			return res, nil
		}
		select {
		case <-ctx.Done():
			return res, errors.New("the lease was given back, and nobody has taken it yet; see `redisd status`")
		case <-t.C:
		}
	}
}

// checkTarget says why the primary cannot move, before anything is done.
func (a *Agent) checkTarget(name string) (id string, err error) {
	v := a.ballot.view()
	switch {
	case !v.Lease:
		return "", errors.New("this node is not the primary")
	case a.paused.Load():
		return "", errPaused
	}
	if name == "" && len(v.Successors) > 0 {
		return "", nil
	}
	if name == "" {
		return "", errors.New("no replica is in sync, so nobody can take over without losing data; see `redisd status`")
	}
	var names []string
	for _, m := range a.gossip.Members() {
		names = append(names, m.Name)
		if m.ID != name && m.Name != name {
			continue
		}
		switch {
		case m.ID == a.self:
			return "", fmt.Errorf("%s is the primary already", name)
		case !slices.Contains(v.Successors, nodeID(m.ID)):
			return "", fmt.Errorf("%s is not in sync with the primary, or may not become one; see `redisd status`", name)
		}
		return m.ID, nil
	}
	return "", fmt.Errorf("there is no node %q; there are: %s", name, strings.Join(names, ", "))
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
