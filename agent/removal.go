package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

var (
	// ErrLeft ends Run when the node has left the cluster: it is to stay down until somebody starts
	// it, and is a new member then.
	ErrLeft = errors.New("this node has left the cluster")
	// ErrForgotten ends Run when the others have forgotten the node: the next agent begins anew.
	ErrForgotten = errors.New("the other members have forgotten this node: it begins anew as a new member")
)

const (
	// removeWithin bounds how long the holder may need to take a member out.
	removeWithin = 5 * time.Second
	// aliveWithin is how long a node that is to be forgotten may take to answer a connection.
	aliveWithin = 300 * time.Millisecond
)

// registrar sees to members that leave, or are forgotten. What every node knows of them is in
// package node; here it is passed on, asked for, and acted on.
type registrar struct {
	*site
	driver  *driver
	talk    *talk
	journal *journal

	stir chan struct{} // capacity 1: something was heard

	mu    sync.Mutex
	heard []node.Removal
	ends  error // why this agent is to end: ErrLeft or ErrForgotten
}

func newRegistrar(s *site, d *driver, t *talk, j *journal) *registrar {
	return &registrar{site: s, driver: d, talk: t, journal: j, stir: make(chan struct{}, 1)}
}

// removals are what one agent tells another: whose cluster it is about, and who is no member of it
// any more.
type removals struct {
	ClusterID string         `json:"cluster_id"`
	Removed   []node.Removal `json:"removed"`
}

// tell is what this node says to whomever it meets.
func (r *registrar) tell() []byte {
	list, _ := r.driver.removed()
	if len(list) == 0 {
		return nil
	}
	b, err := json.Marshal(removals{ClusterID: r.driver.clusterID(), Removed: list})
	if err != nil || len(b) > gossip.MaxReliable {
		return nil
	}
	return b
}

// hear takes note of what another node said, also before the rooms run; it never waits.
func (r *registrar) hear(text []byte) {
	var l removals
	if err := json.Unmarshal(text, &l); err != nil || l.ClusterID == "" || l.ClusterID != r.driver.clusterID() {
		return
	}
	r.mu.Lock()
	r.heard = node.JoinRemovals(r.heard, l.Removed)
	r.mu.Unlock()
	select {
	case r.stir <- struct{}{}:
	default:
	}
}

// run acts on what was heard, and on what time brings about.
func (r *registrar) run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		r.mu.Lock()
		heard := r.heard
		r.heard = nil
		r.mu.Unlock()
		if len(heard) > 0 {
			r.driver.step(node.Remove{List: heard})
		}
		r.settle()
		r.retire(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-r.stir:
		case <-t.C:
		}
	}
}

// settle has gossip forget who is no member any more and is not there, and ends this node if it is
// one of them.
func (r *registrar) settle() {
	list, saved := r.driver.removed()
	for _, x := range list {
		if x.ID == r.self {
			if saved {
				r.end(x)
			}
			continue
		}
		if m, ok := r.member(x.ID); ok && !m.State.Up() {
			_ = r.gossip.Forget(x.ID) // it may be back this very moment
		}
	}
}

// end stops this node, which is no member any more.
func (r *registrar) end(x node.Removal) {
	why := ErrForgotten
	if x.Left {
		why = ErrLeft
	}
	if !r.endWith(why) {
		return
	}
	r.journal.say(func(log *slog.Logger) { log.Warn(why.Error()) })
	r.events.add("removed", why.Error())
}

// endWith has the node stop in order, and the agent end for that reason; false: it does already.
func (r *registrar) endWith(why error) bool {
	r.mu.Lock()
	first := r.ends == nil
	if first {
		r.ends = why
	}
	r.mu.Unlock()
	if first {
		r.driver.step(node.Stop{})
	}
	return first
}

// ended is why the agent ended; nil: for no reason of these.
func (r *registrar) ended() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ends
}

// removal asks the holder of the lease to take a member out: the one with that ID, or whom Who
// names. The holder is the one to find it: who has joined lately knows nobody who was gone by then.
type removal struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Who  string `json:"who,omitempty"`
	// Left: the member asks for itself.
	Left bool `json:"left,omitempty"`
}

// Removed is what a member's going did to the majority.
type Removed struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Before Standing `json:"before"`
	After  Standing `json:"after"`
}

// Forget takes a member out that will not return; who is its name or ID.
func (r *registrar) Forget(ctx context.Context, who string) (Removed, error) {
	return r.remove(ctx, removal{Who: who})
}

// remove has the holder take a member out.
func (r *registrar) remove(ctx context.Context, req removal) (Removed, error) {
	v := r.driver.view()
	switch addr, ok := r.talk.address(string(v.Holder)); {
	case v.Lease:
		return r.removeHere(ctx, req)
	case r.driver.primaryAddr() == "" || !ok:
		return Removed{}, errors.New("there is no primary, hence no majority that could agree: bring voters back (`redisd members`); if a majority of them is gone for good, `redisd failover --allow-data-loss` goes on without them")
	default:
		ctx, cancel := context.WithTimeout(ctx, removeWithin+statusTimeout)
		defer cancel()
		var res Removed
		return res, r.talk.ask(ctx, addr, opRemove, req, &res)
	}
}

