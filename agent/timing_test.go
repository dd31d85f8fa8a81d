package agent

import (
	"testing"

	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/vip"
)

// TestTiming holds what the leaves, which never import one another, rely on in each other.
func TestTiming(t *testing.T) {
	if reconcile.Fence != redis.Fence {
		t.Errorf("reconcile.Fence is %d, redis.Fence %d", reconcile.Fence, redis.Fence)
	}
	if vip.DefaultLifetime != node.VIPLifetime {
		t.Errorf("vip.DefaultLifetime is %v, node.VIPLifetime %v", vip.DefaultLifetime, node.VIPLifetime)
	}
}
