package agent

import (
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
)

// site is what every room of the agent knows of this node: who and where it is, its configuration,
// its secret, its disk, and whom gossip knows.
type site struct {
	log        *slog.Logger
	version    string
	cfg        atomic.Pointer[config.Config]
	secret     secret.Secret
	disk       *disk
	self       string
	gossipAddr netip.AddrPort
	redisAddr  netip.AddrPort
	gossip     *gossip.Gossip
	events     events
	address    ownAddress
}

// name is what people call this node.
func (s *site) name() string { return s.cfg.Load().Node.Name }

func redisAddr(cfg config.Config) netip.AddrPort {
	return netip.AddrPortFrom(cfg.Node.Address, uint16(cfg.Redis.Port))
}

// Passwords, each for its own use.
func (s *site) agentCredentials() redis.Credentials {
	return redis.Credentials{User: "redisd-agent", Password: s.secret.Password("redis agent")}
}

func (s *site) sentinelCredentials() redis.Credentials {
	return redis.Credentials{User: "redisd-agent", Password: s.secret.Password("sentinel agent")}
}

func (s *site) sentinelAddr() netip.AddrPort {
	return netip.AddrPortFrom(s.gossipAddr.Addr(), uint16(s.cfg.Load().Sentinel.Port))
}

func (s *site) redisDir() string    { return s.disk.path("redis") }
func (s *site) sentinelDir() string { return s.disk.path("sentinel") }

// desired is what the configuration asks of this node.
func (s *site) desired() reconcile.Desired {
	cfg := s.cfg.Load()
	d := reconcile.Desired{
		Redis: cfg.HasRole(config.RoleRedis), Sentinel: cfg.HasRole(config.RoleSentinel), RedisAddr: s.redisAddr.String(),
		Expect: cfg.Cluster.Expect, Priority: cfg.Node.Priority, MinReplicas: reconcile.Unknown,
		DownAfter: time.Duration(cfg.Sentinel.DownAfter), FailoverTimeout: time.Duration(cfg.Sentinel.FailoverTimeout),
		FailoverLag: cfg.Redis.FailoverLag(), Zone: cfg.Node.Zone, Voters: cfg.Cluster.Voters, ReplaceAfter: time.Duration(cfg.Cluster.ReplaceAfter),
	}
	if s.disk.identity.Left != "" {
		d.Expect = max(d.Expect, 2) // it is to join another cluster, not to found one alone again
	}
	if n := cfg.Redis.MinReplicasToWrite; n != nil {
		d.MinReplicas = *n
	}
	return d
}

// nameOf is what people call a node.
func (s *site) nameOf(id string) string {
	for _, m := range s.gossip.Members() {
		if m.ID == id {
			return m.Name
		}
	}
	return id
}

// member is a node as gossip knows it.
func (s *site) member(id string) (gossip.Member, bool) {
	for _, m := range s.gossip.Members() {
		if m.ID == id {
			return m, true
		}
	}
	return gossip.Member{}, false
}

// serverOf is the redis-server of a member; close it.
func (s *site) serverOf(m reconcile.Member) (*redis.Server, error) {
	addr, err := netip.ParseAddrPort(m.Redis)
	if err != nil {
		return nil, err
	}
	return redis.NewServer(addr, s.agentCredentials()), nil
}

// members turns what gossip knows into what a node decides on.
func (s *site) members() node.Members {
	var in node.Members
	for _, m := range s.gossip.Members() {
		r := reconcile.Member{
			ID: m.ID, Name: m.Name, ClusterID: m.ClusterID, Gossip: m.Addr.String(),
			Alive: m.State.Up(), Ready: m.Ready, Priority: m.Priority, Release: redis.Release(m.RedisVersion),
			Data: reconcile.Data{Term: m.Data.Term, Offset: m.Data.Offset, Keys: m.Data.Keys}, Features: m.Features, Zone: m.Zone,
		}
		if m.Roles.Has(gossip.RoleRedis) {
			r.Redis = netip.AddrPortFrom(m.Addr.Addr(), m.RedisPort).String()
		}
		if m.Roles.Has(gossip.RoleSentinel) {
			r.Sentinel = netip.AddrPortFrom(m.Addr.Addr(), m.SentinelPort).String()
		}
		if m.ID == s.self {
			r.Alive = true
			// Another host answers under this node's ID, because its disk is a copy of this one's.
			// Until an operator has put that right, neither votes nor claims.
			in.Conflict = m.Conflict.IsValid()
		}
		in.List = append(in.List, r)
	}
	return in
}