// withVoters adds voters that gossip does not know, as after all agents were started anew.
func withVoters(members []reconcile.Member, voters []election.Voter) []reconcile.Member {
	out := slices.Clone(members)
	for _, v := range voters {
		if !slices.ContainsFunc(out, func(m reconcile.Member) bool { return m.ID == string(v.ID) }) {
			out = append(out, reconcile.Member{ID: string(v.ID), Name: string(v.ID), Gossip: v.Addr})
		}
	}
	return out
}

// memberToForget finds the member of that name or ID. Of several that have the name the one that is
// gone is meant: the others have come in its place.
func memberToForget(members []reconcile.Member, who string) (reconcile.Member, error) {
	var gone, alive []reconcile.Member
	for _, m := range members {
		switch {
		case m.ID == who && !m.Alive:
			return m, nil
		case m.ID != who && m.Name != who:
		case m.Alive:
			alive = append(alive, m)
		default:
			gone = append(gone, m)
		}
	}
	switch {
	case len(gone) == 1:
		return gone[0], nil
	case len(gone) > 1:
		var ids []string
		for _, m := range gone {
			ids = append(ids, fmt.Sprintf("%s (%s)", m.ID, m.Gossip))
		}
		return reconcile.Member{}, fmt.Errorf("several members that are gone are called %s: say which, by its id: %v", who, ids)
	case len(alive) > 0:
		return reconcile.Member{}, errAlive(alive[0].Name)
	}
	return reconcile.Member{}, fmt.Errorf("there is no member %q: `redisd members` lists them, with their ids", who)
}

func errAlive(name string) error {
	return fmt.Errorf("%s is alive: `redisd leave` on it takes it out of the cluster; `redisd forget` is for one that does not return", name)
}

// removeHere takes a member out, on the holder of the lease, and returns when its vote is gone.
func (r *registrar) removeHere(ctx context.Context, req removal) (Removed, error) {
	ctx, cancel := context.WithTimeout(ctx, removeWithin)
	defer cancel()
	o, v := r.driver.observe(), r.driver.view()
	if req.Who != "" {
		m, err := memberToForget(withVoters(o.Members, v.Roster.Voters), req.Who)
		if err != nil {
			return Removed{}, err
		}
		req.ID, req.Name = m.ID, m.Name
	}
	res := Removed{ID: req.ID, Name: req.Name, Before: standing(v, r.self), After: standing(v, r.self).without(v, req.ID)}
	if err := checkRemoval(o, res.After, req); err != nil {
		return res, err
	}
	if !req.Left {
		if err := r.stillAnswers(ctx, o, req); err != nil {
			return res, err
		}
	}
	list, _ := r.driver.removed()
	x := node.Removal{ID: req.ID, Name: req.Name, Left: req.Left}
	for _, old := range list {
		x.N = max(x.N, old.N)
	}
	x.N++
	if i := slices.IndexFunc(list, func(old node.Removal) bool { return old.ID == req.ID }); i >= 0 {
		x = list[i] // asked for again
	}
	r.driver.step(node.Remove{List: []node.Removal{x}})
	r.spread(ctx, func(m gossip.Member) bool { return m.ID != req.ID })
	if !until(ctx, func() bool {
		v := r.driver.view()
		_, saved := r.driver.removed()
		return saved && v.Settled && !v.Roster.Has(election.NodeID(req.ID))
	}) {
		return res, fmt.Errorf("%s is to be taken out, but its vote is still there after %v: see `redisd status`; it is taken away as soon as that can be", req.Name, removeWithin)
	}
	r.spread(ctx, func(m gossip.Member) bool { return m.ID == req.ID })
	r.settle()
	return res, nil
}

// checkRemoval says why a member cannot be taken out by this node, the holder.
func checkRemoval(o reconcile.Observed, after Standing, req removal) error {
	i := slices.IndexFunc(o.Members, func(m reconcile.Member) bool { return m.ID == req.ID })
	switch {
	case !o.Election.Lease:
		return errors.New("this node is not the primary any more: see `redisd status`, and try again")
	case o.Paused:
		return node.ErrPaused
	case req.ID == o.Self:
		return fmt.Errorf("%s is the primary: `redisd switchover` first", req.Name)
	case !req.Left && i >= 0 && o.Members[i].Alive:
		return errAlive(req.Name)
	case after.Here < after.Majority:
		return fmt.Errorf("without %s, %d of %d voters would be here, and a primary needs %d: bring those back that are away, or `redisd forget` them first", req.Name, after.Here, after.Voters, after.Majority)
	}
	return nil
}

