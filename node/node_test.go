package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

const ms = time.Millisecond

// bench drives one node step by step: it notes what comes out, and answers what it is told to.
type bench struct {
	t     *testing.T
	n     *Node
	now   Time
	do    []Do
	sent  []Send
	saves []State
	told  []Event
	last  Ready
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	b := &bench{t: t, n: newNode(t, o)}
	b.now = b.n.at
	b.last.Until = b.now
	return b
}

func (b *bench) step(in Input) Ready {
	r := b.n.Step(b.now, in)
	b.do, b.sent, b.told = append(b.do, r.Do...), append(b.sent, r.Send...), append(b.told, r.Events...)
	if r.Save != nil {
		b.saves = append(b.saves, *r.Save)
	}
	b.last = r
	return r
}

// tick lets time pass up to d, as often as the node asks for it.
func (b *bench) tick(d time.Duration) {
	end := b.now + d
	for b.last.Until <= end {
		b.now = max(b.now, b.last.Until)
		before := b.last.Until
		b.step(Tick{})
		if b.last.Until == before && before == b.now {
			b.t.Fatalf("due at %v, again and again", before)
		}
	}
	b.now = end
}

// take returns the first thing to do whose text begins so, and forgets it; Do{} if there is none.
func (b *bench) take(text string) Do {
	i := slices.IndexFunc(b.do, func(d Do) bool { return strings.HasPrefix(d.Action.String(), text) })
	if i < 0 {
		return Do{}
	}
	d := b.do[i]
	b.do = slices.Delete(b.do, i, i+1)
	return d
}

// must is take for what has to be there.
func (b *bench) must(text string) Do {
	b.t.Helper()
	d := b.take(text)
	if d.ID == 0 {
		b.t.Fatalf("%q is not to be done; there is: %v", text, b.do)
	}
	return d
}

// primary is redis-server of node a, in touch with b.
func primary(offset int64) *RedisInfo {
	return &RedisInfo{
		RunID: "r", Role: reconcile.Primary, ReplID: "h", Offset: offset, Keys: 1, MinReplicas: 0, MaxLag: 2 * time.Second,
		Replicas: []reconcile.Link{{Addr: "10.0.0.2:6379", Online: true, Offset: offset}},
	}
}

// answerPolls answers all polls that are under way.
func (b *bench) answerPolls(info *RedisInfo) {
	for {
		d := b.take("poll redis-server")
		if d.ID == 0 {
			return
		}
		in := RedisPolled{ID: d.ID, Began: b.now, PID: 1, Info: info, StaleClosed: d.Action.(PollRedis).CloseStale}
		if info == nil {
			in.Silent = Silence{Known: true, State: 'S', RanFor: time.Hour}
		}
		b.step(in)
	}
}

// leads makes node a the primary whose lease runs, with its address held.
func leads(t *testing.T) *bench {
	b := newBench(t, Options{State: holding(), RedisPID: 1, Record: Record{Version: Version{Term: 4, Offset: 1000, Keys: 1}, RunID: "r", Primary: true}})
	b.step(VIPsConfigured{VIPs: []reconcile.VIP{{Address: "10.0.0.9/24", Held: true}}})
	b.step(Members{List: []reconcile.Member{
		{ID: "a", Name: "a", ClusterID: "c", Gossip: "10.0.0.1:7946", Redis: "10.0.0.1:6379", Alive: true, Ready: true, Priority: 100},
		{ID: "b", Name: "b", ClusterID: "c", Gossip: "10.0.0.2:7946", Redis: "10.0.0.2:6379", Alive: true, Ready: true, Priority: 100},
	}})
	b.run(300*ms, true)
	if _, ok := b.n.lease(); !ok {
		t.Fatal("it has no lease")
	}
	return b
}

