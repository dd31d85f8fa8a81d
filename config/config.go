// Package config is redisd.toml: its shape, its defaults, its check, and what a change of it means
// for a node that runs.
//
// It reads one file and the environment variables that override a node's own keys, and reports all
// mistakes at once, each with its line, the invalid value and what it must be; and the files of
// other clusters on the same host, to compare them. It never writes a file, asks the network or
// looks at the host: facts about the host are passed in. The agent and the commands call it.
//
// The manual of every key is the file that the package installs, packaging/deb/redisd.toml; a test
// holds it to this package.
package config

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/redisd/redisd/internal/directive"
)

// Config is a whole redisd.toml, defaults filled in.
type Config struct {
	Cluster  Cluster
	Node     Node
	Redis    Redis
	Sentinel Sentinel
	VIPs     []VIP

	source source
}

// Cluster is what all nodes have in common: [cluster].
type Cluster struct {
	Name       string
	SecretFile string
	Expect     int // members to see before the first primary is ever chosen
	Voters     int // at most so many members vote
	// ReplaceAfter is how long a voter is away before another votes in its place; 0: for ever.
	ReplaceAfter Duration
	Join         []string // "host", "host:port" or "srv:name"; empty: look on the local network
	GossipPort   int
	ReapAfter    Duration // how long a member may be gone before it is forgotten; 0: for ever
}

// Node is what is this node's own: [node].
type Node struct {
	Name      string     // "" until Resolve
	Address   netip.Addr // zero until Resolve
	Interface string     // "": any
	Roles     []string   // of RoleRedis, RoleSentinel
	Zone      string     // what fails together; "": not said
	Priority  int        // the lowest number becomes primary first, 0 never
	StateDir  string
	RunDir    string
}

// Roles that a node can have.
const (
	RoleRedis    = "redis"
	RoleSentinel = "sentinel"
)

// Redis is [redis].
type Redis struct {
	Port               int
	Listen             []string // see RedisListens
	PasswordFile       string   // "": the clients' password is derived from the secret
	UsersFile          string   // "": no users but redisd's own
	Binary             string
	MaxMemory          string // "": not set
	MinReplicasToWrite *int   // nil: automatic
	MaxLagOnFailover   string // "": no limit

	// Directives of redis.conf by their canonical name. A value is what follows the name on its
	// line; a directive with several lines has a \n between them.
	Directives map[string]string
}

// Sentinel is [sentinel].
type Sentinel struct {
	Port            int
	Listen          []string // see SentinelListens
	Binary          string
	DownAfter       Duration
	FailoverTimeout Duration
}

// FailoverLag is MaxLagOnFailover in bytes; 0: no limit.
func (r Redis) FailoverLag() int64 {
	n, _ := parseMemory(r.MaxLagOnFailover)
	return n
}

// VIP is one [[vip]].
type VIP struct {
	Address   netip.Prefix // the address itself, with the length of its network's prefix
	Role      string       // RolePrimary or RoleReplica
	Interface string       // "": the one that has an address in the same network
}

// Roles of the node that a VIP is on.
const (
	RolePrimary = "primary"
	RoleReplica = "replica"
)

// Duration is a time.Duration that is written with its unit: "3s", "500ms".
type Duration time.Duration

// String writes it as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("parse a duration: %w", err)
	}
	*d = Duration(v)
	return nil
}

// Default returns the configuration of a node whose redisd.toml is empty.
func Default() Config {
	return Config{
		Cluster: Cluster{
			Name:       "redisd",
			SecretFile: "/etc/redisd/secret",
			Expect:     3,
			Voters:     5, // two can be lost, and a renewal of the lease is small
			// Longer than an upgrade or a restart takes.
			ReplaceAfter: Duration(time.Minute),
			GossipPort:   7946, // memberlist's own
		},
		Node: Node{
			Roles:    []string{RoleRedis, RoleSentinel},
			Priority: 100, // Redis' replica-priority
			StateDir: "/var/lib/redisd",
			RunDir:   "/run/redisd",
		},
		Redis: Redis{
			Port:       6379,
			Binary:     "redis-server",
			Directives: map[string]string{},
		},
		Sentinel: Sentinel{
			Port:   26379,
			Binary: "redis-sentinel",
			// The agents are quicker; this is for when they cannot act. From 3 s on a Sentinel that
			// was stalled itself does not lock up the failover.
			DownAfter: Duration(3 * time.Second),
			// Also what a failed attempt costs, twice, before the next one.
			FailoverTimeout: Duration(15 * time.Second),
		},
	}
}

// HasRole reports whether the node runs redis-server, or redis-sentinel.
func (c Config) HasRole(role string) bool {
	for _, r := range c.Node.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// source knows where each value came from.
type source struct {
	instance string // "": the file is not in Dir
	file     string
	at       map[string]string // key: "file:line" or an environment variable
}

// Where says where a key got its value: "FILE:LINE", the environment variable, or "default". A key
// is written as "redis.port", "vip[0].address" or "redis.directives.save".
func (c Config) Where(key string) string {
	if at, ok := c.source.at[key]; ok {
		return at
	}
	return "default"
}

// DirectiveKey returns the key that sets a directive of redis.conf.
func (c Config) DirectiveKey(name string) string {
	name = directive.Canonical(name)
	if _, set := c.Redis.Directives[name]; name == "maxmemory" && !set {
		return "redis.maxmemory"
	}
	return directivesKey + "." + name
}

// DirectiveMistake is the mistake that redis-server found in the value of a directive, said about
// the line of redisd.toml where it is set.
func (c Config) DirectiveMistake(name, problem string) *Mistake {
	key := c.DirectiveKey(name)
	return &Mistake{Where: c.Where(key), Key: key, Problem: problem}
}
