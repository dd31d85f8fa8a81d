package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/redisd/redisd/internal/directive"
)

// Effect is what it takes for a change of the configuration to have effect.
type Effect int

// Effects, the milder ones first.
const (
	Live            Effect = iota // the running agent applies it
	RestartSentinel               // redis-sentinel of this node has to start anew
	RestartRedis                  // redis-server of this node has to start anew
	RestartAgent                  // the agent has to start anew; redis-server may go on
	Refused                       // not possible for a node that has been in a cluster
)

func (e Effect) String() string {
	switch e {
	case Live:
		return "live"
	case RestartSentinel:
		return "restart redis-sentinel"
	case RestartRedis:
		return "restart redis-server"
	case RestartAgent:
		return "restart the agent"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("Effect(%d)", int(e))
}

// Change is one difference between two configurations.
type Change struct {
	Key      string // "redis.port", "redis.directives.hz", "vip 10.0.0.100"
	Old, New string // as in TOML; "" where it is not set
	Effect   Effect
	Why      string // it is not Live; "" if it is
}

func (c Change) String() string {
	was, is := c.Old, c.New
	if was == "" {
		was = "(not set)"
	}
	if is == "" {
		is = "(not set)"
	}
	s := fmt.Sprintf("%s: %s → %s: %s", c.Key, was, is, c.Effect)
	if c.Why != "" {
		s += ": " + c.Why
	}
	return s
}

// Changes lists what differs between the configuration that runs and a new one, in the order of the
// file. If nothing differs it returns nil. Where a key is given, and how it is spelled, is no
// difference. Compare two configurations that Resolve has filled in, or two that it has not.
func Changes(old, next Config) []Change {
	var changes []Change
	for _, k := range keys {
		a, b := literal(k.field(&old)), literal(k.field(&next))
		if a != b {
			changes = append(changes, Change{Key: k.name, Old: a, New: b, Effect: k.effect, Why: k.why})
		}
	}
	for _, name := range directiveNames(old, next) {
		if c, differs := directiveChange(name, old, next); differs {
			changes = append(changes, c)
		}
	}
	return append(changes, vipChanges(old.VIPs, next.VIPs)...)
}

func directiveChange(name string, old, next Config) (Change, bool) {
	a, wasSet := old.Redis.Directives[name]
	b, isSet := next.Redis.Directives[name]
	if wasSet == isSet && a == b {
		return Change{}, false
	}
	c := Change{Key: directivesKey + "." + name}
	if wasSet {
		c.Old = quoted(a)
	}
	if isSet {
		c.New = quoted(b)
	}
	_, hasDefault := directive.Default(name)
	switch {
	case !directive.Live(name):
		c.Effect, c.Why = RestartRedis, "redis-server reads this directive only when it starts"
	case !isSet && !hasDefault:
		c.Effect, c.Why = RestartRedis, "redis-server goes back to its own default only when it starts"
	}
	return c, true
}

// vipChanges are all live: the agent holds and drops addresses as a matter of course.
func vipChanges(old, next []VIP) []Change {
	var changes []Change
	find := func(in []VIP, a netip.Addr) string {
		i := slices.IndexFunc(in, func(v VIP) bool { return v.Address.Addr() == a })
		if i < 0 {
			return ""
		}
		return fmt.Sprintf("%s, role %s, interface %q", in[i].Address, in[i].Role, in[i].Interface)
	}
	seen := map[netip.Addr]bool{}
	for _, v := range slices.Concat(old, next) {
		a := v.Address.Addr()
		if was, is := find(old, a), find(next, a); !seen[a] && was != is {
			changes = append(changes, Change{Key: "vip " + a.String(), Old: was, New: is})
		}
		seen[a] = true
	}
	return changes
}

// Worst returns what it takes for all of the changes to have effect.
func Worst(changes []Change) Effect {
	worst := Live
	for _, c := range changes {
		worst = max(worst, c.Effect)
	}
	return worst
}
