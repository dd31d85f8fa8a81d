package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/vip"
)

// listener sees to it that redis-server listens where redisd.toml says, and nowhere else, whichever
// addresses the host has.
//
// redis-server opens a socket for each address that is there when it is told of it, and for no
// other one. So it is told again when one comes, the VIP above all: before that is announced. All
// of its sockets are closed and opened anew then, which takes it some 0.1 ms, and who connects in
// between is refused; so it is told only when something is amiss. What counts is the sockets that
// the kernel has, not what CONFIG GET says: that has names of addresses for which there is no
// socket. A socket whose address has gone stays, and serves again when it comes back.
//
// It is told by the unix socket, and so also when it listens at no address at all.
type listener struct {
	*site
	journal *journal
	server  *redis.Server // of its own, see keeper
	process func() int    // redis-server's; 0: none runs, or it is being stopped
	sentry  sentinelPorts
	sooner  chan struct{} // look now: the host has changed

	mu      sync.Mutex
	host    []config.HostInterface
	closing []netip.Addr  // VIPs that are being let go: see actor.closeClients
	until   time.Duration // they are
	good    listened
	fault   fault
	trouble atomic.Pointer[[]string]
}

// listened is what redis-server's listening depends on.
type listened struct {
	pid    int
	wanted []netip.Addr
	host   []config.HostInterface
}

func (a listened) same(b listened) bool {
	return a.pid == b.pid && slices.Equal(a.wanted, b.wanted) && slices.EqualFunc(a.host, b.host, sameInterface)
}

const (
	// listenEvery is how often it is looked, whether anything was heard to have changed or not.
	listenEvery = 500 * time.Millisecond
	// listenTimeout bounds a command to redis-server; the announcement of a VIP waits no longer.
	listenTimeout = 200 * time.Millisecond
	// closingFor bounds how long a VIP that is let go is not listened on.
	closingFor = time.Second
)

func newListener(s *site, vips *vipSet, j *journal, server *redis.Server, procs [2]*supervised) *listener {
	l := &listener{
		site: s, journal: j, server: server, process: procs[node.Redis].servingPID,
		sentry: sentinelPorts{proc: procs[node.Sentinel]}, sooner: make(chan struct{}, 1),
	}
	vips.ready = l.ready
	return l
}

// run looks until ctx ends.
func (l *listener) run(ctx context.Context) error {
	defer l.server.Close()
	var watching sync.WaitGroup
	watching.Go(func() { vip.WatchInterfaces(ctx, l.lookNow) })
	defer watching.Wait()
	t := time.NewTicker(listenEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.sooner:
			l.learn()
		case <-t.C:
		}
		l.look(ctx)
		l.sentry.look(ctx, l)
	}
}

// lookNow has it look at the host anew. It never waits.
func (l *listener) lookNow() {
	select {
	case l.sooner <- struct{}{}:
	default:
	}
}

// ready is called when the host has a VIP, before that is announced: redis-server is told where to
// listen if it has no socket there, at the cost of one command. Clients wait: all else is left to
// the look that the kernel's word of the address leads to.
func (l *listener) ready(addr netip.Addr) {
	ctx, cancel := context.WithTimeout(context.Background(), listenTimeout)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	cfg := l.cfg.Load()
	if l.process() == 0 || l.host == nil || !cfg.HasRole(config.RoleRedis) {
		return
	}
	have, err := vip.Listening(l.redisAddr.Port())
	if err == nil && (slices.Contains(have, addr) || covers(have, addr)) {
		return
	}
	if err := l.server.Listen(ctx, confgen.Bind(cfg.RedisListens(l.host).Addrs)); err != nil {
		l.log.Debug("redis-server does not listen at the VIP yet", "vip", addr, "error", err)
	}
}

