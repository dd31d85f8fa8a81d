package node

import (
	"testing"

	"github.com/redisd/redisd/election"
)

// A lease is over once another node has won, whatever this host's clock shows: it may have stood
// still. When the rounds are stuck, here in the disk that is to take that word, the guard does not
// wait for the clock.
func TestGuardOfAnOverthrownHolder(t *testing.T) {
	b := leads(t)
	b.step(Received{Message: election.Renew{ClusterID: "c", Term: 5, Holder: "b", Roster: holding().Election.Roster}})
	if len(b.saves) == 0 {
		t.Fatal("nothing is to be saved")
	}
	b.tick(GuardMargin)
	if fence := b.must("fence redis-server"); fence.Lane != Guard {
		t.Errorf("not the guard's: %+v", fence)
	}
}
