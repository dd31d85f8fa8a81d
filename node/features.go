package node

import (
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/feature"
)

// ability is what an agent said that it can do.
type ability struct {
	features feature.Set
	at       Time
}

// heardMost bounds what is kept of voters, also of those of earlier rosters.
const heardMost = 255

// note keeps what a voter says of itself. Voters alone are kept, so there are never many.
func (b *ballot) note(in Received) {
	id := election.Sender(in.Message)
	if !b.n.current().Roster.Has(id) {
		return
	}
	if b.heard == nil || len(b.heard) >= heardMost {
		b.heard = map[election.NodeID]ability{} // most are voters no more
	}
	b.heard[id] = ability{in.Features, b.n.at}
}

// Features are what the agents of all voters can do. What is new in the protocol is used only then:
// by what gossip says of each, and by what it said itself a moment ago, since gossip may be seconds
// late about an agent that was replaced by an older one. So one voter may still ignore, for a
// moment, what is used by it; that must do no more harm than a lost message.
func (n *Node) Features() feature.Set {
	var of []feature.Set
	for _, v := range n.current().Roster.Voters {
		if string(v.ID) == n.self {
			of = append(of, feature.Own)
			continue
		}
		has := n.gossiped(string(v.ID))
		if heard, ok := n.ballot.heard[v.ID]; ok && n.at < heard.at+election.Lapse {
			has &= heard.features
		}
		of = append(of, has)
	}
	return feature.All(of...)
}

// gossiped is what a member can do, as gossip says; nothing when it does not know the member.
func (n *Node) gossiped(id string) feature.Set {
	for _, m := range n.members {
		if m.ID == id {
			return m.Features
		}
	}
	return 0
}
