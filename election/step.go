package election

import "maps"

// Step takes a message in and returns the answers. What Unsaved returns afterwards must be on disk
// before they are sent.
func (e *Elector) Step(now Time, m Message, local Local) []Envelope {
	switch m := m.(type) {
	case Renew:
		return e.onRenew(now, m, local)
	case RenewReply:
		e.onRenewReply(now, m)
	case Claim:
		if m.Candidate == e.self {
			return nil
		}
		reply := e.vote(now, m, local)
		out := []Envelope{{To: m.Candidate, Message: reply}}
		if reply.Denied == DeniedLease && e.holding() {
			e.doubt(now)
			out = append(out, e.Tick(now, nil)...)
		}
		if reply.Granted && e.claim != nil && !m.Bootstrapping {
			out = append(out, e.withdraw(now)...) // its term is over
		}
		return out
	case ClaimReply:
		return e.onClaimReply(now, m)
	case Release:
		e.onRelease(now, m)
	case PreVote:
		if m.Candidate != e.self {
			return e.onPreVote(now, m, local)
		}
	case PreVoteReply:
		return e.onPreVoteReply(now, m)
	case StandDown:
		e.onStandDown(now, m)
	}
	return nil
}

func (e *Elector) onRenew(now Time, m Renew, local Local) []Envelope {
	if m.Holder == e.self || (e.st.ClusterID != "" && m.ClusterID != e.st.ClusterID) {
		return nil
	}
	if e.st.ClusterID == "" && e.promised(now, m.Holder) {
		return nil
	}
	e.highest = max(e.highest, m.Term)
	reply := RenewReply{From: e.self, Term: m.Term, Sent: m.Sent, Unreachable: local.Unreachable}
	if reply.Granted = e.follow(now, m); reply.Granted {
		e.leased = grant{to: m.Holder, term: m.Term, at: now}
		e.heardAt, e.everHeard = now, true
		e.nudged, e.stood, e.backed = "", grant{}, grant{}
		if e.news(now, m) {
			e.heard, e.newsAt = m, now
			e.successors = m.Successors
		}
	}
	reply.Bootstrapping = e.st.Bootstrapping
	reply.Highest, reply.RosterTerm, reply.RosterVersion = e.st.Term, e.st.Roster.Term, e.st.Roster.Version
	reply.Roster = e.newer(m.Roster)
	return []Envelope{{To: m.Holder, Message: reply}}
}

// news: the renewal was not sent before the one that was heard last. One that comes late, or twice,
// must not say again that there is no primary yet. A holder whose host was booted meanwhile counts
// from the start: it is heard once the old news is old.
func (e *Elector) news(now Time, m Renew) bool {
	return m.Term != e.heard.Term || m.Holder != e.heard.Holder || m.Sent >= e.heard.Sent || now >= e.newsAt+Lapse
}

// follow accepts the holder of a renewal, unless its term is over.
func (e *Elector) follow(now Time, m Renew) bool {
	switch {
	case m.Term < e.st.Term:
		return false
	case m.Term == e.st.HolderTerm && (m.Holder != e.st.Holder || e.st.Released):
		return false
	}
	if m.Term > e.st.HolderTerm {
		// The winner needed a majority, which counted this node or did not: either way the term has
		// a holder now, and older grants are the winner's business.
		e.st.ClusterID = m.ClusterID
		if e.st.Vote == "" || m.Term > e.st.Term {
			e.st.Vote = m.Holder
		}
		e.st.Term, e.st.Holder, e.st.HolderTerm, e.st.Released = m.Term, m.Holder, m.Term, false
		e.unsaved = true
		e.claim = nil
		e.bootstrap = grant{}
		e.st.Bootstrapping = m.Bootstrapping
		e.st.Fresh = e.st.Fresh || m.Bootstrapping
	}
	if e.st.Fresh && m.Primary != "" {
		e.st.Fresh = false
		e.unsaved = true
	}
	if e.st.Bootstrapping && !m.Bootstrapping {
		e.st.Bootstrapping = false
		e.unsaved = true
	}
	e.learn(m.Roster)
	return true
}

// learn takes over a newer roster, from whomever it comes.
func (e *Elector) learn(r Roster) {
	if e.st.ClusterID != "" && r.Compare(e.st.Roster) > 0 {
		e.st.Roster = r
		e.unsaved = true
	}
}