// run lets time pass; the disk takes everything, redis-server does as told, and b answers renewals
// if it can be reached.
func (b *bench) run(d time.Duration, reached bool) {
	for end := b.now + d; b.now < end; {
		b.tick(5 * ms)
		b.settle(primary(1000), reached)
	}
}

func (b *bench) settle(info *RedisInfo, reached bool) {
	for moved := true; moved; {
		moved = len(b.saves)+len(b.do)+len(b.sent) > 0
		for range b.saves {
			b.step(Saved{})
		}
		b.saves = nil
		sent := b.sent
		b.sent = nil
		for _, s := range sent {
			if m, ok := s.Message.(election.Renew); ok && reached {
				b.step(Received{Message: election.RenewReply{
					From: "b", Term: m.Term, Granted: true, Sent: m.Sent, Highest: m.Term, RosterTerm: m.Roster.Term, RosterVersion: m.Roster.Version,
				}})
			}
		}
		b.answerPolls(info)
		do := b.do
		b.do = nil
		for _, d := range do {
			if _, probe := d.Action.(Probe); !probe {
				b.step(Done{ID: d.ID})
			}
		}
	}
}

// What an answer depends on is on disk before the answer is sent.
func TestSaveBeforeSend(t *testing.T) {
	b := newBench(t, Options{State: holding()})
	b.run(2*time.Second, false) // it gives its last lease back: no redis-server runs
	b.sent = nil
	claim := election.Claim{
		ClusterID: "c", Term: 5, Candidate: "b", Sent: 1, Roster: holding().Election.Roster, Data: election.Data{Term: 4, Offset: 1}, HolderTerm: 4, Released: true,
	}
	b.step(Received{Message: claim})
	if len(b.saves) != 1 || b.saves[0].Election.Vote != "b" || len(b.sent) != 0 {
		t.Fatalf("saves %+v, sends %v", b.saves, b.sent)
	}
	b.step(Received{Message: claim}) // waits for the disk, as everything of the election does
	if len(b.saves) != 1 || len(b.sent) != 0 {
		t.Fatalf("while it is being saved: saves %d, sends %v", len(b.saves), b.sent)
	}
	b.step(Saved{Err: errors.New("disk full")})
	if slices.ContainsFunc(b.sent, granted) {
		t.Fatal("granted what is not on disk")
	}
	b.step(Saved{})
	if !slices.ContainsFunc(b.sent, granted) {
		t.Fatalf("not granted once it is on disk: %v", b.sent)
	}
}

func granted(s Send) bool {
	m, ok := s.Message.(election.ClaimReply)
	return ok && m.Granted
}

// A disk that takes nothing is tried once a round, not once a step.
func TestDiskThatTakesNothing(t *testing.T) {
	b := leads(t)
	b.step(Received{Message: election.RenewReply{From: "b", Term: 4, Granted: false, Highest: 9}})
	saves := 0
	for end := b.now + time.Second; b.now < end; b.tick(ms) {
		for range b.saves {
			saves++
			b.step(Saved{Err: errors.New("read-only")})
		}
		b.saves, b.sent = nil, nil
		b.answerPolls(primary(1000))
		do := b.do
		b.do = nil
		for _, d := range do {
			b.step(Done{ID: d.ID})
		}
	}
	if limit := int(time.Second/TickEvery) * MoreRounds; saves == 0 || saves > limit {
		t.Errorf("%d saves in a second", saves)
	}
}

// The end of a lease is the rounds' business; when they are stuck, the guard sees to it.
func TestGuard(t *testing.T) {
	b := leads(t)
	until, _ := b.n.lease()
	b.run(until-b.now-60*ms, false) // nobody answers any more
	b.tick(until + WakeMargin + 5*ms - b.now)
	fence := b.must("fence redis-server")
	if fence.Lane != Rounds {
		t.Fatalf("the rounds come first: %+v", fence)
	}
	// The round hangs in it. The guard does it all by itself.
	b.tick(GuardMargin)
	if fence = b.must("fence redis-server"); fence.Lane != Guard {
		t.Fatalf("the guard's own lane: %+v", fence)
	}
	b.step(Done{ID: fence.ID, Err: errors.New("no answer")})
	kill := b.must("kill redis-server")
	b.step(Done{ID: kill.ID})
	b.must("drop vip 10.0.0.9/24")
	if !slices.ContainsFunc(b.told, func(e Event) bool { _, ok := e.(GuardActs); return ok }) {
		t.Error("nobody is told")
	}
}

