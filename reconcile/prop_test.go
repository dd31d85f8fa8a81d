package reconcile_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redisd/redisd/reconcile"
)

// TestMain has the property tests look at more situations than rapid's hundred.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		_ = flag.Set("rapid.checks", "300")
	}
	os.Exit(m.Run())
}

// The nodes of a random cluster, in the order of their IDs.
var nodes = []string{"n1", "n2", "n3", "n4", "n5"}

func redisOf(id string) string { return "10.0.0." + id[1:] + ":6379" }

// drawTime draws a point in time near the edges that Plan knows.
func drawTime(t *rapid.T, at time.Duration, what string) time.Duration {
	near := []time.Duration{
		0, -time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond, reconcile.TakeMargin,
		-reconcile.Lapse, -reconcile.SilentRedis, -reconcile.HangAfter, -reconcile.RankStep, -reconcile.ClaimAgain,
		-2 * time.Second, -reconcile.AgentGrace, -reconcile.ColdStart, -reconcile.Remonitor, -reconcile.AgentAlive,
	}
	if rapid.IntRange(0, 4).Draw(t, what+" known") == 0 {
		return 0
	}
	return at + rapid.SampledFrom(near).Draw(t, what)
}

// draws are the generators of one situation.
type draws struct {
	*rapid.T
	at time.Duration
}

func (t draws) flag(what string) bool                 { return rapid.Bool().Draw(t.T, what) }
func (t draws) seldom(what string) bool               { return t.below(8, what) == 0 }
func (t draws) below(n int, what string) int          { return rapid.IntRange(0, n-1).Draw(t.T, what) }
func (t draws) time(what string) time.Duration        { return drawTime(t.T, t.at, what) }
func (t draws) of(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t.T, what) }
func (t draws) node(what string) string               { return t.of(what, append([]string{""}, nodes...)...) }
func (t draws) number(what string, from ...int) int   { return rapid.SampledFrom(from).Draw(t.T, what) }

func (t draws) addr(what string) string {
	if id := t.node(what); id != "" {
		return redisOf(id)
	}
	return ""
}

func (t draws) data(what string) reconcile.Data {
	return reconcile.Data{Term: uint64(t.below(4, what+" term")), Offset: int64(t.below(4, what+" offset")), Keys: int64(t.below(3, what+" keys"))}
}

// drawObserved draws any situation, also those that cannot be.
func drawObserved(r *rapid.T) (reconcile.Observed, reconcile.Desired) {
	t := draws{r, 100 * time.Second}
	o := reconcile.Observed{
		At: t.at, Self: t.of("self", nodes[:3]...), Started: t.time("started"), FenceAfter: t.time("fence after"),
		Stopping: t.seldom("stopping"), Paused: t.seldom("paused"),
		Handover: t.seldom("handover"), HandoverTo: t.node("handover to"), HandoverAt: t.time("handover at"),
		HandoverFailures: t.below(reconcile.HandOverTries+1, "failures"),
		HolderSeen:       t.time("holder seen"), RemoteFenced: uint64(t.below(4, "remote fenced")),
	}
	o.Election = t.election(o.Self)
	o.Redis, o.Sentinel = t.redis(), t.sentinel()
	o.VIPs = []reconcile.VIP{
		{Address: "vip", Held: t.flag("vip held"), RenewedAt: t.time("vip renewed")},
		{Address: "vip of replicas", Replica: true, Held: t.flag("replicas' vip held"), RenewedAt: t.time("replicas' vip renewed")},
	}
	for _, id := range nodes {
		if !t.seldom("no member " + id) {
			o.Members = append(o.Members, t.member(id, o.Election.ClusterID))
		}
	}
	return o, reconcile.Desired{
		Redis: !t.seldom("no redis"), Sentinel: !t.seldom("no sentinel"), RedisAddr: redisOf(o.Self), Expect: 3,
		Priority: t.number("priority", 0, 1, 100), MinReplicas: t.number("operator's min replicas", reconcile.Unknown, 0, 2),
		DownAfter: 3 * time.Second, FailoverTimeout: 15 * time.Second,
	}
}

