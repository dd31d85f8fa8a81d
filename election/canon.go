package election

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Clone returns an elector that goes on from here by itself. A search through all that can happen
// (test/sim/search) needs many futures of one state; the agent has one.
func (e *Elector) Clone() *Elector {
	c := *e // rosters and messages are never changed in place, so they may be shared
	c.acks, c.rosterAcks, c.unreachable = maps.Clone(e.acks), maps.Clone(e.rosterAcks), maps.Clone(e.unreachable)
	c.denials = maps.Clone(e.denials)
	if e.claim != nil {
		cl := *e.claim
		cl.granted, cl.denied = maps.Clone(cl.granted), maps.Clone(cl.denied)
		c.claim = &cl
		c.denials = cl.denied
	}
	return &c
}

// Canon writes down what decides how an elector will answer from now on, such that two states with
// the same future have the same bytes: times as ages, those that can make no difference any more
// all alike, and nodes as places in IDs. Left out is what View alone shows (denials, nudges, when
// something was heard): the agent acts on that, and a search lets an agent act at any time.
type Canon struct {
	IDs []NodeID
	// Clocks are what the clocks of IDs read now.
	Clocks []Time
	// Longest is after what age nothing makes a difference: Lapse, or FencedLapse where claims lean
	// on fences.
	Longest Time
}

// Deadlines calls add with each reading of e's clock at which it will answer otherwise than before,
// or hold no lease any more, though nothing has come in. Some may be past.
func (c Canon) Deadlines(e *Elector, now Time, add func(Time)) {
	for _, g := range []grant{e.leased, e.voted} {
		if g.to != "" && (g.to != e.self || g != e.voted) {
			add(g.at + Lapse)
			add(g.at + c.Longest)
		}
	}
	if e.bootstrap.to != "" {
		add(e.bootstrap.at + BootstrapFor)
	}
	if e.claim != nil {
		add(e.claim.msg.Sent + ClaimFor)
	}
	if e.holding() {
		if at := e.answeredBy(e.st.Roster, now); at != now {
			add(at + Lease)
			add(at + Lapse)
			add(at + c.Longest)
		}
	}
}

// Elector appends the state of e.
func (c Canon) Elector(b []byte, e *Elector) []byte {
	now := c.clock(e.self)
	b = c.State(b, e.st)
	b = flags(b, e.unsaved, e.settled, e.claim != nil, e.holding())
	for _, g := range []grant{e.leased, e.voted} {
		b = c.grant(b, g, now, c.Longest)
	}
	b = c.grant(b, e.bootstrap, now, BootstrapFor)
	b = number(b, e.highest)
	if e.handed.Term == e.st.HolderTerm {
		b = number(b, e.handed.Offset)
	}
	b = c.id(b, e.heard.Holder)
	b = number(b, e.heard.Term)
	b = age(b, c.clock(e.heard.Holder), e.heard.Sent, Lapse)
	b = age(b, now, e.newsAt, Lapse)
	if cl := e.claim; cl != nil {
		b = c.Message(b, "", cl.msg)
		b = age(b, now, cl.saidAt, RenewEvery)
		for _, id := range c.IDs {
			b = flags(b, cl.granted[id], cl.denied[id] != "")
		}
		if cl.newer != nil {
			b = c.roster(b, *cl.newer)
		}
	}
	if e.st.Holder == e.self && e.st.Released && now < e.resendUntil {
		b = number(b, e.resendUntil-now)
		b = age(b, now, e.resentAt, RenewEvery)
	}
	if !e.holding() {
		return b
	}
	b = number(b, e.ahead)
	b = age(b, now, e.renewedAt, renewDue)
	for _, id := range c.IDs {
		at, ok := e.acks[id]
		b = flags(b, ok, e.rosterAcks[id] != 0)
		if ok {
			b = age(b, now, at, c.Longest)
		}
		b = number(b, e.rosterAcks[id])
	}
	return b
}

// State appends what is on a disk.
func (c Canon) State(b []byte, st State) []byte {
	b = c.id(b, NodeID(st.ClusterID))
	b = number(b, st.Term)
	b = c.id(b, st.Vote)
	b = c.id(b, st.Holder)
	b = number(b, st.HolderTerm)
	b = flags(b, st.Released, st.Bootstrapping, st.Fresh)
	return c.roster(b, st.Roster)
}

// Message appends a message on its way to a node.
func (c Canon) Message(b []byte, to NodeID, m Message) []byte {
	switch m := m.(type) {
	case Renew:
		b = c.about(append(b, tagRenew), m.Holder, m.ClusterID, m.Term, m.Sent)
		return c.roster(flags(b, m.Bootstrapping), m.Roster)
	case RenewReply:
		b = c.id(append(b, tagRenewReply), m.From)
		b = number(number(number(b, m.Term), m.Highest), m.RosterTerm)
		b = flags(number(b, m.RosterVersion), m.Granted, m.Unreachable, m.Bootstrapping)
		return age(b, c.clock(to), m.Sent, c.Longest)
	case Claim:
		b = c.about(append(b, tagClaim), m.Candidate, m.ClusterID, m.Term, m.Sent)
		b = number(number(number(number(b, m.Data.Term), m.Data.Offset), m.HolderTerm), m.Fenced)
		return c.roster(flags(b, m.Released, m.Holding, m.Bootstrapping, m.Forced), m.Roster)
	case ClaimReply:
		b = c.id(c.id(append(b, tagClaimReply), m.From), m.Holder)
		b = number(number(number(b, m.Term), m.Highest), m.HolderTerm)
		b = flags(b, m.Granted, m.Denied == DeniedForeign, m.Released, m.Born, m.Roster != nil)
		b = age(b, c.clock(to), m.Sent, c.Longest)
		if m.Roster != nil {
			b = c.roster(b, *m.Roster)
		}
		return b
	case Release:
		b = c.about(append(b, tagRelease), m.Holder, m.ClusterID, m.Term, 0)
		return number(b, m.Handed)
	}
	return b
}

func (c Canon) about(b []byte, by NodeID, cluster string, term Term, sent Time) []byte {
	b = number(c.id(c.id(b, by), NodeID(cluster)), term)
	if sent == 0 {
		return b
	}
	return age(b, c.clock(by), sent, c.Longest)
}

func (c Canon) grant(b []byte, g grant, now, lasts Time) []byte {
	if g.to == "" || now >= g.at+lasts {
		return append(b, 0)
	}
	return age(number(c.id(append(b, 1), g.to), g.term), now, g.at, lasts)
}

// roster appends the voters as a set: their order follows from their names.
func (c Canon) roster(b []byte, r Roster) []byte {
	var set uint64
	for _, v := range r.Voters {
		set |= 1 << (slices.Index(c.IDs, v.ID) + 1)
	}
	return number(number(number(b, r.Term), r.Version), set)
}

func (c Canon) id(b []byte, id NodeID) []byte {
	i := slices.Index(c.IDs, id)
	b = append(b, byte(i+1))
	if i < 0 {
		b = append(append(b, byte(len(id))), id...)
	}
	return b
}

func (c Canon) clock(of NodeID) Time {
	if i := slices.Index(c.IDs, of); i >= 0 {
		return c.Clocks[i]
	}
	return 0
}

func age(b []byte, now, at, most Time) []byte {
	return binary.AppendVarint(b, int64(min(now-at, most)))
}

func number[T ~int64 | ~uint64](b []byte, n T) []byte { return binary.AppendUvarint(b, uint64(n)) }

func flags(b []byte, on ...bool) []byte {
	var f byte
	for i, x := range on {
		if x {
			f |= 1 << i
		}
	}
	return append(b, f)
}
