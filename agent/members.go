package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/reconcile"
)

// leaveTimeout bounds the farewell to the other members.
const leaveTimeout = 2 * time.Second

// join starts gossip with everybody this node has ever known.
func (a *Agent) join(context.Context) error {
	cfg := a.cfg.Load()
	a.meta = a.currentMeta()
	var peers []netip.AddrPort
	for _, v := range a.state.Election.Roster.Voters {
		if addr, err := netip.ParseAddrPort(v.Addr); err == nil && addr != a.gossipAddr {
			peers = append(peers, addr)
		}
	}
	g, err := gossip.Start(gossip.Config{
		ID: a.self, Cluster: cfg.Cluster.Name, Key: a.secret.Key("gossip", 32),
		Bind: a.gossipAddr, Advertise: a.gossipAddr, // its own address, so that the VIP is never spoken from
		Join: cfg.Cluster.Join, Peers: peers, Meta: a.meta, Accept: a.accept,
		Discovery: len(cfg.Cluster.Join) == 0 && !cfg.Node.Address.IsLoopback(),
	}, a.log)
	if err != nil {
		return err
	}
	a.gossip = g
	return nil
}

// leave ends gossip; a node that was stopped in order says farewell.
func (a *Agent) leave() {
	if a.stopping.Load() {
		if err := a.gossip.Leave(leaveTimeout); err != nil {
			a.log.Warn("the other members were not told that this node stops", "error", err)
		}
	}
	if err := a.gossip.Close(); err != nil {
		a.log.Warn("gossip not closed", "error", err)
	}
}

// accept refuses a member of another cluster that has the same name and secret.
func (a *Agent) accept(m gossip.Meta) error {
	a.stateMu.Lock()
	own := a.state.Election.ClusterID
	a.stateMu.Unlock()
	if own != "" && m.ClusterID != "" && m.ClusterID != own {
		return fmt.Errorf("it belongs to cluster %s, this node to %s", m.ClusterID, own)
	}
	return nil
}

// currentMeta is what this node says about itself.
func (a *Agent) currentMeta() gossip.Meta {
	cfg := a.cfg.Load()
	m := gossip.Meta{
		ID: a.self, Name: cfg.Node.Name, Version: a.version, Priority: cfg.Node.Priority,
	}
	a.stateMu.Lock()
	m.ClusterID = a.state.Election.ClusterID
	a.stateMu.Unlock()
	m.Ready = true
	if cfg.HasRole("redis") {
		m.Roles |= gossip.RoleRedis
		m.RedisPort = a.redisAddr.Port()
		r := a.redisW.observed()
		m.Ready = r.Known && !r.Loading
		if info, ok := a.redisW.snapshot(); ok {
			m.RedisVersion = info.Version
			m.Data = gossip.Data{Keys: info.Keys, Bytes: info.UsedMemory}
		}
		m.Data.Term, m.Data.Offset = r.Data.Term, r.Data.Offset
		if r.WriteError {
			m.Priority = reconcile.PriorityNever // it would refuse writes as a primary, too
		}
	}
	if cfg.HasRole("sentinel") {
		m.Roles |= gossip.RoleSentinel
		m.SentinelPort = uint16(cfg.Sentinel.Port)
	}
	return m
}

// shareMeta tells the members what changed. The dataset's size and offset change
// all the time and matter only to an election among nodes that have no holder,
// so they alone are no reason to speak while there is one.
func (a *Agent) shareMeta(settled bool) {
	next := a.currentMeta()
	if settled {
		next.Data = a.meta.Data
	}
	if next == a.meta {
		return
	}
	if err := a.gossip.SetMeta(next); err != nil {
		a.log.Warn("members not told of a change of this node", "error", err)
		return
	}
	a.meta = next
}