func (t draws) election(self string) reconcile.Election {
	e := reconcile.Election{
		ClusterID: t.of("cluster", "c1", "c1", "c1", ""), Settled: t.flag("settled"),
		Holder: t.node("holder"), Term: uint64(t.below(4, "holder's term")), Released: t.flag("released"), OpenedAt: t.time("opened"),
		HeardAt: t.time("heard"), EverHeard: t.flag("ever heard"), Primary: t.addr("primary"),
		Successors: rapid.SliceOfNDistinct(rapid.SampledFrom(nodes), 0, 3, rapid.ID).Draw(t.T, "successors"),
		Lease:      t.flag("lease"), LeaseUntil: t.time("lease until"),
		Claiming: t.seldom("claiming"), ClaimedAt: t.time("claimed"), Nudged: t.seldom("nudged"), Overtaken: t.seldom("overtaken"),
		Unreachable: t.below(4, "unreachable"), LapsedAt: t.time("lapsed"),
	}
	for _, id := range nodes[:t.below(6, "voters")] {
		e.Voters = append(e.Voters, reconcile.Voter{ID: id, Addr: "10.0.0." + id[1:] + ":7946"})
	}
	switch t.of("as", "anything", "holder", "follower") {
	case "holder":
		e.ClusterID, e.Holder, e.Released, e.Lease, e.LeaseUntil = "c1", self, false, true, t.at+500*time.Millisecond
	case "follower":
		e.ClusterID, e.Holder, e.Released, e.Primary, e.Lease = "c1", "n5", false, redisOf("n5"), false
	}
	return e
}

func (t draws) redis() reconcile.Redis {
	r := reconcile.Redis{
		Running: !t.seldom("stopped"), StartAfter: t.time("start after"), Known: !t.seldom("unknown"),
		Stuck: t.flag("stuck"), Dying: t.seldom("dying"), Loading: t.seldom("loading"), Syncing: t.seldom("syncing"), WriteError: t.seldom("write error"),
		Role:   rapid.SampledFrom([]reconcile.Role{reconcile.RoleUnknown, reconcile.Primary, reconcile.Replica}).Draw(t.T, "role"),
		LinkUp: t.flag("link up"), PrimaryAddr: t.addr("follows"),
		MinReplicas: t.number("min replicas", reconcile.Unknown, 0, 1, reconcile.Fence),
		Good:        t.below(4, "good"), Data: t.data("data"),
	}
	if t.seldom("silent") {
		r.SilentSince = t.time("silent since")
	}
	for _, id := range nodes {
		if t.flag("replica " + id) {
			lag := time.Duration(t.below(4, "lag")) * time.Second
			r.Replicas = append(r.Replicas, reconcile.Link{Addr: redisOf(id), Online: !t.seldom("offline"), Lag: lag})
		}
	}
	return r
}

func (t draws) sentinel() reconcile.Sentinel {
	return reconcile.Sentinel{
		Running: t.flag("sentinel"), Known: t.flag("sentinel known"), Configured: t.flag("configured"), Tuned: t.flag("tuned"),
		StartAfter: t.time("sentinel start after"),
		WrongSince: t.time("wrong since"), PublishedAt: t.time("published"), Monitors: t.addr("monitors"),
		Epoch: int64(t.below(4, "epoch term"))*reconcile.EpochsPerTerm + int64(t.below(3, "epoch")), Published: int64(t.below(3, "published epoch")),
		Quorum: t.below(4, "quorum"), Peers: t.below(5, "peers"),
		DownAfter: 3 * time.Second, FailoverTimeout: time.Duration(t.number("failover timeout", 14, 15)) * time.Second,
	}
}

func (t draws) member(id, cluster string) reconcile.Member {
	m := reconcile.Member{
		ID: id, Gossip: "10.0.0." + id[1:] + ":7946", Alive: !t.seldom("dead"), Ready: !t.seldom("not ready"),
		ClusterID: t.of("its cluster", cluster, cluster, ""), Data: t.data("its"), Priority: t.number("its priority", 0, 1, 10, 100),
	}
	if !t.seldom("without redis") {
		m.Redis, m.Sentinel = redisOf(id), "10.0.0."+id[1:]+":26379"
	}
	return m
}

