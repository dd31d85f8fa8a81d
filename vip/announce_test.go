package vip

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// announced runs an announcer, does what script says, and returns when it announced.
func announced(t *testing.T, script func(n *announcer, held *atomic.Bool)) (times []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var held atomic.Bool
		held.Store(true)
		n := newAnnouncer(func() bool {
			if held.Load() {
				times = append(times, time.Since(begin))
			}
			return held.Load()
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { n.run(ctx); close(done) }()
		synctest.Wait()
		script(n, &held)
		cancel()
		<-done
	})
	return times
}

func seconds(s ...float64) (out []time.Duration) {
	for _, s := range s {
		out = append(out, time.Duration(s*float64(time.Second)))
	}
	return out
}

func TestSchedule(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script func(n *announcer, held *atomic.Bool)
		want   []time.Duration
	}{
		{
			"silent until started",
			func(*announcer, *atomic.Bool) { time.Sleep(time.Hour) },
			nil,
		},
		{
			"dense, then every 30 s while held",
			func(n *announcer, _ *atomic.Bool) { n.start(); time.Sleep(101 * time.Second) },
			seconds(0, 0.1, 0.3, 1, 2, 5, 10, 40, 70, 100),
		},
		{
			"a start begins again",
			func(n *announcer, _ *atomic.Bool) {
				n.start()
				time.Sleep(500 * time.Millisecond)
				n.start()
				time.Sleep(2500 * time.Millisecond)
			},
			seconds(0, 0.1, 0.3, 0.5, 0.6, 0.8, 1.5, 2.5),
		},
		{
			"ends when no longer held, begins again when started",
			func(n *announcer, held *atomic.Bool) {
				n.start()
				time.Sleep(1500 * time.Millisecond)
				held.Store(false)
				time.Sleep(time.Minute)
				held.Store(true)
				time.Sleep(time.Minute)
				n.start()
				time.Sleep(200 * time.Millisecond)
			},
			seconds(0, 0.1, 0.3, 1, 121.5, 121.6),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, announced(t, tt.script)); diff != "" {
				t.Errorf("announced at (-want +got):\n%s", diff)
			}
		})
	}
}

// heldAddress is an Address that believes in itself, without a kernel, and says what frames do.
func heldAddress(frames ...func() error) *Address {
	a := &Address{lifetime: time.Hour, holding: true, renewed: time.Now()}
	a.voice.frames = frames
	return a
}

func TestNoFrameOnceTheAddressIsNotOurs(t *testing.T) {
	for name, lose := range map[string]func(*Address){
		"dropped":  func(a *Address) { a.holding = false },
		"lost":     func(a *Address) { a.lost = true },
		"closed":   func(a *Address) { a.closed = true },
		"too late": func(a *Address) { a.renewed = a.renewed.Add(-a.lifetime) },
	} {
		t.Run(name, func(t *testing.T) {
			sent := 0
			var a *Address
			a = heldAddress(
				func() error { sent++; a.mu.Lock(); defer a.mu.Unlock(); lose(a); return nil },
				func() error { sent++; return nil },
			)
			must(t, a.send())
			must(t, a.send())
			if sent != 1 {
				t.Errorf("%d frames were sent, want the first only", sent)
			}
		})
	}
}

// Drop ends with finishSending: when it returns, the last frame is out.
func TestFinishSendingWaitsForTheFrame(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	var out atomic.Bool
	a := heldAddress(func() error {
		close(started)
		<-release
		out.Store(true)
		return nil
	})
	done := make(chan error)
	go func() { done <- a.send() }()
	<-started
	time.AfterFunc(20*time.Millisecond, func() { close(release) })
	a.finishSending()
	if !out.Load() {
		t.Error("it did not wait")
	}
	must(t, <-done)
}

// In IPv6 the kernel accepts packets to the address some time after it has it: who heard of it
// before would lose one.
func TestAnnouncedOnceTheKernelTakesIt(t *testing.T) {
	newPair(t)
	for _, tt := range families {
		a := newAddress(t, Config{Prefix: tt.vip})
		for range 100 {
			hold(t, a)
			a.awaitLocal()
			if !isLocal(tt.vip.Addr()) {
				t.Fatalf("%s would be announced before the kernel takes it", tt.vip.Addr())
			}
			drop(t, a)
		}
		if isLocal(tt.vip.Addr()) {
			t.Errorf("%s is local after Drop", tt.vip.Addr())
		}
	}
}
