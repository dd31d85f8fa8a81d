package node

import (
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// TestTiming holds what the timings require of one another.
func TestTiming(t *testing.T) {
	if reconcile.Lapse != election.Lapse {
		t.Errorf("reconcile.Lapse is %v, election.Lapse %v", reconcile.Lapse, election.Lapse)
	}
	if reconcile.Ample != election.Lease-reconcile.Quiet {
		t.Errorf("Ample is %v, a lease of %v has %v left after Quiet", reconcile.Ample, election.Lease, election.Lease-reconcile.Quiet)
	}
	if ProbeCalm+ProbeEvery >= reconcile.SilentRedis {
		t.Errorf("with a probe every %v there is not always word of the last %v", ProbeCalm+ProbeEvery, reconcile.SilentRedis)
	}
	if often := DoubtAfter + 2*ProbeTimeout; often >= reconcile.SilentRedis { // a probe that makes none, and one that does
		t.Errorf("a server that is busy takes a connection every %v, and counts as gone after %v", often, reconcile.SilentRedis)
	}
	if HostStuck <= reconcile.AgentGrace {
		t.Errorf("a host whose agent hangs counts as gone after %v, its agent's successor has %v", HostStuck, reconcile.AgentGrace)
	}
	if reconcile.TakeMargin <= ActTimeout || reconcile.TakeMargin > election.Lease-2*election.RenewEvery {
		t.Errorf("TakeMargin %v must outlast an action (%v), and leave room in a lease of %v", reconcile.TakeMargin, ActTimeout, election.Lease)
	}
	// By the slowest clock a lease ends late, by the fastest the next one may begin early.
	if room := election.Lapse - election.Lapse/election.Drift - election.Lease - election.Lease/election.Drift; GuardMargin+FenceTimeout > room || WakeMargin >= GuardMargin {
		t.Errorf("the guard comes %v after the end of a lease and may need %v, the rounds %v: the next lease begins after %v", GuardMargin, FenceTimeout, WakeMargin, room)
	}
	if reconcile.RankStep <= election.ClaimFor {
		t.Errorf("RankStep %v: the second candidate comes before the claim of the first is over (%v)", reconcile.RankStep, election.ClaimFor)
	}
	if off := VIPLifetime + time.Second; reconcile.AgentGrace < off { // the kernel may be a second late
		t.Errorf("AgentGrace is %v: the kernel may keep the VIP of a dead agent for %v", reconcile.AgentGrace, off)
	}
	// Between two actions renewals are sent; no single one may outlast half a lease.
	for _, bound := range []Time{ActTimeout, SentinelTimeout, PollTimeout, CatchUp, RecordedWithin, FenceTimeout, FreshTimeout} {
		if bound > election.Lease/2 {
			t.Errorf("an action may take %v: a lease is %v", bound, election.Lease)
		}
	}
}
