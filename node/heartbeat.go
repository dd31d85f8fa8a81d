package node

import (
	"encoding/json"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
)

// Heartbeat is what the holder's renewals tell every node, beside the election's own.
type Heartbeat struct {
	Pause Pause `json:"pause"`
	// Offset is how much the holder's redis-server had; 0: not known.
	Offset int64 `json:"offset,omitempty"`
	// ReplID is the history that the holder's redis-server is the primary of: whose data has
	// another is not in sync with it, whatever its link says. It is there whenever the renewal
	// names a primary, unless the holder's agent is of a version before this field.
	ReplID string `json:"repl_id,omitempty"`
}

func (b Heartbeat) encode() []byte {
	text, err := json.Marshal(b)
	if err != nil {
		return nil
	}
	return text
}

func decodeHeartbeat(text []byte) Heartbeat {
	var b Heartbeat
	if len(text) == 0 || json.Unmarshal(text, &b) != nil {
		return Heartbeat{}
	}
	return b
}

// heardBeat is the most that the holder of a term has said it had, and the history of the last
// primary that it named. It may say less later, or nothing: an agent that has just been started
// knows no more than its last record, and a redis-server that has ended has no history.
type heardBeat struct {
	term   election.Term
	offset int64
	replID string
	last   Heartbeat
	text   string // of last
}

func (h *heardBeat) hear(v election.View) {
	if string(v.Note) != h.text {
		h.last, h.text = decodeHeartbeat(v.Note), string(v.Note)
	}
	if v.HolderTerm != h.term {
		h.term, h.offset, h.replID = v.HolderTerm, 0, ""
	}
	h.offset = max(h.offset, h.last.Offset)
	if v.Primary != "" {
		h.replID = h.last.ReplID // the newest counts: its redis-server may have begun a new one
	}
}

// ownHeartbeat is what the renewals of this node are to say.
func (rs *rounds) ownHeartbeat(o reconcile.Observed) (primary string, b Heartbeat) {
	n := rs.n
	b.Pause = n.paused
	if o.Redis.Data.Term == o.Election.Term {
		b.Offset = o.Redis.Data.Offset // also when its redis-server has just ended
	}
	if o.Redis.Known && o.Redis.Role == reconcile.Primary {
		b.ReplID = n.redis.leads()
	}
	if b.ReplID != "" {
		primary = n.redisAddr
	}
	return primary, b
}

// announce has the renewals say where the primary is, once it is one: a replica that came before it
// is ready would be sent away, and try again a second later. The history goes with the address: one
// is worth nothing without the other.
func (rs *rounds) announce(o reconcile.Observed) {
	n := rs.n
	if !o.Election.Lease {
		rs.passPause()
		return
	}
	primary, beat := rs.ownHeartbeat(o)
	atOnce := primary != o.Election.Primary || beat.Pause != rs.said.Pause || beat.ReplID != rs.said.ReplID
	if !atOnce && beat == rs.said {
		return
	}
	rs.said = beat
	i := n.ballot.e.Announced()
	i.Primary, i.Note = primary, beat.encode()
	n.heard.last, n.heard.text = beat, string(i.Note) // it hears itself, too
	if !atOnce {
		n.ballot.e.SetInfo(i) // the offset goes with the next renewal
		n.changed()
		return
	}
	n.ballot.elect(false, func(e *election.Elector) []election.Envelope { return e.Announce(n.at, i, n.ballot.learners()) }, nil)
}

// passPause has the renewals of a holder whose lease has ended say the pause that counts now. They
// go on while it asks for the lease, and would else have a node that was away take over a pause
// which an operator has ended meanwhile.
func (rs *rounds) passPause() {
	n := rs.n
	if v := n.current(); string(v.Holder) != n.self || v.Released || rs.said.Pause == n.paused {
		return
	}
	i := n.ballot.e.Announced()
	if len(i.Note) == 0 {
		return // it has said nothing yet
	}
	rs.said.Pause = n.paused
	i.Note = rs.said.encode()
	n.heard.last, n.heard.text = rs.said, string(i.Note)
	n.ballot.e.SetInfo(i)
	n.changed()
}