// A new agent may find a redis-server that still accepts writes under the lease of the one before.
// When its very first rounds are stuck, here in a disk that does not answer, the guard fences at
// the end of that lease.
func TestGuardOfAnAdoptedLease(t *testing.T) {
	b := newBench(t, Options{State: holding(), RedisPID: 1, Record: Record{Version: Version{Term: 4, Offset: 1000, Keys: 1}, RunID: "r", Primary: true}})
	b.step(VIPsConfigured{VIPs: []reconcile.VIP{{Address: "10.0.0.9/24", Held: true}}})
	b.tick(10 * ms)
	b.answerPolls(primary(1000))
	b.step(SetPause{Pause: Pause{Version: 1, On: true}})
	if len(b.saves) == 0 {
		t.Fatal("nothing is to be saved")
	}
	b.tick(FirstRenewal + WakeMargin)
	if d := b.take("fence redis-server"); d.ID != 0 {
		t.Fatalf("the rounds are stuck, and the lease may run: %+v", d)
	}
	b.tick(GuardMargin)
	if fence := b.must("fence redis-server"); fence.Lane != Guard {
		t.Errorf("not the guard's: %+v", fence)
	}
}

// Rounds that see to the end of the lease call the guard off.
func TestGuardCalledOff(t *testing.T) {
	b := leads(t)
	for range 300 { // nobody answers any more
		b.tick(5 * ms)
		b.settle(primary(1000), false)
	}
	if slices.ContainsFunc(b.told, func(e Event) bool { _, ok := e.(GuardActs); return ok }) {
		t.Error("the guard acted although the rounds had")
	}
	if b.n.vip("10.0.0.9/24").Held {
		t.Error("the address is held without a lease")
	}
}

// handOver requests a switchover to b and plays it up to the step whose text begins so.
func (b *bench) handOver(upTo string) Do {
	b.t.Helper()
	b.told = nil
	b.step(RequestSwitchover{ID: "1", To: "b"})
	for range 50 {
		if d := b.take(upTo); d.ID != 0 {
			return d
		}
		b.answerPolls(primary(1000))
		do := b.do
		b.do = nil
		for _, d := range do {
			b.step(Done{ID: d.ID, Offset: 1000, ReplID: "h"})
		}
		b.settleElection()
		b.tick(5 * ms)
	}
	b.t.Fatalf("%q is not reached: %v", upTo, b.told)
	return Do{}
}

func (b *bench) settleElection() {
	for range b.saves {
		b.step(Saved{})
	}
	b.saves = nil
}

func ended(told []Event) (HandoverEnded, bool) {
	for _, e := range told {
		if e, ok := e.(HandoverEnded); ok {
			return e, true
		}
	}
	return HandoverEnded{}, false
}

// A handover that goes through gives the lease back to a successor that has every byte.
func TestHandOver(t *testing.T) {
	b := leads(t)
	b.run(200*ms, true) // until b is known as the successor
	b.step(Done{ID: b.handOver("wait until b has every byte").ID})
	if len(b.saves) != 1 || !b.saves[0].Election.Released || b.saves[0].Drained == nil || b.saves[0].Drained.Offset != 1000 {
		t.Fatalf("on disk: %+v", b.saves)
	}
	b.sent = nil
	b.settleElection()
	if !slices.ContainsFunc(b.sent, func(s Send) bool { m, ok := s.Message.(election.Release); return ok && m.Handed == 1000 }) {
		t.Errorf("b is not told: %v", b.sent)
	}
	if e, ok := ended(b.told); !ok || e.Err != nil || e.Request != "1" || e.Offset != 1000 {
		t.Errorf("ended: %+v %v", e, ok)
	}
}