// learnHolder takes over what a voter knows of the last holder: a later one, or that it has
// released. The next claim says so to voters that do not know. If the cluster has ever had a lease,
// one of each majority also knows that it is born.
func (e *Elector) learnHolder(now Time, m ClaimReply) {
	if m.Born && e.st.Bootstrapping {
		e.learnBorn()
	}
	switch {
	case e.st.ClusterID == "" || m.Holder == "" || m.Holder == e.self:
	case m.HolderTerm == e.st.HolderTerm && m.Released && !e.st.Released:
		e.open(now, e.successors)
	case m.HolderTerm > e.st.HolderTerm:
		e.st.Holder, e.st.HolderTerm, e.st.Released = m.Holder, m.HolderTerm, m.Released
		if e.st.Term < m.HolderTerm {
			e.st.Term, e.st.Vote = m.HolderTerm, m.Holder
		}
		e.openedAt = now
		e.unsaved = true
		if e.claim != nil && e.claim.msg.Term <= m.HolderTerm {
			e.claim = nil // over, like every term up to that one
		}
	}
}

func (e *Elector) onRenewReply(now Time, m RenewReply) {
	e.overrule(m.Roster)
	e.highest = max(e.highest, m.Highest)
	e.ahead = max(e.ahead, m.Highest)
	if !e.holding() || m.Term != e.st.HolderTerm || !m.Granted || m.Sent > now {
		return
	}
	if m.Bootstrapping && !e.st.Bootstrapping {
		return // it answers what was sent before all had the cluster: it has not been told
	}
	_, leased := e.LeaseUntil(now)
	e.acks[m.From] = max(e.acks[m.From], m.Sent)
	if !leased {
		e.leasedAt = now
	}
	e.unreachable[m.From] = m.Unreachable
	e.born()
	if m.RosterTerm == e.st.Roster.Term {
		e.rosterAcks[m.From] = max(e.rosterAcks[m.From], m.RosterVersion)
	}
	e.settle()
}

func (e *Elector) onRelease(now Time, m Release) {
	if m.ClusterID != e.st.ClusterID && e.st.ClusterID != "" {
		return
	}
	e.free(m)
	if m.Holder != e.st.Holder || m.Term != e.st.HolderTerm {
		return
	}
	if !e.st.Released {
		e.open(now, m.Successors)
	}
	if m.Handed > 0 {
		// Also when a claim has brought word of the release before: it says less.
		e.handed, e.successors = Data{Term: m.Term, Offset: m.Handed}, m.Successors
	}
}

// vote answers a claim and, when it grants it, remembers the grant.
func (e *Elector) vote(now Time, m Claim, local Local) ClaimReply {
	reply := ClaimReply{From: e.self, Term: m.Term, Sent: m.Sent}
	if m.Bootstrapping {
		reply.Denied = e.refuseBootstrap(now, m, local)
	} else {
		if m.Released && m.ClusterID == e.st.ClusterID && m.HolderTerm == e.st.HolderTerm {
			// The release itself may have been lost, and its sender with it.
			e.onRelease(now, Release{ClusterID: m.ClusterID, Term: m.HolderTerm, Holder: e.st.Holder, Successors: e.successors})
		}
		if m.ClusterID == e.st.ClusterID && !m.Forced { // what is forced holds once it is voted for
			e.overrule(&m.Roster)
		}
		reply.Denied = e.refuse(now, m, local)
	}
	reply.Granted = reply.Denied == ""
	if reply.Granted || reply.Denied != DeniedForeign && m.Candidate != e.self {
		e.highest = max(e.highest, m.Term)
	}
	switch {
	case reply.Granted && m.Bootstrapping:
		e.bootstrap = grant{to: m.Candidate, term: m.Term, at: now}
		e.unsaved = e.unsaved || e.st.Vote != m.Candidate
		e.st.Vote = m.Candidate
	case reply.Granted:
		e.grantVote(now, m)
	case reply.Denied == DeniedRoster:
		r := e.st.Roster
		reply.Roster = &r
	case reply.Denied == DeniedData:
		// To claim itself it may have to learn first that it is a voter.
		e.learn(m.Roster)
		if e.nudged = m.Candidate; m.Candidate == e.st.Holder {
			e.lessIn = e.st.HolderTerm
		}
	}
	if reply.Denied == DeniedForeign {
		return reply // terms and holders of another cluster mean nothing there
	}
	if reply.Roster == nil {
		reply.Roster = e.newer(m.Roster)
	}
	reply.Highest = e.st.Term
	reply.Holder, reply.HolderTerm, reply.Released = e.st.Holder, e.st.HolderTerm, e.st.Released
	reply.Born = e.st.HolderTerm > 0 && !e.st.Bootstrapping
	return reply
}

