package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

// Options is what an agent is made of. All fields but Journal are required.
type Options struct {
	// Config is loaded, resolved and valid. It was read from ConfigPath or, with
	// LastGood, from the copy of what that file held when it last worked.
	Config     config.Config
	ConfigPath string
	LastGood   bool
	// Load reads the configuration for a reload.
	Load    func() (config.Config, error)
	Log     *slog.Logger
	Version string
	// Lines returns where the output of the named process goes.
	Lines func(process string) func(supervisor.Line)
}

// Agent is one node. Run runs it once.
type Agent struct {
	log        *slog.Logger
	version    string
	load       func() (config.Config, error)
	configPath string
	cfg        atomic.Pointer[config.Config]
	secret     secret.Secret
	disk       *disk
	self       string
	gossipAddr netip.AddrPort
	redisAddr  netip.AddrPort
	started    time.Duration
	fenceAfter time.Duration

	stateMu sync.Mutex
	state   stateFile

	gossip   *gossip.Gossip
	ballot   *ballot
	sending  sending
	calls    calls
	redis    *process
	sentinel *process
	redisW   *redisWatch
	sentW    *sentinelWatch
	probe    *probe
	vips     vipSet
	events   events

	woken              chan struct{}
	reloadMu           sync.Mutex
	stopping           atomic.Bool
	paused             atomic.Bool
	wishes             wishes
	conduct            chan *wish // to be carried through
	recordErr, noteErr sometimes
	// drained is how far this node's history went when it handed over; nil: it did not.
	drained atomic.Pointer[drained]
	// whole is the last term whose lease this node gave back with all its data.
	whole            atomic.Uint64
	said             said
	jitterMu         sync.Mutex
	jitterAt, jitter time.Duration
	// lapsedAt is since when this node has won the last term and has no lease.
	lapsedAt atomic.Int64
	// unanswered is the redis-server process that may yet carry out an unfencing.
	unanswered atomic.Int64
	notify     notifier
	guard      guard

	// Only the rounds use these.
	meta          gossip.Meta
	held          bool
	lastFailure   string
	lastFailureAt time.Duration
	leaseNoted    time.Duration
	waiting       string // why this node leaves it to a person to become primary
	noted         note   // what the renewals of this node carry
}

// New prepares an agent: it reads the secret and this node's state, and takes
// over what an earlier agent left running. Nothing is started yet.
func New(o Options) (*Agent, error) {
	cfg := o.Config
	sec, err := secret.Load(cfg.Cluster.SecretFile)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Node.StateDir, cfg.Node.RunDir, filepath.Join(cfg.Node.StateDir, "redis"), filepath.Join(cfg.Node.StateDir, "sentinel")} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("make a directory of this node: %w", err)
		}
	}
	a := &Agent{
		log: o.Log, version: o.Version, load: o.Load, configPath: o.ConfigPath, secret: sec,
		gossipAddr: netip.AddrPortFrom(cfg.Node.Address, uint16(cfg.Cluster.GossipPort)),
		redisAddr:  netip.AddrPortFrom(cfg.Node.Address, uint16(cfg.Redis.Port)),
		started:    now(),
		sending:    sending{n: map[election.NodeID]int{}},
		calls:      calls{waiting: map[string]chan answer{}},
		woken:      make(chan struct{}, 1),
		guard:      guard{taken: make(chan struct{}, 1)},
		conduct:    make(chan *wish, 1),
	}
	a.cfg.Store(&cfg)
	if a.disk, err = openDisk(cfg.Node.StateDir, cfg.Node.RunDir); err != nil {
		return nil, fmt.Errorf("open this node's state: %w", err)
	}
	if a.state, err = a.disk.loadState(cfg.Cluster.Name); err != nil {
		return nil, err
	}
	a.self = a.state.ID
	a.paused.Store(a.state.Pause.On)
	a.drained.Store(a.state.Drained)
	a.whole.Store(a.state.Whole)
	a.log = o.Log.With("node", cfg.Node.Name)
	if err := a.adopt(cfg, o.Lines); err != nil {
		return nil, err
	}
	if !o.LastGood {
		a.rememberConfig()
	}
	a.ballot = &ballot{
		e:    election.New(election.NodeID(a.self), a.state.Election, a.started),
		save: a.saveElection, send: a.sendElection, log: a.log,
	}
	return a, nil
}

