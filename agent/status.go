package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/supervisor"
)

// statusTimeout bounds how long a status waits for the other nodes.
const statusTimeout = time.Second

// commands answer what operators, and other agents, ask of this node.
type commands struct {
	*site
	driver      *driver
	talk        *talk
	poller      *poller
	coordinator *coordinator
	keeper      *keeper
	listener    *listener
	syncs       *syncs
	tickler     *tickler
	rivals      *rivals
	neighbours  *neighbours
	registrar   *registrar
	exorcist    *exorcist
	vips        *vipSet
	procs       [2]*supervised
}

// Status is the cluster as one node sees it now.
type Status struct {
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	// Seen is the name of the node that answered.
	Seen    string   `json:"seen_by"`
	Primary *Primary `json:"primary"` // null: there is none
	// Health is "healthy", "degraded" (it serves, but would survive less) or "down" (nothing can be
	// written); Problems says why, in words.
	Health   string   `json:"health"`
	Problems []string `json:"problems"`
	Term     uint64   `json:"term"`
	Voters   int      `json:"voters"`
	Majority int      `json:"majority"`
	// Survives is how many more nodes can be lost, whichever they are, with writes going on; Raise
	// says what would let it be more.
	Survives int      `json:"survives"`
	Raise    string   `json:"raise,omitempty"`
	Paused   bool     `json:"paused"`
	VIPs     []string `json:"vips"`
	// Conflicts are other clusters, and hosts, that have what is this cluster's, as the node that
	// answered sees them; they are among its problems, too.
	Conflicts []string `json:"conflicts"`
	// Features are what the agents of all voters can do.
	Features []string     `json:"features"`
	Nodes    []NodeStatus `json:"nodes"`
}

// Primary is the node that accepts writes.
type Primary struct {
	Name    string `json:"name"`
	Address string `json:"address"` // of its redis-server, "ip:port"
}

// NodeStatus is one node by its own account; State says so where it could not be asked.
type NodeStatus struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
	// Role is "primary", "replica", "sentinel" (it runs no redis-server) or "unknown".
	Role string `json:"role"`
	// State is "running", "starting", "loading", "syncing", "fenced", "hung", "stopped",
	// "unreachable" or "left".
	State       string         `json:"state"`
	Voter       bool           `json:"voter"`
	Learner     bool           `json:"learner,omitempty"` // it follows, and does not vote
	Zone        string         `json:"zone,omitempty"`
	Lease       bool           `json:"lease"`
	RedisPID    int            `json:"redis_pid,omitempty"`
	Successor   int            `json:"successor,omitempty"` // 1: takes over first
	Replication *Replication   `json:"replication,omitempty"`
	Keys        int64          `json:"keys"`
	Memory      int64          `json:"memory_bytes"`
	Sentinel    SentinelStatus `json:"sentinel"`
	VIPs        []string       `json:"vips"` // held by this node
	Versions    Versions       `json:"versions"`
	LastExit    string         `json:"last_exit,omitempty"`
	Problems    []string       `json:"problems,omitempty"` // that only this node knows of
	Paused      bool           `json:"paused,omitempty"`
	// Drift is what somebody changed in redis-server at run time, and redisd leaves alone.
	Drift []Drift `json:"drift,omitempty"`
}

// Replication is a node's link to the primary, or the primary's offset.
type Replication struct {
	Primary string `json:"primary,omitempty"` // whom it follows
	Link    string `json:"link,omitempty"`    // "up" or "down"
	// Changing: the link is down because the primary has just become another one, and is being made
	// anew.
	Changing bool  `json:"changing,omitempty"`
	Offset   int64 `json:"offset"`
	// LagBytes is how far it is behind the primary; LagSeconds the age of its last acknowledgement,
	// one a second. Both are -1 when not known.
	LagBytes   int64 `json:"lag_bytes"`
	LagSeconds int64 `json:"lag_seconds"`
	// Replicas, of the primary, by address.
	Replicas []ReplicaLag `json:"replicas,omitempty"`
}

// ReplicaLag is a replica as its primary sees it.
type ReplicaLag struct {
	Address    string `json:"address"`
	Offset     int64  `json:"offset"`
	LagSeconds int64  `json:"lag_seconds"`
}

// SentinelStatus is a node's redis-sentinel.
type SentinelStatus struct {
	State   string `json:"state"` // "running", "stopped" or "none"
	Primary string `json:"primary,omitempty"`
	Quorum  int    `json:"quorum,omitempty"`
	Known   int    `json:"known,omitempty"` // Sentinels it knows, itself included
	// Changing: it names the last primary, and has not had the time yet to publish the next.
	Changing bool `json:"changing,omitempty"`
}