// grantVote votes for the candidate. A bootstrap voter that never heard the bootstrap node again
// comes into the cluster by this.
func (e *Elector) grantVote(now Time, m Claim) {
	if e.st.ClusterID == "" {
		e.st.ClusterID, e.st.Bootstrapping, e.st.Fresh = m.ClusterID, true, true
		e.claim = nil
		e.unsaved = true
	}
	if e.st.Term != m.Term || e.st.Vote != m.Candidate {
		e.st.Term, e.st.Vote = m.Term, m.Candidate
		e.unsaved = true
	}
	e.learn(m.Roster)
	e.voted = grant{to: m.Candidate, term: m.Term, at: now}
	if m.Candidate != e.self {
		e.votedAt = now
	}
	if e.holding() && m.Candidate != e.self {
		e.open(now, e.info.Successors)
		e.resendUntil = now + BootstrapFor
	}
}

// open notes that the last holder has given its lease back.
func (e *Elector) open(now Time, successors []NodeID) {
	e.st.Released = true
	e.unsaved = true
	e.openedAt = now
	e.successors = successors
}

// promised: this node has given its word to another bootstrap node.
func (e *Elector) promised(now Time, by NodeID) bool {
	return e.bootstrap.to != "" && e.bootstrap.to != by && now < e.bootstrap.at+BootstrapFor
}

func (e *Elector) refuseBootstrap(now Time, m Claim, local Local) Denied {
	switch {
	case e.st.ClusterID != "":
		return DeniedForeign
	case !m.Roster.Has(e.self):
		return DeniedNotVoter
	case local.Paused:
		return DeniedPaused
	case local.BootstrapNode != m.Candidate:
		return DeniedChoice
	case e.promised(now, m.Candidate):
		return DeniedVoted
	}
	return ""
}

func (e *Elector) refuse(now Time, m Claim, local Local) Denied {
	again := m.Term == e.st.Term && m.Candidate == e.st.Vote
	switch {
	case m.ClusterID == "", m.ClusterID != e.st.ClusterID && (e.st.ClusterID != "" || e.promised(now, m.Candidate)):
		return DeniedForeign
	case m.Term < e.st.Term || m.Term <= e.st.HolderTerm:
		return DeniedTerm
	case m.Term == e.st.Term && !again && e.st.Vote != "":
		return DeniedVoted
	case m.Roster.Compare(e.st.Roster) < 0:
		return DeniedRoster
	case !m.Roster.Has(m.Candidate) || !m.Roster.Has(e.self):
		return DeniedNotVoter
	case again:
		return ""
	case local.Paused && m.Candidate != e.st.Holder:
		return DeniedPaused
	case e.bound(now, m):
		return DeniedLease
	case local.Reachable && e.mayWrite(m):
		return DeniedReachable
	case m.Holding && m.Candidate == e.st.Holder && m.HolderTerm == e.st.HolderTerm && !e.st.Released:
		// It writes all the time, so this node may have read a later offset of the same data than
		// the claim carries.
		return ""
	case m.Forced:
		return ""
	case e.st.Fresh && m.Data.Term == 0 && local.Data.Term == 0 && local.FreshNode == m.Candidate:
		return "" // it counts only if all voters say so
	case local.Candidate && local.Data.Compare(m.Data) > 0 && !e.hasAll(m):
		return DeniedData
	case m.Data.Term == 0 && e.st.HolderTerm > 0 && !e.st.Bootstrapping:
		return DeniedData
	case m.Candidate != e.st.Holder && m.Data.Compare(local.Least) < 0:
		return DeniedLag
	}
	return ""
}

// hasAll: the last holder handed over, and the candidate has all that there was then. What this
// node has beyond that is no data, but heartbeats.
func (e *Elector) hasAll(m Claim) bool {
	return (e.st.Released || e.stoodDown()) && e.handed.Term == e.st.HolderTerm && m.HolderTerm == e.st.HolderTerm &&
		m.Data.Term == e.handed.Term && m.Data.Offset >= e.handed.Offset
}

