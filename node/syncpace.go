package node

import (
	"time"

	"github.com/redisd/redisd/reconcile"
)

const (
	// FirstSyncPause and LongestSyncPause bound what a primary waits before the next full copy
	// once its copies come to nothing; in between it doubles.
	FirstSyncPause   = 4 * time.Second
	LongestSyncPause = 64 * time.Second
	// askAgain is how soon a replica that could not use a copy is back for the next one: at once,
	// some 100 ms after it got the last. One that stays away longer has been restarted, maybe with
	// the cure.
	askAgain = 500 * time.Millisecond
)

// SyncPace decides how long a primary waits before it makes a full copy for its replicas. A replica
// that cannot use what it is sent (the copy of a newer version, more than it has memory for) asks
// again at once, and with nothing in its way that forked the primary nine times a second. Who asks
// for the first time is not kept waiting, and has the others served, too. The zero value is ready.
type SyncPace struct {
	runID  string
	asking map[string]Time // the replicas that have asked and follow nobody yet, and when that was seen last
	from   int64           // full copies before those that count
	pause  time.Duration
}

// Look takes in what the primary says of itself, and how many full copies it has been asked for
// since it was started.
func (s *SyncPace) Look(at Time, info RedisInfo, copies int64) (pause time.Duration) {
	if info.RunID != s.runID || info.Role != reconcile.Primary {
		*s = SyncPace{runID: info.RunID, from: copies}
	}
	if info.Role != reconcile.Primary {
		return 0
	}
	if s.asking == nil {
		s.asking = map[string]Time{}
	}
	first := false
	for _, l := range info.Replicas {
		_, known := s.asking[l.Addr]
		switch {
		case l.Online && l.Offset > 0: // it has acknowledged something: the copy is loaded
			delete(s.asking, l.Addr)
		case !known:
			first = true
			fallthrough
		default:
			s.asking[l.Addr] = at
		}
	}
	for addr, seen := range s.asking {
		if at > seen+askAgain {
			delete(s.asking, addr)
		}
	}
	// One copy each is what they need, and the first of them may break off.
	most := int64(len(s.asking))
	if s.pause == 0 {
		most++
	}
	switch {
	case first || len(s.asking) == 0:
		s.from, s.pause = copies, 0
	case copies-s.from >= most:
		s.from, s.pause = copies, min(max(2*s.pause, FirstSyncPause), LongestSyncPause)
	}
	return s.pause
}
