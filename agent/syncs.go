package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/internal/directive"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/redis"
)

// syncDelay is the directive that says how many seconds a primary waits before it makes a full
// copy.
const syncDelay = "repl-diskless-sync-delay"

const (
	syncLookEvery = 200 * time.Millisecond
	// unlinkedFor is how long a replica may be without a link before the versions are blamed: a
	// copy of a small dataset takes less.
	unlinkedFor = 3 * time.Second
)

// syncs sees to full copies that come to nothing: on the primary, that they are not made one after
// the other; on a replica, that people learn why.
type syncs struct {
	*site
	poller  *poller
	journal *journal
	server  *redis.Server
	pace    node.SyncPace
	seen    string // what the members run

	runID    string        // of the process that delay was set for
	delay    time.Duration // what was added to what is configured
	unlinked time.Duration // since when the replica here has no link; 0: it has
	primary  netip.AddrPort
	told     logLimiter

	mu  sync.Mutex
	why string
}

func (s *syncs) run(ctx context.Context) error {
	t := time.NewTicker(syncLookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			info, ok := s.poller.last()
			if !ok {
				info = redis.Info{}
			}
			s.follows(info)
			if ok {
				s.slowDown(ctx, info)
			}
		}
	}
}

// slowDown has the local redis-server wait before it makes another copy, when it is a primary whose
// copies come to nothing.
func (s *syncs) slowDown(ctx context.Context, info redis.Info) {
	if run := s.whatRuns(); run != s.seen {
		s.seen, s.pace = run, node.SyncPace{} // whoever was upgraded may be able to follow now
	}
	pause := s.pace.Look(now(), *redisInfo(info, redis.Settings{}), info.FullSyncs)
	if info.RunID != s.runID {
		left, err := s.leftBehind(ctx)
		if err != nil {
			return
		}
		s.runID, s.delay = info.RunID, left
	}
	if pause == s.delay {
		return
	}
	configured := s.configuredDelay()
	value := max(configured, int(pause/time.Second))
	if err := s.server.ConfigSet(ctx, redis.Directive{Name: syncDelay, Value: strconv.Itoa(value)}); err != nil {
		s.log.Debug("the pause between full copies is not set", "error", err)
		return
	}
	if s.delay == 0 && s.told.due(info.RunID) {
		s.events.add("syncs_paused", "replicas ask for one full copy after the other")
		s.journal.say(func(log *slog.Logger) {
			log.Warn("replicas ask for one full copy after the other and do not get in sync: the next ones are made after growing pauses",
				"longest", node.LongestSyncPause, "cure", "`redisd status` and `journalctl -t redis-server` on the replicas say why")
		})
	}
	s.delay = pause
}

// whatRuns are the versions of all members' redis-servers.
func (s *syncs) whatRuns() string {
	var out strings.Builder
	for _, m := range s.gossip.Members() {
		fmt.Fprintf(&out, "%s %s\n", m.ID, m.RedisVersion)
	}
	return out.String()
}

// leftBehind is the pause that the agent before this one had set; 0: none.
func (s *syncs) leftBehind(ctx context.Context) (time.Duration, error) {
	values, err := s.server.ConfigGet(ctx, syncDelay)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(values[syncDelay])
	is := time.Duration(n) * time.Second
	for p := node.FirstSyncPause; err == nil && n > s.configuredDelay() && p <= node.LongestSyncPause; p *= 2 {
		if is == p {
			return is, nil
		}
	}
	return 0, nil // what else it is, somebody has set on purpose
}

// configuredDelay is what the operator asks for, or redisd's default.
func (s *syncs) configuredDelay() int {
	text := s.cfg.Load().Redis.Directives[syncDelay]
	if text == "" {
		text, _ = directive.Default(syncDelay)
	}
	n, _ := strconv.Atoi(text)
	return n
}

// follows finds out why a replica here gets no link to its primary, as far as versions tell.
func (s *syncs) follows(info redis.Info) {
	if info.Role != redis.Replica || info.LinkUp || info.PrimaryAddr != s.primary {
		s.unlinked = 0
	}
	if info.Role != redis.Replica || info.LinkUp {
		s.blame("")
		return
	}
	if s.unlinked == 0 {
		s.unlinked, s.primary = now(), info.PrimaryAddr
	}
	primary, ok := s.memberAt(info.PrimaryAddr)
	switch {
	case !ok || !newer(primary.RedisVersion, info.Program()):
		s.blame("")
	case now() >= s.unlinked+unlinkedFor:
		s.blame(cannotFollow(info.Program(), primary.Name, primary.RedisVersion))
	}
}

func cannotFollow(own, primary, version string) string {
	return fmt.Sprintf("this host has %s and the primary %s a newer %s, whose copies it may be unable to read (`journalctl -t redis-server` says so then): upgrade it here too, then `systemctl stop redisd && systemctl start redisd`",
		program(own), primary, program(version))
}

// blame notes why, and tells it when it is new.
func (s *syncs) blame(why string) {
	s.mu.Lock()
	was := s.why
	s.why = why
	s.mu.Unlock()
	if why != "" && was == "" {
		s.events.add("cannot_follow", why)
		s.journal.say(func(log *slog.Logger) { log.Warn("redis-server does not get in sync: " + why) })
	}
}

// trouble is why the replica here does not follow; empty: nothing is known of it.
func (s *syncs) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// memberAt is the member whose redis-server listens at addr.
func (s *site) memberAt(addr netip.AddrPort) (gossip.Member, bool) {
	for _, m := range s.gossip.Members() {
		if m.Roles.Has(gossip.RoleRedis) && netip.AddrPortFrom(m.Addr.Addr(), m.RedisPort) == addr {
			return m, true
		}
	}
	return gossip.Member{}, false
}
