package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// foreign is another cluster that has this one's name and secret, as far as it is seen from here.
type foreign struct {
	ClusterID string
	Nodes     []gossip.Stranger
	Keys      int64 // of the fullest
}

// foreignClusters are those among the strangers, in the order of their ids.
func foreignClusters(own string, list []gossip.Stranger) []foreign {
	byID := map[string]*foreign{}
	for _, s := range list {
		id := s.Meta.ClusterID
		if s.Kind != gossip.Foreign || id == "" || id == own {
			continue
		}
		f := byID[id]
		if f == nil {
			f = &foreign{ClusterID: id}
			byID[id] = f
		}
		f.Nodes, f.Keys = append(f.Nodes, s), max(f.Keys, s.Meta.Data.Keys)
	}
	var out []foreign
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		out = append(out, *byID[id])
	}
	return out
}

func (f foreign) String() string {
	var nodes []string
	for _, n := range f.Nodes {
		nodes = append(nodes, fmt.Sprintf("%s (%s)", cmp.Or(n.Meta.Name, n.Meta.ID), n.Addr))
	}
	return fmt.Sprintf("cluster %s with %s, %d keys", f.ClusterID, strings.Join(nodes, ", "), f.Keys)
}

// founded is a cluster of this node alone, and what its disk says of it.
type founded struct {
	ClusterID string
	Alone     bool // it is the only voter, and no other member is known
	// Unborn: not all of its voters have answered its founder, which is this node, or is gone.
	Unborn   bool
	Pristine bool // nothing was ever written
}

// giveWayAfter is how long another cluster must have been seen.
const giveWayAfter = 5 * time.Second

// givesWay is the cluster that this node's gives way to. This one was founded by this node alone,
// or never came to life since the voters of two founders wait for one another; nothing was ever
// written to it; and the other one has data, or members. Of two that are alike the one with the
// lower id stays. What has data gives way to nobody: there a person decides.
func givesWay(own founded, others []foreign, at time.Time) (to foreign, yes bool) {
	if own.ClusterID == "" || !own.Alone && !own.Unborn || !own.Pristine {
		return to, false
	}
	for _, f := range others {
		seen := slices.ContainsFunc(f.Nodes, func(s gossip.Stranger) bool { return !at.Before(s.Since.Add(giveWayAfter)) })
		if seen && (f.Keys > 0 || len(f.Nodes) > 1 || f.ClusterID < own.ClusterID) {
			return f, true
		}
	}
	return to, false
}

// strangerProblems says in words who is here and is no member; founded: this node belongs to a
// cluster.
func strangerProblems(own string, list []gossip.Stranger) []string {
	var out []string
	for _, f := range foreignClusters(own, list) {
		out = append(out, fmt.Sprintf("another cluster of this name and secret is here: %s; this node's is %s. Neither takes the other's nodes: "+
			"on each node of the one whose data is not wanted, `redisd join --abandon-data`; if both are, give one another name and secret", f, cmp.Or(own, "none yet")))
	}
	sealed := 0
	for _, s := range list {
		switch {
		case s.Kind == gossip.OtherSecret:
			out = append(out, fmt.Sprintf("%s speaks to this node with another secret: copy /etc/redisd/secret from one to the other, or take the address out of cluster.join", s.Addr))
		case s.Kind == gossip.OtherName:
			out = append(out, fmt.Sprintf("%s speaks to this node, and its [cluster] name is another: set the same on both, or take the address out of cluster.join", s.Addr))
		case s.Kind == gossip.Foreign && (s.Meta.ClusterID == "" || s.Meta.ClusterID == own) && s.Reason != "":
			out = append(out, fmt.Sprintf("%s (%s) is refused: %s", cmp.Or(s.Meta.Name, s.Meta.ID, "a node"), s.Addr, s.Reason))
		case s.Kind == gossip.Sealed:
			sealed++
		}
	}
	if sealed > 0 && own == "" {
		out = append(out, fmt.Sprintf("%d hosts of this network run redisd with another secret: if they are to be of this cluster, copy /etc/redisd/secret", sealed))
	}
	return out
}

// torn: members of more than one cluster are here, and this node is of none yet. It joins none
// until one of them has given way, or a person has decided.
func torn(own string, members []gossip.Member) bool {
	first := ""
	for _, m := range members {
		switch {
		case own != "" || !m.State.Up() || m.ClusterID == "":
		case first == "":
			first = m.ClusterID
		case m.ClusterID != first:
			return true
		}
	}
	return false
}

