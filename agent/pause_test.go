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
		term    election.Term
		primary string
		note    note
		offset  int64
		replID  string
	}{
		{4, "a", note{Offset: 900, ReplID: "h1"}, 900, "h1"},
		{4, "", note{}, 900, "h1"}, // an agent that has just been started
		{4, "", note{Offset: 700}, 900, "h1"},
		{4, "a", note{Offset: 950, ReplID: "h2"}, 950, "h2"}, // its redis-server began a new one
		{4, "a", note{Offset: 950}, 950, ""},                 // an older agent has taken over there
		{5, "", note{}, 0, ""},
		{5, "b", note{Offset: 10, ReplID: "h3"}, 10, "h3"},
	} {
		v := election.View{HolderTerm: tt.term, Primary: tt.primary, Note: tt.note.encode()}
		if offset, replID := s.hear(v); offset != tt.offset || replID != tt.replID {
			t.Errorf("in term %d it says %+v: %d of %q, want %d of %q", tt.term, tt.note, offset, replID, tt.offset, tt.replID)
		}
	}
}
