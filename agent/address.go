package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

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