// invites is the cluster that a message would make a node without one a member of.
func invites(m election.Message) string {
	switch m := m.(type) {
	case election.Renew:
		return m.ClusterID
	case election.Claim:
		if !m.Bootstrapping {
			return m.ClusterID
		}
	}
	return ""
}

// declines: this node does not follow the cluster of that message.
func (d *driver) declines(m election.Message) bool {
	id := invites(m)
	return id != "" && d.clusterID() == "" && (id == d.disk.identity.Left || torn("", d.gossip.Members()))
}

// abandonment is that this node leaves its cluster and sets aside what it has.
type abandonment struct {
	why  string
	left string // the cluster that it never joins again; empty: any
	// pristine: only if nothing was ever written, which is looked at once redis-server has stopped.
	pristine bool
}

// neighbours looks after other clusters that are here.
type neighbours struct {
	*site
	driver  *driver
	talk    *talk
	journal *journal

	mu    sync.Mutex
	told  map[string]string // what people were told, by cluster
	keys  map[string]int64  // what foreign nodes said that they have, by id
	going *abandonment
}

// neighboursEvery is how often it is looked: strangers come by every few seconds.
const neighboursEvery = time.Second

func newNeighbours(s *site, d *driver, t *talk, j *journal) *neighbours {
	return &neighbours{site: s, driver: d, talk: t, journal: j, told: map[string]string{}, keys: map[string]int64{}}
}

// strangers are those that gossip has met, with what they answered: what gossip says of data may be
// of long ago.
func (n *neighbours) strangers() []gossip.Stranger {
	list := n.gossip.Strangers()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range list {
		if keys, answered := n.keys[list[i].Meta.ID]; answered {
			list[i].Meta.Data.Keys = keys
		}
	}
	return list
}

// ask learns how much data those of other clusters have.
func (n *neighbours) ask(ctx context.Context, own string) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	keys := map[string]int64{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, f := range foreignClusters(own, n.gossip.Strangers()) {
		for _, s := range f.Nodes {
			wg.Go(func() {
				var t testimony
				if err := n.talk.ask(ctx, netip.AddrPortFrom(s.Addr, s.Port), opWho, whoQuery{n.self}, &t); err != nil || t.ID != s.Meta.ID {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				keys[t.ID] = t.Keys
			})
		}
	}
	wg.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keys = keys
}

// run looks until ctx ends.
func (n *neighbours) run(ctx context.Context) error {
	return every(ctx, neighboursEvery, func(at time.Time) { n.look(ctx, at) })
}

func (n *neighbours) look(ctx context.Context, at time.Time) {
	own := n.driver.clusterID()
	n.ask(ctx, own)
	others := foreignClusters(own, n.strangers())
	n.tell(own, others)
	if len(others) == 0 || n.gossipAddr.Addr().IsLoopback() || n.driver.paused().On {
		return
	}
	if to, yes := givesWay(n.founded(), others, at); yes {
		n.abandon(abandonment{
			why:  fmt.Sprintf("this node had founded the cluster %s alone, and nothing was ever written to it: it gives way to %s", own, to),
			left: own, pristine: true,
		})
	}
}

// tell says what came and what went.
func (n *neighbours) tell(own string, others []foreign) {
	n.mu.Lock()
	defer n.mu.Unlock()
	here := map[string]bool{}
	for _, f := range others {
		here[f.ClusterID] = true
		if _, known := n.told[f.ClusterID]; known {
			continue
		}
		n.told[f.ClusterID] = f.String()
		text := fmt.Sprintf("another cluster of this name and secret is here: %s; this node's is %s", f, cmp.Or(own, "none yet"))
		n.journal.say(func(log *slog.Logger) {
			log.Warn(text, "cure", "on each node of the one whose data is not wanted, `redisd join --abandon-data`")
		})
		n.events.add("foreign_cluster", text)
	}
	for id, text := range n.told {
		if !here[id] {
			delete(n.told, id)
			n.journal.say(func(log *slog.Logger) { log.Info("the other cluster is not here any more", "was", text) })
			n.events.add("foreign_cluster_gone", text)
		}
	}
}

// founded says what this node's cluster is.
func (n *neighbours) founded() founded {
	v, o := n.driver.view(), n.driver.observe()
	f := founded{ClusterID: v.ClusterID, Alone: len(v.Roster.Voters) == 1 && string(v.Roster.Voters[0].ID) == n.self}
	f.Unborn = v.Bootstrapping
	for _, m := range o.Members {
		f.Alone = f.Alone && (m.ID == n.self || m.ClusterID != v.ClusterID || !m.Alive)
		f.Unborn = f.Unborn && (m.ID == n.self || m.ID != o.Election.Holder || !m.Alive)
	}
	if (f.Alone && o.Redis.Role == reconcile.Primary || f.Unborn) && o.Redis.Known && o.Redis.Data.Keys == 0 {
		f.Pristine, _ = n.pristine()
	}
	return f
}

// abandon has the node stop; once it has, finish sets it aside.
func (n *neighbours) abandon(a abandonment) {
	n.mu.Lock()
	already := n.going != nil
	if !already {
		n.going = &a
	}
	n.mu.Unlock()
	if already {
		return
	}
	n.journal.say(func(log *slog.Logger) { log.Warn(a.why) })
	n.events.add("gives_way", a.why)
	n.driver.step(node.Stop{})
}

// leaving says that this node is about to leave its cluster.
func (n *neighbours) leaving() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.going == nil {
		return ""
	}
	return n.going.why
}

