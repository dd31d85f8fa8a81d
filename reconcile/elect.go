package reconcile

import (
	"cmp"
	"slices"
	"time"
)

// BootstrapNode returns the member that should be the first primary: the one with the most keys,
// then the oldest redis-server, then the lowest priority, then the lowest ID. It is empty while the
// view is not complete: fewer members than expected, one that is not ready, or one that belongs to
// a cluster already.
func BootstrapNode(o Observed, d Desired) string {
	if o.Election.ClusterID != "" {
		return ""
	}
	alive := 0
	var best *Member
	for i := range o.Members {
		m := &o.Members[i]
		if !m.Alive {
			continue
		}
		if m.ClusterID != "" || !m.Ready {
			return ""
		}
		alive++
		if m.Redis != "" && m.Priority != PriorityNever && (best == nil || bootstrapsBefore(*m, *best) < 0) {
			best = m
		}
	}
	if best == nil || alive < d.Expect {
		return ""
	}
	return best.ID
}

// FreshNode returns the voter that should be the first primary of a cluster that was founded and
// never had one, by the rule of BootstrapNode. It is empty unless all voters are here and nobody
// has data of this cluster.
func FreshNode(o Observed) string {
	e := o.Election
	if !e.Fresh || o.Redis.Data.Term != 0 {
		return ""
	}
	var best *Member
	voters := 0
	for i := range o.Members {
		m := &o.Members[i]
		if !m.Alive {
			continue
		}
		if m.Data.Term != 0 {
			return ""
		}
		if !slices.ContainsFunc(e.Voters, func(v Voter) bool { return v.ID == m.ID }) || m.ClusterID != e.ClusterID || !m.Ready {
			continue
		}
		voters++
		if m.Redis != "" && m.Priority != PriorityNever && (best == nil || bootstrapsBefore(*m, *best) < 0) {
			best = m
		}
	}
	if best == nil || voters < len(e.Voters) {
		return ""
	}
	return best.ID
}

// serve comes before the first redis-server of this cluster is let write.
func (p *plan) serve() {
	if p.o.Election.Fresh {
		p.do(Serve{})
	}
}

