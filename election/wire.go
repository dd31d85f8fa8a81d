package election

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/redisd/redisd/internal/feature"
)

// Messages travel as JSON objects with short keys, the type tag "t" first: readable in a capture,
// and a Renew to nine voters still fits one packet. The keys are this file's alone; nothing is
// stored in this form.
//
// What is not known is stepped over: a field, or a kind of message, of a later build must not cost
// a vote or a lease. 0.1.0 refuses the whole message instead. So its keys are those of one letter;
// later ones have two letters or more, and are left out of what goes to such a build. All are in
// lower case, since encoding/json would take "G" for "g". A new field is optional (omitempty): a
// line in the wire struct, one in encode, one in decode. Where it does harm that some voters ignore
// it, it has a feature, and is used once all have that.

// Limits of what Decode accepts. A term beyond maxTerm can only be an attempt to make the counter
// wrap.
const (
	maxMessage = 64 << 10
	maxTerm    = 1 << 53
	maxVoters  = 255
	maxID      = 128
)

const (
	tagRenew      = 'r'
	tagRenewReply = 'a'
	tagClaim      = 'c'
	tagClaimReply = 'v'
	tagRelease    = 'f'
	tagPreVote    = 'p'
	tagPreVoted   = 'q'
	tagStandDown  = 'd'
)

// wireSender is what every message says of the build that sent it.
type wireSender struct {
	Features feature.Set `json:"fs,omitempty"`
}

type wireRoster struct {
	Term    Term       `json:"t"`
	Version uint64     `json:"v"`
	Voters  [][]string `json:"m"` // id, addr
}

type wireRenew struct {
	Tag           string     `json:"t"`
	ClusterID     string     `json:"c"`
	Term          Term       `json:"e"`
	Holder        NodeID     `json:"h"`
	Sent          Time       `json:"s"`
	Bootstrapping bool       `json:"b,omitempty"`
	Roster        wireRoster `json:"r"`
	Voters        []int      `json:"i,omitempty"` // successors, as places in the roster
	Successors    []NodeID   `json:"u,omitempty"` // successors, when one is no voter
	Primary       string     `json:"p,omitempty"`
	Note          []byte     `json:"n,omitempty"`
}

type wireRenewReply struct {
	Tag           string      `json:"t"`
	From          NodeID      `json:"f"`
	Term          Term        `json:"e"`
	Granted       bool        `json:"g,omitempty"`
	Sent          Time        `json:"s"`
	Highest       Term        `json:"x"`
	RosterTerm    Term        `json:"k"`
	RosterVersion uint64      `json:"v"`
	Unreachable   bool        `json:"u,omitempty"`
	Bootstrapping bool        `json:"b,omitempty"`
	Roster        *wireRoster `json:"ro,omitempty"`
}

type wireClaim struct {
	Tag           string     `json:"t"`
	ClusterID     string     `json:"c"`
	Term          Term       `json:"e"`
	Candidate     NodeID     `json:"h"`
	Sent          Time       `json:"s"`
	Roster        wireRoster `json:"r"`
	DataTerm      Term       `json:"d"`
	Offset        int64      `json:"o"`
	HolderTerm    Term       `json:"l"`
	Released      bool       `json:"q,omitempty"`
	Holding       bool       `json:"w,omitempty"`
	Fenced        Term       `json:"z,omitempty"`
	Bootstrapping bool       `json:"b,omitempty"`
	Forced        bool       `json:"u,omitempty"`
}

type wireClaimReply struct {
	Tag     string      `json:"t"`
	From    NodeID      `json:"f"`
	Term    Term        `json:"e"`
	Granted bool        `json:"g,omitempty"`
	Sent    Time        `json:"s"`
	Denied  Denied      `json:"y,omitempty"`
	Highest Term        `json:"x"`
	Holder  NodeID      `json:"h,omitempty"`
	Last    Term        `json:"l,omitempty"`
	Done    bool        `json:"q,omitempty"`
	Born    bool        `json:"b,omitempty"`
	Roster  *wireRoster `json:"r,omitempty"`
}

type wireStandDown struct {
	Tag        string   `json:"t"`
	ClusterID  string   `json:"c"`
	Term       Term     `json:"e"`
	Holder     NodeID   `json:"h"`
	Sent       Time     `json:"s"`
	Successors []NodeID `json:"u,omitempty"`
	Handed     int64    `json:"o,omitempty"`
}

