package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

// Sentinel forgets nobody: who has left, was forgotten, or has another address now stays in its
// list, and counts, for as long as it lives, and after that in its file. SENTINEL RESET would have
// it forget everybody. The Sentinels of redisd decide nothing, so one of them can be stopped for a
// moment, the lines about ghosts taken out of its file, and started again: one node's after the
// other's, so that a client finds all others.

const (
	// ghostsEvery is how often a Sentinel's lists are looked at, ghostsAgain how soon a second time
	// when there was a ghost: it is one if it is there both times.
	ghostsEvery = time.Second
	ghostsAgain = 250 * time.Millisecond
	// ghostsAfter is how long an agent must have run: before, it may not know yet who is a member.
	ghostsAfter = 3 * time.Second
	// turnFor is how long one node's Sentinel may be away before it is another one's turn.
	turnFor = 3 * time.Second
)

// exorcist takes ghosts out of the local Sentinel.
type exorcist struct {
	*site
	driver   *driver
	talk     *talk
	journal  *journal
	files    *files
	sentinel *redis.Sentinel
	proc     *supervised
	turns    turns // of all nodes, while this one holds the lease
}

// ghosts are addresses in the local Sentinel's lists of which no member is.
type ghosts struct{ sentinels, replicas []netip.AddrPort }

func (g ghosts) none() bool { return len(g.sentinels)+len(g.replicas) == 0 }

// both are those that are in both.
func (g ghosts) both(h ghosts) ghosts {
	in := func(list []netip.AddrPort) func(netip.AddrPort) bool {
		return func(a netip.AddrPort) bool { return !slices.Contains(list, a) }
	}
	return ghosts{slices.DeleteFunc(slices.Clone(g.sentinels), in(h.sentinels)), slices.DeleteFunc(slices.Clone(g.replicas), in(h.replicas))}
}

func (g ghosts) String() string {
	var out []string
	for _, a := range g.sentinels {
		out = append(out, "sentinel "+a.String())
	}
	for _, a := range g.replicas {
		out = append(out, "replica "+a.String())
	}
	return strings.Join(out, ", ")
}

// run looks at the local Sentinel until ctx ends.
func (x *exorcist) run(ctx context.Context) error {
	if !x.cfg.Load().HasRole(config.RoleSentinel) {
		<-ctx.Done()
		return nil
	}
	var last ghosts
	wait := ghostsAfter
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		seen := x.look(ctx)
		if certain := seen.both(last); !certain.none() {
			err := x.drive(ctx, certain)
			if err == nil {
				seen = ghosts{}
			} else {
				x.log.Debug("ghosts stay in the sentinel for now", "ghosts", certain.String(), "error", err)
			}
		}
		last, wait = seen, ghostsEvery
		if !seen.none() {
			wait = ghostsAgain
		}
	}
}

// look finds the ghosts that there are now. While nothing is to be changed there are none.
func (x *exorcist) look(ctx context.Context) ghosts {
	if o := x.driver.observe(); o.Paused || o.Stopping || !o.Sentinel.Known || o.Sentinel.Monitors == "" || x.driver.primaryAddr() == "" {
		return ghosts{}
	}
	ctx, cancel := context.WithTimeout(ctx, node.SentinelTimeout)
	defer cancel()
	name := x.cfg.Load().Cluster.Name
	peers, err := x.sentinel.Peers(ctx, name)
	if err != nil {
		return ghosts{}
	}
	replicas, err := x.sentinel.Replicas(ctx, name)
	if err != nil {
		return ghosts{}
	}
	return findGhosts(peers, replicas, x.gossip.Members(), x.driver.view().Roster.Voters)
}

