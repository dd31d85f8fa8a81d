package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// rivals looks whether another host answers for an address that this one has: another cluster's,
// one that was set up by hand, one that took no part in the election. It asks the network, whatever
// was announced there: an announcement may be late, an answer says how it is.
type rivals struct {
	*site
	vips    *vipSet
	journal *journal
	probe   func(ctx context.Context, address string) (net.HardwareAddr, error)
	heard   func(address string, since time.Time) bool

	mu   sync.Mutex
	held map[string]*contest // by address
}

// contest is what is known of one address while this host has it.
type contest struct {
	due   time.Time
	asked time.Time
	rival string // who else has it; empty: nobody
}

const (
	// rivalsEvery is how often the question is put while nothing was heard: it costs two frames.
	rivalsEvery = 30 * time.Second
	// rivalsAgain is how soon it is put again while there is a rival, or one was heard.
	rivalsAgain = 2 * time.Second
	rivalsLook  = time.Second
)

func newRivals(s *site, v *vipSet, j *journal) *rivals {
	return &rivals{site: s, vips: v, journal: j, probe: v.probe, heard: v.heardElsewhere, held: map[string]*contest{}}
}

// run looks until ctx ends.
func (r *rivals) run(ctx context.Context) error {
	return every(ctx, rivalsLook, func(at time.Time) {
		var held []string
		for _, f := range r.vips.heldHere() {
			held = append(held, f.cfg.Address.String())
		}
		for _, address := range r.due(held, at) {
			if other, err := r.probe(ctx, address); err == nil {
				r.learn(address, other)
			}
		}
	})
}

// due are the addresses of those held here that it is time to ask for. One that was just taken is
// given the time in which the host before lets go of it.
func (r *rivals) due(held []string, at time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for address := range r.held {
		if !slices.Contains(held, address) {
			delete(r.held, address)
		}
	}
	var out []string
	for _, address := range held {
		c := r.held[address]
		if c == nil {
			r.held[address] = &contest{due: at.Add(ownerProbedAfter), asked: at}
			continue
		}
		hinted := !c.asked.IsZero() && at.After(c.asked.Add(rivalsAgain)) && at.Before(c.due) && r.heard(address, c.asked)
		if at.Before(c.due) && !hinted {
			continue
		}
		c.asked, c.due = at, at.Add(rivalsEvery)
		out = append(out, address)
	}
	return out
}

// learn takes in an answer: other is nil when nobody else has the address.
func (r *rivals) learn(address string, other net.HardwareAddr) {
	r.mu.Lock()
	c := r.held[address]
	if c == nil || !slices.ContainsFunc(r.vips.heldHere(), func(f *floating) bool { return f.cfg.Address.String() == address }) {
		r.mu.Unlock()
		return // this host has let go of it meanwhile
	}
	was := c.rival
	c.rival = other.String()
	if c.rival != "" {
		c.due = c.asked.Add(rivalsAgain)
	}
	now := c.rival
	r.mu.Unlock()
	switch {
	case now != "" && now != was:
		r.journal.say(func(log *slog.Logger) {
			log.Warn("another host answers for the VIP", "vip", address, "hardware_address", now, "cure", rivalCure)
		})
		r.events.add("vip_conflict", address+" is also at "+now)
	case now == "" && was != "":
		r.journal.say(func(log *slog.Logger) { log.Info("no other host answers for the VIP any more", "vip", address) })
		r.events.add("vip_conflict_over", address+" is here alone")
	}
}

const rivalCure = "find the host with that hardware address (`ip link`) and take the VIP off it; if it is of another cluster that was given the same VIP, give that one another, or see `redisd join --help`"

// problems says in words which addresses are elsewhere, too.
func (r *rivals) problems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for address, c := range r.held {
		if c.rival != "" {
			out = append(out, fmt.Sprintf("the VIP %s is at another host, too (hardware address %s): %s", address, c.rival, rivalCure))
		}
	}
	slices.Sort(out)
	return out
}
