package election

import "maps"

// preVote is a question that is under way.
type preVote struct {
	msg     PreVote
	local   Local // what was known when it was asked
	granted map[NodeID]bool
}

// PreVote asks all voters whether they would vote for this node, had it fenced the redis-server of
// the last holder: View.BackedAt says when a majority last would have.
func (e *Elector) PreVote(now Time, local Local) []Envelope {
	if e.st.ClusterID == "" || e.claim != nil || !e.st.Roster.Has(e.self) {
		return nil
	}
	e.askedAt = now
	return e.ask(now, local, Claim{
		ClusterID: e.st.ClusterID, Term: max(e.st.Term, e.highest) + 1, Candidate: e.self, Sent: now, Roster: e.st.Roster,
		Data: local.Data, HolderTerm: e.st.HolderTerm, Released: e.st.Released, Fenced: e.st.HolderTerm,
	})
}

// ask asks who would vote for m. For one that is forced View.Denials says who would not.
func (e *Elector) ask(now Time, local Local, m Claim) []Envelope {
	denied := e.refuse(now, m, local)
	if m.Forced {
		e.denials = map[NodeID]Denied{}
	}
	if denied != "" {
		e.wouldDeny(m, e.self, denied)
		return nil
	}
	e.asked = &preVote{PreVote(m), local, map[NodeID]bool{e.self: true}}
	return append(e.toVoters(PreVote(m)), e.countPreVotes(now)...)
}

// wouldDeny notes it for the operator who has forced the claim that was asked about.
func (e *Elector) wouldDeny(m Claim, id NodeID, why Denied) {
	if m.Forced {
		e.denials = maps.Clone(e.denials) // whoever was shown them keeps what he has
		e.denials[id] = why
	}
}

func (e *Elector) onPreVote(now Time, m PreVote, local Local) []Envelope {
	denied := e.refuse(now, Claim(m), local)
	reply := PreVoteReply{From: e.self, Term: m.Term, Granted: denied == "", Sent: m.Sent, Denied: denied, Highest: e.st.Term}
	if denied != DeniedForeign {
		if !m.Forced {
			e.overrule(&m.Roster)
		}
		reply.Roster = e.newer(m.Roster)
	}
	return []Envelope{{To: m.Candidate, Message: reply}}
}

func (e *Elector) onPreVoteReply(now Time, m PreVoteReply) []Envelope {
	if m.Denied != DeniedForeign {
		e.overrule(m.Roster)
		e.highest = max(e.highest, m.Highest)
	}
	q := e.asked
	switch {
	case q == nil || m.Sent != q.msg.Sent || now >= q.msg.Sent+ClaimFor || !q.msg.Roster.Has(m.From):
	case m.Granted:
		q.granted[m.From] = true
		return e.countPreVotes(now)
	default:
		e.wouldDeny(Claim(q.msg), m.From, m.Denied)
	}
	return nil
}

// countPreVotes ends the question once a majority would vote for it. What is forced is claimed
// then.
func (e *Elector) countPreVotes(now Time) []Envelope {
	q := e.asked
	if len(q.granted) < q.msg.Roster.Majority() {
		return nil
	}
	e.asked = nil
	if q.msg.Forced {
		m := Claim(q.msg)
		m.Sent = now
		return e.start(now, q.local, m)
	}
	e.backed = grant{to: e.self, term: q.msg.HolderTerm, at: now}
	return nil
}