// Versions of what runs on a node.
type Versions struct {
	Redisd string `json:"redisd"`
	Redis  string `json:"redis,omitempty"`
}

// nodeStatus is this node's own account.
func (c *commands) nodeStatus() NodeStatus {
	cfg, v, o := c.cfg.Load(), c.driver.view(), c.driver.observe()
	n := NodeStatus{
		ID: c.self, Name: cfg.Node.Name, Address: cfg.Node.Address.String(), Zone: cfg.Node.Zone, Lease: v.Lease,
		Role: "sentinel", State: "running", Sentinel: SentinelStatus{State: "none"},
		VIPs: []string{}, Versions: Versions{Redisd: c.version}, Paused: o.Paused,
	}
	for _, vip := range o.VIPs {
		if vip.Held {
			n.VIPs = append(n.VIPs, vip.Address)
		}
	}
	if lost := c.addressLost(); lost != "" {
		n.Problems = append(n.Problems, lost+": nobody else can reach this node until it is given back")
	}
	n.Problems = append(n.Problems, c.listener.problems()...)
	for _, address := range c.vips.foreign() {
		n.Problems = append(n.Problems, "somebody else configured the VIP "+address+" on this host: remove it there")
	}
	n.Problems = append(n.Problems, c.conflicts()...)
	if same := node.Namesakes(o.Members, c.self); same != "" {
		n.Problems = append(n.Problems, same)
	}
	if why := c.neighbours.leaving(); why != "" {
		n.Problems = append(n.Problems, why)
	}
	if c.members().Conflict {
		n.Problems = append(n.Problems, "another host answers under this node's id (a copied disk): move "+c.disk.dir+" away on one of them")
	}
	if o.CannotSave {
		n.Problems = append(n.Problems, "this node can save nothing, so it neither votes nor takes over: "+diskAdvice(cfg.Node.StateDir))
	}
	if reconcile.AwaitsSync(o, c.desired()) {
		n.Problems = append(n.Problems, "this primary is to stop, and serves on because no replica is in sync")
	}
	if cfg.HasRole("redis") {
		c.redisStatus(&n, o.Redis, v.Lease)
		problems, drift := c.keeper.changes()
		n.Problems, n.Drift = append(n.Problems, problems...), drift
		for _, why := range []string{c.driver.needsOperator(o), c.syncs.trouble()} {
			if why != "" {
				n.Problems = append(n.Problems, why)
			}
		}
	}
	if cfg.HasRole("sentinel") {
		s := o.Sentinel
		n.Sentinel = SentinelStatus{State: "stopped"}
		if s.Running {
			n.Sentinel = SentinelStatus{State: "running", Primary: s.Monitors, Quorum: s.Quorum, Known: s.Peers + 1}
			n.Sentinel.Changing = s.Monitors != o.Election.Primary && publishes(s, c.driver.holderSince(), now())
		}
	}
	return n
}

func (c *commands) redisStatus(n *NodeStatus, r reconcile.Redis, lease bool) {
	n.Role = r.Role.String()
	if r.Running {
		n.RedisPID = c.procs[node.Redis].State().PID
	}
	if why := c.poller.refusal(); why != "" {
		n.Problems = append(n.Problems, "redis-server is alive, but says nothing of its state: "+why)
	}
	info, known := c.poller.last()
	if known {
		n.Keys, n.Memory, n.Versions.Redis = info.Keys, info.UsedMemory, info.Program()
	}
	switch {
	case !r.Running:
		n.Role, n.State = "unknown", "stopped"
		if e := c.procs[node.Redis].State().Exit; c.procs[node.Redis].State().Status == supervisor.Exited && e != nil {
			n.LastExit = e.Error()
		}
		return
	case r.SilentSince > 0 && !r.Refuses && now() > r.SilentSince+reconcile.HangAfter:
		n.State = "hung"
	case !r.Known:
		n.Role, n.State = "unknown", "starting"
		return
	case r.Loading:
		n.State = "loading"
	case r.Syncing:
		n.State = "syncing"
	case r.WriteError:
		n.Problems = append(n.Problems, "redis-server cannot write to its disk and refuses writes: "+diskAdvice(c.redisDir()))
	case r.Role == reconcile.Primary && (r.MinReplicas == reconcile.Fence || !lease):
		n.State = "fenced"
	}
	if known && r.Role == reconcile.Replica && info.Writable {
		n.Problems = append(n.Problems, "redis-server takes writes as a replica (replica-read-only is no): they are on no other node")
	}
	rep := &Replication{Offset: info.Offset, LagBytes: -1, LagSeconds: -1}
	if r.Role == reconcile.Replica {
		rep.Primary, rep.Link = r.PrimaryAddr, "down"
		if r.LinkUp {
			rep.Link = "up"
		}
		rep.Changing = relinks(r, c.driver.holderSince(), now())
	}
	for _, l := range r.Replicas {
		rep.Replicas = append(rep.Replicas, ReplicaLag{Address: l.Addr, Offset: l.Offset, LagSeconds: int64(l.Lag / time.Second)})
	}
	n.Replication = rep
}

