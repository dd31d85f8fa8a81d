package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// key is one key of redisd.toml. The table of all keys is the one place that knows them: reading,
// checking, comparing and writing go through it.
type key struct {
	name    string // "redis.port"
	field   func(*Config) any
	allowed string            // what may stand there, to follow "must be"
	ok      func(Config) bool // nil: whatever has the type of the field
	env     string            // the variable that overrides it, "" if none
	effect  Effect
	why     string // of the effect, where it is not Live
}

var keys = []key{
	{
		name: "cluster.name", field: func(c *Config) any { return &c.Cluster.Name },
		allowed: allowedName, ok: func(c Config) bool { return isName(c.Cluster.Name) },
		effect: Refused, why: "the cluster's name is on the disk of every node, and in every Sentinel: a node with another one would be of another cluster",
	}, {
		name: "cluster.secret_file", field: func(c *Config) any { return &c.Cluster.SecretFile },
		allowed: allowedPath, ok: func(c Config) bool { return isPath(c.Cluster.SecretFile) },
		effect: RestartAgent, why: "the gossip key and all passwords derive from it",
	}, {
		name: "cluster.expect", field: func(c *Config) any { return &c.Cluster.Expect },
		allowed: "a number of nodes, 1 to 99", ok: func(c Config) bool { return within(c.Cluster.Expect, 1, 99) },
	}, {
		name: "cluster.voters", field: func(c *Config) any { return &c.Cluster.Voters },
		allowed: "1, 3, 5 or 7", ok: func(c Config) bool { n := c.Cluster.Voters; return within(n, 1, 7) && n%2 == 1 },
	}, {
		name: "cluster.replace_after", field: func(c *Config) any { return &c.Cluster.ReplaceAfter },
		allowed: allowedDuration + `, "10s" to "168h", or "0" for never`, ok: func(c Config) bool {
			d := c.Cluster.ReplaceAfter
			return d == 0 || between(d, minReplaceAfter, maxReplaceAfter)
		},
	}, {
		name: "cluster.join", field: func(c *Config) any { return &c.Cluster.Join },
		allowed: "a list of nodes", // its entries are checked one by one
	}, {
		name: "cluster.gossip_port", field: func(c *Config) any { return &c.Cluster.GossipPort },
		allowed: allowedPort, ok: func(c Config) bool { return isPort(c.Cluster.GossipPort) },
		effect: RestartAgent, why: "the agent listens on it from its start",
	}, {
		name: "cluster.reap_after", field: func(c *Config) any { return &c.Cluster.ReapAfter },
		allowed: allowedDuration + `, "1m" to "8760h"; "0s" is never`, ok: func(c Config) bool {
			return c.Cluster.ReapAfter == 0 || between(c.Cluster.ReapAfter, minReapAfter, maxReapAfter)
		},
	}, {
		name: "node.name", field: func(c *Config) any { return &c.Node.Name },
		allowed: allowedName + ", or none for the host's name", ok: func(c Config) bool { return c.Node.Name == "" || isName(c.Node.Name) },
		env: "REDISD_NODE_NAME", effect: RestartAgent, why: "the other nodes know this one by it",
	}, {
		name: "node.address", field: func(c *Config) any { return &c.Node.Address },
		allowed: "an IP address of this host, or none to have it detected", ok: func(c Config) bool { return !c.Node.Address.IsValid() || isHostAddress(c.Node.Address) },
		env: "REDISD_NODE_ADDRESS", effect: RestartAgent, why: "the other nodes know this one by it",
	}, {
		name: "node.interface", field: func(c *Config) any { return &c.Node.Interface },
		allowed: allowedInterface, ok: func(c Config) bool { return c.Node.Interface == "" || isInterface(c.Node.Interface) },
		env: "REDISD_NODE_INTERFACE", effect: RestartAgent, why: "the node's address is detected at its start",
	}, {
		name: "node.roles", field: func(c *Config) any { return &c.Node.Roles },
		allowed: `a list of "redis" and "sentinel", at least one, each once`, ok: func(c Config) bool { return areRoles(c.Node.Roles) },
		effect: RestartAgent, why: "it decides what the agent runs",
	}, {
		name: "node.zone", field: func(c *Config) any { return &c.Node.Zone },
		allowed: allowedName + ", or none", ok: func(c Config) bool { return c.Node.Zone == "" || isName(c.Node.Zone) },
		env: "REDISD_NODE_ZONE",
	}, {
		name: "node.priority", field: func(c *Config) any { return &c.Node.Priority },
		allowed: "0 (never primary), or 1 (first choice) to 1000", ok: func(c Config) bool { return within(c.Node.Priority, 0, 1000) },
		env: "REDISD_NODE_PRIORITY",
	}, {
		name: "node.state_dir", field: func(c *Config) any { return &c.Node.StateDir },
		allowed: allowedPath, ok: func(c Config) bool { return isPath(c.Node.StateDir) },
		env: "REDISD_NODE_STATE_DIR", effect: RestartAgent, why: "the data must be moved while nothing runs",
	}, {
		name: "node.run_dir", field: func(c *Config) any { return &c.Node.RunDir },
		allowed: allowedPath + " of at most 95 characters", ok: func(c Config) bool { return isPath(c.Node.RunDir) && len(c.Node.RunDir) <= maxRunDir },
		env: "REDISD_NODE_RUN_DIR", effect: RestartAgent, why: "the agent's socket is there",
	}, {
		name: "redis.port", field: func(c *Config) any { return &c.Redis.Port },
		allowed: allowedPort, ok: func(c Config) bool { return isPort(c.Redis.Port) },
		effect: RestartRedis, why: "the other nodes know this one's redis by it",
	}, {
		name: "redis.listen", field: func(c *Config) any { return &c.Redis.Listen },
		allowed: "a list of where to listen", // its entries are checked one by one
	}, {
		name: "redis.password_file", field: func(c *Config) any { return &c.Redis.PasswordFile },
		allowed: allowedPath + ", or none", ok: func(c Config) bool { return c.Redis.PasswordFile == "" || isPath(c.Redis.PasswordFile) },
	}, {
		name: "redis.users_file", field: func(c *Config) any { return &c.Redis.UsersFile },
		allowed: allowedPath + ", or none", ok: func(c Config) bool { return c.Redis.UsersFile == "" || isPath(c.Redis.UsersFile) },
	}, {
		name: "redis.binary", field: func(c *Config) any { return &c.Redis.Binary },
		allowed: allowedBinary, ok: func(c Config) bool { return isBinary(c.Redis.Binary) },
		effect: RestartRedis, why: "it is another program",
	}, {
		name: "redis.maxmemory", field: func(c *Config) any { return &c.Redis.MaxMemory },
		allowed: `an amount such as "512mb" or "2gb", at least "1mb"; "0" is no limit`, ok: func(c Config) bool { return isMemory(c.Redis.MaxMemory) },
	}, {
		name: "redis.min_replicas_to_write", field: func(c *Config) any { return &c.Redis.MinReplicasToWrite },
		allowed: "a number of replicas, 0 to 99, or the key left out to have it follow the cluster's size",
		ok:      func(c Config) bool { n := c.Redis.MinReplicasToWrite; return n == nil || within(*n, 0, 99) },
	}, {
		name: "redis.max_lag_on_failover", field: func(c *Config) any { return &c.Redis.MaxLagOnFailover },
		allowed: `an amount such as "64kb" or "1mb", at least "1"; "" is no limit`,
		ok:      func(c Config) bool { return c.Redis.MaxLagOnFailover == "" || c.Redis.FailoverLag() > 0 },
	}, {
		name: "sentinel.port", field: func(c *Config) any { return &c.Sentinel.Port },
		allowed: allowedPort, ok: func(c Config) bool { return isPort(c.Sentinel.Port) },
		effect: RestartSentinel, why: "clients and the other sentinels know this one by it",
	}, {
		name: "sentinel.listen", field: func(c *Config) any { return &c.Sentinel.Listen },
		allowed: "a list of where to listen", effect: RestartSentinel, why: "redis-sentinel reads it only when it starts",
	}, {
		name: "sentinel.binary", field: func(c *Config) any { return &c.Sentinel.Binary },
		allowed: allowedBinary, ok: func(c Config) bool { return isBinary(c.Sentinel.Binary) },
		effect: RestartSentinel, why: "it is another program",
	}, {
		name: "sentinel.down_after", field: func(c *Config) any { return &c.Sentinel.DownAfter },
		allowed: allowedDuration + `, "1.5s" to "10m"`, ok: func(c Config) bool { return between(c.Sentinel.DownAfter, minDownAfter, maxDownAfter) },
	}, {
		name: "sentinel.failover_timeout", field: func(c *Config) any { return &c.Sentinel.FailoverTimeout },
		allowed: allowedDuration + `, "5s" to "1h"`, ok: func(c Config) bool {
			return between(c.Sentinel.FailoverTimeout, minFailoverTimeout, maxFailoverTimeout)
		},
	},
}

