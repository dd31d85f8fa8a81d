package nodes

import (
	"fmt"
	"slices"
	"time"

	"github.com/redisd/redisd/election"
)

// votersMost is how many vote where not all do.
const votersMost = 3

// limitVoters says how many vote, and for how long one of them is waited for.
func (w *world) limitVoters() {
	if !w.has(Learners) {
		return
	}
	after := w.side.between(800*ms, 4*time.Second)
	for _, h := range w.hosts {
		h.d.Voters, h.d.ReplaceAfter = votersMost, after
	}
}

// loseVoters takes a voter away for longer than it is waited for, and half of the time another one
// when it should have been replaced: of three voters the third could not go on alone.
func (w *world) loseVoters() {
	w.loseVoter()
	if w.side.one(0.5) {
		w.after(w.hosts[0].d.ReplaceAfter+w.side.between(time.Second, 3*time.Second), w.loseVoter)
	}
}

func (w *world) loseVoter() {
	p, _ := w.primary()
	if w.quiet || p == nil {
		return
	}
	var others []*host
	for _, o := range w.hosts {
		if o != p && o.power && p.votesWith(o) {
			others = append(others, o)
		}
	}
	if len(others) == 0 {
		return
	}
	h := others[w.side.IntN(len(others))]
	if w.side.one(0.2) {
		h = p
	}
	lasts := w.ends(h.d.ReplaceAfter + w.side.between(0, 8*time.Second))
	if w.side.one(0.3) {
		w.isolate(h, true, w.side.one(0.7), lasts) // it lives, and may hear of it
		return
	}
	h.powerOff()
	w.after(lasts, h.boot)
}

// voters is how many vote, as far as a host knows.
func (h *host) voters() int { return len(h.disk.state.Election.Roster.Voters) }

// votesWith: o is a voter, as far as h knows.
func (h *host) votesWith(o *host) bool {
	return slices.ContainsFunc(h.disk.state.Election.Roster.Voters, func(v election.Voter) bool { return string(v.ID) == o.id })
}

// electorate says what is wrong with the voters when nothing else is; "": as many vote as should.
func (w *world) electorate(p *host) string {
	here := 0
	for _, h := range w.hosts {
		if !h.gone {
			here++
		}
	}
	want := here
	if most := p.d.Voters; most > 0 {
		want = min(here, most)
	}
	if n := p.voters(); n != want {
		return fmt.Sprintf("%d of %d hosts vote, not %d", n, here, want)
	}
	return ""
}
