package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redisd/redisd/internal/directive"
)

const (
	allowedName      = "a name of at most 63 letters, digits, dots, dashes and underscores" // what Sentinel takes
	allowedPath      = "an absolute path"
	allowedPort      = "a port, 1 to 65535"
	allowedInterface = "the name of a network interface, or none to have it detected"
	allowedBinary    = "an absolute path, or the name of a program"
	allowedDuration  = "a time with its unit"
)

const (
	minReapAfter = Duration(time.Minute) // a reboot takes less
	maxReapAfter = Duration(365 * 24 * time.Hour)
	// Below this a lost connection alone looks like a dead primary: Sentinel tries to connect again
	// only once a second.
	minDownAfter       = Duration(1500 * time.Millisecond)
	maxDownAfter       = Duration(10 * time.Minute)
	minFailoverTimeout = Duration(5 * time.Second)
	maxFailoverTimeout = Duration(time.Hour)

	// An agent that is replaced by systemd, or by a new version, is back sooner.
	minReplaceAfter = Duration(10 * time.Second)
	maxReplaceAfter = Duration(7 * 24 * time.Hour)

	// maxRunDir leaves room for "/redisd.sock" in the 107 bytes of a socket's path (unix(7)).
	maxRunDir = 95
)

var (
	namePattern      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)
	directivePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`)
	memoryPattern    = regexp.MustCompile(`^([0-9]{1,12})(|b|k|kb|m|mb|g|gb)$`)
	hostPattern      = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)
)

// Validate reports every mistake in the configuration, joined; each is a *Mistake. Load has done it
// already; it is for a Config that was put together in code.
func (c Config) Validate() error {
	m := &mistakes{source: c.source}
	c.validate(m)
	return m.err()
}

func (c Config) validate(m *mistakes) {
	for _, k := range keys {
		if k.ok != nil && !k.ok(c) {
			m.add(k.name, "invalid value %s: must be %s", literal(k.field(&c)), k.allowed)
		}
	}
	c.validatePorts(m)
	c.validateJoin(m)
	validateListen(m, "redis.listen", c.Redis.Listen)
	validateListen(m, "sentinel.listen", c.Sentinel.Listen)
	c.validateDirectives(m)
	c.validateVIPs(m)
	if c.Sentinel.FailoverTimeout <= c.Sentinel.DownAfter {
		m.add("sentinel.failover_timeout", "invalid value %q: must be more than sentinel.down_after, which is %q", c.Sentinel.FailoverTimeout, c.Sentinel.DownAfter)
	}
}

// validatePorts blames the key that the file sets, rather than one that has its default.
func (c Config) validatePorts(m *mistakes) {
	ports := []struct {
		key  string
		port int
	}{{"redis.port", c.Redis.Port}, {"sentinel.port", c.Sentinel.Port}, {"cluster.gossip_port", c.Cluster.GossipPort}}
	for i, a := range ports {
		for _, b := range ports[i+1:] {
			if a.port != b.port {
				continue
			}
			if _, set := m.lines[b.key]; set {
				a, b = b, a
			}
			m.add(a.key, "invalid value %d: must not be that of %s", a.port, b.key)
		}
	}
}

func (c Config) validateJoin(m *mistakes) {
	for i, entry := range c.Cluster.Join {
		key := fmt.Sprintf("cluster.join[%d]", i)
		switch {
		case !isJoin(entry):
			m.add(key, `invalid value %q: must be an address or a name, each with or without a port ("10.0.0.1", "db1.example.com:7946", "[2001:db8::1]:7946"), or a service record ("srv:_redisd._tcp.example.com")`, entry)
		case slices.Index(c.Cluster.Join, entry) < i:
			m.add(key, "invalid value %q: must be listed once", entry)
		}
	}
}

func validateListen(m *mistakes, key string, list []string) {
	for i, entry := range list {
		key := index(key, i)
		switch {
		case !isListen(entry):
			m.add(key, "invalid value %q: must be %s", entry, allowedListen)
		case slices.Index(list, entry) < i:
			m.add(key, "invalid value %q: must be listed once", entry)
		}
	}
}

func (c Config) validateDirectives(m *mistakes) {
	for _, name := range directiveNames(c, Config{}) {
		key := directivesKey + "." + name
		if problem := directiveProblem(name); problem != "" {
			m.add(key, "%s", problem)
			continue
		}
		if err := directive.CheckValue(c.Redis.Directives[name]); err != nil {
			m.add(key, "invalid value %q: must be what can follow it on a line of redis.conf, but %v", c.Redis.Directives[name], err)
		}
	}
	if _, twice := c.Redis.Directives["maxmemory"]; twice && c.Redis.MaxMemory != "" {
		m.add(directivesKey+".maxmemory", "it is set as redis.maxmemory, too; keep one of them")
	}
}

// directiveProblem says why a directive cannot be set, "" if it can.
func directiveProblem(name string) string {
	if reason, owned := directive.Owned(name); owned {
		return "redisd sets this directive itself: " + reason
	}
	if !directivePattern.MatchString(name) {
		return "this cannot be the name of a directive of redis.conf"
	}
	// Only what is a slip or two away from a known name is refused: others may be of a release to
	// come. Whether this redis-server has them, it says itself.
	if !directive.Known(name) && !strings.Contains(name, ".") {
		if n := nearest(name, directive.Names(), min(len(name)/4, 2)); n != "" {
			return fmt.Sprintf("redis.conf has no such directive; did you mean %q?", n)
		}
	}
	return ""
}

func (c Config) validateVIPs(m *mistakes) {
	seen := map[netip.Addr]bool{}
	for i, v := range c.VIPs {
		prefix := fmt.Sprintf("vip[%d].", i)
		for _, k := range vipKeys {
			if !k.ok(v) {
				m.add(prefix+k.name, "invalid value %s: must be %s", literal(k.field(&v)), k.allowed)
			}
		}
		if !v.Address.IsValid() {
			continue
		}
		switch a := v.Address.Addr(); {
		case seen[a]:
			m.add(prefix+"address", "invalid value %s: must differ from that of another [[vip]]", a)
		case a == c.Node.Address:
			m.add(prefix+"address", "invalid value %s: must not be node.address, since a VIP is an address that no host has by itself", a)
		default:
			seen[a] = true
		}
	}
}

func isName(s string) bool { return namePattern.MatchString(s) }

func isPath(s string) bool {
	return filepath.IsAbs(s) && filepath.Clean(s) == s && !strings.ContainsAny(s, "\x00\n\r")
}

func isPort(n int) bool { return within(n, 1, 65535) }

func within(n, low, high int) bool { return low <= n && n <= high }

// between wants whole milliseconds as well: Sentinel counts in them.
func between(d, low, high Duration) bool {
	return low <= d && d <= high && time.Duration(d)%time.Millisecond == 0
}

func isBinary(s string) bool {
	if strings.Contains(s, "/") {
		return isPath(s)
	}
	return isName(s)
}

// isInterface knows the kernel's rules (dev_valid_name): at most 15 bytes, no slash, no colon, no
// white space, not a dot or two.
func isInterface(s string) bool {
	return s != "" && len(s) <= 15 && s != "." && s != ".." &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r == 0x7f })
}

func isHostAddress(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && a.Zone() == "" &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// isVIP wants a host's address, not that of the network or its broadcast, and a prefix that says in
// which network it is.
func isVIP(p netip.Prefix) bool {
	a := p.Addr()
	if !p.IsValid() || !isHostAddress(a) || a.IsLoopback() || a.Is4In6() || p.Bits() == 0 {
		return false
	}
	if !a.Is4() || p.Bits() > 30 {
		return true
	}
	b := a.As4()
	host := (uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])) << p.Bits() >> p.Bits()
	return host != 0 && host != 1<<(32-p.Bits())-1
}

func areRoles(roles []string) bool {
	for i, r := range roles {
		if r != RoleRedis && r != RoleSentinel || slices.Index(roles, r) < i {
			return false
		}
	}
	return len(roles) > 0
}

// isMemory accepts no limit, and what is too much to be a mistake for one.
func isMemory(s string) bool {
	n, ok := parseMemory(s)
	return s == "" || ok && (n == 0 || n >= 1e6)
}

// parseMemory knows redis-server's units (util.c, memtoull).
func parseMemory(s string) (bytes int64, ok bool) {
	parts := memoryPattern.FindStringSubmatch(strings.ToLower(s))
	if parts == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	unit := map[string]int64{"": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1e6, "mb": 1 << 20, "g": 1e9, "gb": 1 << 30}[parts[2]]
	if err != nil || n > 1<<62/unit {
		return 0, false
	}
	return n * unit, true
}

// isJoin accepts "host", "host:port", "[v6]:port", a bare IPv6 address, "srv:name".
func isJoin(s string) bool {
	if name, ok := strings.CutPrefix(s, "srv:"); ok {
		return hostPattern.MatchString(name)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return isHostAddress(a)
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return isHostAddress(a.Addr()) && a.Port() != 0
	}
	host, port, hasPort := strings.Cut(s, ":")
	if n, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || n == 0) {
		return false
	}
	looksLikeAddress := strings.Trim(host, "0123456789.") == "" // one that did not parse
	return len(host) <= 253 && hostPattern.MatchString(host) && !looksLikeAddress
}
