package nodes

import (
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// Bound is how long after the last fault all must be well again.
const Bound = 60 * time.Second

// Result is what a schedule saw.
type Result struct {
	Seed  uint64
	Steps int
	// Inputs were told to nodes, Claims made, Promotions done, of which Losses lost writes.
	Inputs, Claims, Promotions, Losses int
	// WideLosses lost what a majority had, PassedOver what a replica had that was in touch.
	WideLosses, PassedOver         int
	Crashes, Freezes, PowerLosses  int
	HandOvers, RemoteFences, Kills int
	Guarded, FullSyncs             int
	// Rosters counts the changes of the voters.
	Rosters int
	// Ends counts the redis-servers that ended, hung or were busy, but for a stop.
	Ends int
	// Late counts what let writes in after its agent had died.
	Late int
	// Barren: nobody has data, and not all voters know that there never was any, so nobody may
	// claim; an operator decides.
	Barren bool
	// Classes were played.
	Classes Class
	// LeftOut counts the redis-servers that took writes in an earlier epoch than another one did
	// and did not know, Touch is the longest time in which the two could talk.
	LeftOut int
	Touch   time.Duration
	// Waits: with a limit on what may be lost, an operator decides.
	Waits            int
	Virtual, Settled time.Duration
	Err              error
}

// Options say what to play.
type Options struct {
	// Only are the classes to play; 0: those of Default that the seed draws.
	Only  Class
	Trace io.Writer
}

// faults counts what has happened.
func (r *Result) faults() int { return r.Crashes + r.Freezes + r.PowerLosses + r.Ends + r.Kills }

// Run plays one seed.
func Run(seed uint64, o Options) Result {
	w := &world{trace: o.Trace}
	w.src.Seed(seed, 0x5eed)
	w.rng = rand.New(&w.src)
	w.check.w = w
	w.res.Seed = seed
	w.choose(o.Only)
	w.draw()
	w.prepare()
	w.res.Classes = w.on
	if w.p.cold {
		w.found()
	} else {
		w.formed()
	}
	w.hear()
	w.after(0, w.check.watch)
	w.schedule()
	w.run(w.p.until)
	if w.check.err == nil {
		w.heal()
		w.run(w.now + 150*ms)
		w.settle()
	}
	w.res.Virtual = w.now
	w.res.Err = w.check.err
	return w.res
}

// newHosts makes n hosts, all off.
func (w *world) newHosts(n int, witness bool) {
	extreme := w.one(0.5)
	for i := range n {
		id := string(rune('a' + i))
		h := &host{w: w, i: i, id: id}
		h.ppm = w.rng.Int64N(2*w.p.drift+1) - w.p.drift
		if extreme {
			h.ppm = w.p.drift * (w.rng.Int64N(2)*2 - 1)
		}
		h.base = time.Hour + w.upTo(time.Hour)
		h.redis.of, h.sentinel.monitors = -1, -1
		h.d = reconcile.Desired{
			Redis: true, Sentinel: true, Expect: n, Priority: 100, MinReplicas: reconcile.Unknown,
			DownAfter: 3 * time.Second, FailoverTimeout: 15 * time.Second, FailoverLag: w.p.limit,
		}
		h.addresses()
		if witness && i == n-1 {
			h.d.Redis = false
		}
		w.hosts = append(w.hosts, h)
	}
}

// newcomer is a host that is not there yet.
func (w *world) newcomer() {
	n := len(w.hosts)
	h := *w.hosts[0]
	id := string(rune('a' + n))
	h.i, h.id, h.gone, h.d.Redis = n, id, true, true
	h.addresses()
	w.hosts = append(w.hosts, &h)
}

// found has all hosts boot with nothing on their disks.
func (w *world) found() {
	w.check.newSegment(0, 0)
	for _, h := range w.hosts {
		w.after(w.upTo(500*ms), h.boot)
	}
}

// formedTerm is the term of the primary of a formed cluster, formedPos how much it has.
const formedTerm, formedPos = 3, 1_000_000

// formed is a cluster that has been up for a while: every agent has just been restarted, and found
// all as it should be.
func (w *world) formed() {
	const term = formedTerm
	n := len(w.hosts)
	if w.hosts[n-1].gone {
		n--
	}
	p := w.rng.IntN(n)
	for !w.hosts[p].d.Redis || w.hosts[p].gone {
		p = w.rng.IntN(n)
	}
	var voters []election.Voter
	for i := range w.hosts {
		h := w.hosts[(p+i)%len(w.hosts)]
		if h.gone || w.has(Learners) && len(voters) >= votersMost {
			continue
		}
		voters = append(voters, election.Voter{ID: election.NodeID(h.id), Addr: h.gossipAt})
	}
	roster := election.NewRoster(1, voters)
	roster.Term = term
	hist := []segment{{w.check.newSegment(term, 0), 0}}
	w.check.maxTerm, w.check.allowedTerm = term, term
	for _, h := range w.hosts {
		if !h.gone {
			w.form(h, p, roster, hist)
		}
	}
	w.changed()
	for _, h := range w.hosts {
		h.startAgent()
	}
}

// form puts a host into a formed cluster, whose primary is host p.
func (w *world) form(h *host, p int, roster election.Roster, hist []segment) {
	const term, pos = formedTerm, formedPos
	holder := election.NodeID(w.hosts[p].id)
	h.power = true
	h.disk.state = node.State{
		Election: election.State{ClusterID: "c", Term: term, Vote: holder, Holder: holder, HolderTerm: term, Roster: roster},
		Pause:    node.Pause{Version: 1},
	}
	s := &h.sentinel
	*s = sentinel{
		up: true, run: 1, startedAt: -time.Hour, configured: true, tuned: true, monitors: p, epoch: term, quorum: w.size()/2 + 1,
		downAfter: h.d.DownAfter, failoverTo: h.d.FailoverTimeout, peers: 1<<w.size() - 1 - 1<<h.i,
	}
	s.forget()
	h.tickSentinel()
	for _, o := range w.hosts {
		h.gossip[o.i] = member{known: !o.gone, meta: node.Meta{ClusterID: "c", Ready: true, Priority: 100, Data: reconcile.Data{Term: term, Offset: pos, Keys: pos}}, place: o.place}
	}
	if !h.d.Redis {
		return
	}
	r := &h.redis
	was, own := r.store, r.ownSync
	*r = server{
		up: true, run: 1, startedAt: -time.Hour, of: p, ofAt: w.hosts[p].redisAt, min: reconcile.Fence, link: linkUp, linkRun: 1,
		hist: hist, pos: pos, p0: pos, whole: true, safe: pos, safeHist: hist,
	}
	h.disk.record = node.Record{Version: node.Version{Term: term, Offset: pos, Keys: pos, ReplID: strconv.Itoa(int(r.replID()))}, RunID: "1"}
	if h.i == p {
		r.of, r.primary, r.link, r.min, r.term = -1, true, linkDown, 0, term
		h.disk.record.Primary = true
		h.disk.lease = h.local() + election.Lease
		h.vip[0] = kernelVIP{true, node.VIPLifetime}
	}
	h.disk.synced = h.disk.record
	r.store, r.ownSync = was, own
	r.keep()
}