// vipKey is one key of a [[vip]].
type vipKey struct {
	name    string
	field   func(*VIP) any
	allowed string
	ok      func(VIP) bool
}

var vipKeys = []vipKey{
	{"address", func(v *VIP) any { return &v.Address }, `a host's address with its network's prefix length, such as "10.0.0.100/24"`, func(v VIP) bool { return isVIP(v.Address) }},
	{"role", func(v *VIP) any { return &v.Role }, `"primary" or "replica"`, func(v VIP) bool { return v.Role == RolePrimary || v.Role == RoleReplica }},
	{"interface", func(v *VIP) any { return &v.Interface }, allowedInterface, func(v VIP) bool { return v.Interface == "" || isInterface(v.Interface) }},
}

const directivesKey = "redis.directives"

// sections are the tables of redisd.toml, in their order.
var sections = []string{"cluster", "node", "redis", "sentinel", "vip"}

// keysOf returns the names that a section has.
func keysOf(section string) map[string]bool {
	names := map[string]bool{}
	for _, k := range keys {
		if in, name, _ := strings.Cut(k.name, "."); in == section {
			names[name] = true
		}
	}
	if section == "redis" {
		names["directives"] = true
	}
	return names
}

// assign puts a value of TOML into a field; it reports false if that has another type.
func assign(field, v any) bool {
	switch f := field.(type) {
	case *string:
		s, ok := v.(string)
		return ok && put(f, s)
	case *int:
		n, ok := v.(int64)
		return ok && int64(int(n)) == n && put(f, int(n))
	case **int:
		n, ok := v.(int64)
		i := int(n)
		return ok && int64(i) == n && put(f, &i)
	case *[]string:
		list, ok := v.([]any)
		if !ok {
			return false
		}
		all := make([]string, len(list))
		for i, one := range list {
			if all[i], ok = one.(string); !ok {
				return false
			}
		}
		return put(f, all)
	}
	return assignText(field, v)
}

