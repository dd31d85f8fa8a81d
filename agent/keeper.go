package agent

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/redis"
)

// keeper restores what a client took from the local redis-server: the directives and users that
// redisd needs as they are (confgen.Kept, confgen.Users). Whoever has the clients' password may set
// them, and delete the replicas' user. What else clients changed it shows, and leaves alone.
//
// It decides nothing that package node decides: who is primary and the fence are not among what it
// keeps. So it also works while the cluster is paused.
type keeper struct {
	*site
	files   *files
	journal *journal
	server  *redis.Server // of its own: nobody who must act waits for a connection that it uses
	process func() int    // redis-server's; 0: none runs, or it is being stopped
	sooner  chan struct{} // look now

	mu     sync.Mutex // of one look; a reload holds it, too
	of     *config.Config
	want   wanted
	pid    int
	words  ownWords
	good   redis.Running // what it had when nothing was wrong
	drift  []Drift
	faults map[string]*fault
	lost   fault // of redisd's own user, when it may not even ask
	told   map[string]time.Duration

	report atomic.Pointer[keeperReport]
	facts  logLimiter
}

const (
	// keepEvery is how often redis-server is asked. That a replica accepts writes the poll says
	// sooner. Each so many looks it is asked for what is only shown, too.
	keepEvery  = 500 * time.Millisecond
	driftEvery = 4
	// keepTimeout bounds each command: CONFIG SET appendonly yes forks a large process.
	keepTimeout = time.Second
	// refusedWait is how long a directive is left alone that redis-server did not take; it doubles
	// up to refusedMost.
	refusedWait = time.Second
	refusedMost = time.Minute
	// tellEvery keeps a client that goes on changing the same thing from filling the journal.
	tellEvery = time.Second
)

// sourceAddr is the directive of the address that redis-server connects from.
const sourceAddr = "bind-source-addr"

// wanted is what redis-server should have, by the configuration.
type wanted struct {
	kept, chosen []confgen.Setting
	users        []confgen.User
	names, all   []string // of the directives that are kept, and of all
}

// ownWords are how redis-server writes what it took, where it has words of its own.
type ownWords struct{ config, users map[string]string }

// fault is a directive or a user that is not as it should be.
type fault struct {
	text       string // what it was, for people
	err        error  // why it could not be restored
	next, wait time.Duration
}

// keeperReport is what status says.
type keeperReport struct {
	problems []string
	drift    []Drift
}

// Drift is what somebody changed in a running redis-server, and may: a directive that redisd.toml
// or redisd's defaults have otherwise, or a user that somebody made.
type Drift struct {
	Directive string `json:"directive,omitempty"`
	Value     string `json:"value,omitempty"`
	// Configured is its value by Source: "redisd.toml" or "redisd's default".
	Configured string `json:"configured,omitempty"`
	Source     string `json:"source,omitempty"`
	User       string `json:"user,omitempty"`
}

func newKeeper(s *site, f *files, j *journal, server *redis.Server, process func() int) *keeper {
	return &keeper{site: s, files: f, journal: j, server: server, process: process, sooner: make(chan struct{}, 1), told: map[string]time.Duration{}}
}

// run looks until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	defer k.server.Close()
	if !k.cfg.Load().HasRole(config.RoleRedis) {
		return nil
	}
	t := time.NewTimer(0)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-k.sooner:
		}
		k.look(ctx, n%driftEvery == 0)
		t.Reset(keepEvery - now()%keepEvery)
	}
}

// lookNow has it look at once. It never waits.
func (k *keeper) lookNow() {
	select {
	case k.sooner <- struct{}{}:
	default:
	}
}

// look asks redis-server what it runs with, and restores what is not as it should be. What does not
// answer now (a script, a dataset that loads) is asked again. What is only shown is asked for if
// drift.
func (k *keeper) look(ctx context.Context, drift bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pid := k.process()
	if pid == 0 {
		k.pid = 0
		k.report.Store(nil)
		return
	}
	if k.learn() || pid != k.pid {
		k.pid, k.faults, k.good, k.drift = pid, map[string]*fault{}, redis.Running{}, nil
		k.words = ownWords{map[string]string{}, map[string]string{}}
	}
	have, err := k.ask(ctx, drift)
	if err != nil {
		if redis.AnswerOf(err) == redis.NoAuth {
			k.regain(ctx, err)
		}
		return
	}
	if !drift && maps.Equal(have.Config, k.good.Config) && slices.Equal(have.Users, k.good.Users) {
		return
	}
	settings, people := k.compare(have)
	if len(settings)+len(people) > 0 {
		have = k.restore(ctx, have, settings, people)
		settings, people = k.compare(have)
	}
	k.tellRestored(settings, people)
	k.account(have, drift)
	k.good = redis.Running{}
	if len(k.faults) == 0 && !drift {
		k.good = have
	}
}

