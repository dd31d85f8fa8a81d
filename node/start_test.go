package node

import (
	"testing"

	"github.com/redisd/redisd/reconcile"
)

// TestStartThatTookLong: between New and the first round lies all that an agent does at its start.
// However long that took, the answers to its first renewals are awaited before it fences.
func TestStartThatTookLong(t *testing.T) {
	b := newBench(t, Options{State: holding(), RedisPID: 1, Record: Record{Version: Version{Term: 4, Offset: 1000, Keys: 1}, RunID: "r", Primary: true}})
	b.step(VIPsConfigured{VIPs: []reconcile.VIP{{Address: "10.0.0.9/24", Held: true}}})
	b.now += 2 * FirstRenewal
	b.tick(0)
	fenced := func() bool {
		b.answerPolls(primary(1000))
		return b.take("fence redis-server").ID != 0
	}
	for end := b.now + FirstRenewal - 10*ms; b.now < end; b.tick(5 * ms) {
		if fenced() {
			t.Fatal("fenced before anybody can have answered the first renewal")
		}
	}
	for end := b.now + 2*FirstRenewal; !fenced(); b.tick(5 * ms) {
		if b.now > end {
			t.Fatal("nobody answered, and it is not fenced")
		}
	}
}
