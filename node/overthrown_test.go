package node

import (
	"testing"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// TestFenceLast: whoever took the place of a holder that did not give its lease back fences that
// one's redis-server as soon as it is there again, unless its agent follows before; one that gave
// it back fences by itself, and is looked after later.
func TestFenceLast(t *testing.T) {
	n := newNode(t, Options{})
	b := &n.ballot
	took := func(released bool) *overthrown {
		n.overthrown = overthrown{}
		b.last = lastHolder{holder: "b", term: 4, released: released, addr: "10.0.0.2:6379"}
		b.succeed(&election.View{Holder: "a", HolderTerm: 5})
		return &n.overthrown
	}
	n.self = "a"
	if o := took(true); o.holder != "b" || o.next() != n.at+FenceHandedOver {
		t.Errorf("%+v: its lease was given back just now", o)
	}
	if o := took(false); o.holder != "b" || o.addr != "10.0.0.2:6379" || o.next() != n.at {
		t.Fatalf("%+v", o)
	}
	b.succeed(&election.View{Holder: "a", HolderTerm: 5})
	if n.overthrown.holder != "b" {
		t.Error("forgotten in the same term")
	}
	b.succeed(&election.View{Holder: "c", HolderTerm: 6})
	if n.overthrown.holder != "" || n.overthrown.next() != never {
		t.Error("it is not this node's business any more")
	}
}

func TestHolderSince(t *testing.T) {
	n := newNode(t, Options{})
	for _, step := range []struct {
		at     Time
		holder election.NodeID
		term   election.Term
		want   Time
	}{{time.Hour, "b", 4, 0}, {2 * time.Hour, "b", 4, 0}, {3 * time.Hour, "c", 5, 3 * time.Hour}, {4 * time.Hour, "c", 5, 3 * time.Hour}} {
		n.at = step.at
		n.ballot.succeed(&election.View{Holder: step.holder, HolderTerm: step.term})
		if got := n.HolderSince(); got != step.want {
			t.Errorf("%v: %s in term %d since %v, want %v", step.at, step.holder, step.term, got, step.want)
		}
	}
}

// TestLetInOnlyUnderARenewedLease: a fence that another node has set, or the loss of the replicas,
// may be a sign that this host has stood still: what may write is let write more easily only once
// the lease has been renewed since.
func TestLetInOnlyUnderARenewedLease(t *testing.T) {
	w := &redisWatch{}
	seen := func(at time.Duration, min, replicas int) bool {
		i := RedisInfo{MinReplicas: min}
		for range replicas {
			i.Replicas = append(i.Replicas, reconcile.Link{Addr: "10.0.0.3:6379", Online: true})
		}
		return w.answered(RedisPolled{PID: 7, Began: at, Info: &i}, at)
	}
	seen(time.Second, 1, 2)
	if seen(2*time.Second, 1, 2); w.changedAt != time.Second {
		t.Errorf("nothing has changed since a second, and it says %v", w.changedAt)
	}
	if seen(3*time.Second, 1, 1); w.changedAt != 3*time.Second {
		t.Errorf("a replica is gone: %v", w.changedAt)
	}
	if seen(4*time.Second, 1000000, 1); w.changedAt != 4*time.Second {
		t.Errorf("somebody has fenced it: %v", w.changedAt)
	}
}
