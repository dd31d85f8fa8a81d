package reconcile_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redisd/redisd/reconcile"
)

// world is a simple model of what the actions of one node bring about: enough to see that its plans
// come to an end. The other nodes are well, and do what a holder or a voter does.
type world struct {
	o reconcile.Observed
	d reconcile.Desired
	// denies: nobody grants this node's claims.
	denies bool
}

// tick lets time pass, with what goes on by itself.
func (w *world) tick(by time.Duration) {
	o := &w.o
	o.At += by
	switch e := &o.Election; {
	case e.Lease:
		e.LeaseUntil = o.At + 550*time.Millisecond
	case e.Holder != "" && e.Holder != o.Self && !e.Released:
		e.HeardAt, e.EverHeard = o.At, true
		o.HolderSeen = o.At
	}
	o.Redis.LinkUp = o.Redis.Running && o.Redis.Role == reconcile.Replica && o.Redis.PrimaryAddr == w.primary() && w.primary() != ""
	if s := &o.Sentinel; s.Running && s.Known && w.primary() != "" && s.Monitors != "" && s.Monitors != w.primary() {
		if s.WrongSince == 0 {
			s.WrongSince = o.At
		}
	} else {
		s.WrongSince = 0
	}
}

func (w *world) primary() string {
	e := w.o.Election
	switch {
	case e.Lease:
		return w.d.RedisAddr
	case e.Holder != "" && e.Holder != w.o.Self && !e.Released:
		return e.Primary
	}
	return ""
}

func (w *world) apply(a reconcile.Action) {
	switch a := a.(type) {
	case reconcile.DropVIP:
		w.vip(a.Address).Held = false
	case reconcile.HoldVIP:
		*w.vip(a.Address) = reconcile.VIP{Address: a.Address, Replica: w.vip(a.Address).Replica, Held: true, RenewedAt: w.o.At}
	case reconcile.StartSentinel, reconcile.StopSentinel, reconcile.Monitor, reconcile.TuneSentinel, reconcile.SetSentinel, reconcile.Publish:
		w.applySentinel(a)
	case reconcile.Bootstrap, reconcile.Claim, reconcile.Release, reconcile.FenceRemote, reconcile.SetSuccessors, reconcile.SetRoster:
		w.applyElection(a)
	default:
		w.applyRedis(a)
	}
}

func (w *world) vip(address string) *reconcile.VIP {
	i := slices.IndexFunc(w.o.VIPs, func(v reconcile.VIP) bool { return v.Address == address })
	return &w.o.VIPs[i]
}

func (w *world) applyRedis(a reconcile.Action) {
	r := &w.o.Redis
	switch a := a.(type) {
	case reconcile.StopWrites:
		r.MinReplicas = reconcile.Fence
	case reconcile.FenceRedis:
		r.MinReplicas = reconcile.Fence
		if r.SilentSince > 0 || !r.Known {
			w.exit()
		}
	case reconcile.KillRedis, reconcile.StopRedis:
		w.exit()
	case reconcile.StartRedis:
		*r = reconcile.Redis{Running: true, Known: true, Role: reconcile.Replica, PrimaryAddr: a.Primary, MinReplicas: reconcile.Fence, Data: r.Data}
	case reconcile.Promote:
		r.Role, r.PrimaryAddr, r.MinReplicas = reconcile.Primary, "", a.MinReplicas
	case reconcile.SetMinReplicas:
		r.MinReplicas = a.N
	case reconcile.Follow:
		r.Role, r.PrimaryAddr, r.MinReplicas, r.Good, r.Replicas = reconcile.Replica, a.Primary, reconcile.Fence, 0, nil
	}
}

func (w *world) exit() {
	w.o.Redis = reconcile.Redis{MinReplicas: reconcile.Unknown, Data: w.o.Redis.Data}
}

func (w *world) applySentinel(a reconcile.Action) {
	s := &w.o.Sentinel
	switch a := a.(type) {
	case reconcile.StartSentinel:
		monitors := a.Primary
		if s.Configured {
			monitors = s.Monitors
		}
		*s = reconcile.Sentinel{Running: true, Known: true, Configured: true, Monitors: monitors, Quorum: 1, Peers: s.Peers, DownAfter: w.d.DownAfter, FailoverTimeout: w.d.FailoverTimeout}
	case reconcile.StopSentinel:
		s.Running, s.Known = false, false
	case reconcile.Monitor:
		s.Epoch = 0
		s.Monitors, s.Quorum, s.DownAfter, s.FailoverTimeout = a.Primary, a.Quorum, w.d.DownAfter, w.d.FailoverTimeout
	case reconcile.TuneSentinel:
		s.Tuned = true
	case reconcile.SetSentinel:
		switch a.Option {
		case "quorum":
			s.Quorum = int(a.Value[0] - '0')
		case "failover-timeout":
			s.FailoverTimeout = w.d.FailoverTimeout
		}
	case reconcile.Publish:
		s.Published, s.PublishedAt = a.Epoch, w.o.At
		if a.Epoch > s.Epoch {
			s.Monitors, s.Epoch = a.Primary, a.Epoch
		}
	}
}