// bound: the lease of this node itself, or a grant to somebody else, stands in the candidate's way.
func (e *Elector) bound(now Time, m Claim) bool {
	lapse := Lapse
	if m.Fenced != 0 {
		lapse = FencedLapse
	}
	if e.holding() && m.Candidate != e.self {
		if until, _ := e.LeaseUntil(now); now < until-Lease+lapse {
			return true
		}
	}
	blocks := func(g grant) bool { return g.to != "" && g.to != m.Candidate && now < g.at+lapse }
	// A claim of its own does not bind it: two candidates would deny one another.
	return blocks(e.leased) || blocks(e.voted) && e.voted.to != e.self
}

// mayWrite: nobody has made certain that the redis-server of the last holder known here accepts no
// write. A candidate that knows a later holder need not: whoever voted for that one asked the same.
func (e *Elector) mayWrite(m Claim) bool {
	return e.st.Holder != "" && e.st.Holder != e.self && e.st.Holder != m.Candidate && !e.st.Released && !e.stoodDown() &&
		m.HolderTerm <= e.st.HolderTerm && m.Fenced != e.st.HolderTerm
}

func (e *Elector) onClaimReply(now Time, m ClaimReply) []Envelope {
	if m.Denied != DeniedForeign {
		e.overrule(m.Roster)
		e.highest = max(e.highest, m.Highest)
		e.learnHolder(now, m)
	}
	if e.claim == nil || m.Term != e.claim.msg.Term || m.Sent != e.claim.msg.Sent || !e.claim.msg.Roster.Has(m.From) {
		return nil
	}
	c := e.claim
	if now >= c.msg.Sent+ClaimFor {
		return e.withdraw(now) // this agent was held up: the voters may have moved on
	}
	if m.Roster != nil && (c.newer == nil || m.Roster.Compare(*c.newer) > 0) {
		c.newer = m.Roster
	}
	if m.Granted {
		c.granted[m.From] = true
		e.deny(m.From, "")
	} else if !c.granted[m.From] {
		e.deny(m.From, m.Denied)
	}
	return e.count(now)
}

// deny notes who denied the claim under way; why empty: it did not after all. Whoever was shown the
// denials before keeps what he has.
func (e *Elector) deny(id NodeID, why Denied) {
	next := maps.Clone(e.claim.denied)
	if why == "" {
		delete(next, id)
	} else {
		next[id] = why
	}
	e.claim.denied, e.denials = next, next
}

// count ends the claim once it is decided.
func (e *Elector) count(now Time) []Envelope {
	c := e.claim
	need, all := c.msg.Roster.Majority(), len(c.msg.Roster.Voters)
	if c.msg.Bootstrapping || e.unserved(c.msg) {
		need = all
	}
	switch {
	case len(c.granted) >= need:
		e.win(c)
		return e.Tick(now, nil)
	case all-len(c.denied) < need:
		return e.withdraw(now)
	}
	return nil
}

// win takes the term. The lease begins with the first renewal that a majority answers: only then do
// they have on disk who holds it, so that whoever wins next finds a voter that asks whether this
// node still writes. A holder that claimed again keeps the lease it has.
func (e *Elector) win(c *claim) {
	acks, since, kept := e.acks, e.leasedAt, e.holding()
	e.claim = nil
	e.claimedAt = c.msg.Sent
	e.st = State{
		ClusterID: c.msg.ClusterID, Term: c.msg.Term, Vote: e.self,
		Holder: e.self, HolderTerm: c.msg.Term, Roster: c.msg.Roster,
		Bootstrapping: c.msg.Bootstrapping || e.st.Bootstrapping,
		Fresh:         c.msg.Bootstrapping || e.st.Fresh,
	}
	e.st.Roster.Term = c.msg.Term
	e.unsaved = true
	e.bootstrap = grant{}
	e.leased = grant{to: e.self, term: c.msg.Term, at: c.msg.Sent}
	e.becomeHolder(c.msg.Sent)
	if kept {
		e.acks, e.leasedAt = acks, since
	} else {
		e.info = Info{} // the agent says it anew, once redis-server is a primary
	}
}
