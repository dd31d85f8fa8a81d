package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

// poller asks the local redis-server, the local redis-sentinel and the holder's redis-server, and
// translates what they say. It keeps the last INFO for people.
type poller struct {
	*site
	journal      *journal
	server       *redis.Server
	door         *redis.Door
	sentinel     *redis.Sentinel
	proc         *supervisor.Process
	sentinelProc *supervisor.Process
	keeper       *keeper

	mu     sync.Mutex
	info   redis.Info
	pid    int // the process that it is of; 0: nothing was learnt
	holder *redis.Server
	// refused is why the process refusing says nothing of its state.
	refused  string
	refusing int
	heldBack int // polls in a row that nothing but a sign of life answered
	told     logLimiter
}

// poll answers one of the three polls; nil: there is nothing to answer.
func (p *poller) poll(parent context.Context, do node.Do) node.Input {
	ctx, cancel := bounded(parent, do.Until)
	defer cancel()
	switch a := do.Action.(type) {
	case node.PollRedis:
		return p.pollRedis(ctx, do.ID, a)
	case node.PollSentinel:
		return p.pollSentinel(ctx, do.ID)
	case node.Probe:
		return p.probe(ctx, do.ID, a)
	case node.FenceLast:
		return node.Done{ID: do.ID, Err: p.fenceFrom(ctx, a.Addr)}
	}
	return nil
}

// fenceFrom takes the right to write from the redis-server at addr, and closes its clients.
func (s *site) fenceFrom(ctx context.Context, addr string) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	r := redis.NewServer(to, s.agentCredentials())
	defer r.Close()
	if err := r.SetFence(ctx); err != nil {
		return err
	}
	_, err = r.CloseClients(ctx)
	return err
}

// bounded ends when the node's clock shows until; 0: nothing bounds it.
func bounded(ctx context.Context, until time.Duration) (context.Context, context.CancelFunc) {
	if until == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, until-now())
}

func (p *poller) pollRedis(ctx context.Context, id uint64, a node.PollRedis) node.Input {
	st := p.proc.State()
	in := node.RedisPolled{ID: id, Began: now()}
	if st.Status != supervisor.Running {
		return in
	}
	in.PID = st.PID
	info, set, why, err := p.ask(ctx, a.CloseStale, &in)
	if err == nil {
		p.keep(info, st.PID)
		if info.Role == redis.Replica && info.Writable {
			p.keeper.lookNow()
		}
		in.Info = redisInfo(info, set)
		p.dataset(info, in.Info)
		return in
	}
	if in.Refused = why; why != "" {
		p.refuse(why, st.PID)
		return in
	}
	in.Silent.RanFor = time.Since(st.StartedAt)
	if proc, err := p.proc.Proc(); err == nil {
		in.Silent = node.Silence{
			Known: true, State: proc.State, CPU: proc.MainCPU, Switches: proc.Switches, RanFor: in.Silent.RanFor,
		}
	}
	return in
}

// ask asks redis-server for its state. Of one that does not say it, why says what kept it from
// that, empty when it is not known to be alive. A sign of life is asked for, beside that, when half
// of the time is over.
func (p *poller) ask(ctx context.Context, closeStale bool, in *node.RedisPolled) (info redis.Info, set redis.Settings, why string, err error) {
	alive := p.signOfLife(ctx)
	defer alive.end()
	if info, set, err = p.askState(ctx, closeStale, in); redis.AnswerOf(err) == redis.NoAuth && p.door.Restore(ctx) == nil {
		info, set, err = p.askState(ctx, closeStale, in)
	}
	if err == nil {
		return info, set, "", nil
	}
	if why = refusal(err); why == "" && redis.AnswerOf(err) == redis.Timeout {
		why = p.slowOrPaused(<-alive.done)
	}
	if lost := p.addressLost(); why == "" && lost != "" && !p.door.HasSocket() {
		why = lost // an earlier version's, to which there is no other way
	}
	return info, set, why, err
}

