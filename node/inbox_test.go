package node

import (
	"testing"

	"github.com/redisd/redisd/election"
)

// A claim comes by packet and by stream, and is said again until it is answered. All of that is one
// question and waits for one poll: while redis-server is busy, each poll keeps this node from
// hearing what else was said, the renewals of the next holder among it.
func TestOneClaimOnePoll(t *testing.T) {
	b := leads(t)
	b.answerPolls(primary(1000))
	b.do, b.sent = nil, nil
	claim := election.Claim{
		ClusterID: "c", Term: 5, Candidate: "b", Sent: 1, Roster: holding().Election.Roster, Data: election.Data{Term: 4, Offset: 1000}, HolderTerm: 4,
	}
	for range 3 {
		b.step(Received{Message: claim})
	}
	b.step(Received{Message: election.Renew{ClusterID: "c", Term: 5, Holder: "b", Roster: holding().Election.Roster}})
	poll := b.must("poll redis-server")
	b.step(RedisPolled{ID: poll.ID, Began: b.now, PID: 1})
	if b.n.View(b.now).Holder != "b" {
		t.Errorf("the next holder is not heard: %d messages wait", len(b.n.inbox.list))
	}
	b.settleElection()
	claim.Sent = 2
	b.step(Received{Message: claim})
	b.must("poll redis-server") // another claim is another question
}
