package agent

import (
	"context"
	"errors"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/vip"
	"log/slog"
	"net/netip"
)

// ownerProbedAfter is when it is looked whether another host still answers for an address that was
// taken: one that has handed over keeps it for as long as reconcile.YieldFor.
const ownerProbedAfter = 2 * reconcile.YieldFor

// closeClients closes the clients of redis-server. Where it has an address of the primary, it takes
// no connection at it any more until the address has gone: a client that came back in between would
// be taken in by a host that nothing it says can leave, and hang for as long as it is patient.
func (a *actor) closeClients(ctx context.Context, do node.Do) error {
	if held := a.vips.heldByPrimary(); len(held) > 0 {
		a.listener.close(ctx, held)
	}
	n, err := a.server.CloseClients(ctx)
	a.journal.say(func(log *slog.Logger) { log.Info("clients closed", "clients", n) })
	if err == nil {
		a.requests.step(do.Request, "clients_closed", "clients closed by %s", a.name())
	}
	return err
}

// dropVIP takes an address off this host. Whoever is connected there is told while that is
// possible, and who connects now is sent on to the next holder.
func (a *actor) dropVIP(ctx context.Context, do node.Do, act reconcile.DropVIP) error {
	if err := a.vips.drop(ctx, act.Address, a.redisAddr.Port(), a.log); err != nil {
		return err
	}
	a.journal.say(func(log *slog.Logger) { log.Info("vip dropped", "vip", act.Address, "why", act.Why) })
	a.requests.step(do.Request, "vip_dropped", "VIP %s dropped by %s", act.Address, a.name())
	if len(a.vips.heldByPrimary()) == 0 {
		a.listener.open(ctx)
	}
	return nil
}

// drop takes an address off this host; see actor.dropVIP. Letting go waits for nothing that may
// fail before it.
func (s *vipSet) drop(ctx context.Context, address string, port uint16, log *slog.Logger) error {
	f := s.byAddress(address)
	if f == nil {
		return nil
	}
	was := s.isHeld(f)
	var late []netip.AddrPort
	if was {
		if _, err := vip.Destroy(f.cfg.Address.Addr(), port); err != nil {
			log.Debug("connections to the VIP are not ended", "vip", address, "error", err)
		}
		if err := f.addr.Park(context.WithoutCancel(ctx), port); err != nil {
			log.Debug("connections under way are not sent on", "vip", address, "error", err)
		}
		late = connectedLate(f, port, log)
	}
	err := f.addr.Drop(ctx)
	if err != nil && !errors.Is(err, vip.ErrForeign) {
		return err
	}
	if was && err == nil {
		f.addr.SendAway(port, sorted(append(late, connectedLate(f, port, log)...)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.held = false
	f.foreign = err // a copy that is not redisd's must not keep a round from going on
	return nil
}

// connectedLate are clients that connected after the others had been ended: one that is told so is
// back at once, and a redis-server that hangs, or has not quite died, still listens. They are asked
// for before the address goes and after it, for their connections may end in between, unheard.
func connectedLate(f *floating, port uint16, log *slog.Logger) []netip.AddrPort {
	late, err := vip.Connections(f.cfg.Address.Addr(), port)
	if err != nil {
		log.Debug("late clients not listed", "vip", f.cfg.Address, "error", err)
	}
	return late
}

func (s *vipSet) isHeld(f *floating) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.held
}

// heldByPrimary are the addresses on this host that go with the primary.
func (s *vipSet) heldByPrimary() []netip.Addr {
	var out []netip.Addr
	for _, f := range s.heldHere() {
		if f.cfg.Role != "replica" {
			out = append(out, f.cfg.Address.Addr())
		}
	}
	return out
}