// learn asks the kernel which addresses this host has.
func (l *listener) learn() {
	host, err := HostInterfaces()
	if err != nil {
		l.log.Warn("this host's addresses are not known", "error", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.host != nil && !slices.EqualFunc(l.host, host, sameInterface) {
		l.fault.next = 0 // an address that was refused may be another's by now
	}
	l.host = host
}

func sameInterface(a, b config.HostInterface) bool {
	return a.Name == b.Name && a.Loopback == b.Loopback && slices.Equal(a.Addresses, b.Addresses)
}

// HostInterfaces are this host's interfaces and their addresses.
func HostInterfaces() ([]config.HostInterface, error) {
	list, err := vip.Interfaces()
	var out []config.HostInterface
	for _, i := range list {
		out = append(out, config.HostInterface{Name: i.Name, Up: i.Up, Loopback: i.Loopback, Addresses: i.Addresses})
	}
	return out, err
}

// close has redis-server listen at these addresses no more, until open, or for a while. It is a
// courtesy to clients, and may fail.
func (l *listener) close(ctx context.Context, addrs []netip.Addr) {
	l.mu.Lock()
	l.closing, l.until = addrs, now()+closingFor
	l.mu.Unlock()
	l.look(ctx)
}

// open ends close.
func (l *listener) open(ctx context.Context) {
	l.mu.Lock()
	was := l.closing
	l.closing = nil
	l.mu.Unlock()
	if was != nil {
		l.look(ctx)
	}
}

// look tells redis-server where to listen, if it does not.
func (l *listener) look(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	pid, cfg := l.process(), l.cfg.Load()
	if pid == 0 || l.host == nil || !cfg.HasRole(config.RoleRedis) {
		l.trouble.Store(nil)
		return
	}
	if pid != l.good.pid {
		l.fault = fault{}
	}
	ctx, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	wanted := cfg.RedisListens(l.host)
	if l.closing != nil && now() < l.until {
		wanted = wanted.Without(l.closing, l.host)
	}
	state := listened{pid, wanted.Addrs, l.host}
	have, bind, err := l.ask(ctx, state)
	if err != nil {
		return // what does not answer now is asked again
	}
	lacks, beyond := wanted.Misses(have, l.host)
	if len(lacks)+len(beyond) > 0 && now() >= l.fault.next {
		err = l.tell(ctx, wanted)
		changed := state.same(l.good)
		if have, _, askErr := l.ask(ctx, state); askErr == nil {
			lacks, beyond = wanted.Misses(have, l.host)
		}
		switch {
		case len(lacks)+len(beyond) > 0:
			l.fault.refused(err)
		case changed:
			l.restored(bind)
		}
	}
	if len(lacks)+len(beyond) == 0 {
		l.fault, l.good = fault{}, state
	}
	l.report(wanted, lacks, beyond)
}

// ask asks where redis-server listens: it says what it was told, and the kernel for what of that
// there is a socket. bind is its own word.
func (l *listener) ask(ctx context.Context, state listened) (have []netip.Addr, bind string, err error) {
	r, err := l.server.Running(ctx, []string{"bind"})
	if err != nil {
		return nil, "", err
	}
	bind = r.Config["bind"]
	sockets, err := vip.Listening(l.redisAddr.Port())
	if err != nil {
		l.log.Debug("who listens is not known", "error", err)
		sockets = state.wanted // it was told when all was so
		if !state.same(l.good) {
			sockets = nil
		}
	}
	have = slices.DeleteFunc(confgen.Bound(bind), func(a netip.Addr) bool { return !slices.Contains(sockets, a) })
	return have, bind, nil
}

// tell has redis-server listen where it is wanted. One address that another program has would keep
// it from all of them, also from going back to where it listened before: it is told again without.
// For what is taken to be seen, it must let go of what it has itself.
func (l *listener) tell(ctx context.Context, wanted config.Listening) error {
	err := l.server.Listen(ctx, confgen.Bind(wanted.Addrs))
	if redis.AnswerOf(err) != redis.Refusal {
		return err
	}
	none := l.server.Listen(ctx, nil)
	free := slices.DeleteFunc(slices.Clone(wanted.Addrs), func(a netip.Addr) bool { return l.taken(ctx, a) })
	return errors.Join(err, none, l.server.Listen(ctx, confgen.Bind(free)))
}

// taken: another program listens there.
func (l *listener) taken(ctx context.Context, a netip.Addr) bool {
	var lc net.ListenConfig
	s, err := lc.Listen(ctx, "tcp", netip.AddrPortFrom(a, l.redisAddr.Port()).String())
	if err == nil {
		_ = s.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}

// restored: all was as it should be, and nothing has changed since but where redis-server was told
// to listen.
func (l *listener) restored(bind string) {
	was := settingWas(confgen.Difference{Setting: confgen.Setting{Name: "bind"}, Is: bind})
	l.events.add("restored", was+"; it is as redisd has it again")
	l.journal.say(func(log *slog.Logger) {
		log.Warn("what redisd keeps in redis-server was changed: restored", "what", was)
	})
}

// report is for status.
func (l *listener) report(wanted config.Listening, lacks, beyond []netip.Addr) {
	why := ""
	if l.fault.err != nil {
		why = ": " + l.fault.err.Error()
	}
	var problems []string
	if len(lacks) > 0 {
		problems = append(problems, "redis-server does not listen at "+words(lacks)+why)
	}
	if len(beyond) > 0 {
		problems = append(problems, "redis-server listens at "+words(beyond)+", where it should not"+why)
	}
	if len(wanted.Over) > 0 {
		problems = append(problems, fmt.Sprintf("listen in [redis] means more than the %d addresses that redis-server takes: it does not listen at %s",
			config.MostListen, words(wanted.Over)))
	}
	l.trouble.Store(&problems)
}

// problems are what is wrong with where this node's servers listen.
func (l *listener) problems() []string {
	var out []string
	if p := l.trouble.Load(); p != nil {
		out = append(out, *p...)
	}
	if p := l.sentry.trouble.Load(); p != nil {
		out = append(out, *p)
	}
	return out
}

// words name addresses for people.
func words(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		switch a {
		case netip.IPv4Unspecified():
			out = append(out, "every address of IPv4")
		case netip.IPv6Unspecified():
			out = append(out, "every address of IPv6")
		default:
			out = append(out, a.String())
		}
	}
	return strings.Join(out, ", ")
}

// sentinelPorts looks where redis-sentinel listens. It cannot be told of another address while it
// runs: it is started anew when it lacks one.
type sentinelPorts struct {
	proc    *supervised
	pid     int
	since   time.Duration // it is seen
	ended   time.Duration // one was, for this
	trouble atomic.Pointer[string]
}

const (
	// sentinelSettles is what a Sentinel that was just started has to open its sockets.
	sentinelSettles = 5 * time.Second
	// sentinelAgain bounds how often it is started anew: its clients lose their subscriptions.
	sentinelAgain = time.Minute
)

func (s *sentinelPorts) look(ctx context.Context, l *listener) {
	pid, cfg := s.proc.servingPID(), l.cfg.Load()
	if pid != s.pid {
		s.pid, s.since = pid, now()
	}
	if pid == 0 || l.host == nil || now() < s.since+sentinelSettles {
		s.trouble.Store(nil)
		return
	}
	have, err := vip.Listening(l.sentinelAddr().Port())
	if err != nil {
		return
	}
	lacks, beyond := cfg.SentinelListens(l.host).Misses(have, l.host)
	beyond = slices.DeleteFunc(beyond, func(a netip.Addr) bool { return !a.IsUnspecified() }) // another program's
	switch text := ""; {
	case slices.ContainsFunc(lacks, func(a netip.Addr) bool { return !covers(have, a) }):
		text = "redis-sentinel does not listen at " + words(lacks)
		if now() >= s.ended+sentinelAgain || s.ended == 0 {
			s.ended = now()
			l.events.add("sentinel_restarted", text)
			l.journal.say(func(log *slog.Logger) { log.Info("redis-sentinel is started anew", "why", text) })
			s.proc.stop(ctx, stopGrace)
		}
		s.trouble.Store(&text)
	case len(beyond) > 0:
		text = "redis-sentinel listens at " + words(beyond) + ", where it should not, until it is started again"
		s.trouble.Store(&text)
	default:
		s.trouble.Store(nil)
	}
}

// covers: a socket of all addresses is one of this address, too.
func covers(sockets []netip.Addr, a netip.Addr) bool {
	return slices.ContainsFunc(sockets, func(s netip.Addr) bool { return s.IsUnspecified() && s.Is4() == a.Is4() })
}