// learn reads the configuration, if it is another one than before.
func (k *keeper) learn() (changed bool) {
	cfg := k.cfg.Load()
	if cfg != k.of {
		facts := k.files.redisFacts(*cfg, "")
		k.of, k.want = cfg, wanted{kept: confgen.Kept(facts), chosen: confgen.Chosen(facts)}
		for _, s := range k.want.kept {
			k.want.names = append(k.want.names, s.Name)
		}
		k.want.all = slices.Clone(k.want.names)
		for _, s := range k.want.chosen {
			k.want.all = append(k.want.all, s.Name)
		}
		changed = true
	}
	if k.want.users != nil {
		return changed
	}
	acl, err := k.files.aclFacts(*cfg)
	if err != nil {
		if k.facts.due(err.Error()) {
			k.journal.say(func(log *slog.Logger) { log.Warn("redis-server's users are not kept", "error", err) })
		}
		return changed
	}
	k.want.users = confgen.Users(acl)
	return true
}

func (k *keeper) ask(ctx context.Context, all bool) (redis.Running, error) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	names := k.want.names
	if all {
		names = k.want.all
	}
	return k.server.Running(ctx, names)
}

// compare notes what is not as it should be.
func (k *keeper) compare(have redis.Running) ([]confgen.Difference, []confgen.UserDifference) {
	settings := confgen.CompareKept(k.want.kept, have.Config, k.words.config)
	people, _ := confgen.CompareUsers(k.want.users, have.Users, k.words.users)
	for _, d := range settings {
		if k.faults[d.Name] == nil {
			k.faults[d.Name] = &fault{text: settingWas(d)}
		}
	}
	for _, d := range people {
		if name := userFault(d.Name); k.faults[name] == nil {
			k.faults[name] = &fault{text: userWas(d)}
		}
	}
	return settings, people
}

// userFault is the name of a fault of a user; no directive's name has a space.
func userFault(name string) string { return "user " + name }

// restore sets what is due to be set, and returns what redis-server has then.
func (k *keeper) restore(ctx context.Context, have redis.Running, settings []confgen.Difference, people []confgen.UserDifference) redis.Running {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	set, users := k.due(settings, people)
	if len(set)+len(users) == 0 {
		return have
	}
	r, err := k.server.Restore(ctx, set, users)
	if redis.AnswerOf(err) == redis.NoAuth {
		k.regain(ctx, err)
	}
	for _, d := range set {
		k.outcome(d.Name, cmp.Or(err, r.Refused[d.Name]), k.words.config, r.Before.Config[d.Name], r.After.Config[d.Name])
	}
	before, after := userLines(r.Before.Users), userLines(r.After.Users)
	for _, u := range users {
		k.outcome(userFault(u.Name), cmp.Or(err, r.Refused[u.Name]), k.words.users, before[u.Name], after[u.Name])
	}
	if err != nil {
		return have
	}
	if moved := func(d redis.Directive) bool { return d.Name == sourceAddr }; slices.ContainsFunc(set, moved) && r.Refused[sourceAddr] == nil {
		// The link that it has may be from an address that the host does not have any more: neither
		// end would notice for repl-timeout.
		if err := k.server.LinkAnew(ctx); err != nil {
			k.log.Debug("the link to the primary is left as it is", "error", err)
		}
	}
	maps.Copy(have.Config, r.After.Config)
	return redis.Running{Config: have.Config, Users: r.After.Users}
}

// due are the differences that redis-server did not refuse a moment ago.
func (k *keeper) due(settings []confgen.Difference, people []confgen.UserDifference) (set []redis.Directive, users []redis.UserRules) {
	at, open := now(), false
	for _, d := range settings {
		if at >= k.faults[d.Name].next {
			set = append(set, redis.Directive{Name: d.Name, Value: d.Value})
			open = open || d.Name == "requirepass"
		}
	}
	for _, u := range k.want.users {
		differs := slices.ContainsFunc(people, func(d confgen.UserDifference) bool { return d.Name == u.Name })
		// requirepass is another name for the default user's password: to take it away takes that.
		if differs && at >= k.faults[userFault(u.Name)].next || open && u.Name == confgen.UserClients {
			users = append(users, redis.UserRules{Name: u.Name, Rules: u.Rules})
		}
	}
	return set, users
}

