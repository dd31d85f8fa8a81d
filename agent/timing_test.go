package agent

import (
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/vip"
)

// TestTiming holds what the leaves, which never import one another, rely on in
// each other.
func TestTiming(t *testing.T) {
	if reconcile.Lapse != election.Lapse {
		t.Errorf("reconcile.Lapse is %v, election.Lapse %v", reconcile.Lapse, election.Lapse)
	}
	if reconcile.Ample != election.Lease-reconcile.Quiet {
		t.Errorf("Ample is %v, a lease of %v has %v left after Quiet", reconcile.Ample, election.Lease, election.Lease-reconcile.Quiet)
	}
	if probeCalm+probeEvery >= reconcile.SilentRedis {
		t.Errorf("with a look every %v there is not always word of the last %v", probeCalm+probeEvery, reconcile.SilentRedis)
	}
	if reconcile.Fence != redis.Fence {
		t.Errorf("reconcile.Fence is %d, redis.Fence %d", reconcile.Fence, redis.Fence)
	}
	if reconcile.TakeMargin <= actTimeout || reconcile.TakeMargin > election.Lease-2*election.RenewEvery {
		t.Errorf("TakeMargin %v must outlast an action (%v), and leave room in a lease of %v", reconcile.TakeMargin, actTimeout, election.Lease)
	}
	if off := vip.DefaultLifetime + time.Second; reconcile.AgentGrace < off {
		t.Errorf("AgentGrace is %v: the kernel may keep the VIP of a dead agent for %v", reconcile.AgentGrace, off)
	}
	if room := election.Lapse - election.Lease; guardMargin+fenceTimeout > room || wakeMargin >= guardMargin {
		t.Errorf("the guard comes %v after the end of a lease and may need %v, the rounds %v: the next lease begins after %v", guardMargin, fenceTimeout, wakeMargin, room)
	}
	if reconcile.RankStep <= election.ClaimFor {
		t.Errorf("RankStep %v: the second candidate comes before the claim of the first is over (%v)", reconcile.RankStep, election.ClaimFor)
	}
}
