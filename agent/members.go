package agent

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/internal/feature"
	"github.com/redisd/redisd/node"
)

// leaveTimeout bounds the leave notification to the other members.
const leaveTimeout = 2 * time.Second

// join starts gossip with everybody this node has ever known.
func (d *driver) join(voters []election.Voter, r *registrar) error {
	cfg := d.cfg.Load()
	d.mu.Lock()
	meta := d.node.Meta()
	d.mu.Unlock()
	var peers []netip.AddrPort
	for _, v := range voters {
		if addr, err := netip.ParseAddrPort(v.Addr); err == nil && addr != d.gossipAddr {
			peers = append(peers, addr)
		}
	}
	g, err := gossip.Start(gossip.Config{
		ID: d.self, Cluster: cfg.Cluster.Name, Key: d.secret.Key("gossip", 32),
		Bind: d.gossipAddr, Advertise: d.gossipAddr, // its own address, so that the VIP is never spoken from
		Join: cfg.Cluster.Join, Peers: peers, Meta: d.ownMeta(meta), Accept: d.accept, State: r.tell, Learn: r.hear,
		Discovery: len(cfg.Cluster.Join) == 0 && !cfg.Node.Address.IsLoopback(),
	}, d.log)
	if err != nil {
		return err
	}
	d.gossip = g
	return nil
}

// leave ends gossip; a node that was stopped in order says so.
func (d *driver) leave() {
	if d.observe().Stopping {
		if err := d.gossip.Leave(leaveTimeout); err != nil {
			d.log.Warn("the other members were not told that this node stops", "error", err)
		}
	}
	if err := d.gossip.Close(); err != nil {
		d.log.Warn("gossip not closed", "error", err)
	}
}

// accept refuses a member of another cluster that has the same name and secret, and one whose
// redisd is too far from this one.
func (d *driver) accept(m gossip.Meta) error {
	if err := feature.Refuse(m.Protocol, m.Needs); err != nil {
		return err
	}
	own := d.clusterID()
	if left := d.disk.identity.Left; left != "" && m.ClusterID == left {
		return fmt.Errorf("it belongs to cluster %s, whose data was set aside here", left)
	}
	if own != "" && m.ClusterID != "" && m.ClusterID != own {
		return fmt.Errorf("it belongs to cluster %s, this node to %s", m.ClusterID, own)
	}
	return nil
}

// ownMeta adds to what the node says about itself what only its host knows.
func (d *driver) ownMeta(n node.Meta) gossip.Meta {
	cfg := d.cfg.Load()
	m := gossip.Meta{
		ID: d.self, Name: cfg.Node.Name, Version: d.version, Priority: n.Priority, ClusterID: n.ClusterID, Ready: n.Ready,
		Zone: n.Zone, Protocol: feature.Protocol, Needs: feature.Needs, Features: feature.Own,
	}
	if cfg.HasRole(config.RoleRedis) {
		m.Roles |= gossip.RoleRedis
		m.RedisPort = d.redisAddr.Port()
		if info, ok := d.poller.last(); ok {
			m.RedisVersion = info.Program()
			m.Data.Bytes = info.UsedMemory
		}
		m.Data.Keys, m.Data.Term, m.Data.Offset = n.Data.Keys, n.Data.Term, n.Data.Offset
	}
	if cfg.HasRole(config.RoleSentinel) {
		m.Roles |= gossip.RoleSentinel
		m.SentinelPort = uint16(cfg.Sentinel.Port)
	}
	return m
}
