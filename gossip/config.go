package gossip

import (
	"errors"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// Config says who this node is and where others may be. It is not changed once Start has it.
type Config struct {
	ID      string // stable node id; letters, digits, '.', '_' and '-'
	Cluster string // packets of other clusters are dropped unread
	Key     []byte // 32 bytes, derived from the cluster's secret; encrypts everything

	Bind      netip.AddrPort // best the node's own address, so that a VIP is never spoken from
	Advertise netip.AddrPort // where others reach this node; never guessed

	Join      []string         // addresses, names, srv:names; looked up anew each time
	Peers     []netip.AddrPort // addresses known from before
	Discovery bool             // look on the local network as well

	Meta Meta

	// Accept refuses a node, by its metadata, with the reason; nil accepts all. It is called while
	// memberlist's lock is held: it must be quick and call nothing of Gossip but Members.
	Accept func(Meta) error

	// State is what this node tells whomever it exchanges all it knows with: on first contact, and
	// every 15 s with one other. Learn takes in what the other one told. Both may be nil; nothing
	// may wait in them.
	State func() []byte
	Learn func([]byte)

	// cut, in tests, says which hosts cannot be reached.
	cut func(netip.Addr) bool
}

// AskerPrefix begins the ID of one that only asks members, and is to be none itself: members that
// look for a node at its address meet it there, and leave it alone.
const AskerPrefix = "asks-"

const (
	keySize        = 32 // AES-256
	maxID          = 64
	maxClusterName = 100 // keeps a packet of MaxPacket within one frame
)

// check reports every mistake in c, and returns Join parsed.
func (c *Config) check() ([]seed, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.ID == "" || len(c.ID) > maxID || !isHostname(c.ID) {
		wrong("node id %q: want 1 to %d letters, digits, '.', '_' or '-'", c.ID, maxID)
	}
	if c.Meta.ID != c.ID {
		wrong("metadata is of node %q, not %q", c.Meta.ID, c.ID)
	}
	if c.Cluster == "" || len(c.Cluster) > maxClusterName {
		wrong("cluster name %q: want 1 to %d bytes", c.Cluster, maxClusterName)
	}
	if len(c.Key) != keySize {
		wrong("key of %d bytes: want %d", len(c.Key), keySize)
	}
	if !c.Bind.IsValid() || c.Bind.Port() == 0 {
		wrong("bind address %s: want an address and a port", c.Bind)
	}
	c.Bind, c.Advertise = unmap(c.Bind), unmap(c.Advertise)
	if err := checkReachable(c.Advertise); err != nil {
		wrong("advertised address %s: %w", c.Advertise, err)
	}
	var seeds []seed
	for _, text := range c.Join {
		s, err := parseSeed(text, c.Bind.Port())
		if err != nil {
			wrong("%w", err)
			continue
		}
		seeds = append(seeds, s)
	}
	var peers []netip.AddrPort
	for _, a := range c.Peers {
		// From disk, where an odd one is not worth refusing to start over.
		if checkReachable(unmap(a)) == nil {
			peers = append(peers, unmap(a))
		}
	}
	c.Peers = peers
	return seeds, errors.Join(errs...)
}

// memberlistConfig is memberlist's for a LAN with what redisd needs changed. DESIGN.md has the
// arithmetic.
func (g *Gossip) memberlistConfig() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = g.cfg.ID
	c.Label = "redisd/" + g.cfg.Cluster
	c.SecretKey = g.cfg.Key
	c.Transport = g.transport
	c.BindAddr, c.BindPort = g.cfg.Bind.Addr().String(), int(g.cfg.Bind.Port())
	c.AdvertiseAddr, c.AdvertisePort = g.cfg.Advertise.Addr().String(), int(g.cfg.Advertise.Port())
	c.Logger = log.New(memberlistWriter{
		journal:   g.journal,
		suspected: func(id string) { g.roster.suspected(id, time.Now()) },
		closing:   func() bool { return g.transport.ctx.Err() != nil },
		met: func(kind StrangerKind, host netip.Addr) {
			g.strangers.met(Stranger{Addr: host, Kind: kind}, time.Now())
		},
	}, "", 0)

	c.Delegate, c.Events, c.Ping = callbacks{g}, callbacks{g}, callbacks{g}
	c.Alive, c.Merge, c.Conflict = callbacks{g}, callbacks{g}, callbacks{g}

	// A dead node shows after 3.5 to 5 s on three nodes; a stall of up to 3 s is forgiven.
	c.ProbeInterval = 500 * time.Millisecond
	c.ProbeTimeout = 250 * time.Millisecond
	c.SuspicionMult = 6
	c.SuspicionMaxTimeoutMult = 2 // the dead, remembered for days, count as confirmations missing

	c.TCPTimeout = 2 * time.Second
	c.PushPullInterval = 15 * time.Second
	c.GossipInterval = 200 * time.Millisecond
	c.GossipNodes = 5
	c.RetransmitMult = 6
	c.UDPBufferSize = 1400
	c.EnableCompression = false // allocates 64 KiB for each packet, and saves nothing on 200 bytes

	// The dead and the left are kept so that a node that slept through their going cannot bring
	// them back.
	c.GossipToTheDeadTime = 72 * time.Hour
	// A known name at a new address: the old one must have been dead for so long. A node that left
	// may come back anywhere at once.
	c.DeadNodeReclaimTime = 10 * time.Second
	return c
}

// frame puts the kind before a payload.
func frame(k kind, payload []byte) []byte {
	return append(append(make([]byte, 0, 1+len(payload)), byte(k)), payload...)
}

// kind says what a message is for: memberlist carries them all alike.
type kind byte

// Unknown kinds are dropped: a newer node may send some.
const (
	kindPayload kind = iota // the agent's
	kindLeaving             // the sender's id: it goes on purpose
	kindAsk                 // question: who are you?
	kindAnswer              // answer: that instance
)
