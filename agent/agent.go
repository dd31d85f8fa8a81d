package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

// Options is what an agent is made of. All fields are required.
type Options struct {
	// Config is loaded, resolved and valid. It was read from ConfigPath or, with LastGood, from the
	// copy of what that file held when it last worked.
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

// Agent is one node with real I/O. Run runs it once.
type Agent struct {
	*site
	driver      *driver
	poller      *poller
	actor       *actor
	talk        *talk
	journal     *journal
	coordinator *coordinator
	syncs       *syncs
	commands    *commands
	reloader    *reloader
	keeper      *keeper
	listener    *listener
	tickler     *tickler
	rivals      *rivals
	neighbours  *neighbours
	doorkeeper  *doorkeeper
	registrar   *registrar
	exorcist    *exorcist
	files       *files
	vips        *vipSet
	voters      []election.Voter // that this node's disk remembers
}

// New prepares an agent: it reads the secret and this node's state, and takes over what an earlier
// agent left running. Nothing is started yet.
func New(o Options) (*Agent, error) {
	cfg := o.Config
	sec, err := secret.Load(cfg.Cluster.SecretFile)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Node.StateDir, cfg.Node.RunDir, filepath.Join(cfg.Node.StateDir, "redis"),
		filepath.Join(cfg.Node.StateDir, "sentinel"), filepath.Join(cfg.Node.StateDir, "supervisor")} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("make a directory of this node: %w", err)
		}
	}
	s := &site{
		log: o.Log.With("node", cfg.Node.Name), version: o.Version, secret: sec,
		gossipAddr: netip.AddrPortFrom(cfg.Node.Address, uint16(cfg.Cluster.GossipPort)),
		redisAddr:  redisAddr(cfg),
	}
	s.cfg.Store(&cfg)
	if s.disk, err = openDisk(cfg.Node.StateDir, cfg.Node.RunDir, o.Version); err != nil {
		return nil, fmt.Errorf("open this node's state: %w", err)
	}
	state, err := s.disk.loadState(cfg.Cluster.Name)
	if err != nil {
		return nil, err
	}
	s.self = state.ID
	procs, err := adopt(s, o.Lines)
	if err != nil {
		return nil, err
	}
	if why, removed := state.removed(); removed && procs[node.Redis].pid() == 0 && procs[node.Sentinel].pid() == 0 {
		if state, err = s.beginAnew(state, why); err != nil {
			return nil, err
		}
		s.self = state.ID
	}
	a := &Agent{site: s, voters: state.Election.Roster.Voters, files: &files{site: s}, vips: new(vipSet)}
	a.build(a.newNode(state, procs), procs, o)
	if !o.LastGood {
		a.reloader.rememberConfig()
	}
	return a, nil
}

// adopt takes over the processes of the agent before this one.
func adopt(s *site, lines func(string) func(supervisor.Line)) (procs [2]*supervised, err error) {
	dir := filepath.Join(s.cfg.Load().Node.StateDir, "supervisor")
	for _, which := range []node.Process{node.Redis, node.Sentinel} {
		p := &supervised{which: which, log: s.log, Process: supervisor.New(s.log, dir, which.String(), lines(which.String()))}
		adopted, err := p.Adopt()
		if err != nil {
			return procs, err
		}
		if adopted {
			s.log.Info("took over a running process", "pid", p.pid())
		}
		procs[which] = p
	}
	return procs, nil
}

// newNode makes the node from what the disk remembers, and from what runs.
func (a *Agent) newNode(state stateFile, procs [2]*supervised) *node.Node {
	rec, err := a.disk.loadRecord()
	if err != nil {
		a.log.Warn("the record of the dataset is not readable: this node cannot become primary before it has followed one", "error", err)
	}
	return node.New(node.Options{
		Self: a.self, Now: now(), State: state.State, Record: rec,
		RedisPID: procs[node.Redis].pid(), SentinelPID: procs[node.Sentinel].pid(),
		SentinelConfigured: a.files.sentinelConfigured(), LeaseUntil: a.disk.leaseUntil(),
		Redis: a.redisAddr.String(), Desired: a.desired(),
		Jitter:    func(most time.Duration) time.Duration { return rand.N(most) },
		ClusterID: func() string { return randomID(8) },
	})
}

