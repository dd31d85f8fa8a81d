package agent

import (
	"sync"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/feature"
	"github.com/redisd/redisd/node"
)

// forms is in which form other agents ask this one. The agent on a host may be replaced by an older
// one, which understands less, and gossip learns of that a moment later.
type forms struct {
	mu    sync.Mutex
	asked map[election.NodeID]feature.Set
}

// formsMost bounds what is kept: more nodes than that have no votes.
const formsMost = 255

// heard notes the form of a question.
func (f *forms) heard(m election.Message, from feature.Set) {
	switch m.(type) {
	case election.Renew, election.Claim:
	default:
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked == nil || len(f.asked) >= formsMost {
		f.asked = map[election.NodeID]feature.Set{}
	}
	f.asked[election.Sender(m)] = from
}

func (f *forms) of(id election.NodeID) feature.Set {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[id]
}

// formFor is what the agent that a message goes to understands. An answer has the form of the
// question, so that a primary whose agent has just been replaced by an older one has its lease
// renewed; anything else the form that gossip says. Who is not known yet gets what all understand.
func (t *talk) formFor(s node.Send) feature.Set {
	switch s.Message.(type) {
	case election.RenewReply, election.ClaimReply:
		return t.forms.of(s.To)
	}
	m, _ := t.member(string(s.To))
	return m.Features
}