// stillAnswers: the agent of that node is gone, but its redis-server is not: somebody is on that
// host.
func (r *registrar) stillAnswers(ctx context.Context, o reconcile.Observed, req removal) error {
	i := slices.IndexFunc(o.Members, func(m reconcile.Member) bool { return m.ID == req.ID })
	if i < 0 || slices.ContainsFunc(o.Members, func(m reconcile.Member) bool { return m.Alive && m.Gossip == o.Members[i].Gossip }) {
		return nil // it is not known where that was, or another node is there now
	}
	for what, address := range map[string]string{"redis-server": o.Members[i].Redis, "redis-sentinel": o.Members[i].Sentinel} {
		if address == "" {
			continue
		}
		conn, err := (&net.Dialer{Timeout: aliveWithin}).DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
			return fmt.Errorf("the agent of %s is gone, but its %s still answers at %s: stop redisd there (`systemctl stop redisd`), or switch the host off", req.Name, what, address)
		}
	}
	return nil
}

// spread tells other members, those that are meant, who is no member any more. Who does not answer
// learns of it when it meets another.
func (r *registrar) spread(ctx context.Context, meant func(gossip.Member) bool) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	list, _ := r.driver.removed()
	l := removals{ClusterID: r.driver.clusterID(), Removed: list}
	var wg sync.WaitGroup
	for _, m := range r.gossip.Members() {
		if m.ID == r.self || !m.State.Up() || !meant(m) {
			continue
		}
		wg.Go(func() {
			var ok bool
			if err := r.talk.ask(ctx, m.Addr, opRemoved, l, &ok); err != nil {
				r.log.Debug("a member was not told who is no member any more", "member", m.Name, "error", err)
			}
		})
	}
	wg.Wait()
}

// told takes over what another member says, and returns when it is on disk.
func (r *registrar) told(ctx context.Context, l removals) error {
	if l.ClusterID != r.driver.clusterID() {
		return fmt.Errorf("this node belongs to another cluster, %q", r.driver.clusterID())
	}
	r.driver.step(node.Remove{List: l.Removed})
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if !until(ctx, func() bool { _, saved := r.driver.removed(); return saved }) {
		return errors.New("this node's disk does not take it")
	}
	r.settle()
	return nil
}

// retire takes members out that need nobody's word for it: whose place another has taken, or who
// are gone for longer than the operator wants to wait. Only the holder does.
func (r *registrar) retire(ctx context.Context) {
	o := r.driver.observe()
	if !o.Election.Lease || o.Paused || !o.Election.Settled {
		return
	}
	for _, m := range retirable(o, r.goneFor(o), time.Duration(r.cfg.Load().Cluster.ReapAfter)) {
		if _, err := r.removeHere(ctx, removal{ID: m.ID, Name: m.Name}); err != nil {
			r.log.Debug("a member that is gone was not taken out", "member", m.Name, "error", err)
			continue
		}
		r.journal.say(func(log *slog.Logger) { log.Warn("a member is taken out", "member", m.Name, "id", m.ID, "why", m.why) })
		r.events.add("retired", fmt.Sprintf("%s (%s): %s", m.Name, m.ID, m.why))
	}
}

// goneFor is how long each member, or voter, has not been there, as far as this agent saw.
func (r *registrar) goneFor(o reconcile.Observed) map[string]time.Duration {
	gone := map[string]time.Duration{}
	for _, v := range o.Election.Voters {
		gone[v.ID] = o.At - o.Started // gossip may never have heard of it
	}
	for _, m := range r.gossip.Members() {
		gone[m.ID] = time.Since(m.Since)
		if m.State.Up() {
			gone[m.ID] = 0
		}
	}
	return gone
}

// retiree is a member to take out, and why.
type retiree struct{ ID, Name, why string }

// replacedAfter is how long a node must have been gone for another one of its name, at its address,
// to have taken its place: a new disk has booted by then, and no host is taken for its neighbour.
const replacedAfter = 10 * time.Second

// retirable are the members that are to be taken out without anybody's asking for it.
func retirable(o reconcile.Observed, gone map[string]time.Duration, after time.Duration) []retiree {
	var out []retiree
	voters := make([]election.Voter, len(o.Election.Voters))
	for i, v := range o.Election.Voters {
		voters[i] = election.Voter{ID: election.NodeID(v.ID), Addr: v.Addr}
	}
	for _, m := range withVoters(o.Members, voters) {
		switch {
		case m.Alive || m.ID == o.Self || slices.Contains(o.Forgotten, m.ID):
		case gone[m.ID] >= replacedAfter && replaced(o, m):
			out = append(out, retiree{m.ID, m.Name, "another node has its name and its address: its disk is a new one"})
		case after > 0 && gone[m.ID] >= after:
			out = append(out, retiree{m.ID, m.Name, fmt.Sprintf("it has been gone for %v (reap_after)", after)})
		}
	}
	return out
}

// replaced: a node that is there, and of this cluster, has the address of one that is gone, and its
// name as far as that is known.
func replaced(o reconcile.Observed, gone reconcile.Member) bool {
	return slices.ContainsFunc(o.Members, func(m reconcile.Member) bool {
		return m.Alive && m.ID != gone.ID && m.ClusterID == o.Election.ClusterID && m.Gossip == gone.Gossip &&
			(gone.Name == m.Name || gone.Name == gone.ID)
	})
}