// handedOver is a primary that has just handed over to b.
func handedOver(t *testing.T) *bench {
	b := leads(t)
	b.run(200*ms, true)
	b.step(Done{ID: b.handOver("wait until b has every byte").ID})
	b.settleElection()
	if !b.n.View(b.now).Released {
		t.Fatal("the lease is not handed over")
	}
	return b
}

// awaitLetGo plays until the clients are closed, and reports how long that took.
func (b *bench) awaitLetGo() Time {
	b.t.Helper()
	for began := b.now; b.now < began+time.Second; b.tick(5 * ms) {
		b.settleElection()
		b.answerPolls(primary(1000))
		for _, early := range []string{"fence", "drop vip"} {
			if d := b.take(early); d.ID != 0 {
				b.t.Fatalf("%v before the clients are closed", d.Action)
			}
		}
		if d := b.take("close clients"); d.ID != 0 {
			b.step(Done{ID: d.ID})
			b.must("fence")
			return b.now - began
		}
	}
	b.t.Fatal("the clients are never closed")
	return 0
}

// Who has handed over keeps its clients and the address until the successor is heard to serve, and
// not for ever.
func TestYield(t *testing.T) {
	if took := handedOver(t).awaitLetGo(); took < reconcile.YieldFor || took > reconcile.YieldFor+2*TickEvery {
		t.Errorf("nobody takes over, and the clients are closed after %v, want %v", took, reconcile.YieldFor)
	}
	b := handedOver(t)
	b.tick(20 * ms)
	b.step(Received{Message: election.Renew{
		Holder: "b", Term: 5, ClusterID: "c", Sent: b.now, Roster: b.n.View(b.now).Roster, Primary: "10.0.0.2:6379",
	}})
	if took := b.awaitLetGo(); took > 2*TickEvery {
		t.Errorf("b serves, and the clients are closed %v later", took)
	}
}

// A round that is stuck keeps nobody's clients: the guard lets go.
func TestYieldIsGuarded(t *testing.T) {
	b := handedOver(t)
	b.n.perform.lanes[Rounds].busy = true
	b.tick(reconcile.YieldFor + GuardMargin + ms)
	b.must("fence")
}

// The next agent of one that died in a handover does not know whether writes wait: those of a
// primary go on, whoever has handed over is fenced at once.
func TestYieldOfTheDead(t *testing.T) {
	b := leads(t)
	if !slices.ContainsFunc(b.told, func(e Event) bool { p, ok := e.(ActionPlanned); return ok && p.Action == reconcile.ResumeWrites{} }) {
		t.Error("writes that may be waiting are left waiting")
	}
	if b.n.perform.held != 0 {
		t.Error("they are resumed again and again")
	}
	st := holding()
	st.Election.Released = true
	n := newBench(t, Options{State: st, RedisPID: 1})
	for range 10 {
		n.tick(10 * ms)
		n.answerPolls(primary(1000))
	}
	n.must("fence")
}

// A command that has writes wait and is not answered may be carried out after they were resumed: so
// they are resumed again, until its connection is closed.
func TestLateHold(t *testing.T) {
	b := leads(t)
	b.run(200*ms, true)
	d := b.handOver("stop writes")
	b.step(Done{ID: d.ID, Err: errors.New("timeout")})
	b.step(Done{ID: b.must("resume writes").ID})
	if b.n.perform.held == 0 {
		t.Error("they count as resumed for good")
	}
	b.run(300*ms, true)
	if b.n.perform.held != 0 || b.n.perform.mayComeLate() {
		t.Error("the connection is closed, and they count as waiting")
	}
}

