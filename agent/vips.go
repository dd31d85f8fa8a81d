package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/vip"
)

// vipSet is the configured addresses of this node.
type vipSet struct {
	mu   sync.Mutex
	list []*floating
	more chan struct{} // closed and replaced when list changes

	ready func(netip.Addr) // called when the host has one of them, before it is announced
}

// floating is one address with what the agent did to it last.
type floating struct {
	cfg     config.VIP
	addr    *vip.Address
	held    bool
	foreign error // somebody else configured the address on this host
}

// set makes the configured addresses the ones that are looked after. All new ones are found before
// an old one is touched.
func (s *vipSet) set(cfgs []config.VIP, log *slog.Logger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next []*floating
	var errs []error
	for _, c := range cfgs {
		if old := s.find(c); old != nil {
			next = append(next, old)
			continue
		}
		addr, err := vip.New(vip.Config{Prefix: c.Address, Interface: c.Interface, Lifetime: node.VIPLifetime, Ready: func() { s.ready(c.Address.Addr()) }}, log)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		held, err := addr.Held()
		if err != nil {
			errs = append(errs, err)
		}
		next = append(next, &floating{cfg: c, addr: addr, held: held})
	}
	keep := map[*floating]bool{}
	if len(errs) > 0 {
		for _, f := range s.list {
			keep[f] = true
		}
		closeOthers(next, keep)
		return errors.Join(errs...)
	}
	for _, f := range next {
		keep[f] = true
	}
	for _, f := range s.list {
		if !keep[f] {
			_ = f.addr.Drop(context.Background())
		}
	}
	closeOthers(s.list, keep)
	s.list = next
	if s.more != nil {
		close(s.more)
	}
	s.more = make(chan struct{})
	return nil
}

func closeOthers(list []*floating, keep map[*floating]bool) {
	for _, f := range list {
		if !keep[f] {
			_ = f.addr.Close()
		}
	}
}

func (s *vipSet) find(c config.VIP) *floating {
	for _, f := range s.list {
		if f.cfg == c {
			return f
		}
	}
	return nil
}

func (s *vipSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	closeOthers(s.list, nil)
	s.list = nil
}

// watch says when the kernel tells of a change.
func (s *vipSet) watch(ctx context.Context, seen func(address string, held bool)) error {
	for {
		s.mu.Lock()
		list, more := s.list, s.more
		s.mu.Unlock()
		inner, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		for _, f := range list {
			wg.Go(func() {
				for {
					select {
					case <-inner.Done():
						return
					case <-f.addr.Changed():
						if held, ok := s.look(f); ok {
							seen(f.cfg.Address.String(), held)
						}
					}
				}
			})
		}
		select {
		case <-ctx.Done():
		case <-more:
		}
		cancel()
		wg.Wait()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// look asks the kernel for an address; ok is false when it did not say.
func (s *vipSet) look(f *floating) (held, ok bool) {
	held, err := f.addr.Held()
	if err != nil {
		return false, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.held = held && f.foreign == nil
	return f.held, true
}

func (s *vipSet) byAddress(address string) *floating {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.list {
		if f.cfg.Address.String() == address {
			return f
		}
	}
	return nil
}

func (s *vipSet) hold(ctx context.Context, address string) (first bool, err error) {
	f := s.byAddress(address)
	if f == nil {
		return false, fmt.Errorf("hold %s: not configured", address)
	}
	if err := f.addr.Hold(ctx); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first = !f.held
	f.held, f.foreign = true, nil
	return first, nil
}

// heldHere are the addresses that this host has.
func (s *vipSet) heldHere() []*floating {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*floating
	for _, f := range s.list {
		if f.held {
			out = append(out, f)
		}
	}
	return out
}

// probe asks the network who else has the address.
func (s *vipSet) probe(ctx context.Context, address string) (net.HardwareAddr, error) {
	f := s.byAddress(address)
	if f == nil {
		return nil, nil
	}
	return f.addr.Probe(ctx, probeVIP)
}

// heardElsewhere: another host has announced the address since.
func (s *vipSet) heardElsewhere(address string, since time.Time) bool {
	f := s.byAddress(address)
	return f != nil && f.addr.HeardElsewhere(since)
}

// probeVIP is how long another owner of the address has to answer.
const probeVIP = 200 * time.Millisecond

// foreign says which addresses somebody else configured on this host.
func (s *vipSet) foreign() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, f := range s.list {
		if f.foreign != nil {
			out = append(out, f.cfg.Address.String())
		}
	}
	return out
}

// ofPrimary are the addresses that go with the primary.
func (s *vipSet) ofPrimary() []string {
	var out []string
	for _, v := range s.observed() {
		if !v.Replica {
			out = append(out, v.Address)
		}
	}
	return out
}

func (s *vipSet) observed() []reconcile.VIP {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []reconcile.VIP
	for _, f := range s.list {
		out = append(out, reconcile.VIP{Address: f.cfg.Address.String(), Replica: f.cfg.Role == "replica", Held: f.held})
	}
	return out
}
