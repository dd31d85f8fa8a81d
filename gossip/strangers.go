package gossip

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Stranger is one that speaks to this node and is no member.
type Stranger struct {
	Addr netip.Addr
	// Port is where the gossip of a Foreign one listens.
	Port uint16
	Kind StrangerKind
	// Meta is what it says about itself, if that can be read, and Reason why it is refused: of a
	// Foreign one.
	Meta   Meta
	Reason string
	// Since is when it was met, At when it was last heard.
	Since, At time.Time
}

// StrangerKind says what keeps it from being a member.
type StrangerKind int

// The kinds.
const (
	// Foreign: its cluster has this one's name and secret, and another id; or Config.Accept has
	// another reason.
	Foreign StrangerKind = iota + 1
	// OtherSecret: its cluster has this one's name, and what it sends cannot be decrypted.
	OtherSecret
	// OtherName: it connects to this node, and its cluster has another name.
	OtherName
	// Sealed: its beacon is on the local network and cannot be opened: it has another secret, and
	// most likely is none of this node's business.
	Sealed
)

const (
	// strangerTTL is how long a stranger is one that is there: members call on all addresses they
	// were given at least every 12 s.
	strangerTTL = 45 * time.Second

	// maxStrangers bounds what those who can reach the port can fill.
	maxStrangers = 64
)

// strangers are those met lately.
type strangers struct {
	mu   sync.Mutex
	seen map[strangerKey]Stranger
}

type strangerKey struct {
	addr netip.Addr
	kind StrangerKind
	id   string
}

// met notes a stranger. It may be called with memberlist's lock held.
func (s *strangers) met(n Stranger, now time.Time) {
	if !n.Addr.IsValid() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[strangerKey]Stranger{}
	}
	s.expire(now)
	key := strangerKey{n.Addr, n.Kind, n.Meta.ID}
	old, known := s.seen[key]
	if !known && len(s.seen) >= maxStrangers {
		return
	}
	n.Since, n.At = now, now
	if known {
		n.Since = old.Since
	}
	s.seen[key] = n
}

// joined: a member is there now, whoever was before.
func (s *strangers) joined(at netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, n := range s.seen {
		if n.Kind == Foreign && n.Addr == at.Addr() && n.Port == at.Port() {
			delete(s.seen, key)
		}
	}
}

func (s *strangers) expire(now time.Time) {
	for key, n := range s.seen {
		if now.Sub(n.At) > strangerTTL {
			delete(s.seen, key)
		}
	}
}

func (s *strangers) list(now time.Time) []Stranger {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	var list []Stranger
	for _, n := range s.seen {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b Stranger) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Addr.Compare(b.Addr), cmp.Compare(a.Meta.ID, b.Meta.ID))
	})
	return list
}

// Strangers returns those that spoke to this node in the last 45 s and are no members, and why.
func (g *Gossip) Strangers() []Stranger { return g.strangers.list(time.Now()) }

// strangerIn reads a line of memberlist's of a connection that came to nothing. Packets do not
// count: anybody can send one in another's name.
func strangerIn(text string) (kind StrangerKind, host netip.Addr) {
	switch {
	case strings.HasPrefix(text, "failed to receive: ") && strings.Contains(text, "decrypt"):
		kind = OtherSecret
	case strings.HasPrefix(text, "discarding stream with unacceptable label \"redisd/"):
		kind = OtherName
	default:
		return 0, host
	}
	_, from, _ := strings.Cut(text, " from=")
	addr, err := netip.ParseAddrPort(from)
	if err != nil {
		return 0, host
	}
	return kind, addr.Addr().Unmap()
}