// findGhosts: what is known of, gone, and at an address where no member is. Of a voter that gossip
// does not know only the host is known; who is not gone would be back in a moment, whoever it is.
func findGhosts(peers []redis.SentinelView, replicas []redis.ReplicaView, members []gossip.Member, voters []election.Voter) (g ghosts) {
	var hosts []netip.Addr
	sentinels, servers := map[netip.AddrPort]bool{}, map[netip.AddrPort]bool{}
	for _, m := range members {
		sentinels[netip.AddrPortFrom(m.Addr.Addr(), m.SentinelPort)] = true
		servers[netip.AddrPortFrom(m.Addr.Addr(), m.RedisPort)] = true
	}
	for _, v := range voters {
		known := slices.ContainsFunc(members, func(m gossip.Member) bool { return m.ID == string(v.ID) })
		if a, err := netip.ParseAddrPort(v.Addr); err == nil && !known {
			hosts = append(hosts, a.Addr())
		}
	}
	ghost := func(a netip.AddrPort, f redis.Flags, known map[netip.AddrPort]bool) bool {
		return (f.SDown || f.Disconnected) && !known[a] && !slices.Contains(hosts, a.Addr())
	}
	for _, p := range peers {
		if ghost(p.Addr, p.Flags, sentinels) {
			g.sentinels = append(g.sentinels, p.Addr)
		}
	}
	for _, r := range replicas {
		if ghost(r.Addr, r.Flags, servers) {
			g.replicas = append(g.replicas, r.Addr)
		}
	}
	return g
}

// drive takes ghosts out of the local Sentinel, when it is this node's turn: it is ended, and
// started again by the next round with a file that does not have them.
func (x *exorcist) drive(ctx context.Context, g ghosts) error {
	ctx, cancel := context.WithTimeout(ctx, turnFor)
	defer cancel()
	if err := x.askTurn(ctx, turn{By: x.self}); err != nil {
		return err
	}
	defer func() { // who does not hear it waits for turnFor
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
		defer cancel()
		_ = x.askTurn(ctx, turn{By: x.self, Done: true})
	}()
	pid := x.proc.servingPID()
	if pid == 0 {
		return errors.New("redis-sentinel does not run")
	}
	x.files.dropFromSentinel(g)
	if err := x.proc.Kill(); err != nil && !errors.Is(err, supervisor.ErrNotRunning) {
		return err
	}
	again := until(ctx, func() bool {
		now := x.proc.servingPID()
		return now != 0 && now != pid && x.sentinel.Probe(ctx).Answered()
	})
	if !again {
		return errors.New("redis-sentinel has not come back yet")
	}
	x.journal.say(func(log *slog.Logger) { log.Info("taken out of the sentinel: no member is there", "what", g.String()) })
	x.events.add("sentinel_forgot", g.String())
	return nil
}

// turn asks the holder of the lease to be the only node whose Sentinel is away, or says that this
// is over.
type turn struct {
	By   string `json:"by"`
	Done bool   `json:"done,omitempty"`
}

func (x *exorcist) askTurn(ctx context.Context, t turn) error {
	v := x.driver.view()
	if v.Lease {
		return x.grantTurn(t)
	}
	addr, ok := x.talk.address(string(v.Holder))
	if !ok {
		return errors.New("the primary's agent is not known")
	}
	var granted bool
	return x.talk.ask(ctx, addr, opTurn, t, &granted)
}

// grantTurn answers, on the holder of the lease.
func (x *exorcist) grantTurn(t turn) error {
	if !x.driver.view().Lease {
		return errors.New("this node is not the primary any more")
	}
	return x.turns.take(t, now())
}

// turns are taken by one node at a time.
type turns struct {
	mu    sync.Mutex
	by    string
	until time.Duration
}

func (t *turns) take(r turn, now time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.by != "" && t.by != r.By && now < t.until:
		return fmt.Errorf("it is the turn of %s", t.by)
	case r.Done:
		t.by = ""
	default:
		t.by, t.until = r.By, now+turnFor
	}
	return nil
}

// dropFromSentinel has the next start of redis-sentinel know nothing of these.
func (f *files) dropFromSentinel(g ghosts) { f.ghosts.Store(&g) }

// withoutGhosts is the file of a Sentinel that does not run, without what it is to forget.
func withoutGhosts(file []byte, g *ghosts) []byte {
	if g == nil {
		return file
	}
	for _, a := range g.sentinels {
		file, _ = confgen.ForgetSentinel(file, a)
	}
	for _, a := range g.replicas {
		file, _ = confgen.ForgetReplica(file, a)
	}
	return file
}
