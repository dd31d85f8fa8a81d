package election

// preVote is a question that is under way.
type preVote struct {
	msg     PreVote
	granted map[NodeID]bool
}

// PreVote asks all voters whether they would vote for this node, had it fenced the redis-server of
// the last holder: View.BackedAt says when a majority last would have.
func (e *Elector) PreVote(now Time, local Local) []Envelope {
	if e.st.ClusterID == "" || e.claim != nil || !e.st.Roster.Has(e.self) {
		return nil
	}
	e.askedAt = now
	m := Claim{
		ClusterID: e.st.ClusterID, Term: max(e.st.Term, e.highest) + 1, Candidate: e.self, Sent: now, Roster: e.st.Roster,
		Data: local.Data, HolderTerm: e.st.HolderTerm, Released: e.st.Released, Fenced: e.st.HolderTerm,
	}
	if e.refuse(now, m, local) != "" {
		return nil
	}
	e.asked = &preVote{PreVote(m), map[NodeID]bool{e.self: true}}
	e.countPreVotes(now)
	return e.toVoters(PreVote(m))
}

func (e *Elector) onPreVote(now Time, m PreVote, local Local) []Envelope {
	denied := e.refuse(now, Claim(m), local)
	reply := PreVoteReply{From: e.self, Term: m.Term, Granted: denied == "", Sent: m.Sent, Denied: denied, Highest: e.st.Term}
	if denied != DeniedForeign {
		e.overrule(&m.Roster)
		reply.Roster = e.newer(m.Roster)
	}
	return []Envelope{{To: m.Candidate, Message: reply}}
}

func (e *Elector) onPreVoteReply(now Time, m PreVoteReply) {
	if m.Denied != DeniedForeign {
		e.overrule(m.Roster)
		e.highest = max(e.highest, m.Highest)
	}
	q := e.asked
	if q == nil || m.Sent != q.msg.Sent || now >= q.msg.Sent+ClaimFor || !m.Granted || !q.msg.Roster.Has(m.From) {
		return
	}
	q.granted[m.From] = true
	e.countPreVotes(now)
}

func (e *Elector) countPreVotes(now Time) {
	if q := e.asked; len(q.granted) >= q.msg.Roster.Majority() {
		e.backed = grant{to: e.self, term: q.msg.HolderTerm, at: now}
		e.asked = nil
	}
}