// relinks: the link to the primary is down because the primary became another one just now, since
// when this node knows it. A full copy, which takes longer, is none of that.
func relinks(r reconcile.Redis, since, now time.Duration) bool {
	return r.Role == reconcile.Replica && !r.LinkUp && !r.Syncing && !r.Loading && since > 0 && now < since+reconcile.Relink
}

// publishes: Sentinel names another primary than the holder, and has not had the time yet to
// publish that one, since when this node knows it. It is asked once a second, so that it is wrong
// may not have been seen yet.
func publishes(s reconcile.Sentinel, since, now time.Duration) bool {
	last := max(s.WrongSince, since)
	return last > 0 && now < last+2*reconcile.PublishAgain
}

// Status asks every member and puts their answers together.
func (c *commands) Status(ctx context.Context) Status {
	cfg, v := c.cfg.Load(), c.driver.view()
	s := Status{
		Cluster: cfg.Cluster.Name, ClusterID: v.ClusterID, Seen: cfg.Node.Name, Term: uint64(v.HolderTerm),
		Voters: len(v.Roster.Voters), Majority: v.Roster.Majority(), Paused: c.driver.paused().On,
		VIPs: []string{}, Problems: []string{}, Conflicts: c.conflicts(), Features: c.driver.features().Names(), Nodes: c.askAll(ctx),
	}
	for _, vip := range c.vips.observed() {
		s.VIPs = append(s.VIPs, vip.Address)
	}
	var primary *NodeStatus
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Voter = slices.ContainsFunc(v.Roster.Voters, func(w election.Voter) bool { return string(w.ID) == n.ID })
		n.Learner = v.ClusterID != "" && !n.Voter && n.State != "left"
		n.Successor = 1 + slices.Index(v.Successors, election.NodeID(n.ID))
		if n.Lease && n.Role == "primary" {
			primary = n
		}
	}
	if primary != nil {
		s.Primary = &Primary{Name: primary.Name, Address: netip.AddrPortFrom(netip.MustParseAddr(primary.Address), c.redisPort(primary.ID)).String()}
		primary.Successor = 0
		lags(s.Nodes, primary, c.redisPort)
	}
	s.judge(primary, cfg.Cluster.Expect)
	return s
}

