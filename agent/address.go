package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/vip"
)

// ownAddress is this node's own address: whether the host has it. redisd does not configure it, and
// without it the node hears nobody.
type ownAddress struct {
	mu    sync.Mutex
	iface string // that has it, or had it last
	lost  bool
}

// watchAddress tells people when the host loses its address, and when it has it again.
func (s *site) watchAddress(ctx context.Context, j *journal) error {
	addr := s.gossipAddr.Addr()
	if addr.IsLoopback() {
		return nil // every host has all of 127.0.0.0/8, whatever its interfaces say
	}
	vip.WatchOwn(ctx, addr, func(iface string) {
		o := &s.address
		o.mu.Lock()
		was := o.lost
		o.lost = iface == ""
		if iface != "" {
			o.iface = iface
		}
		now := o.lost
		o.mu.Unlock()
		switch {
		case now && !was:
			text := s.addressLost()
			j.say(func(log *slog.Logger) {
				log.Warn(text, "cure", "give it back: redis-server is left as it is, and this node goes on when the address is there")
			})
			s.events.add("address_lost", text)
		case was && !now:
			j.say(func(log *slog.Logger) {
				log.Info("this host has its address again", "address", addr, "interface", iface)
			})
			s.events.add("address_back", fmt.Sprintf("%s is on %s again", addr, iface))
		}
	})
	return nil
}

const (
	// renumberEvery is how often it is looked whether a host that has lost its address has another.
	renumberEvery = 500 * time.Millisecond
	// renumberAfter is for how long that must be the same: an interface that is configured anew may
	// have its addresses in any order for a moment.
	renumberAfter = 2 * time.Second
)

// awaitRenumbering returns an error when the host has another address in place of the lost one, as
// by DHCP; never when redisd.toml says which one it is. The next agent starts with that, and takes
// the running redis-server over. Whoever knew this node by its ID knows it by that again.
func (s *site) awaitRenumbering(ctx context.Context, load func() (config.Config, error), j *journal) error {
	r := renumbering{own: s.gossipAddr.Addr()}
	t := time.NewTicker(renumberEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		var found netip.Addr
		if s.addressLost() != "" {
			if cfg, err := load(); err == nil {
				found = cfg.Node.Address
			}
		}
		if !r.over(found, now()) {
			continue
		}
		text := fmt.Sprintf("this host has %s in place of its address %s", found, r.own)
		s.events.add("renumbered", text)
		j.say(func(log *slog.Logger) { log.Warn(text + ": the agent starts again with that") })
		return fmt.Errorf("%s: the next agent goes on with that, and redis-server runs on", text)
	}
}

// renumbering tells a host that has another address for good from one that has none for a moment.
type renumbering struct {
	own, found netip.Addr
	since      time.Duration
}

// over reports that found has been there for long enough.
func (r *renumbering) over(found netip.Addr, at time.Duration) bool {
	if found != r.found {
		r.found, r.since = found, at
	}
	return found.IsValid() && found != r.own && at >= r.since+renumberAfter
}

// addressLost says which address this host has lost; empty: none.
func (s *site) addressLost() string {
	o := &s.address
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !o.lost:
		return ""
	case o.iface == "":
		return fmt.Sprintf("this host does not have its address %s", s.gossipAddr.Addr())
	}
	return fmt.Sprintf("this host has lost its address %s (it was on %s)", s.gossipAddr.Addr(), o.iface)
}