// TestAnySituation holds what must be true of every plan.
func TestAnySituation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, d := drawObserved(t)
		before := reconcile.Text(o, d)
		plan := reconcile.Plan(o, d)
		if after := reconcile.Text(o, d); after != before {
			t.Fatalf("the input was modified:\n%s", cmp.Diff(before, after))
		}
		if again := reconcile.Plan(o, d); fmt.Sprint(again) != fmt.Sprint(plan) {
			t.Fatalf("not deterministic:\n%v\n%v", plan, again)
		}
		for i, a := range plan {
			checkAction(t, o, d, a, slices.ContainsFunc(plan[:i], isAny[reconcile.AwaitOffset]))
			for _, b := range plan[:i] {
				if contradict(b, a) {
					t.Fatalf("%q and %q contradict each other in\n%s", b, a, before)
				}
				if takes(b) && letsGo(a) {
					t.Fatalf("%q comes after %q: let go first, in\n%s", a, b, before)
				}
			}
		}
	})
}

// checkAction holds what must be true when this action is planned; drained: after writes were
// stopped, and a successor has every byte.
func checkAction(t *rapid.T, o reconcile.Observed, d reconcile.Desired, a reconcile.Action, drained bool) {
	e := o.Election
	leased := e.Lease && o.At < e.LeaseUntil && e.ClusterID != "" && e.Holder == o.Self && !e.Released
	mayHold := o.At < o.FenceAfter && (e.Holder == "" || e.Holder == o.Self)
	fenced := o.Redis.Known && o.Redis.MinReplicas == reconcile.Fence && !leased
	unreachable := e.Unreachable > len(e.Voters)/2
	must := func(ok bool, what string) {
		if !ok {
			t.Fatalf("%q %s in\n%s", a, what, reconcile.Text(o, d))
		}
	}
	isReplicaVIP := func(addr string) bool {
		return slices.ContainsFunc(o.VIPs, func(v reconcile.VIP) bool { return v.Address == addr && v.Replica })
	}
	switch a := a.(type) {
	case reconcile.HoldVIP:
		must(leased || isReplicaVIP(a.Address), "without a lease")
		must(o.Redis.Running, "without a redis-server")
	case reconcile.Promote:
		must(leased, "without a lease")
		must(!o.Redis.Loading, "while it loads")
	case reconcile.SetMinReplicas:
		must(leased || a.N == reconcile.Fence, "without a lease")
	case reconcile.SetSuccessors, reconcile.SetRoster:
		must(leased, "without a lease")
	case reconcile.StopWrites:
		must(leased && !o.Paused && a.To != o.Self, "is not possible")
	case reconcile.AwaitOffset:
		must(leased && !o.Paused && a.To != o.Self, "is not possible")
	case reconcile.Follow:
		must(!leased && o.Election.Holder != o.Self, "by the holder")
	case reconcile.Claim:
		must(o.Election.ClusterID != "" && o.Redis.Running && !o.Redis.Loading && !o.Redis.Syncing, "without a dataset")
		must(!o.Stopping, "by a node that stops")
		must(!o.Paused || o.Election.Holder == o.Self, "by another node while paused")
	case reconcile.Bootstrap:
		must(o.Election.ClusterID == "" && !o.Paused, "although there is a cluster")
	case reconcile.Release:
		must(o.Election.Holder == o.Self && (drained && a.To != "" || !o.Redis.Running || o.Redis.Dying || o.Redis.Stuck || o.Redis.Loading || fenced || unreachable), "of a redis-server that may write")
	case reconcile.StartRedis, reconcile.StartSentinel, reconcile.SetSentinel, reconcile.Monitor, reconcile.KillRedis:
		must(!o.Paused, "while paused")
	case reconcile.FenceRedis:
		must(!leased && !mayHold || o.Stopping || o.Redis.Loading || unreachable, "under a lease")
	case reconcile.DropVIP:
		must(isReplicaVIP(a.Address) || drained || !leased && !mayHold || o.Stopping ||
			!o.Redis.Running || o.Redis.Dying || o.Redis.Stuck || o.Redis.Loading || fenced || unreachable, "although it belongs here")
	}
}

// letsGo: afterwards this node has less than before; takes: it has more.
func letsGo(a reconcile.Action) bool {
	switch a.(type) {
	case reconcile.FenceRedis, reconcile.CloseClients, reconcile.DropVIP, reconcile.KillRedis, reconcile.Release, reconcile.StopWrites, reconcile.Follow:
		return true
	}
	return false
}

func takes(a reconcile.Action) bool {
	switch a.(type) {
	case reconcile.HoldVIP, reconcile.Promote, reconcile.SetMinReplicas, reconcile.Claim, reconcile.Bootstrap:
		return true
	}
	return false
}

