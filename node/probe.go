package node

import (
	"net/netip"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// probe is this node's own word on whether the holder's redis-server can be reached.
type probe struct {
	addr string
	seen Time
	// tried is when the last probe ended.
	tried Time
	// connected is when it last took a connection, whether it answered or not: one that is busy
	// does, and one behind a cut does not.
	connected Time
	// hostUp is when its host was there last, with a redis-server for all that is known; closed
	// when it was seen to be fenced last.
	hostUp, closed Time
	fenced         uint64 // the term in which this node fenced it last
	fencedAt       Time

	due     Time
	probing bool
}

func (p *probe) next() Time {
	if p.probing {
		return never
	}
	return p.due
}

// stepProbe probes the holder's redis-server when that is due.
func (wa *watch) stepProbe() {
	n := wa.n
	p := &n.probe
	if p.probing || n.at < p.due {
		return
	}
	p.due = Multiple(n.at, ProbeEvery)
	v := n.current()
	wa.follow(n.holderAddr(v))
	heard := v.EverHeard && !v.Released && n.at < v.HeardAt+reconcile.Quiet
	if p.addr == "" || heard && p.seen == p.tried && n.at < p.tried+ProbeCalm {
		return
	}
	p.probing = true
	silent := !v.EverHeard || n.at >= v.HeardAt+reconcile.Lapse
	n.call(Polls, Do{Action: Probe{Addr: p.addr, Connect: n.at > p.connected+DoubtAfter, Look: silent}, Until: n.at + ProbeTimeout}, func(Input) {
		n.probe.probing = false
	})
}

// follow switches to the server at addr.
func (wa *watch) follow(addr string) {
	n := wa.n
	p := &n.probe
	if addr == p.addr {
		return
	}
	p.addr, p.seen, p.hostUp, p.closed = addr, 0, 0, 0
	if addr == "" {
		n.call(Polls, Do{Action: Probe{}}, nil)
		return
	}
	p.seen, p.connected = n.at, n.at // benefit of the doubt: it has not been asked yet
}

func (wa *watch) probed(in Probed) {
	n := wa.n
	if p := &n.probe; in.Addr == p.addr {
		p.learn(in, n.redis.hears(in.Addr), n.at)
	}
	n.answer(in.ID, in)
}

// learn takes in what came of a probe; linked: this node's own redis-server hears that one. One
// that refuses connections and keeps those that it has is alive, on another port that a client has
// set: who is connected may write.
func (p *probe) learn(in Probed, linked bool, at Time) {
	p.tried = at
	if in.Answered {
		p.seen = at
	}
	if in.Connected {
		p.connected = at
	}
	if in.HostUp || in.Refused && linked {
		p.hostUp = at
	}
	if in.Fenced {
		p.closed = at
	}
}

// hears: this redis-server is a replica of the one at addr, and its link is up, as it said last.
// The end of that process closes the link at once, on whatever host that lives.
func (w *redisWatch) hears(addr string) bool {
	return w.known && w.silentSince == 0 && w.info.LinkUp && w.info.PrimaryAddr == addr
}

func (p *probe) unreachable(at Time) bool {
	return p.addr != "" && at > p.connected+UnreachableAfter
}

// lastSeen is when the server at addr last answered, or took a connection; zero for another one. A
// process that is busy takes connections, or the kernel does for it, and what it has been sent it
// will carry out: its host is there, and its agent, or the watchdog, sees to the end of its lease.
// After HostStuck neither has come to anything, and whatever stands still there counts as gone.
func (p *probe) lastSeen(addr string, at Time) Time {
	if p.addr == "" || p.addr != addr || at > p.tried+reconcile.SilentRedis {
		return 0 // not asked lately: this node itself may have been frozen
	}
	if at < p.seen+HostStuck {
		return max(p.seen, p.connected, p.hostUp)
	}
	return p.seen
}

// seenFenced: the server at addr accepts no write, as it said itself lately.
func (p *probe) seenFenced(addr string, at Time) bool {
	return p.addr != "" && p.addr == addr && p.closed > 0 && at < p.closed+reconcile.SilentRedis
}

// fencedLately is the term in which this node fenced it within the last age.
func (p *probe) fencedLately(at, age Time) election.Term {
	if at > p.fencedAt+age {
		return 0
	}
	return election.Term(p.fenced)
}

// holderAddr is the holder's redis-server, empty when that is this node or nobody knows.
func (n *Node) holderAddr(v *election.View) string {
	if v.Holder == "" || string(v.Holder) == n.self {
		return ""
	}
	if v.Primary != "" {
		return v.Primary
	}
	for _, m := range n.members {
		if m.ID == string(v.Holder) && m.Redis != "" {
			return m.Redis
		}
	}
	// Not heard of since this agent started: the roster knows its host, and the configuration,
	// which is the same everywhere, its port.
	for _, w := range v.Roster.Voters {
		if w.ID == v.Holder {
			return sameHost(w.Addr, n.redisAddr)
		}
	}
	return ""
}

// sameHost is the address of one with the port of the other; empty when they have none.
func sameHost(host, port string) string {
	h, err := netip.ParseAddrPort(host)
	if err != nil {
		return ""
	}
	p, err := netip.ParseAddrPort(port)
	if err != nil {
		return ""
	}
	return netip.AddrPortFrom(h.Addr(), p.Port()).String()
}

// PrimaryAddr is where the primary is; empty when nobody is known to hold the lease.
func (n *Node) PrimaryAddr(at Time) string {
	v := n.View(at)
	return n.primaryAddr(&v, at)
}

func (n *Node) primaryAddr(v *election.View, at Time) string {
	switch {
	case v.Lease:
		return n.redisAddr
	case v.Holder != "" && string(v.Holder) != n.self && !v.Released && v.EverHeard && at < v.HeardAt+election.Lapse:
		return v.Primary
	}
	return ""
}