// Whatever fails before the release lets the writes go on here.
func TestHandOverUndone(t *testing.T) {
	for _, tt := range []struct {
		step    string
		stopped bool
	}{
		{"check that b is in sync", false}, {"check that b has that on disk", false},
		{"stop writes", true}, {"wait until b has every byte", true},
	} {
		t.Run(tt.step, func(t *testing.T) {
			b := leads(t)
			b.run(200*ms, true)
			d := b.handOver(tt.step)
			if d.Until <= b.now || d.Until > b.now+CatchUp {
				t.Errorf("bounded by %v", d.Until-b.now)
			}
			b.step(Done{ID: d.ID, Err: errors.New("no")})
			if tt.stopped {
				undo := b.must("resume writes")
				if undo.Until == 0 {
					t.Error("writes are let in without a bound")
				}
				b.step(Done{ID: undo.ID})
			}
			e, ok := ended(b.told)
			if !ok || e.Err == nil || e.Stopped != tt.stopped || e.Drained {
				t.Errorf("ended: %+v %v", e, ok)
			}
			if _, ok := b.n.lease(); !ok || b.n.View(b.now).Released {
				t.Error("the lease is gone")
			}
		})
	}
}

// A request that was cancelled after it was planned moves nothing.
func TestHandOverCancelled(t *testing.T) {
	b := leads(t)
	b.run(200*ms, true)
	d := b.handOver("check that b is in sync")
	if b.n.CancelSwitchover("1") {
		t.Error("cancelled although it has begun")
	}
	b.step(Done{ID: d.ID, Err: errors.New("no")})
	b.step(Members{List: b.n.members, Conflict: true}) // nothing is planned for it
	b.step(RequestSwitchover{ID: "2", To: "b"})
	if !b.n.CancelSwitchover("2") || b.n.CancelSwitchover("2") {
		t.Error("a request that has not begun is cancelled, once")
	}
	b.step(Members{List: b.n.members})
	b.run(time.Second, true)
	if !b.n.View(b.now).Lease {
		t.Error("the primary moved")
	}
}

// A command that lets writes in and is not answered may be carried out yet: from then on only
// killing the process is a fence.
func TestUnansweredIsKilled(t *testing.T) {
	b := leads(t)
	b.n.perform.allowWrites(Rounds, reconcile.SetMinReplicas{N: 1}, func(error) {})
	d := b.n.out.Do[len(b.n.out.Do)-1]
	b.step(Done{ID: d.ID, Err: errors.New("timeout")})
	b.do = nil
	b.n.perform.fence(Guard, "no lease", func(error) {})
	if got := b.n.out.Do[len(b.n.out.Do)-1].Action; !strings.HasPrefix(got.String(), "kill redis-server") {
		t.Errorf("%q, want a kill", got)
	}
}

// Nothing is let in, and no address taken, without a lease.
func TestNothingWithoutLease(t *testing.T) {
	b := newBench(t, Options{State: holding(), RedisPID: 1})
	b.step(VIPsConfigured{VIPs: []reconcile.VIP{{Address: "10.0.0.9/24"}}})
	b.do = nil
	for _, a := range []reconcile.Action{reconcile.Promote{}, reconcile.SetMinReplicas{}, reconcile.HoldVIP{Address: "10.0.0.9/24"}} {
		var got error
		b.n.perform.begin(Guard, a, func(err error) { got = err })
		if !errors.Is(got, ErrLeaseOver) {
			t.Errorf("%s: %v", a, got)
		}
	}
}

