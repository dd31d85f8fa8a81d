package elections

import (
	"time"

	"github.com/redisd/redisd/election"
)

// host is a machine: its clock and disk, its agent while one runs, its redis.
type host struct {
	w       *world
	i       int
	id      election.NodeID
	rate    float64
	base    time.Duration
	power   bool
	lost    bool // for good
	disk    election.State
	agent   *agent
	redis   redis
	source  int // whom its redis replicates
	lastCut time.Duration
}

type redis struct {
	up bool
	// primaryOf is the term it was promoted in, 0 for a replica.
	primaryOf election.Term
	// lifted: it accepts writes.
	lifted bool
	data   election.Data
	// exempt: its agent is gone and the host was cut at the same time; no election can help, see
	// DESIGN.md of package election.
	exempt bool
}

func (h *host) local() election.Time { return h.base + time.Duration(float64(h.w.now)*h.rate) }

// real is when the local clock will read t.
func (h *host) real(t election.Time) time.Duration {
	return time.Duration(float64(t-h.base)/h.rate) - h.w.now
}

func (h *host) writable() bool {
	return h.power && h.redis.up && h.redis.lifted && h.redis.primaryOf != 0
}

// start boots the host, or just its agent.
func (h *host) start() {
	if h.lost {
		return
	}
	if !h.power {
		h.power = true
		h.redis.up = true
	}
	if h.agent != nil {
		return
	}
	h.agent = newAgent(h)
	h.w.logf("%s starts: %+v", h.id, h.disk)
}

func (h *host) crash(why string) {
	h.w.logf("%s agent crashes %s (writable %v)", h.id, why, h.writable())
	h.w.res.Crashes++
	h.agent = nil
	d := 20*ms + h.w.upTo(2*h.w.f.mend)
	if h.w.quiet {
		d = 20 * ms
	}
	h.w.after(h.again(d), func() {
		if h.power {
			h.start()
		}
	})
}

// again brings what would happen after the faults to their end.
func (h *host) again(d time.Duration) time.Duration {
	if left := h.w.f.until + h.w.upTo(200*ms) - h.w.now; left > 0 {
		return min(d, left)
	}
	return d
}

func (h *host) powerLoss() {
	h.w.logf("%s loses power (writable %v)", h.id, h.writable())
	h.power = false
	h.agent = nil
	lost := h.redis.data
	if lost.Offset > 0 && h.w.one(0.5) {
		lost.Offset -= h.w.rng.Int64N(min(lost.Offset, 200) + 1)
	}
	h.redis = redis{data: lost}
	h.w.after(h.again(100*ms+h.w.upTo(4*time.Second)), h.start)
}

func (h *host) redisDies() {
	h.w.logf("%s redis dies (writable %v)", h.id, h.writable())
	h.redis = redis{data: h.redis.data}
	h.w.after(h.again(20*ms+h.w.upTo(2*time.Second)), func() {
		if h.power {
			h.redis.up = true
		}
	})
}
