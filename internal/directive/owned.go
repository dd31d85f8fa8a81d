package directive

import "strings"

// Owned reports whether redisd sets the directive itself, so that nobody else may; reason says, for
// an operator, why that is and what to do instead.
func Owned(directive string) (reason string, owned bool) {
	name := Canonical(directive)
	if reason, owned := ownedDirectives[name]; owned {
		return reason, true
	}
	switch {
	case strings.HasPrefix(name, "tls-"):
		return "redisd does not set up TLS yet: a cluster with half of its links encrypted would not fail over; use an encrypted network (WireGuard, IPsec) between the hosts", true
	case strings.HasPrefix(name, "cluster-"):
		return "redisd runs a primary with replicas, not Redis Cluster", true
	}
	return "", false
}

const (
	ownedByAddress = "redisd announces this node under its own address: set address in [node]"
	ownedByChild   = "redisd runs redis-server as its own child process and watches it itself"
	ownedBySecret  = "replicas log in with a password derived from the cluster's secret: set secret_file in [cluster]"
	ownedByUsers   = "redisd writes the users that it needs: name your own in a file, and that as users_file in [redis]"
	ownedByStop    = "redisd stops redis-server, and hands the primary role over before it does"
)

var ownedDirectives = map[string]string{
	"port":                  "the other nodes must know it: set port in [redis]",
	"bind":                  "set listen in [redis]: the VIP comes and goes, and redisd has redis-server listen on it in time",
	"bind-source-addr":      ownedByAddress,
	"replica-announce-ip":   ownedByAddress,
	"replica-announce-port": "redisd announces the port it listens on: set port in [redis]",
	"replica-announced":     "a replica hidden from Sentinel would be promoted all the same",
	"dir":                   "it is the folder redis in redisd's state directory: set state_dir in [node]",
	"aclfile":               ownedByUsers,
	"user":                  ownedByUsers,
	"requirepass":           "it has no effect beside ACL users: set password_file in [redis]",
	"protected-mode":        "every user has a password, so it would only lock out the other nodes",
	"daemonize":             ownedByChild,
	"supervised":            ownedByChild,
	"pidfile":               ownedByChild,
	"logfile":               "redisd collects what redis-server prints, in the folder supervisor of its state directory",
	"shutdown-on-sigterm":   ownedByStop,
	"shutdown-on-sigint":    ownedByStop,
	"replicaof":             "redisd decides which node is the primary: use `redisd switchover`",
	"masteruser":            ownedBySecret,
	"masterauth":            ownedBySecret,
	"primaryuser":           ownedBySecret,
	"primaryauth":           ownedBySecret,
	"replica-priority":      "it is 0 everywhere, since Sentinel is to promote nobody: set priority in [node]",
	"replica-read-only":     "a write on a replica would be lost, or break the copy",
	"min-replicas-to-write": "redisd fences a node with it: set min_replicas_to_write in [redis]",
	"min-replicas-max-lag":  "redisd bounds with it what an isolated primary can still accept",
	"rename-command":        "Sentinel and redisd need the commands under their own names; take them away from users with ACL SETUSER",
	"include":               "redisd could not check what the other file says: write the directives here",
	"sentinel":              "it belongs to redis-sentinel: see [sentinel]",
}
