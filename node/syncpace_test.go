package node

import (
	"testing"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// syncing plays a primary and replicas that ask it for copies, each as often as the pause lets it.
type syncing struct {
	pace   SyncPace
	at     Time
	copies int64
	info   RedisInfo
	waits  Time // since when the replicas wait
}

const lookEvery = 200 * time.Millisecond

func newSyncing(replicas ...string) *syncing {
	s := &syncing{info: RedisInfo{RunID: "r1", Role: reconcile.Primary}}
	for _, addr := range replicas {
		s.info.Replicas = append(s.info.Replicas, reconcile.Link{Addr: addr})
	}
	return s
}

// fail plays the time in which no copy is of use: each takes 100 ms, and they ask again at once.
func (s *syncing) fail(for_ time.Duration) {
	const takes = 100 * time.Millisecond
	for end := s.at + for_; s.at < end; s.at += takes {
		if s.at-s.waits >= s.pace.pause {
			s.copies += int64(len(s.info.Replicas))
			s.waits = s.at
		}
		if s.at%lookEvery == 0 {
			s.pace.Look(s.at, s.info, s.copies)
		}
	}
}

func TestSyncPace(t *testing.T) {
	for _, replicas := range [][]string{{"a"}, {"a", "b"}, {"a", "b", "c"}} {
		s := newSyncing(replicas...)
		s.fail(10 * time.Second)
		if n := s.copies / int64(len(replicas)); n < 3 || n > 10 {
			t.Errorf("%d replicas: %d copies in the first 10 s, want a few and then pauses", len(replicas), n)
		}
		s.fail(5 * time.Minute)
		if s.pace.pause != LongestSyncPause {
			t.Errorf("%d replicas: the pause is %v after five minutes", len(replicas), s.pace.pause)
		}
		before := s.copies
		s.fail(10 * time.Minute)
		if n := (s.copies - before) / int64(len(replicas)); n < 5 || n > 10 {
			t.Errorf("%d replicas: %d copies in ten minutes", len(replicas), n)
		}
	}
}

func TestSyncPaceEnds(t *testing.T) {
	paused := func() *syncing {
		s := newSyncing("a", "b")
		s.fail(10 * time.Second)
		if s.pace.pause == 0 {
			t.Fatal("no pause while no copy is of use")
		}
		return s
	}
	for _, tt := range []struct {
		name string
		then func(*syncing)
	}{
		{"another replica asks", func(s *syncing) {
			s.info.Replicas = append(s.info.Replicas, reconcile.Link{Addr: "c"})
		}},
		{"both follow", func(s *syncing) {
			for i := range s.info.Replicas {
				s.info.Replicas[i] = reconcile.Link{Addr: s.info.Replicas[i].Addr, Online: true, Offset: 100}
			}
		}},
		{"they have gone", func(s *syncing) {
			s.info.Replicas = nil
			s.at += 2 * askAgain
		}},
		{"one is back from a restart", func(s *syncing) {
			all := s.info.Replicas
			s.info.Replicas = all[:1]
			for range 10 {
				s.at += lookEvery
				s.pace.Look(s.at, s.info, s.copies)
			}
			s.info.Replicas = all
		}},
		{"the primary was restarted", func(s *syncing) { s.info.RunID = "r2" }},
		{"it is a replica now", func(s *syncing) { s.info.Role = reconcile.Replica }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := paused()
			tt.then(s)
			s.at += lookEvery
			if pause := s.pace.Look(s.at, s.info, s.copies); pause != 0 {
				t.Errorf("the pause is %v", pause)
			}
		})
	}
	s := paused()
	s.info.Replicas[0].Online = true // the copy is sent, and not loaded
	if pause := s.pace.Look(s.at+lookEvery, s.info, s.copies); pause == 0 {
		t.Error("a replica that has acknowledged nothing counts as one that follows")
	}
}

// TestSyncPaceOrdinary: a cluster that starts or grows, and replicas that come back one by one,
// never wait.
func TestSyncPaceOrdinary(t *testing.T) {
	var p SyncPace
	info := RedisInfo{RunID: "r1", Role: reconcile.Primary}
	at, copies := Time(0), int64(0)
	for round := range 20 {
		for _, addr := range []string{"a", "b", "c"} {
			copies++
			info.Replicas = append(info.Replicas, reconcile.Link{Addr: addr})
			for range 3 {
				at += lookEvery
				if pause := p.Look(at, info, copies); pause != 0 {
					t.Fatalf("round %d: %s waits %v", round, addr, pause)
				}
			}
			info.Replicas[len(info.Replicas)-1] = reconcile.Link{Addr: addr, Online: true, Offset: 5}
		}
		at += lookEvery
		p.Look(at, info, copies)
		info.Replicas = nil
	}
}
