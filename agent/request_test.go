package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/node"
)

func requestFor(id, to string) *request { return newRequest(id, to, to, "c", time.Second) }

// aSite is node a, with nothing behind it.
func aSite() *site {
	s := &site{log: slog.New(slog.DiscardHandler), self: "a", redisAddr: netip.MustParseAddrPort("10.0.0.1:6379")}
	cfg := config.Default()
	cfg.Node.Name = "a"
	s.cfg.Store(&cfg)
	return s
}

func TestOneRequestAtATime(t *testing.T) {
	rs := &requests{site: aSite()}
	first := requestFor("1", "b")
	if err := rs.make(first); err != nil {
		t.Fatal(err)
	}
	err := rs.make(requestFor("2", "c"))
	if err == nil || !strings.Contains(err.Error(), "a switchover to b, started on c 0.0 s ago, is under way") {
		t.Errorf("the second one was told %v", err)
	}
	if rs.find("2") != nil {
		t.Error("a request that was refused is remembered")
	}
	first.finish(Moved{}, nil)
	if err := rs.make(requestFor("2", "c")); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

// What a handover comes to is told to the request that it was for, and to no other; one that nobody
// requested is told to none.
func TestHandoverIsTold(t *testing.T) {
	rs := &requests{site: aSite()}
	first, second := requestFor("1", "b"), requestFor("2", "c")
	if err := rs.make(first); err != nil {
		t.Fatal(err)
	}
	rs.stopsWrites("1", time.Second)
	rs.stopped("1", "h", 7)
	rs.take(node.LeaseReleased{To: "b", Request: "1"})
	rs.take(node.HandoverEnded{To: "b", Request: "1"})
	first.finish(Moved{}, nil)
	if err := rs.make(second); err != nil {
		t.Fatal(err)
	}
	for _, nobody := range []string{"", "3"} {
		rs.step(nobody, "fenced", "no request to note it in")
		rs.stopsWrites(nobody, time.Second)
		rs.take(node.LeaseReleased{To: "b", Request: nobody})
		rs.take(node.HandoverEnded{To: "b", Request: nobody, Err: errors.New("it did not catch up")})
	}
	if e := <-first.handed; e.Err != nil || first.fence() != (fencePoint{Since: time.Second, ReplID: "h", Offset: 7}) {
		t.Errorf("the first was told %+v, fenced at %+v", e, first.fence())
	}
	if len(first.steps) != 1 || first.steps[0].Text != "lease released by a" {
		t.Errorf("steps: %+v", first.steps)
	}
	if len(second.handed) != 0 || len(second.steps) != 0 || second.fence().Since != 0 {
		t.Error("the second was told what was not its own")
	}
}

func TestProgress(t *testing.T) {
	c := &coordinator{site: aSite(), requests: &requests{site: aSite()}}
	r := requestFor("1", "b")
	if err := c.requests.make(r); err != nil {
		t.Fatal(err)
	}
	ask := func(seen int) progress {
		t.Helper()
		p, err := c.progressOf(context.Background(), progressQuery{ID: "1", Seen: seen})
		if err != nil || !p.Known {
			t.Fatalf("%+v %v", p, err)
		}
		return p
	}
	r.step("checked", "checked: %s", "b")
	if p := ask(0); len(p.Steps) != 1 || p.Steps[0].Text != "checked: b" || p.Finished {
		t.Errorf("first poll: %+v", p)
	}
	heard := make(chan progress)
	go func() { heard <- ask(1) }() // ended by the next step
	r.step("fenced", "writes stopped")
	if p := <-heard; len(p.Steps) != 1 || p.Steps[0].Name != "fenced" {
		t.Errorf("second poll: %+v", p)
	}
	r.finish(Moved{To: "b"}, errors.New("no"))
	if p := ask(2); !p.Finished || p.Problem != "no" || p.Result.To != "b" || len(p.Result.Steps) != 2 {
		t.Errorf("last poll: %+v", p)
	}
	if p, err := c.progressOf(context.Background(), progressQuery{ID: "2"}); err != nil || p.Known {
		t.Errorf("a number that nobody has: %+v %v", p, err)
	}
}

// TestInterrupted: when whoever asked is gone, the request is cancelled.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var asked []progressQuery
	f := follower{id: "1", say: func(Step) {}, ask: func(_ context.Context, q progressQuery) (progress, error) {
		asked = append(asked, q)
		cancel()
		return progress{Known: true}, nil
	}}
	if _, err := f.follow(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := len(asked); n != 2 || asked[0].Cancel || !asked[1].Cancel || asked[1].ID != "1" {
		t.Errorf("asked %+v", asked)
	}
}

// TestUnanswered: a request whose answer was lost is cancelled, also when it comes in only
// afterwards, and is followed when it has begun.
func TestUnanswered(t *testing.T) {
	c := &coordinator{site: aSite(), requests: &requests{site: aSite()}}
	f := follower{id: "1", from: "a", say: func(Step) {}, ask: c.progressOf}
	if err := f.unanswered(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing was begun") {
		t.Error(err)
	}
	if err := c.requests.make(requestFor("1", "b")); !errors.Is(err, errCancelled) {
		t.Errorf("it came in later: %v", err)
	}
	begun := requestFor("2", "b")
	if err := c.requests.make(begun); err != nil {
		t.Fatal(err)
	}
	begun.step("checked", "checked")
	f.id = "2"
	if err := f.unanswered(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTakenBack: who carries a request through is told that it is to be cancelled.
func TestTakenBack(t *testing.T) {
	r := requestFor("1", "b")
	r.takeBack()
	r.takeBack() // whoever asked may say so twice
	select {
	case <-r.cancel:
	default:
		t.Error("who carries it through was not told")
	}
}

func TestRequestsForgotten(t *testing.T) {
	rs := &requests{site: aSite()}
	for i := range 3 * keepRequests {
		r := requestFor(string(rune('a'+i)), "b")
		if err := rs.make(r); err != nil {
			t.Fatal(err)
		}
		r.finish(Moved{}, nil)
	}
	if len(rs.list) != keepRequests {
		t.Errorf("%d requests are remembered", len(rs.list))
	}
}