// assignText is assign for the types that have a text form.
func assignText(field, v any) bool {
	s, ok := v.(string)
	if !ok {
		return false
	}
	switch f := field.(type) {
	case *Duration:
		return f.UnmarshalText([]byte(s)) == nil
	case *netip.Addr:
		if s == "" {
			return put(f, netip.Addr{})
		}
		a, err := netip.ParseAddr(s)
		return err == nil && put(f, a.Unmap())
	case *netip.Prefix:
		p, err := netip.ParsePrefix(s)
		return err == nil && put(f, p)
	}
	return false
}

func put[T any](field *T, v T) bool {
	*field = v
	return true
}

// literal writes the value of a field as TOML does; "" if it has none.
func literal(field any) string {
	switch f := field.(type) {
	case *string:
		return quoted(*f)
	case *int:
		return strconv.Itoa(*f)
	case **int:
		if *f == nil {
			return ""
		}
		return strconv.Itoa(**f)
	case *[]string:
		all := make([]string, len(*f))
		for i, s := range *f {
			all[i] = quoted(s)
		}
		return "[" + strings.Join(all, ", ") + "]"
	case *Duration:
		return quoted(f.String())
	case *netip.Addr:
		if !f.IsValid() {
			return quoted("")
		}
		return quoted(f.String())
	case *netip.Prefix:
		if !f.IsValid() {
			return quoted("")
		}
		return quoted(f.String())
	}
	panic(fmt.Sprintf("config: no literal for %T", field))
}

// quoted writes a basic string of TOML.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// TOML writes the configuration as a redisd.toml with every key that has a value, after defaults,
// environment and detection.
func (c Config) TOML() []byte {
	var b strings.Builder
	section := ""
	for _, k := range keys {
		in, name, _ := strings.Cut(k.name, ".")
		if in != section {
			if section == "redis" {
				c.writeDirectives(&b)
			}
			fmt.Fprintf(&b, "[%s]\n", in)
			section = in
		}
		if v := literal(k.field(&c)); v != "" {
			fmt.Fprintf(&b, "%s = %s\n", name, v)
		}
	}
	for _, v := range c.VIPs {
		b.WriteString("[[vip]]\n")
		for _, k := range vipKeys {
			fmt.Fprintf(&b, "%s = %s\n", k.name, literal(k.field(&v)))
		}
	}
	return []byte(b.String())
}

func (c Config) writeDirectives(b *strings.Builder) {
	if len(c.Redis.Directives) == 0 {
		return
	}
	b.WriteString("[" + directivesKey + "]\n")
	for _, name := range directiveNames(c, Config{}) {
		value := quoted(c.Redis.Directives[name])
		if lines := strings.Split(c.Redis.Directives[name], "\n"); len(lines) > 1 {
			value = literal(&lines)
		}
		fmt.Fprintf(b, "%s = %s\n", quoted(name), value)
	}
}

// directiveNames are the directives that one of two configurations sets, in order.
func directiveNames(a, b Config) []string {
	var names []string
	for _, c := range []Config{a, b} {
		for name := range c.Redis.Directives {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