func bootstrapsBefore(a, b Member) int {
	return cmp.Or(cmp.Compare(b.Data.Keys, a.Data.Keys), cmp.Compare(a.Release, b.Release), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
}

// elect asks for the lease when this node should have it. While the cluster is paused only the
// primary that runs may take its own lease again.
func (p *plan) elect() {
	o, e := p.o, p.o.Election
	again := o.At >= e.ClaimedAt+ClaimAgain
	switch {
	case e.Claiming || o.CannotSave || !p.datasetUsable() || !p.d.Redis || p.forgotten(o.Self):
	case e.ClusterID == "":
		if !o.Paused && again && BootstrapNode(o, p.d) == o.Self {
			p.do(Bootstrap{Voters: FirstVoters(o, p.d)})
		}
	case !p.isVoter(o.Self):
	case o.holds():
		// Renewals go on by themselves; a voter that knows a higher term is won back by a new
		// claim, which needs no pause: nobody else can have the lease.
		if e.Overtaken && again {
			p.do(Claim{Why: "a voter knows a higher term"})
		}
	case e.Fresh && !o.Paused && FreshNode(o) == o.Self:
		p.claim()
	case o.Redis.Data.Term == 0 || p.d.Priority == PriorityNever || TooFarBehind(o, p.d):
	case o.Paused && (e.Holder != o.Self || o.Redis.Role != Primary):
	default:
		p.claim()
	}
}

// TooFarBehind: this node lacks more of what the last primary had than the operator lets go without
// being asked, or does not know how much it lacks. Whoever was asked for a vote by the last primary
// itself, back with less, may go ahead. The voters know the limit, too: a node that was away may
// have heard of less than there was.
func TooFarBehind(o Observed, d Desired) bool {
	if d.FailoverLag == 0 || o.Election.Holder == o.Self || o.Election.ByHolder {
		return false
	}
	lacks, known := Lacks(o)
	return !known || lacks > d.FailoverLag
}

// Lacks is how many bytes this node lacks of what the last primary said it had. It is not known
// when the primary was not heard since this agent started, or this node has not been in sync with
// it: offsets of different histories cannot be compared.
func Lacks(o Observed) (bytes int64, known bool) {
	e, data := o.Election, o.Redis.Data
	if e.HolderOffset == 0 || data.Term != e.Term {
		return 0, false
	}
	return max(e.HolderOffset-data.Offset, 0), true
}

// claim asks for the lease of another node, or the released one of this node, when it is there to
// be had and this node's turn has come.
func (p *plan) claim() {
	o := p.o
	open, ok := p.open()
	if !ok {
		return
	}
	rank := time.Duration(p.rank())
	e := o.Election
	pause := ClaimAgain*(1+rank) + min(max(o.At-open.since, 0)/20, ClaimSlow)
	if o.At < open.since+rank*RankStep || o.At < e.ClaimedAt+pause {
		return
	}
	if open.fence != "" {
		if e.BackedAt == 0 || o.At >= e.BackedAt+Backed {
			if e.AskedAt == 0 || o.At >= e.AskedAt+pause {
				p.do(PreVote{}) // others may hear the holder
			}
			return
		}
		p.do(FenceRemote{Addr: open.fence}) // in the same round: voters believe only a fresh fence
	}
	p.do(Claim{Why: open.why})
}

func (p *plan) datasetUsable() bool {
	r := p.o.Redis
	return r.answers() && !r.Loading && !r.Syncing
}

// opening says since when the lease is there to be claimed, and why; fence is the redis-server that
// has to be fenced first.
type opening struct {
	since Time
	why   string
	fence string
}

func (p *plan) open() (opening, bool) {
	o, e := p.o, p.o.Election
	if !e.EverHeard && !p.coldStartOver() {
		return opening{}, false
	}
	if e.Released {
		return opening{since: e.OpenedAt, why: "released by " + e.Holder}, true
	}
	heard := max(e.HeardAt, o.Started)
	lapsed, gone := heard+Lapse, o.HolderSeen+SilentRedis
	if o.HolderSeen == 0 {
		gone = heard + ColdStart // nobody knows where to ask
	}
	if at := max(lapsed, gone); o.At >= at {
		return opening{since: at, why: e.Holder + " is silent and its redis-server does not answer"}, true
	}
	// Its redis-server answers, so its agent must be dead rather than cut off.
	grace, fence := AgentGrace, p.holderRedis()
	switch {
	case o.HolderFenced:
		grace = Lapse // its agent has seen to the end of the lease, and nobody hears what it says
	case e.EverHeard && p.alive(e.Holder):
		grace = AgentAlive
		if o.RemoteFenced == e.Term {
			return opening{}, false // in vain: the others do hear it
		}
	}
	if o.At < heard+grace || fence == "" {
		return opening{}, false
	}
	return opening{since: heard + grace, why: "the agent of " + e.Holder + " is silent and its redis-server is fenced", fence: fence}, true
}

// holderRedis is where the holder's redis-server listens, "" when unknown.
func (p *plan) holderRedis() string {
	if a := p.o.Election.Primary; a != "" {
		return a
	}
	if m, ok := p.member(p.o.Election.Holder); ok {
		return m.Redis
	}
	return ""
}

func (p *plan) member(id string) (Member, bool) {
	i := slices.IndexFunc(p.o.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return p.o.Members[i], true
}

func (p *plan) alive(id string) bool {
	m, ok := p.member(id)
	return ok && m.Alive
}

// coldStartOver: every voter has come back and told the version of its data, or there was time
// enough.
func (p *plan) coldStartOver() bool {
	if p.o.At >= p.o.Started+ColdStart {
		return true
	}
	for _, v := range p.o.Election.Voters {
		if m, ok := p.member(v.ID); !ok || !m.Alive || !m.Ready {
			return false
		}
	}
	return true
}

// rank is this node's place among the candidates; 0 claims at once. Whoever gave the lease back
// itself lets the successors go first.
func (p *plan) rank() int {
	o, e := p.o, p.o.Election
	if e.Nudged || o.Redis.Role == Primary && e.Holder != o.Self {
		return 0
	}
	if i := slices.Index(e.Successors, o.Self); i >= 0 {
		return i
	}
	better := len(e.Successors)
	for _, m := range o.Members {
		if m.ID == o.Self || !m.Alive || m.Redis == "" || m.Priority == PriorityNever || !p.isVoter(m.ID) || slices.Contains(e.Successors, m.ID) {
			continue
		}
		if c := m.Data.Compare(o.Redis.Data); c > 0 || c == 0 && m.ID < o.Self {
			better++
		}
	}
	return better
}

func (p *plan) isVoter(id string) bool {
	return slices.ContainsFunc(p.o.Election.Voters, func(v Voter) bool { return v.ID == id })
}

// announce tells every node where the primary is and who takes over.
func (p *plan) announce() {
	e := p.o.Election
	if !p.o.leased() || !p.serving() {
		return
	}
	if next := p.successors(); e.Primary != p.d.RedisAddr || !slices.Equal(next, e.Successors) {
		p.do(SetSuccessors{IDs: next})
	}
}

// roster keeps the voters as they should be; only the holder does.
func (p *plan) roster() {
	o := p.o
	if !o.leased() || !o.Election.Settled || o.Paused {
		return
	}
	if next, ok := NextRoster(o, p.d); ok {
		p.do(next)
	}
}

func (p *plan) forgotten(id string) bool { return slices.Contains(p.o.Forgotten, id) }

// successors are the replicas in sync, in the order in which they take over. The order stands as
// long as all of them stay in sync: offsets jump about under load, and a successor that changes all
// the time is known to nobody. While versions differ the oldest goes first, whatever the
// priorities: those that are older than the primary may not be able to follow it, and a failover in
// the middle of an upgrade would leave nobody to survive the next one.
func (p *plan) successors() []string {
	o := p.o
	type candidate struct {
		id       string
		place    int
		priority int
		release  int
	}
	if o.Redis.Role != Primary {
		return nil
	}
	self, _ := p.member(o.Self)
	var in []candidate
	for _, l := range o.Redis.Replicas {
		i := slices.IndexFunc(o.Members, func(m Member) bool { return m.Redis == l.Addr })
		if i < 0 || l.Addr == "" || !l.Online || l.Lag > MaxLag {
			continue
		}
		m := o.Members[i]
		if !m.Alive || m.ID == o.Self || m.Priority == PriorityNever || !p.isVoter(m.ID) {
			continue
		}
		place := slices.Index(o.Election.Successors, m.ID)
		if place < 0 {
			place = len(o.Election.Successors)
		}
		in = append(in, candidate{m.ID, place, m.Priority, cmp.Or(m.Release, self.Release)})
	}
	slices.SortFunc(in, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.release, b.release), cmp.Compare(a.priority, b.priority), cmp.Compare(a.place, b.place), cmp.Compare(a.id, b.id))
	})
	var out []string
	for _, c := range in {
		out = append(out, c.id)
	}
	return out
}
