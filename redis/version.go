package redis

import "strings"

// Program is the version of what runs, for people and for Release: "8.0.2", or "valkey 8.1.1".
func (i Info) Program() string {
	if i.Valkey != "" {
		return valkeyName + i.Valkey
	}
	return i.Version
}

const (
	valkeyName = "valkey "
	// valkeySince is the Redis that all versions of Valkey began as, and say they are compatible
	// with.
	valkeySince = "7.2"
)

// Release puts versions, in the form of Program, in an order: what a later one writes, an earlier
// one may not be able to read, so it may not be able to follow it. Versions that differ only in
// corrections are of one release. It is 0 for what is no version.
func Release(version string) int {
	valkey, is := strings.CutPrefix(version, valkeyName)
	if is {
		own := minor(valkey)
		if own == 0 {
			return 0
		}
		return minor(valkeySince)*releases + own
	}
	return minor(version) * releases
}

// releases of Valkey have room between two of Redis.
const releases = 1_000_000

// minor is 8002 for "8.2.1", 0 for what is no version.
func minor(version string) int {
	major, rest, ok := strings.Cut(version, ".")
	if !ok {
		return 0
	}
	second, _, _ := strings.Cut(rest, ".")
	m, n := integer(major), integer(second)
	if m <= 0 || m >= 1000 || n < 0 || n >= 1000 {
		return 0
	}
	return int(m*1000 + n)
}

// Oldest is the first version of Redis that redisd runs: the first with bind-source-addr, without
// which a primary would speak to its replicas from the VIP, with an append-only file in a
// directory, and with CONFIG SET of several directives at once.
const Oldest = "7.0"

// TooOld reports whether redisd cannot run that version. Valkey began as Redis 7.2.
func TooOld(version string) bool {
	r := Release(version)
	return r > 0 && r < Release(Oldest)
}

// BinaryVersion reads what a program says when it is run with --version: "Redis server v=7.0.15
// sha=…", "Valkey server v=8.1.1 sha=…". It is empty when that is not in it.
func BinaryVersion(output string) string {
	name, rest, ok := strings.Cut(output, " v=")
	if !ok {
		return ""
	}
	version, _, _ := strings.Cut(rest, " ")
	version = strings.TrimSpace(version)
	if strings.Contains(strings.ToLower(name), "valkey") {
		version = valkeyName + version
	}
	if Release(version) == 0 {
		return ""
	}
	return version
}
