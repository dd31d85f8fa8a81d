package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func wishFor(id, to string) *wish { return newWish(id, to, to, "c", time.Second) }

func TestOneWishAtATime(t *testing.T) {
	var ws wishes
	first := wishFor("1", "b")
	if err := ws.make(first); err != nil {
		t.Fatal(err)
	}
	err := ws.make(wishFor("2", "c"))
	if err == nil || !strings.Contains(err.Error(), "a switchover to b, started on c 0.0 s ago, is under way") {
		t.Errorf("the second one was told %v", err)
	}
	if ws.find("2") != nil {
		t.Error("a wish that was refused is remembered")
	}
	first.finish(Moved{}, nil)
	if err := ws.make(wishFor("2", "c")); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

// TestWishWithdrawn: what a round planned for a wish that was taken back is not done,
// nor for the wish that was made after it.
func TestWishWithdrawn(t *testing.T) {
	var ws wishes
	first := wishFor("1", "b")
	if err := ws.make(first); err != nil {
		t.Fatal(err)
	}
	if active, to, _, _ := ws.observed(); !active || to != "b" {
		t.Fatalf("a round sees %v %q", active, to)
	}
	if !first.withdraw() {
		t.Fatal("a wish that has not begun could not be taken back")
	}
	if ws.begin("b") != nil {
		t.Error("a handover began for a wish that was taken back")
	}
	if active, _, _, _ := ws.observed(); active {
		t.Error("a round still sees it")
	}
	first.finish(Moved{}, errors.New("cancelled"))
	second := wishFor("2", "c")
	if err := ws.make(second); err != nil {
		t.Fatal(err)
	}
	if ws.begin("b") != nil {
		t.Error("a handover to b began for the wish to go to c")
	}
	if ws.begin("c") != second {
		t.Error("the second wish was not begun")
	}
	if second.withdraw() {
		t.Error("a handover that has begun was taken back")
	}
	ws.tried(second, nil)
	select {
	case <-first.handed:
		t.Error("the first wish was told the second's outcome")
	default:
	}
	if err := <-second.handed; err != nil {
		t.Error(err)
	}
}

// TestHandoverNobodyWished: it counts, and tells no wish.
func TestHandoverNobodyWished(t *testing.T) {
	var ws wishes
	w := ws.begin("b")
	w.step("fenced", "no wish to note it in")
	w.stopsWrites(now())
	w.stopped("r", 1)
	ws.tried(w, errors.New("it did not catch up"))
	if _, _, failures, at := ws.observed(); failures != 1 || at == 0 {
		t.Errorf("%d failures at %v", failures, at)
	}
	ws.forget()
	if _, _, failures, _ := ws.observed(); failures != 0 {
		t.Errorf("%d failures after forgetting them", failures)
	}
}

func TestProgress(t *testing.T) {
	a := &Agent{}
	w := wishFor("1", "b")
	if err := a.wishes.make(w); err != nil {
		t.Fatal(err)
	}
	ask := func(seen int) progress {
		t.Helper()
		p, err := a.progressOf(context.Background(), progressQuery{ID: "1", Seen: seen})
		if err != nil || !p.Known {
			t.Fatalf("%+v %v", p, err)
		}
		return p
	}
	w.step("checked", "checked: %s", "b")
	if p := ask(0); len(p.Steps) != 1 || p.Steps[0].Text != "checked: b" || p.Finished {
		t.Errorf("first look: %+v", p)
	}
	heard := make(chan progress)
	go func() { heard <- ask(1) }() // ended by the next step
	w.step("fenced", "writes stopped")
	if p := <-heard; len(p.Steps) != 1 || p.Steps[0].Name != "fenced" {
		t.Errorf("second look: %+v", p)
	}
	w.finish(Moved{To: "b"}, errors.New("no"))
	if p := ask(2); !p.Finished || p.Problem != "no" || p.Result.To != "b" || len(p.Result.Steps) != 2 {
		t.Errorf("last look: %+v", p)
	}
	if p, err := a.progressOf(context.Background(), progressQuery{ID: "2"}); err != nil || p.Known {
		t.Errorf("a number that nobody has: %+v %v", p, err)
	}
}

// TestInterrupted: when whoever asked is gone, the wish is taken back.
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

// TestUnanswered: a wish whose answer was lost is taken back, also when it comes in
// only afterwards, and is followed when it has begun.
func TestUnanswered(t *testing.T) {
	a := &Agent{}
	f := follower{id: "1", from: "a", say: func(Step) {}, ask: a.progressOf}
	if err := f.unanswered(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing was begun") {
		t.Error(err)
	}
	if err := a.wishes.make(wishFor("1", "b")); !errors.Is(err, errTakenBack) {
		t.Errorf("it came in later: %v", err)
	}
	begun := wishFor("2", "b")
	if err := a.wishes.make(begun); err != nil {
		t.Fatal(err)
	}
	begun.step("checked", "checked")
	f.id = "2"
	if err := f.unanswered(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTakenBack: who carries a wish through is told that it is wished no more.
func TestTakenBack(t *testing.T) {
	w := wishFor("1", "b")
	w.takeBack()
	w.takeBack() // whoever asked may say so twice
	select {
	case <-w.cancel:
	default:
		t.Error("who carries it through was not told")
	}
}

func TestWishesForgotten(t *testing.T) {
	var ws wishes
	for i := range 3 * keepWishes {
		w := wishFor(string(rune('a'+i)), "b")
		if err := ws.make(w); err != nil {
			t.Fatal(err)
		}
		w.finish(Moved{}, nil)
	}
	if len(ws.list) != keepWishes {
		t.Errorf("%d wishes are remembered", len(ws.list))
	}
}