// observedMembers turns the members of gossip into what reconcile reads.
func (a *Agent) observedMembers(members []gossip.Member) []reconcile.Member {
	var out []reconcile.Member
	for _, m := range members {
		r := reconcile.Member{
			ID: m.ID, Name: m.Name, ClusterID: m.ClusterID, Gossip: m.Addr.String(),
			Alive: m.State.Up(), Ready: m.Ready, Priority: m.Priority,
			Data: reconcile.Data{Term: m.Data.Term, Offset: m.Data.Offset, Keys: m.Data.Keys},
		}
		if m.Roles.Has(gossip.RoleRedis) {
			r.Redis = netip.AddrPortFrom(m.Addr.Addr(), m.RedisPort).String()
		}
		if m.Roles.Has(gossip.RoleSentinel) {
			r.Sentinel = netip.AddrPortFrom(m.Addr.Addr(), m.SentinelPort).String()
		}
		if m.ID == a.self {
			r.Alive = true
		}
		out = append(out, r)
	}
	return out
}

// hasRival: another host answers under this node's ID, because its disk is a copy
// of this one's. Until a person has put that right, neither votes nor claims.
func hasRival(self string, members []gossip.Member) bool {
	for _, m := range members {
		if m.ID == self {
			return m.Conflict.IsValid()
		}
	}
	return false
}

// address is where the agent of a node is reached: where gossip saw it last, or
// where the roster says.
func (a *Agent) address(id string) (netip.AddrPort, bool) {
	for _, m := range a.gossip.Members() {
		if m.ID == id {
			return m.Addr, m.Addr.IsValid()
		}
	}
	a.stateMu.Lock()
	defer a.stateMu.Unlock()
	i := slices.IndexFunc(a.state.Election.Roster.Voters, func(v election.Voter) bool { return string(v.ID) == id })
	if i < 0 {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddrPort(a.state.Election.Roster.Voters[i].Addr)
	return addr, err == nil
}

// learnersOf are the members that renewals go to beside the voters.
func learnersOf(o reconcile.Observed) []election.NodeID {
	var out []election.NodeID
	for _, m := range o.Members {
		if m.Alive && m.ID != o.Self {
			out = append(out, election.NodeID(m.ID))
		}
	}
	return out
}

// holderAddr is the holder's redis-server, invalid when that is this node or nobody
// knows, and whether the holder was just heard.
func (a *Agent) holderAddr() (addr netip.AddrPort, heard bool) {
	v := a.ballot.view()
	return a.addrOfHolder(v), v.EverHeard && !v.Released && now() < v.HeardAt+reconcile.Quiet
}

func (a *Agent) addrOfHolder(v election.View) netip.AddrPort {
	if v.Holder == "" || string(v.Holder) == a.self {
		return netip.AddrPort{}
	}
	if addr, err := netip.ParseAddrPort(v.Primary); err == nil {
		return addr
	}
	for _, m := range a.gossip.Members() {
		if m.ID == string(v.Holder) && m.Roles.Has(gossip.RoleRedis) {
			return netip.AddrPortFrom(m.Addr.Addr(), m.RedisPort)
		}
	}
	// Not heard of since this agent started: the roster knows its host, and the
	// configuration, which is the same everywhere, its port.
	if addr, ok := a.address(string(v.Holder)); ok {
		return netip.AddrPortFrom(addr.Addr(), a.redisAddr.Port())
	}
	return netip.AddrPort{}
}

// primaryAddr is what Sentinel should name, "" when nobody is known to hold the
// lease.
func (a *Agent) primaryAddr() string {
	v := a.ballot.view()
	switch {
	case v.Lease:
		return a.redisAddr.String()
	case v.Holder != "" && string(v.Holder) != a.self && !v.Released && v.EverHeard && now() < v.HeardAt+election.Lapse:
		return v.Primary
	}
	return ""
}

// silent: the voter has not answered this holder's renewals for a while.
func (a *Agent) silent(id election.NodeID) bool {
	t, ok := a.ballot.answeredAt(id)
	return !ok || now()-t > reliableAfter
}