// finish sets the node aside once everything of it has stopped and its files are closed. systemd
// starts the next agent, which is a new node.
func (n *neighbours) finish() error {
	n.mu.Lock()
	a := n.going
	n.mu.Unlock()
	select {
	case <-n.driver.stopped:
	default:
		return nil // it was interrupted: nothing is touched
	}
	if a == nil {
		return nil
	}
	if a.pristine {
		if empty, err := n.pristine(); err != nil || !empty {
			n.log.Warn("something was written to this node's cluster in the last moment: it stays as it is", "error", err)
			return err
		}
	}
	aside, err := n.setNodeAside()
	if err != nil {
		return fmt.Errorf("set this node's data and state aside: %w", err)
	}
	n.log.Warn("this node's data and state are set aside: it joins as a new node", "set_aside", aside, "cure", "remove the directory once it is of no use")
	if a.left == "" {
		return nil
	}
	d, err := openDisk(n.disk.dir, n.cfg.Load().Node.RunDir, n.version)
	if err != nil {
		return err
	}
	id := identity{ID: randomID(4), Machine: d.machine, Cluster: n.cfg.Load().Cluster.Name, Left: a.left}
	return errors.Join(d.saveState(stateFile{identity: id}), d.close())
}

// conflicts says in words who has what is this cluster's.
func (c *commands) conflicts() []string {
	own := c.driver.clusterID()
	out := append(c.rivals.problems(), strangerProblems(own, c.neighbours.strangers())...)
	if torn(own, c.gossip.Members()) {
		out = append(out, "members of two clusters of this name and secret are here, and this node joins neither: on each node of the one whose data is not wanted, `redisd join --abandon-data`")
	}
	return append([]string{}, out...)
}

// AbandonPlan says what `redisd join --abandon-data` would set aside, and for what.
type AbandonPlan struct {
	ClusterID string   `json:"cluster_id"`
	Keys      int64    `json:"keys"`
	Voters    int      `json:"voters"`
	Others    []string `json:"others"` // the clusters that are seen
}

func (n *neighbours) plan() AbandonPlan {
	v := n.driver.view()
	p := AbandonPlan{ClusterID: v.ClusterID, Voters: len(v.Roster.Voters), Keys: n.driver.observe().Redis.Data.Keys, Others: []string{}}
	for _, f := range foreignClusters(v.ClusterID, n.strangers()) {
		p.Others = append(p.Others, f.String())
	}
	return p
}

// AbandonData sets this node's data and state aside, so that it joins the other cluster.
func (n *neighbours) AbandonData() error {
	p := n.plan()
	switch {
	case p.ClusterID == "":
		return errors.New("this node belongs to no cluster yet: there is nothing to abandon")
	case len(p.Others) == 0:
		return errors.New("no other cluster of this name and secret is seen from here, so there is none to join")
	}
	n.abandon(abandonment{why: "an operator has this node join another cluster: it leaves " + p.ClusterID, left: p.ClusterID})
	return nil
}