type wireRelease struct {
	Tag        string   `json:"t"`
	ClusterID  string   `json:"c"`
	Term       Term     `json:"e"`
	Holder     NodeID   `json:"h"`
	Successors []NodeID `json:"u,omitempty"`
	Handed     int64    `json:"o,omitempty"`
	Why        string   `json:"y,omitempty"`
}

// Encode returns the message as it travels to an agent that has the features to. What Decode would
// not accept is an error.
func Encode(m Message, to feature.Set) ([]byte, error) {
	err := check(m)
	var b []byte
	if err == nil {
		b, err = encode(m)
	}
	if err == nil && !to.Has(feature.Lenient) {
		b, err = firstForm(b)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	if to.Has(feature.Lenient) {
		b = fmt.Appendf(b[:len(b)-1], `,"fs":%d}`, feature.Own)
	}
	return b, nil
}

// firstForm is b without what 0.1.0 does not know: keys of more than one letter.
func firstForm(b []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	out := []byte{'{'}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			return nil, err
		}
		if name, _ := key.(string); len(name) == 1 {
			out = append(fmt.Appendf(out, "%q:", name), value...)
			out = append(out, ',')
		}
	}
	out[len(out)-1] = '}' // a message has a tag at least
	return out, nil
}

func encode(m Message) ([]byte, error) {
	switch m := m.(type) {
	case Renew:
		w := wireRenew{
			Tag: string(tagRenew), ClusterID: m.ClusterID, Term: m.Term, Holder: m.Holder, Sent: m.Sent,
			Bootstrapping: m.Bootstrapping, Roster: toWire(m.Roster), Primary: m.Primary, Note: m.Note,
		}
		w.Voters, w.Successors = places(m.Roster, m.Successors)
		return json.Marshal(w)
	case RenewReply:
		return json.Marshal(wireRenewReply{
			Tag: string(tagRenewReply), From: m.From, Term: m.Term, Granted: m.Granted, Sent: m.Sent,
			Highest: m.Highest, RosterTerm: m.RosterTerm, RosterVersion: m.RosterVersion, Unreachable: m.Unreachable, Bootstrapping: m.Bootstrapping,
			Roster: toWireOf(m.Roster),
		})
	case Claim:
		return json.Marshal(claimToWire(tagClaim, m))
	case PreVote:
		return json.Marshal(claimToWire(tagPreVote, Claim(m)))
	case ClaimReply:
		return json.Marshal(replyToWire(tagClaimReply, m))
	case PreVoteReply:
		return json.Marshal(replyToWire(tagPreVoted, ClaimReply(m)))
	case StandDown:
		return json.Marshal(wireStandDown{
			Tag: string(tagStandDown), ClusterID: m.ClusterID, Term: m.Term, Holder: m.Holder, Sent: m.Sent, Successors: m.Successors, Handed: m.Handed,
		})
	case Release:
		return json.Marshal(wireRelease{
			Tag: string(tagRelease), ClusterID: m.ClusterID, Term: m.Term, Holder: m.Holder,
			Successors: m.Successors, Handed: m.Handed, Why: m.Why,
		})
	}
	return nil, errUnknownKind
}

func claimToWire(tag byte, m Claim) wireClaim {
	return wireClaim{
		Tag: string(tag), ClusterID: m.ClusterID, Term: m.Term, Candidate: m.Candidate, Sent: m.Sent,
		Roster: toWire(m.Roster), DataTerm: m.Data.Term, Offset: m.Data.Offset,
		HolderTerm: m.HolderTerm, Released: m.Released, Holding: m.Holding,
		Fenced: m.Fenced, Bootstrapping: m.Bootstrapping, Forced: m.Forced,
	}
}

func (w wireClaim) claim() (Claim, error) {
	r, err := w.Roster.roster()
	return Claim{
		ClusterID: w.ClusterID, Term: w.Term, Candidate: w.Candidate, Sent: w.Sent, Roster: r,
		Data: Data{Term: w.DataTerm, Offset: w.Offset}, HolderTerm: w.HolderTerm, Released: w.Released,
		Holding: w.Holding, Fenced: w.Fenced, Bootstrapping: w.Bootstrapping, Forced: w.Forced,
	}, err
}

func replyToWire(tag byte, m ClaimReply) wireClaimReply {
	return wireClaimReply{
		Tag: string(tag), From: m.From, Term: m.Term, Granted: m.Granted, Sent: m.Sent,
		Denied: m.Denied, Highest: m.Highest, Holder: m.Holder, Last: m.HolderTerm, Done: m.Released, Born: m.Born,
		Roster: toWireOf(m.Roster),
	}
}