// askAll returns the account of every member, in the order of their names.
func (c *commands) askAll(ctx context.Context) []NodeStatus {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	members := c.gossip.Members()
	for _, v := range c.driver.view().Roster.Voters {
		if _, known := c.member(string(v.ID)); !known {
			members = append(members, unknownVoter(v))
		}
	}
	nodes := make([]NodeStatus, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		if m.ID == c.self {
			nodes[i] = c.nodeStatus()
			continue
		}
		wg.Go(func() {
			if m.State == gossip.Left {
				nodes[i] = silentNode(m, "left")
				return
			}
			if err := c.talk.ask(ctx, m.Addr, opStatus, nil, &nodes[i]); err != nil || nodes[i].ID != m.ID {
				nodes[i] = silentNode(m, "unreachable") // or another node is there now
			}
		})
	}
	wg.Wait()
	slices.SortFunc(nodes, func(a, b NodeStatus) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return nodes
}

// unknownVoter is one that gossip has not heard of since this agent started.
func unknownVoter(v election.Voter) gossip.Member {
	m := gossip.Member{Meta: gossip.Meta{ID: string(v.ID), Name: string(v.ID)}, State: gossip.Dead}
	m.Addr, _ = netip.ParseAddrPort(v.Addr)
	return m
}

func silentNode(m gossip.Member, state string) NodeStatus {
	return NodeStatus{
		ID: m.ID, Name: m.Name, Address: m.Addr.Addr().String(), Zone: m.Zone, Role: "unknown", State: state,
		Sentinel: SentinelStatus{State: "unknown"}, VIPs: []string{}, Versions: Versions{Redisd: m.Version, Redis: m.RedisVersion},
	}
}

// lags fills in how far each replica is behind, by the primary's account.
func lags(nodes []NodeStatus, primary *NodeStatus, port func(id string) uint16) {
	if primary.Replication == nil {
		return
	}
	for i := range nodes {
		n := &nodes[i]
		if n.Replication == nil || n == primary {
			continue
		}
		addr := n.Address + ":" + strconv.Itoa(int(port(n.ID)))
		if ip, err := netip.ParseAddr(n.Address); err == nil {
			addr = netip.AddrPortFrom(ip, port(n.ID)).String()
		}
		for _, l := range primary.Replication.Replicas {
			if l.Address == addr {
				// Its own account is newer than what it acknowledged last.
				n.Replication.LagBytes = max(0, primary.Replication.Offset-max(l.Offset, n.Replication.Offset))
				n.Replication.LagSeconds = l.LagSeconds
			}
		}
	}
}

func (c *commands) redisPort(id string) uint16 {
	for _, m := range c.gossip.Members() {
		if m.ID == id {
			return m.RedisPort
		}
	}
	return 0
}

// Plan is what a node would do now, and what it knows.
type Plan struct {
	Observed reconcile.Observed `json:"observed"`
	Desired  reconcile.Desired  `json:"desired"`
	Actions  []string           `json:"actions"`
}

// Idle says why nothing is to be done.
func (p *Plan) Idle() string {
	e, r := p.Observed.Election, p.Observed.Redis
	served := e.Lease || e.Holder != "" && e.Holder != p.Observed.Self && !e.Released && e.EverHeard && p.Observed.At < e.HeardAt+reconcile.Lapse
	switch {
	case p.Observed.Paused:
		return "nothing to do while the cluster is paused (`redisd resume` ends that)"
	case e.ClusterID == "":
		return "nothing to do yet: the cluster is founded when all expected members are here (see `redisd members`)"
	case !served:
		return "nothing that this node can do now, and there is no primary: see `redisd status`"
	case p.Desired.Redis && (!r.Running || !r.Known || r.SilentSince > 0 || r.Loading || r.Syncing || r.Role == reconcile.Replica && !r.LinkUp):
		return "nothing to do but to wait for the local redis-server: see `redisd status`"
	}
	return "nothing to do: everything is as it should be"
}

// operations that agents ask of one another.
const (
	opStatus   = "status"
	opMove     = "switchover-start"
	opMoved    = "switchover-progress"
	opData     = "data"
	opPause    = "pause"
	opFailover = "failover"
	opClients  = "clients"
	opRemove   = "remove"  // of the holder: take a member out
	opRemoved  = "removed" // who is no member any more
	opTurn     = "turn"    // of the holder: see ghosts.go
	opWho      = "who"
)

// serve answers another agent's call.
func (c *commands) serve(ctx context.Context, op string, body json.RawMessage) (any, error) {
	switch op {
	case opStatus:
		return c.nodeStatus(), nil
	case opData:
		return c.driver.recorded(), nil
	case opMove:
		var req SwitchoverRequest
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		return true, c.coordinator.startMove(ctx, req)
	case opMoved:
		var q progressQuery
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		return c.coordinator.progressOf(ctx, q)
	case opFailover:
		var req FailoverRequest
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		return c.failoverHere(ctx, req)
	case opWho:
		var q whoQuery
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		return c.who(q), nil
	case opClients:
		var u clientsUpdate
		if err := json.Unmarshal(body, &u); err != nil {
			return nil, err
		}
		return c.tickler.hear(u, c.driver.view())
	case opRemove:
		var req removal
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		return c.registrar.removeHere(ctx, req)
	case opRemoved:
		var l removals
		if err := json.Unmarshal(body, &l); err != nil {
			return nil, err
		}
		return true, c.registrar.told(ctx, l)
	case opTurn:
		var t turn
		if err := json.Unmarshal(body, &t); err != nil {
			return nil, err
		}
		return true, c.exorcist.grantTurn(t)
	case opPause:
		var p Pause
		if err := json.Unmarshal(body, &p); err != nil {
			return nil, err
		}
		return true, c.adoptPause(ctx, p)
	}
	return nil, fmt.Errorf("this redisd (%s) does not know the operation %q", c.version, op)
}