// adopt takes over the processes of the agent before this one, and its lease for
// as long as that runs.
func (a *Agent) adopt(cfg config.Config, lines func(string) func(supervisor.Line)) error {
	dir := filepath.Join(cfg.Node.StateDir, "supervisor")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the supervisor's directory: %w", err)
	}
	a.redis = newProcess(supervisor.New(a.log, dir, "redis-server", lines("redis-server")))
	a.sentinel = newProcess(supervisor.New(a.log, dir, "redis-sentinel", lines("redis-sentinel")))
	for _, p := range []*process{a.redis, a.sentinel} {
		adopted, err := p.Adopt()
		if err != nil {
			return err
		}
		if adopted {
			a.log.Info("took over a running process", "pid", p.State().PID)
		}
	}
	if a.redis.State().Status == supervisor.Running {
		a.fenceAfter = max(a.disk.leaseUntil(), a.started+firstRenewal)
		if e := a.state.Election; string(e.Holder) == a.self && !e.Released {
			a.guard.lease(true, a.fenceAfter) // the first rounds may be the ones that are stuck
		}
	}
	rec, err := a.disk.loadRecord()
	if err != nil {
		a.log.Warn("the record of the dataset is not readable: this node cannot become primary before it has followed one", "error", err)
	}
	a.redisW = &redisWatch{
		server: redis.NewServer(a.redisAddr, a.agentCredentials()), proc: a.redis.Process,
		wake: a.wake, rec: rec, saved: rec, adoptedRaw: a.redis.State().Status == supervisor.Running,
	}
	a.sentW = &sentinelWatch{
		sentinel: redis.NewSentinel(a.sentinelAddr(), a.sentinelCredentials()), proc: a.sentinel.Process, name: cfg.Cluster.Name,
		poke: make(chan struct{}, 1), wake: a.wake, want: a.primaryAddr,
	}
	a.probe = &probe{cred: a.agentCredentials(), target: a.holderAddr}
	return nil
}

// firstRenewal is how long a new agent waits for the answers to its first
// renewals before it fences a primary whose lease it cannot show.
const firstRenewal = 150 * time.Millisecond

// Run runs the agent until ctx ends, in which case it leaves Redis running for
// the next agent, or until Stop was called and the node has stopped.
func (a *Agent) Run(ctx context.Context) error {
	cfg := a.cfg.Load()
	if err := a.vips.set(cfg.VIPs, a.log); err != nil {
		return err
	}
	defer a.vips.close()
	if err := a.importFirst(ctx); err != nil {
		return err
	}
	if err := a.join(ctx); err != nil {
		return err
	}
	defer a.leave()
	api, err := a.listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.receive(gctx) })
	g.Go(func() error { return a.redisW.run(gctx) })
	g.Go(func() error { return a.sentW.run(gctx) })
	g.Go(func() error { return a.probe.run(gctx) })
	g.Go(func() error { return a.vips.watch(gctx, a.wake) })
	g.Go(func() error { return a.watchProcesses(gctx) })
	g.Go(func() error { return a.watchLease(gctx) })
	g.Go(func() error { return a.recorder(gctx) })
	g.Go(func() error { return a.conductor(gctx) })
	g.Go(func() error { return api.serve(gctx) })
	g.Go(func() error {
		defer cancel() // the rounds are over: everything else ends with them
		return a.rounds(gctx)
	})
	err = g.Wait()
	a.record(a.stopping.Load()) // what came in since the last time, or while the disk was slow
	a.sending.close()
	a.redis.stops.Wait()
	a.sentinel.stops.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, a.redis.Close(), a.sentinel.Close(), a.disk.close())
}

// Stop has the agent stop the node in order; Run returns when that is done.
func (a *Agent) Stop() {
	a.wishes.forget()
	a.stopping.Store(true)
	a.wake()
}

// wake has the next round run now.
func (a *Agent) wake() {
	select {
	case a.woken <- struct{}{}:
	default:
	}
}

// watchProcesses turns the exit of a process into a round.
func (a *Agent) watchProcesses(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.redis.Changed():
			a.redisW.poll(ctx)
		case <-a.sentinel.Changed():
			a.sentW.pokeNow()
		}
		a.noteExits()
		a.wake()
	}
}

// saveElection puts the ballot's state on disk.
func (a *Agent) saveElection(st election.State) error {
	a.stateMu.Lock()
	defer a.stateMu.Unlock()
	next := a.state
	next.Election, next.Drained, next.Whole = st, nil, 0
	// With the release itself: the next agent must not vote for less.
	if d := a.drained.Load(); d != nil && st.Released && d.Term == uint64(st.HolderTerm) {
		next.Drained = d
	}
	if term := a.whole.Load(); st.Released && term == uint64(st.HolderTerm) {
		next.Whole = term
	}
	if err := a.disk.saveState(next); err != nil {
		return fmt.Errorf("save the election's state: %w", err)
	}
	a.state = next
	return nil
}

// Passwords, each for its own use.
func (a *Agent) agentCredentials() redis.Credentials {
	return redis.Credentials{User: "redisd-agent", Password: a.secret.Password("redis agent")}
}

func (a *Agent) sentinelCredentials() redis.Credentials {
	return redis.Credentials{User: "redisd-agent", Password: a.secret.Password("sentinel agent")}
}

func (a *Agent) sentinelAddr() netip.AddrPort {
	return netip.AddrPortFrom(a.gossipAddr.Addr(), uint16(a.cfg.Load().Sentinel.Port))
}
