package agent

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
)

// newer reports whether version a is known to be of a later release than b.
func newer(a, b string) bool {
	ra, rb := redis.Release(a), redis.Release(b)
	return rb > 0 && ra > rb
}

// program names a version as people do: "Redis 8.0.2", "Valkey 8.1.1".
func program(version string) string {
	if valkey, is := strings.CutPrefix(version, "valkey "); is {
		return "Valkey " + valkey
	}
	return "Redis " + cmp.Or(version, "of an unknown version")
}

// older are the nodes whose redis-server is older than that of the target of a switchover, so that
// they may not be able to follow it: this node's own, which is about to be a replica, and those of
// the other replicas.
func older(o reconcile.Observed, target reconcile.Member) (self bool, others []reconcile.Member) {
	for _, m := range o.Members {
		switch {
		case m.ID == target.ID || !m.Alive || m.Redis == "" || m.Release == 0 || m.Release >= target.Release:
		case m.ID == o.Self:
			self = true
		default:
			others = append(others, m)
		}
	}
	return self, others
}

// checkVersions refuses a switchover after which replicas may be unable to follow. They go on with
// the stream, and come to grief with the first full copy: after a restart, or a long cut. Of an
// upgrade the last step remains allowed: when the old primary alone is old, it is next to be
// upgraded; note says so.
func (c *coordinator) checkVersions(o reconcile.Observed, target reconcile.Member, allowed bool) (note string, err error) {
	self, others := older(o, target)
	if len(others) > 0 && !allowed {
		var names []string
		for _, m := range others {
			names = append(names, m.Name+" ("+program(c.versionOf(m.ID))+")")
		}
		return "", fmt.Errorf("%s has %s, which older nodes may be unable to follow: %s; upgrade them first (replicas before the primary), or move it all the same with --allow-version-skew: whichever of them needs a full copy is then out of sync until it is upgraded",
			target.Name, program(c.versionOf(target.ID)), strings.Join(names, ", "))
	}
	if self {
		note = fmt.Sprintf("; %s has %s, %s a newer one: %s may be unable to follow until it is upgraded", c.name(), program(c.versionOf(c.self)), target.Name, c.name())
	}
	return note, nil
}

// versionOf is the version of a node's redis-server.
func (s *site) versionOf(id string) string {
	m, _ := s.member(id)
	return m.RedisVersion
}

// VersionWarnings say which nodes may be unable to follow others for the age of their redis-server.
func (s Status) VersionWarnings() []string {
	var out []string
	var primary *NodeStatus
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Lease && n.Role == "primary" {
			primary = n
		}
	}
	if primary == nil {
		return nil
	}
	for _, n := range s.Nodes {
		switch own := n.Versions.Redis; {
		case newer(primary.Versions.Redis, own):
			out = append(out, fmt.Sprintf("%s has %s and the primary %s a newer %s, whose copies it may be unable to read: upgrade %s, and stop and start redisd there", n.Name, program(own), primary.Name, program(primary.Versions.Redis), n.Name))
		case newer(own, primary.Versions.Redis):
			out = append(out, fmt.Sprintf("%s has %s, newer than the %s of the primary %s: once it is the primary itself, older nodes may be unable to follow; finish the upgrade of all nodes, the primary last", n.Name, program(own), program(primary.Versions.Redis), primary.Name))
		}
	}
	return out
}