// To observe changes nothing: ten goroutines may do it at once, beside a plan and a view. (The race
// detector sees to it that this test can fail.)
func TestObserveChangesNothing(t *testing.T) {
	b := leads(t)
	before := fmt.Sprintf("%+v", *b.n)
	want := reconcile.Text(b.n.Observe(b.now), b.n.Desired())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 50 {
				o := b.n.Observe(b.now)
				if got := reconcile.Text(o, b.n.Desired()); got != want {
					t.Errorf("observed otherwise:\n%s", got)
					return
				}
				b.n.Plan(b.now)
				b.n.NeedsOperator(o)
				b.n.View(b.now)
				b.n.PrimaryAddr(b.now)
				b.n.Local()
			}
		})
	}
	wg.Wait()
	if after := fmt.Sprintf("%+v", *b.n); after != before {
		t.Errorf("the node has changed:\n%s\n%s", before, after)
	}
}

// A pause that an operator asked for counts once it is on disk, and the later one wins.
func TestPause(t *testing.T) {
	b := newBench(t, Options{})
	b.step(Tick{})
	b.step(SetPause{Pause: Pause{Version: 1, On: true}})
	if b.n.Paused().On || len(b.saves) != 1 || !b.saves[0].Pause.On {
		t.Fatalf("paused %v before it is on disk, saves %+v", b.n.Paused(), b.saves)
	}
	b.step(SetPause{Pause: Pause{Version: 2}}) // resumed while the first is being saved
	b.step(Saved{})
	b.step(Saved{})
	if got := b.n.Paused(); got.Version != 2 || got.On {
		t.Errorf("paused: %+v", got)
	}
	b.step(SetPause{Pause: Pause{Version: 1, On: true}})
	if b.n.Paused().On {
		t.Error("an earlier request counts")
	}
	b.step(SetPause{Pause: Pause{Version: 3, On: true}})
	b.step(Saved{Err: errors.New("disk full")})
	if b.n.Paused().On {
		t.Error("paused although that is not on disk")
	}
}

// What is on disk with a release goes with it alone.
func TestWholeSurvives(t *testing.T) {
	b := newBench(t, Options{State: holding()})
	b.n.perform.whole, b.n.perform.drained = 4, &Drained{Term: 4, Offset: 7}
	save := func() State {
		b.saves = nil
		b.n.ballot.saving = false
		b.n.out = Ready{}
		b.n.ballot.save(nil, nil)
		return *b.n.out.Save
	}
	if st := save(); st.Whole != 0 || st.Drained != nil {
		t.Errorf("before the release: %+v", st)
	}
	b.n.ballot.e.Release(b.now, "test")
	if st := save(); st.Whole != 4 || st.Drained == nil {
		t.Errorf("with the release: %+v", st)
	}
	b.n.perform.whole, b.n.perform.drained = 3, &Drained{Term: 3, Offset: 7}
	if st := save(); st.Whole != 0 || st.Drained != nil {
		t.Errorf("of an earlier term: %+v", st)
	}
}

// Time never goes back, and the node never asks to be called all the time.
func TestUntil(t *testing.T) {
	b := leads(t)
	b.run(time.Second, true)
	steps := 0
	for end := b.now + time.Second; b.now < end; steps++ {
		b.now = max(b.now, b.last.Until)
		b.step(Tick{})
		b.settle(primary(1000), true)
	}
	if steps > 60 {
		t.Errorf("%d ticks in a calm second", steps)
	}
	b.n.Step(0, Tick{})
	if b.n.at < time.Hour {
		t.Error("time went back")
	}
}

// The next agent of a node knows what a handover found, and whether the lease was given back only
// because this node was alone: it votes by both.
func TestNextAgentKnows(t *testing.T) {
	st := holding()
	st.Election.Released = true
	st.Whole, st.Drained = 4, &Drained{Term: 4, Offset: 1000}
	n := newNode(t, Options{State: st, RedisPID: 1})
	if n.perform.whole != 4 {
		t.Errorf("given back only because it was alone in term %d, want 4", n.perform.whole)
	}
	if n.perform.drained == nil || *n.perform.drained != *st.Drained {
		t.Errorf("handed over with %+v, want %+v", n.perform.drained, st.Drained)
	}
}
