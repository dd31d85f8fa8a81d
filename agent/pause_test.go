package agent

import (
	"testing"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// What the primary had is said also when its redis-server has ended: that is when
// the others have to know it.
func TestOwnNote(t *testing.T) {
	o := reconcile.Observed{Election: reconcile.Election{Term: 4, Lease: true}}
	o.Redis.Data = reconcile.Data{Term: 4, Offset: 900}
	if n := new(Agent).ownNote(o); n.Offset != 900 {
		t.Errorf("offset %d after the end of redis-server, want 900", n.Offset)
	}
	o.Redis.Data.Term = 3
	if n := new(Agent).ownNote(o); n.Offset != 0 {
		t.Errorf("offset %d of an older term", n.Offset)
	}
}

// An agent that has just been started knows no more than its last record: what the one
// before it said still counts, until there is another holder.
func TestSaid(t *testing.T) {
	var s said
	for _, tt := range []struct {
		term         election.Term
		offset, want int64
	}{{4, 900, 900}, {4, 0, 900}, {4, 700, 900}, {4, 950, 950}, {5, 0, 0}, {5, 10, 10}} {
		if got := s.most(tt.term, tt.offset); got != tt.want {
			t.Errorf("in term %d it says %d: %d, want %d", tt.term, tt.offset, got, tt.want)
		}
	}
}