func (p *poller) askState(ctx context.Context, closeStale bool, in *node.RedisPolled) (info redis.Info, set redis.Settings, err error) {
	if closeStale {
		err = p.server.CloseOthers(ctx)
		in.StaleClosed = err == nil
	}
	if err == nil {
		info, set, err = p.server.Poll(ctx)
	}
	return info, set, err
}

// refusal is what an error reply says of redis-server, in words for people; empty: it is none.
func refusal(err error) string {
	switch a := redis.AnswerOf(err); {
	case a == redis.Full:
		return "it has reached maxclients"
	case a == redis.NoAuth:
		return "it refuses the agent's user, or its password"
	case a == redis.Busy:
		return "it runs a script"
	case a == redis.Loading:
		return "it loads its dataset"
	case a.Answered():
		return "it answers with an error (" + redis.Code(err) + ")"
	}
	return ""
}

// sign is a sign of life that is asked for.
type sign struct {
	cancel context.CancelFunc
	done   chan bool // whether it came
}

// signOfLife waits until half of ctx's time is over, and then asks for a sign of life.
func (p *poller) signOfLife(ctx context.Context) *sign {
	s := &sign{done: make(chan bool, 1)}
	deadline, _ := ctx.Deadline()
	ctx, s.cancel = context.WithCancel(ctx)
	go func() {
		defer close(s.done) // awaited by end
		t := time.NewTimer(time.Until(deadline) / 2)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
			s.done <- p.door.Alive(ctx)
		}
	}()
	return s
}

// end calls the question off.
func (s *sign) end() {
	s.cancel()
	for range s.done {
	}
}

// slowOrPaused is why a redis-server that gave a sign of life did not answer a poll; empty: it gave
// none. Nothing but a pause holds INFO back again and again; once it may have been a busy moment.
func (p *poller) slowOrPaused(alive bool) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !alive {
		p.heldBack = 0
		return ""
	}
	if p.heldBack++; p.heldBack < pausedAfter {
		return slow
	}
	return "its clients are paused (CLIENT PAUSE)"
}

// slow is no news for the journal: a busy moment.
const slow = "it is slow to answer"

// pausedAfter is after how many polls in a row that were held back the clients count as paused.
const pausedAfter = 3

func redisInfo(i redis.Info, set redis.Settings) *node.RedisInfo {
	out := &node.RedisInfo{
		RunID: i.RunID, LinkUp: i.LinkUp, Syncing: i.SyncInProgress, Loading: i.Loading,
		WriteError: !i.AOFWriteOK || !i.RDBOK, ReplID: i.ReplID, Offset: i.Offset, Keys: i.Keys,
		MinReplicas: set.MinReplicas, MaxLag: set.MaxLag, Role: reconcile.Replica,
	}
	if i.Role == redis.Primary {
		out.Role = reconcile.Primary
	}
	if i.PrimaryAddr.IsValid() {
		out.PrimaryAddr = i.PrimaryAddr.String()
	}
	for _, l := range i.Replicas {
		out.Replicas = append(out.Replicas, reconcile.Link{Addr: l.Addr.String(), Online: l.Online, Lag: l.Lag, Offset: l.Offset})
	}
	return out
}

func (p *poller) keep(info redis.Info, pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info, p.pid, p.refused, p.heldBack = info, pid, "", 0
}

// refuse keeps why a redis-server that is alive says nothing of its state, and tells people once.
func (p *poller) refuse(why string, pid int) {
	p.mu.Lock()
	same := p.refused == why && p.refusing == pid
	p.refused, p.refusing = why, pid
	p.mu.Unlock()
	if same || why == slow || !p.told.due(why) {
		return
	}
	p.journal.say(func(log *slog.Logger) {
		log.Warn("redis-server is alive, but says nothing of its state", "why", why)
	})
	p.events.add("redis_refuses", why)
}