func (w wireClaimReply) reply() (ClaimReply, error) {
	r, err := w.Roster.rosterOf()
	return ClaimReply{
		From: w.From, Term: w.Term, Granted: w.Granted, Sent: w.Sent, Denied: w.Denied, Highest: w.Highest,
		Holder: w.Holder, HolderTerm: w.Last, Released: w.Done, Born: w.Born, Roster: r,
	}, err
}

// errUnknownKind is what is to be said of a message of a later build; nothing follows from it.
var errUnknownKind = errors.New("unknown type")

// Decode returns the message in b, and the features of the agent that sent it.
func Decode(b []byte) (m Message, from feature.Set, err error) {
	const head = `{"t":"x"`
	if len(b) < len(head) || len(b) > maxMessage || !bytes.HasPrefix(b, []byte(head[:6])) || b[7] != '"' {
		return nil, 0, errors.New("decode election message: no type tag in front")
	}
	if m, err = decode(b[6], b); err == nil {
		err = check(m)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("decode election message %q: %w", b[6:7], err)
	}
	var sender wireSender
	if json.Unmarshal(b, &sender) != nil {
		return m, 0, nil // who says it in another way says what this build does not know
	}
	return m, sender.Features & feature.Most, nil
}

func decode(tag byte, b []byte) (Message, error) {
	switch tag {
	case tagRenew:
		var w wireRenew
		if err := json.Unmarshal(b, &w); err != nil {
			return nil, err
		}
		return w.message()
	case tagRenewReply:
		var w wireRenewReply
		if err := json.Unmarshal(b, &w); err != nil {
			return nil, err
		}
		r, err := w.Roster.rosterOf()
		return RenewReply{
			From: w.From, Term: w.Term, Granted: w.Granted, Sent: w.Sent,
			Highest: w.Highest, RosterTerm: w.RosterTerm, RosterVersion: w.RosterVersion, Unreachable: w.Unreachable, Bootstrapping: w.Bootstrapping,
			Roster: r,
		}, err
	case tagClaim, tagPreVote:
		var w wireClaim
		if err := json.Unmarshal(b, &w); err != nil {
			return nil, err
		}
		m, err := w.claim()
		if tag == tagPreVote {
			return PreVote(m), err
		}
		return m, err
	case tagClaimReply, tagPreVoted:
		var w wireClaimReply
		if err := json.Unmarshal(b, &w); err != nil {
			return nil, err
		}
		m, err := w.reply()
		if tag == tagPreVoted {
			return PreVoteReply(m), err
		}
		return m, err
	case tagStandDown:
		var w wireStandDown
		err := json.Unmarshal(b, &w)
		return StandDown{ClusterID: w.ClusterID, Term: w.Term, Holder: w.Holder, Sent: w.Sent, Successors: w.Successors, Handed: w.Handed}, err
	case tagRelease:
		var w wireRelease
		err := json.Unmarshal(b, &w)
		return Release{
			ClusterID: w.ClusterID, Term: w.Term, Holder: w.Holder, Successors: w.Successors, Handed: w.Handed, Why: w.Why,
		}, err
	}
	return nil, errUnknownKind
}

func toWire(r Roster) wireRoster {
	w := wireRoster{Term: r.Term, Version: r.Version, Voters: make([][]string, len(r.Voters))}
	for i, v := range r.Voters {
		w.Voters[i] = []string{string(v.ID), v.Addr}
	}
	return w
}

// toWireOf is toWire of a roster that need not be there.
func toWireOf(r *Roster) *wireRoster {
	if r == nil {
		return nil
	}
	w := toWire(*r)
	return &w
}

func (w *wireRoster) rosterOf() (*Roster, error) {
	if w == nil {
		return nil, nil
	}
	r, err := w.roster()
	return &r, err
}

func (w wireRoster) roster() (Roster, error) {
	r := Roster{Term: w.Term, Version: w.Version, Voters: make([]Voter, len(w.Voters))}
	for i, v := range w.Voters {
		if len(v) < 2 { // a later build may say more
			return Roster{}, errors.New("a voter is an id and an address")
		}
		r.Voters[i] = Voter{ID: NodeID(v[0]), Addr: v[1]}
	}
	return r, nil
}

// places returns the nodes as places in the roster, or as they are when one is no voter.
func places(r Roster, nodes []NodeID) ([]int, []NodeID) {
	var at []int
	for _, id := range nodes {
		i := slices.IndexFunc(r.Voters, func(v Voter) bool { return v.ID == id })
		if i < 0 {
			return nil, nodes
		}
		at = append(at, i)
	}
	return at, nil
}