// contradict: no round may plan both.
func contradict(a, b reconcile.Action) bool {
	return conflicts(a, b) || conflicts(b, a)
}

func conflicts(a, b reconcile.Action) bool {
	if fmt.Sprintf("%T", a) == fmt.Sprintf("%T", b) {
		switch a.(type) {
		case reconcile.DropVIP, reconcile.HoldVIP:
			return addressOf(a) == addressOf(b)
		}
		return true
	}
	switch a.(type) {
	case reconcile.HoldVIP:
		d, ok := b.(reconcile.DropVIP)
		return ok && addressOf(d) == addressOf(a)
	case reconcile.Promote:
		return isAny[reconcile.Follow](b) || isAny[reconcile.FenceRedis](b) || isAny[reconcile.SetMinReplicas](b) || isAny[reconcile.Bootstrap](b)
	case reconcile.SetMinReplicas:
		return isAny[reconcile.FenceRedis](b) || isAny[reconcile.Follow](b)
	case reconcile.StartRedis:
		return isAny[reconcile.StopRedis](b) || isAny[reconcile.KillRedis](b) || isAny[reconcile.Promote](b) || isAny[reconcile.Follow](b) || isAny[reconcile.Claim](b)
	case reconcile.StopRedis:
		return isAny[reconcile.Promote](b) || isAny[reconcile.Follow](b) || isAny[reconcile.HoldVIP](b) || isAny[reconcile.Claim](b) || isAny[reconcile.SetMinReplicas](b)
	case reconcile.KillRedis:
		return isAny[reconcile.Promote](b) || isAny[reconcile.Follow](b) || isAny[reconcile.FenceRedis](b)
	case reconcile.StartSentinel:
		return isAny[reconcile.StopSentinel](b) || isAny[reconcile.Monitor](b) || isAny[reconcile.Publish](b)
	case reconcile.Release:
		return isAny[reconcile.Claim](b) || isAny[reconcile.Promote](b) || isAny[reconcile.SetRoster](b)
	case reconcile.StopWrites:
		return isAny[reconcile.Publish](b) || isAny[reconcile.SetRoster](b) || isAny[reconcile.HoldVIP](b)
	case reconcile.Monitor:
		return isAny[reconcile.Publish](b)
	}
	return false
}

func isAny[A reconcile.Action](a reconcile.Action) bool { _, ok := a.(A); return ok }

func addressOf(a reconcile.Action) string {
	switch a := a.(type) {
	case reconcile.DropVIP:
		return a.Address
	case reconcile.HoldVIP:
		return a.Address
	}
	return ""
}

// TestText reads what it wrote.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, d := drawObserved(t)
		var o2 reconcile.Observed
		var d2 reconcile.Desired
		text := reconcile.Text(o, d)
		if err := reconcile.Change(&o2, &d2, text); err != nil {
			t.Fatal(err)
		}
		if len(o.Election.Successors) == 0 {
			o.Election.Successors = nil
		}
		if diff := cmp.Diff(o, o2) + cmp.Diff(d, d2); diff != "" {
			t.Fatalf("read back another situation:\n%s\n%s", diff, text)
		}
	})
}

func TestChangeRefuses(t *testing.T) {
	for _, line := range []string{
		"nod: at=1s", "node: att=1s", "node: at=soon", "redis: role=master", "redis: min_replicas", "member: alive",
		"redis n1: known", "election: term=-1", "sentinel: quorum=many", "redis: data=1",
	} {
		var o reconcile.Observed
		var d reconcile.Desired
		if err := reconcile.Change(&o, &d, line); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
}

// TestNothingKnown: zero values are no reason to act on Redis, nor to panic.
func TestNothingKnown(t *testing.T) {
	if plan := reconcile.Plan(reconcile.Observed{}, reconcile.Desired{}); plan != nil {
		t.Errorf("planned %v from nothing", plan)
	}
	plan := reconcile.Plan(reconcile.Observed{}, reconcile.Desired{Redis: true, Sentinel: true})
	if len(plan) != 1 || plan[0] != (reconcile.StartRedis{}) {
		t.Errorf("planned %v from nothing, want only redis-server started", plan)
	}
	if reconcile.Stopped(reconcile.Observed{}) || reconcile.BootstrapNode(reconcile.Observed{}, reconcile.Desired{}) != "" {
		t.Error("nothing is stopped, and nobody founds")
	}
}
