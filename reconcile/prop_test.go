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

// drawObserved draws any situation, also those that cannot be.
func drawObserved(t *rapid.T) (reconcile.Observed, reconcile.Desired) {
	var o reconcile.Observed
	flag := func(what string) bool { return rapid.Bool().Draw(t, what) }
	seldom := func(what string) bool { return rapid.IntRange(0, 7).Draw(t, what) == 0 }
	node := rapid.SampledFrom(append([]string{""}, nodes...))
	priority := rapid.SampledFrom([]int{reconcile.Unknown, 0, 1, 10, 100})
	addr := rapid.Custom(func(t *rapid.T) string {
		if id := node.Draw(t, "at"); id != "" {
			return redisOf(id)
		}
		return ""
	})
	data := rapid.Custom(func(t *rapid.T) reconcile.Data {
		return reconcile.Data{Term: rapid.Uint64Range(0, 3).Draw(t, "term"), Offset: rapid.Int64Range(0, 3).Draw(t, "offset"), Keys: rapid.Int64Range(0, 2).Draw(t, "keys")}
	})
	o.At = 100 * time.Second
	at := func(what string) time.Duration { return drawTime(t, o.At, what) }
	o.Self = rapid.SampledFrom(nodes[:3]).Draw(t, "self")
	o.Started, o.FenceAfter = at("started"), at("fence after")
	o.Stopping, o.Paused = seldom("stopping"), seldom("paused")
	o.Handover, o.HandoverTo, o.HandoverAt = seldom("handover"), node.Draw(t, "handover to"), at("handover at")
	o.HandoverFailures = rapid.IntRange(0, reconcile.HandOverTries).Draw(t, "failures")
	o.HolderSeen, o.RemoteFenced = at("holder seen"), rapid.Uint64Range(0, 3).Draw(t, "remote fenced")

	e := &o.Election
	e.ClusterID = rapid.SampledFrom([]string{"c1", "c1", "c1", ""}).Draw(t, "cluster")
	e.Settled, e.Holder, e.Term = flag("settled"), node.Draw(t, "holder"), rapid.Uint64Range(0, 3).Draw(t, "holder's term")
	e.Released, e.OpenedAt = flag("released"), at("opened")
	e.HeardAt, e.EverHeard = at("heard"), flag("ever heard")
	e.Primary, e.Successors = addr.Draw(t, "primary"), rapid.SliceOfNDistinct(rapid.SampledFrom(nodes), 0, 3, rapid.ID).Draw(t, "successors")
	e.Lease, e.LeaseUntil = flag("lease"), at("lease until")
	e.Claiming, e.ClaimedAt, e.Nudged, e.Overtaken = seldom("claiming"), at("claimed"), seldom("nudged"), seldom("overtaken")
	for _, id := range nodes[:rapid.IntRange(0, 5).Draw(t, "voters")] {
		e.Voters = append(e.Voters, reconcile.Voter{ID: id, Addr: "10.0.0." + id[1:] + ":7946"})
	}

	switch rapid.SampledFrom([]string{"anything", "holder", "follower"}).Draw(t, "as") {
	case "holder":
		e.ClusterID, e.Holder, e.Released, e.Lease, e.LeaseUntil = "c1", o.Self, false, true, o.At+500*time.Millisecond
	case "follower":
		e.ClusterID, e.Holder, e.Released, e.Primary, e.Lease = "c1", "n5", false, redisOf("n5"), false
	}

	r := &o.Redis
	r.Running, r.StartAfter, r.Known = !seldom("stopped"), at("start after"), !seldom("unknown")
	if seldom("silent") {
		r.SilentSince = at("silent since")
	}
	r.Stuck, r.Dying = flag("stuck"), seldom("dying")
	r.Role = rapid.SampledFrom([]reconcile.Role{reconcile.RoleUnknown, reconcile.Primary, reconcile.Replica}).Draw(t, "role")
	r.Loading, r.Syncing, r.LinkUp, r.PrimaryAddr = seldom("loading"), seldom("syncing"), flag("link up"), addr.Draw(t, "follows")
	r.MinReplicas = rapid.SampledFrom([]int{reconcile.Unknown, 0, 1, reconcile.Fence}).Draw(t, "min replicas")
	r.Priority, r.Good, r.Data = priority.Draw(t, "replica priority"), rapid.IntRange(0, 3).Draw(t, "good"), data.Draw(t, "data")
	for _, id := range nodes {
		if flag("replica " + id) {
			r.Replicas = append(r.Replicas, reconcile.Link{Addr: redisOf(id), Online: !seldom("offline"), Lag: time.Duration(rapid.IntRange(0, 3).Draw(t, "lag")) * time.Second})
		}
	}

	s := &o.Sentinel
	s.Running, s.Known, s.Configured, s.Tuned, s.Failover = flag("sentinel"), flag("sentinel known"), flag("configured"), flag("tuned"), seldom("failover")
	s.StartAfter, s.WrongSince, s.PublishedAt = at("sentinel start after"), at("wrong since"), at("published")
	s.Monitors, s.Choice = addr.Draw(t, "monitors"), addr.Draw(t, "choice")
	s.Quorum, s.Peers = rapid.IntRange(0, 3).Draw(t, "quorum"), rapid.IntRange(0, 4).Draw(t, "peers")
	s.DownAfter, s.FailoverTimeout = 3*time.Second, time.Duration(rapid.IntRange(14, 15).Draw(t, "failover timeout"))*time.Second

	o.VIPs = []reconcile.VIP{
		{Address: "vip", Held: flag("vip held"), RenewedAt: at("vip renewed")},
		{Address: "vip of replicas", Replica: true, Held: flag("replicas' vip held"), RenewedAt: at("replicas' vip renewed")},
	}
	for _, id := range nodes {
		if seldom("no member " + id) {
			continue
		}
		m := reconcile.Member{ID: id, Gossip: "10.0.0." + id[1:] + ":7946", Alive: !seldom("dead"), Ready: !seldom("not ready"), Data: data.Draw(t, "data of "+id)}
		m.ClusterID = rapid.SampledFrom([]string{e.ClusterID, e.ClusterID, ""}).Draw(t, "its cluster")
		m.Priority = priority.Draw(t, "its priority")
		if !seldom("without redis") {
			m.Redis, m.Sentinel = redisOf(id), "10.0.0."+id[1:]+":26379"
		}
		o.Members = append(o.Members, m)
	}
	d := reconcile.Desired{
		Redis: !seldom("no redis"), Sentinel: !seldom("no sentinel"), RedisAddr: redisOf(o.Self), Expect: 3,
		Priority: rapid.SampledFrom([]int{0, 1, 100}).Draw(t, "priority"), MinReplicas: rapid.SampledFrom([]int{reconcile.Unknown, 0, 2}).Draw(t, "operator's min replicas"),
		DownAfter: 3 * time.Second, FailoverTimeout: 15 * time.Second,
	}
	return o, d
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
			checkAction(t, o, d, a)
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

// checkAction holds what must be true when this action is planned.
func checkAction(t *rapid.T, o reconcile.Observed, d reconcile.Desired, a reconcile.Action) {
	e := o.Election
	leased := e.Lease && o.At < e.LeaseUntil && e.ClusterID != "" && e.Holder == o.Self && !e.Released
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
	case reconcile.HandOver:
		must(leased && !o.Paused && a.To != o.Self, "is not possible")
	case reconcile.Follow:
		must(!leased && o.Election.Holder != o.Self, "by the holder")
	case reconcile.Claim:
		must(o.Election.ClusterID != "" && o.Redis.Running && !o.Redis.Loading && !o.Redis.Syncing, "without a dataset")
		must(!o.Stopping, "by a node that stops")
		must(!o.Paused || o.Election.Holder == o.Self, "by another node while paused")
	case reconcile.Found:
		must(o.Election.ClusterID == "" && !o.Paused, "although there is a cluster")
	case reconcile.Release:
		must(o.Election.Holder == o.Self && (!o.Redis.Running || o.Redis.Dying || o.Redis.Stuck || o.Redis.Loading), "of a redis-server that may write")
	case reconcile.StartRedis, reconcile.StartSentinel, reconcile.SetSentinel, reconcile.Monitor, reconcile.KillRedis:
		must(!o.Paused, "while paused")
	case reconcile.FenceRedis:
		must(!leased && o.At >= o.FenceAfter || o.Stopping || o.Redis.Loading, "under a lease")
	case reconcile.DropVIP:
		must(isReplicaVIP(a.Address) || !leased && o.At >= o.FenceAfter || o.Stopping ||
			!o.Redis.Running || o.Redis.Dying || o.Redis.Stuck || o.Redis.Loading, "although it belongs here")
	}
}

// letsGo: afterwards this node has less than before; takes: it has more.
func letsGo(a reconcile.Action) bool {
	switch a.(type) {
	case reconcile.FenceRedis, reconcile.CloseClients, reconcile.DropVIP, reconcile.KillRedis, reconcile.Release, reconcile.HandOver, reconcile.Follow:
		return true
	}
	return false
}

func takes(a reconcile.Action) bool {
	switch a.(type) {
	case reconcile.HoldVIP, reconcile.Promote, reconcile.SetMinReplicas, reconcile.Claim, reconcile.Found:
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
		return isAny[reconcile.Follow](b) || isAny[reconcile.FenceRedis](b) || isAny[reconcile.SetMinReplicas](b) || isAny[reconcile.Found](b)
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
		return isAny[reconcile.Claim](b) || isAny[reconcile.Promote](b) || isAny[reconcile.HandOver](b) || isAny[reconcile.SetRoster](b)
	case reconcile.HandOver:
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
	if reconcile.Stopped(reconcile.Observed{}) || reconcile.Founder(reconcile.Observed{}, reconcile.Desired{}) != "" {
		t.Error("nothing is stopped, and nobody founds")
	}
}
