package agent

import (
	"testing"
	"time"

	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/vip"
)

// TestTiming holds what the leaves, which never import one another, rely on in each other.
func TestTiming(t *testing.T) {
	if reconcile.Fence != redis.Fence {
		t.Errorf("reconcile.Fence is %d, redis.Fence %d", reconcile.Fence, redis.Fence)
	}
	if off := vip.DefaultLifetime + time.Second; reconcile.AgentGrace < off {
		t.Errorf("AgentGrace is %v: the kernel may keep the VIP of a dead agent for %v", reconcile.AgentGrace, off)
	}
}