// build makes the rooms, and tells them of one another.
func (a *Agent) build(n *node.Node, procs [2]*supervised, o Options) {
	s := a.site
	a.journal = newJournal(s)
	door := newDoor(s, a.files, a.journal, procs[node.Redis])
	adoptSpare(s.log, door)
	server := redis.NewLocal(door)
	sentinel := redis.NewSentinel(s.sentinelAddr(), s.sentinelCredentials())
	requests := &requests{site: s}
	a.talk, a.driver = newTalk(s), newDriver(s, n)
	a.registrar = newRegistrar(s, a.driver, a.talk, a.journal)
	a.exorcist = &exorcist{site: s, driver: a.driver, talk: a.talk, journal: a.journal, files: a.files, sentinel: sentinel, proc: procs[node.Sentinel]}
	a.doorkeeper = &doorkeeper{site: s, door: door, proc: procs[node.Redis]}
	a.keeper = newKeeper(s, a.files, a.journal, redis.NewLocal(door), procs[node.Redis].servingPID)
	a.poller = &poller{
		site: s, journal: a.journal, server: server, door: door, sentinel: sentinel,
		proc: procs[node.Redis].Process, sentinelProc: procs[node.Sentinel].Process, keeper: a.keeper,
	}
	a.listener = newListener(s, a.vips, a.journal, redis.NewLocal(door), procs)
	a.tickler = newTickler(s, a.driver, a.talk, a.vips, a.journal)
	a.rivals, a.neighbours = newRivals(s, a.vips, a.journal), newNeighbours(s, a.driver, a.talk, a.journal)
	a.actor = &actor{
		site: s, files: a.files, talk: a.talk, requests: requests, journal: a.journal, server: server, sentinel: sentinel, procs: procs, vips: a.vips,
		tickler: a.tickler, listener: a.listener, quorum: func() int { return len(a.driver.view().Roster.Voters)/2 + 1 },
	}
	a.syncs = &syncs{site: s, poller: a.poller, journal: a.journal, server: server}
	d := a.driver
	d.talk, d.poller, d.actor, d.requests, d.journal = a.talk, a.poller, a.actor, requests, a.journal
	for _, p := range procs {
		p.failed = func(in node.StopFailed) { d.step(in) }
	}
	a.coordinator = &coordinator{
		site: s, driver: d, talk: a.talk, requests: requests, vips: a.vips, server: server, todo: make(chan *request, 1),
	}
	a.commands = &commands{
		site: s, driver: d, talk: a.talk, poller: a.poller, coordinator: a.coordinator, keeper: a.keeper, vips: a.vips, procs: procs,
		syncs: a.syncs, tickler: a.tickler, rivals: a.rivals, neighbours: a.neighbours, listener: a.listener, registrar: a.registrar, exorcist: a.exorcist,
	}
	a.reloader = &reloader{
		site: s, driver: d, files: a.files, vips: a.vips, server: server, keeper: a.keeper, load: o.Load,
		configPath: o.ConfigPath,
	}
	a.talk.serve, a.talk.take = a.commands.serve, func(in node.Received) {
		if !d.declines(in.Message) {
			d.step(in)
		}
	}
	a.talk.voters = func() []election.Voter { return d.view().Roster.Voters }
	alive := new(notifier)
	a.journal.alive = func() { alive.alive(d.observe(), d.desired()) }
}

// Run runs the agent until ctx ends, in which case it leaves Redis running for the next agent, or
// until Stop was called and the node has stopped.
func (a *Agent) Run(ctx context.Context) error {
	cfg, d := a.cfg.Load(), a.driver
	if err := a.vips.set(cfg.VIPs, a.log); err != nil {
		return err
	}
	defer a.vips.close()
	procs := a.actor.procs
	if err := a.files.importFirst(ctx, procs[node.Redis].pid() != 0); err != nil {
		return err
	}
	if err := d.join(a.voters, a.registrar); err != nil {
		return err
	}
	defer d.leave()
	api, err := a.commands.listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = a.runRooms(ctx, cancel, api)
	for _, p := range procs {
		p.stops.Wait()
	}
	d.polls.Wait()
	d.lastRecord(d.observe().Stopping) // what came in since the last time, or while the disk was slow
	a.talk.sending.close()
	a.poller.close()
	a.doorkeeper.door.Close()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	err = errors.Join(err, a.registrar.ended(), procs[node.Redis].Close(), procs[node.Sentinel].Close(), a.disk.close())
	return errors.Join(err, a.neighbours.finish())
}

// runRooms runs every goroutine of the agent until ctx ends, or the node has stopped.
func (a *Agent) runRooms(ctx context.Context, cancel func(), api *api) error {
	d := a.driver
	g, gctx := errgroup.WithContext(ctx)
	d.mu.Lock()
	d.ctx = gctx
	d.mu.Unlock()
	d.step(node.VIPsConfigured{VIPs: a.vips.observed()})
	d.tellMembers()
	d.tellExits() // before a process of the same number is started
	for _, run := range []func(context.Context) error{
		a.talk.receive, d.saver, d.recorder, d.leaser, d.shareMeta, d.watchMembers, d.watchProcesses, a.journal.run,
		a.coordinator.run, a.registrar.run, a.exorcist.run, a.syncs.run, a.keeper.run, a.listener.run, a.doorkeeper.run, a.tickler.watch, a.tickler.serve, a.rivals.run, a.neighbours.run, api.serve,
		func(ctx context.Context) error { return a.watchAddress(ctx, a.journal) },
		func(ctx context.Context) error { return a.awaitRenumbering(ctx, a.reloader.load, a.journal) },
		func(ctx context.Context) error { return d.work(ctx, node.Rounds) },
		func(ctx context.Context) error { return d.work(ctx, node.Guard) },
		func(ctx context.Context) error {
			return a.vips.watch(ctx, func(address string, held bool) { d.step(node.VIPSeen{Address: address, Held: held}) })
		},
	} {
		g.Go(func() error { return run(gctx) })
	}
	NotifyReady()
	g.Go(func() error {
		defer cancel() // the node has stopped, or ctx has ended: everything else ends with it
		err := d.clock(gctx)
		select {
		case <-d.stopped:
			a.log.Info("stopped in order")
		default:
		}
		return err
	})
	return g.Wait()
}

// Stop has the agent stop the node in order; Run returns when that is done.
func (a *Agent) Stop() { a.driver.step(node.Stop{}) }

// Reload reads the configuration again and applies it, or refuses it whole.
func (a *Agent) Reload(ctx context.Context) error { return a.reloader.Reload(ctx) }