func (w *world) applyElection(a reconcile.Action) {
	o, e := &w.o, &w.o.Election
	switch a := a.(type) {
	case reconcile.Bootstrap:
		e.ClusterID, e.Voters = "c1", a.Voters
		for i := range o.Members {
			o.Members[i].ClusterID = "c1"
		}
		w.win()
	case reconcile.Claim:
		e.ClaimedAt = o.At
		if !w.denies {
			w.win()
		}
	case reconcile.Release:
		e.Released, e.OpenedAt, e.Lease, e.Unreachable = true, o.At, false, 0
		if a.To != "" { // its successor takes it at once
			o.Handover = false
			e.Released = false
			e.Holder, e.Term, e.Primary, e.Successors = a.To, e.Term+1, redisOf(a.To), nil
		}
	case reconcile.FenceRemote:
		o.RemoteFenced = e.Term
	case reconcile.SetSuccessors:
		e.Successors, e.Primary = a.IDs, w.d.RedisAddr
	case reconcile.SetRoster:
		e.Voters = a.Voters
	}
}

func (w *world) win() {
	o, e := &w.o, &w.o.Election
	e.Holder, e.Term, e.Released, e.Lease, e.Overtaken, e.Nudged = o.Self, e.Term+1, false, true, false, false
	e.LeaseUntil, e.Primary, e.Successors, e.Settled = o.At+550*time.Millisecond, "", nil, true
	o.Redis.Data.Term = e.Term
}

// settle makes a random situation one in which nothing happens but what this node does: processes
// answer, gossip and ballot agree, nobody else claims.
func settle(o *reconcile.Observed) {
	o.Stopping, o.Started, o.FenceAfter = false, o.At-time.Minute, 0
	e, r, s := &o.Election, &o.Redis, &o.Sentinel
	if r.StartAfter > o.At {
		r.StartAfter = o.At
	}
	r.SilentSince, r.Loading, r.Syncing, r.Dying = 0, false, false, false
	if r.Role == reconcile.RoleUnknown {
		r.Role = reconcile.Replica
	}
	r.Known, s.Known = r.Running, s.Running
	if !r.Running {
		r.MinReplicas, r.Role = reconcile.Unknown, reconcile.RoleUnknown
	}
	e.Claiming = false
	if e.ClusterID == "" {
		*e = reconcile.Election{}
	}
	e.Lease = e.ClusterID != "" && e.Holder == o.Self && !e.Released
	e.Overtaken = e.Overtaken && e.Lease
	if e.Holder == o.Self || e.Holder == "" {
		e.Primary = ""
	} else {
		e.Primary = redisOf(e.Holder)
	}
	e.Released = e.Released || e.Holder == ""
}

// TestConverges: from any settled situation the plans come to an end within half a minute, but for
// the renewals of addresses, and claims where nobody grants them.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, d := drawObserved(t)
		settle(&o)
		w := &world{o: o, d: d, denies: rapid.Bool().Draw(t, "denies")}
		var log []string
		quiet := 0
		for range 300 {
			w.tick(100 * time.Millisecond)
			busy := false
			for _, a := range reconcile.Plan(w.o, w.d) {
				w.apply(a)
				if isAny[reconcile.HoldVIP](a) || w.denies && (isAny[reconcile.Claim](a) || isAny[reconcile.Bootstrap](a) || isAny[reconcile.FenceRemote](a)) {
					continue
				}
				busy = true
				log = append(log, a.String())
			}
			if quiet++; busy {
				quiet = 0
			}
		}
		if quiet < 50 {
			t.Fatalf("still busy after half a minute in\n%s\nthe last actions:\n%s", reconcile.Text(w.o, w.d), strings.Join(log[max(0, len(log)-20):], "\n"))
		}
		w.check(t)
	})
}

// check holds what the node must have come to.
func (w *world) check(t *rapid.T) {
	o, r := w.o, w.o.Redis
	fail := func(what string) { t.Fatalf("%s in\n%s", what, reconcile.Text(w.o, w.d)) }
	switch {
	case o.Paused:
	case w.d.Redis && !r.Running:
		fail("redis-server does not run")
	case w.d.Redis && o.Election.Lease && (r.Role != reconcile.Primary || r.MinReplicas == reconcile.Fence || !w.vip("vip").Held):
		fail("the holder accepts no writes at its address")
	case w.d.Redis && w.primary() != "" && !o.Election.Lease && (r.Role != reconcile.Replica || r.PrimaryAddr != w.primary()):
		fail("the holder is not followed")
	case w.d.Sentinel && w.primary() != "" && o.Sentinel.Monitors != w.primary():
		fail("sentinel names another primary")
	}
	if !o.Election.Lease && (r.Running && r.MinReplicas != reconcile.Fence || w.vip("vip").Held) {
		fail("writes, or their address, without a lease")
	}
}

// TestStops: a node that is to stop comes to its end, paused or not, whatever the others do.
func TestStops(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, d := drawObserved(t)
		settle(&o)
		o.Stopping = true
		w := &world{o: o, d: d, denies: true}
		for range 200 {
			w.tick(50 * time.Millisecond)
			for _, a := range reconcile.Plan(w.o, w.d) {
				if isAny[reconcile.StartRedis](a) || isAny[reconcile.StartSentinel](a) || isAny[reconcile.Promote](a) {
					t.Fatalf("%q while it stops", a)
				}
				if isAny[reconcile.CheckInSync](a) && rapid.Bool().Draw(t, "it fails") {
					w.o.HandoverAt, w.o.HandoverFailures = w.o.At, w.o.HandoverFailures+1
					break // the first action that fails ends the round
				}
				w.apply(a)
			}
			if reconcile.Stopped(w.o) {
				if e := w.o.Election; e.ClusterID != "" && e.Holder == w.o.Self && !e.Released {
					t.Fatal("stopped without giving the lease back")
				}
				return
			}
		}
		t.Fatalf("still not stopped after ten seconds in\n%s", reconcile.Text(w.o, w.d))
	})
}