// outcome notes what became of something that was set. What redis-server has right after it took a
// value is that value, in words of its own; if they are the ones from before, nothing was wrong.
func (k *keeper) outcome(name string, err error, words map[string]string, before, after string) {
	f := k.faults[name]
	switch {
	case f == nil: // the default user, for the sake of requirepass
	case err != nil:
		f.refused(err)
		if f.wait == refusedWait {
			k.journal.say(func(log *slog.Logger) {
				log.Warn("what redisd keeps in redis-server was changed, and could not be restored; it is tried again", "what", f.text, "error", err)
			})
		}
	default:
		words[wordOf(name)] = after
		if before == after {
			delete(k.faults, name)
		}
	}
}

// refused: it is tried again, but not at once.
func (f *fault) refused(err error) {
	f.err = err
	f.wait = min(max(2*f.wait, refusedWait), refusedMost)
	f.next = now() + f.wait
}

// regain gives redisd's own user its rights again, when it lacks one that is needed to look, or to
// restore with.
func (k *keeper) regain(ctx context.Context, why error) {
	if now() < k.lost.next {
		return
	}
	k.good = redis.Running{} // what is reported below is not so any more after the next look
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	i := slices.IndexFunc(k.want.users, func(u confgen.User) bool { return u.Name == confgen.UserAgent })
	if i < 0 {
		return
	}
	err := k.server.SetUser(ctx, redis.UserRules{Name: confgen.UserAgent, Rules: k.want.users[i].Rules})
	if err != nil {
		k.lost.refused(err)
		k.report.Store(&keeperReport{problems: []string{"redis-server refuses redisd's own user, so what clients change there is not restored: " + why.Error()}})
		return
	}
	k.lost = fault{}
	if k.faults[userFault(confgen.UserAgent)] == nil { // else it is told there
		k.tell(userFault(confgen.UserAgent), "user "+confgen.UserAgent+" had lost rights; it has them again")
	}
}

// tellRestored tells of what was a fault before, and is none any more.
func (k *keeper) tellRestored(settings []confgen.Difference, people []confgen.UserDifference) {
	open := map[string]bool{}
	for _, d := range settings {
		open[d.Name] = true
	}
	for _, d := range people {
		open[userFault(d.Name)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(k.faults)) {
		if !open[name] {
			k.tell(name, k.faults[name].text+"; it is as redisd has it again"+aftermath[name])
			delete(k.faults, name)
		}
	}
}

// aftermath is what restoring a directive does not repair.
var aftermath = map[string]string{
	"replica-read-only": " (what clients wrote to this node while it was a replica is on no other node)",
}

func (k *keeper) tell(name, text string) {
	if at, ok := k.told[name]; ok && now() < at+tellEvery {
		return
	}
	k.told[name] = now()
	k.events.add("restored", text)
	k.journal.say(func(log *slog.Logger) {
		log.Warn("what redisd keeps in redis-server was changed: restored", "what", text)
	})
}

// account says what is wrong and, if it was asked for, what differs, for status.
func (k *keeper) account(have redis.Running, drift bool) {
	if drift {
		k.drift = k.drifted(have)
	}
	r := &keeperReport{drift: k.drift}
	for _, name := range slices.Sorted(maps.Keys(k.faults)) {
		f := k.faults[name]
		text := "redis-server's " + f.text + ", and it could not be restored yet"
		if f.err != nil {
			text += ": " + f.err.Error()
		}
		r.problems = append(r.problems, text)
	}
	k.report.Store(r)
}

func (k *keeper) drifted(have redis.Running) (drift []Drift) {
	for _, d := range confgen.CompareChosen(k.want.chosen, have.Config) {
		if d.Name == syncDelay || d.Name == "maxclients" {
			continue // the agent itself moves these: see syncs and the door
		}
		drift = append(drift, Drift{Directive: d.Name, Value: d.Is, Configured: d.Value, Source: d.Source})
	}
	if k.want.users == nil {
		return drift
	}
	_, others := confgen.CompareUsers(k.want.users, have.Users, nil)
	for _, name := range others {
		drift = append(drift, Drift{User: name})
	}
	return drift
}

// changes are what is wrong with the running redis-server, and what somebody changed who may.
func (k *keeper) changes() (problems []string, drift []Drift) {
	if r := k.report.Load(); r != nil {
		return r.problems, r.drift
	}
	return nil, nil
}