// refusal is why the process that runs says nothing of its state; empty: it does, or is silent.
func (p *poller) refusal() string {
	st := p.proc.State()
	p.mu.Lock()
	defer p.mu.Unlock()
	if st.Status != supervisor.Running || p.refusing != st.PID {
		return ""
	}
	return p.refused
}

// last is the last INFO of the process that runs.
func (p *poller) last() (redis.Info, bool) {
	st := p.proc.State()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info, st.Status == supervisor.Running && p.pid == st.PID
}

func (p *poller) pollSentinel(ctx context.Context, id uint64) node.Input {
	in := node.SentinelPolled{ID: id}
	st := p.sentinelProc.State()
	if st.Status != supervisor.Running {
		return in
	}
	in.PID = st.PID
	name := p.cfg.Load().Cluster.Name
	view, err := p.sentinel.Primary(ctx, name)
	switch {
	case errors.Is(err, redis.ErrUnknownPrimary):
		in.View = &node.SentinelView{}
		return in
	case err != nil:
		return in
	}
	peers, err := p.sentinel.Peers(ctx, name)
	if err != nil {
		return in
	}
	v := &node.SentinelView{
		Monitors: view.Addr.String(), Epoch: view.ConfigEpoch, Quorum: view.Quorum, Peers: len(peers),
		DownAfter: view.DownAfter, FailoverTimeout: view.FailoverTimeout,
	}
	in.View = v
	return in
}

func (p *poller) probe(ctx context.Context, id uint64, a node.Probe) node.Input {
	s := p.follow(a.Addr)
	in := node.Probed{ID: id, Addr: a.Addr}
	switch {
	case a.Addr == "":
		return nil
	case s == nil:
		return in // what gossip has for an address is none
	}
	reached := make(chan reach, 1)
	go func() {
		if !a.Connect {
			reached <- noAnswer
			return
		}
		reached <- p.reach(ctx, s.Addr())
	}()
	in.Answered = s.Probe(ctx).Answered()
	if in.Answered && a.Look {
		set, err := s.Settings(ctx)
		in.Fenced = err == nil && set.MinReplicas == redis.Fence
	}
	r := <-reached
	in.Connected, in.Refused, in.HostUp = in.Answered || r == takesConnections, r == refusesConnections, r == hostUp
	return in
}

// reach is what comes of a connection to a redis-server.
type reach int

const (
	noAnswer reach = iota
	takesConnections
	refusesConnections
	hostUp // nothing comes of it, but its host answers
)

// reach tries to connect to the redis-server at addr. When the queue of one that is busy is full
// its kernel answers nothing, as if its host were gone: then the port of the agents tells, where
// the kernel answers even for an agent that hangs.
func (p *poller) reach(parent context.Context, addr netip.AddrPort) reach {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), node.ProbeTimeout)
	defer cancel()
	agent := make(chan reach, 1)
	go func() { agent <- connect(ctx, netip.AddrPortFrom(addr.Addr(), p.gossipAddr.Port())) }()
	if r := connect(ctx, addr); r != noAnswer {
		return r
	}
	if <-agent != noAnswer {
		return hostUp
	}
	return noAnswer
}

func connect(ctx context.Context, addr netip.AddrPort) reach {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr.String())
	switch {
	case err == nil:
		c.Close()
		return takesConnections
	case errors.Is(err, syscall.ECONNREFUSED):
		return refusesConnections
	}
	return noAnswer
}

// follow is the server at addr, and lets go of the one before.
func (p *poller) follow(addr string) *redis.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holder != nil && p.holder.Addr().String() == addr {
		return p.holder
	}
	if p.holder != nil {
		p.holder.Close()
		p.holder = nil
	}
	if to, err := netip.ParseAddrPort(addr); err == nil {
		p.holder = redis.NewServer(to, p.agentCredentials())
	}
	return p.holder
}

func (p *poller) close() {
	p.follow("")
	p.server.Close()
	p.sentinel.Close()
}