func (w wireRenew) message() (Message, error) {
	r, err := w.Roster.roster()
	if err != nil {
		return nil, err
	}
	m := Renew{
		ClusterID: w.ClusterID, Term: w.Term, Holder: w.Holder, Sent: w.Sent, Bootstrapping: w.Bootstrapping, Roster: r,
		Successors: w.Successors, Primary: w.Primary, Note: w.Note,
	}
	if len(w.Voters) > 0 && len(w.Successors) > 0 {
		return nil, errors.New("the successors are given twice")
	}
	for _, i := range w.Voters {
		if i < 0 || i >= len(r.Voters) {
			return nil, errors.New("a successor is not in the roster")
		}
		m.Successors = append(m.Successors, r.Voters[i].ID)
	}
	return m, nil
}

// check refuses what no elector says.
func check(m Message) error {
	switch m := m.(type) {
	case Renew:
		return errors.Join(checkTerm(m.Term), checkID("cluster", m.ClusterID), checkID("holder", string(m.Holder)),
			checkTime(m.Sent), checkRoster(m.Roster), checkIDs(m.Successors), checkText(m.Primary))
	case RenewReply:
		return errors.Join(checkTerm(m.Term), checkID("sender", string(m.From)), checkTime(m.Sent),
			checkTerm(max(m.Highest, 1)), checkTerm(max(m.RosterTerm, 1)), checkRosterOf(m.Roster))
	case Claim:
		return errors.Join(checkTerm(m.Term), checkID("cluster", m.ClusterID), checkID("candidate", string(m.Candidate)),
			checkTime(m.Sent), checkRoster(m.Roster), checkTerm(max(m.Fenced, 1)), checkTerm(max(m.Data.Term, 1)),
			checkTerm(max(m.HolderTerm, 1)))
	case PreVote:
		return check(Claim(m))
	case PreVoteReply:
		m.Holder = ""
		return check(ClaimReply(m))
	case StandDown:
		return errors.Join(checkTerm(m.Term), checkID("cluster", m.ClusterID), checkID("holder", string(m.Holder)),
			checkTime(m.Sent), checkIDs(m.Successors))
	case ClaimReply:
		err := errors.Join(checkTerm(m.Term), checkID("sender", string(m.From)), checkTime(m.Sent),
			checkTerm(max(m.Highest, 1)), checkText(string(m.Denied)), checkTerm(max(m.HolderTerm, 1)), checkID("holder", string(m.Holder)+"x"))
		if m.Granted == (m.Denied != "") {
			err = errors.Join(err, errors.New("granted and denied at once, or neither"))
		}
		return errors.Join(err, checkRosterOf(m.Roster))
	case Release:
		return errors.Join(checkTerm(m.Term), checkID("cluster", m.ClusterID), checkID("holder", string(m.Holder)),
			checkIDs(m.Successors), checkText(m.Why))
	}
	return errUnknownKind
}

func checkTerm(t Term) error {
	if t < 1 || t > maxTerm {
		return fmt.Errorf("no term: %d", t)
	}
	return nil
}

func checkTime(t Time) error {
	if t < 0 {
		return fmt.Errorf("a clock before its start: %d", t)
	}
	return nil
}

func checkID(of, id string) error {
	if id == "" || len(id) > maxID || !utf8.ValidString(id) {
		return fmt.Errorf("the %s has no proper name: %q", of, id)
	}
	return nil
}

func checkIDs(ids []NodeID) error {
	if len(ids) > maxVoters {
		return errors.New("too many successors")
	}
	for _, id := range ids {
		if err := checkID("successor", string(id)); err != nil {
			return err
		}
	}
	return nil
}

func checkText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("no text: %q", s)
	}
	return nil
}

func checkRosterOf(r *Roster) error {
	if r == nil {
		return nil
	}
	return checkRoster(*r)
}

func checkRoster(r Roster) error {
	if len(r.Voters) == 0 || len(r.Voters) > maxVoters || r.Term > maxTerm {
		return fmt.Errorf("no roster: %d voters, term %d", len(r.Voters), r.Term)
	}
	for i, v := range r.Voters {
		if err := errors.Join(checkID("voter", string(v.ID)), checkText(v.Addr)); err != nil {
			return err
		}
		if i > 0 && r.Voters[i-1].ID >= v.ID {
			return errors.New("the voters of the roster are not in order, or one is there twice")
		}
	}
	return nil
}
