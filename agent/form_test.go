package agent

import (
	"fmt"
	"testing"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/feature"
	"github.com/redisd/redisd/node"
)

// TestAnswerHasTheFormOfTheQuestion: an agent of 0.1.0, which refuses what it does not know, has
// its lease renewed whatever gossip still says of the one before it.
func TestAnswerHasTheFormOfTheQuestion(t *testing.T) {
	talk := &talk{}
	form := func() feature.Set {
		return talk.formFor(node.Send{To: "a", Message: election.RenewReply{From: "b", Term: 1}})
	}
	if got := form(); got != 0 {
		t.Errorf("who has not asked is answered in the form of %v", got)
	}
	talk.forms.heard(election.Renew{Holder: "a"}, feature.Own)
	talk.forms.heard(election.RenewReply{From: "a"}, 0) // no question
	if got := form(); got != feature.Own {
		t.Errorf("the answer has the form of %v, want %v", got, feature.Own)
	}
	talk.forms.heard(election.Claim{Candidate: "a"}, 0)
	if got := form(); got != 0 {
		t.Errorf("0.1.0 is answered in the form of %v", got)
	}
	for i := range 3 * formsMost {
		talk.forms.heard(election.Renew{Holder: election.NodeID(fmt.Sprint(i))}, feature.Own)
	}
	if n := len(talk.forms.asked); n > formsMost {
		t.Errorf("%d forms are kept, at most %d may be", n, formsMost)
	}
}
