package redis

import (
	"net/netip"
	"strings"
	"time"
)

// PrimaryView is what one Sentinel holds of a primary.
type PrimaryView struct {
	// Addr is what it tells clients: the new primary as soon as its promotion was seen. RecordAddr
	// is the address of its record, which the Sentinel that leads a failover changes only at the
	// end, after the replicas.
	Addr, RecordAddr netip.AddrPort
	RunID            string
	Flags            Flags
	FailoverState    string // "" when in none
	ConfigEpoch      int64
	// Quorum as configured, and how many other Sentinels and replicas are known, gone ones
	// included.
	Quorum, OtherSentinels, Replicas int
	DownAfter, FailoverTimeout       time.Duration
	InfoAge                          time.Duration // since its last INFO
	RoleReported                     Role          // in that INFO
}

// ReplicaView is what one Sentinel holds of a replica.
type ReplicaView struct {
	Addr         netip.AddrPort
	RunID        string // "" until it first answered INFO
	Flags        Flags
	Priority     int   // of its last INFO as a replica, 100 before; 0 is never promoted
	Offset       int64 // of its last INFO as a replica
	LinkUp       bool  // to PrimaryAddr
	LinkDownFor  time.Duration
	PrimaryAddr  netip.AddrPort
	RoleReported Role          // in its last INFO: Primary may be one that was promoted ahead of Sentinel
	InfoAge      time.Duration // since its last INFO
	PongAge      time.Duration // since its last valid answer to PING
}

// SentinelView is what one Sentinel holds of another.
type SentinelView struct {
	Addr     netip.AddrPort
	RunID    string // its MyID
	Flags    Flags
	HelloAge time.Duration // since its last announcement
}

// Flags are a Sentinel's of an instance.
type Flags struct {
	SDown              bool // subjectively down: this Sentinel thinks so
	ODown              bool // objectively down: a quorum does
	Disconnected       bool
	FailoverInProgress bool // of a primary
	Promoted           bool // of a replica: chosen in the failover in progress
}

func parseFlags(list string) Flags {
	var f Flags
	for flag := range strings.SplitSeq(list, ",") {
		switch flag {
		case "s_down":
			f.SDown = true
		case "o_down":
			f.ODown = true
		case "disconnected":
			f.Disconnected = true
		case "failover_in_progress":
			f.FailoverInProgress = true
		case "promoted":
			f.Promoted = true
		}
	}
	return f
}

// parsePrimary reads an entry of SENTINEL MASTER; Addr is not in it.
func parsePrimary(m map[string]string) PrimaryView {
	return PrimaryView{
		RecordAddr:      addrPort(m["ip"], m["port"]),
		RunID:           m["runid"],
		Flags:           parseFlags(m["flags"]),
		FailoverState:   m["failover-state"],
		ConfigEpoch:     integer(m["config-epoch"]),
		Quorum:          int(integer(m["quorum"])),
		OtherSentinels:  int(integer(m["num-other-sentinels"])),
		Replicas:        int(integer(m["num-slaves"])),
		DownAfter:       milliseconds(m["down-after-milliseconds"]),
		FailoverTimeout: milliseconds(m["failover-timeout"]),
		InfoAge:         milliseconds(m["info-refresh"]),
		RoleReported:    roleReported(m),
	}
}

// roleReported is none before the first INFO, where Sentinel shows what it expects.
func roleReported(m map[string]string) Role {
	if m["runid"] == "" {
		return 0
	}
	return roleOf(m["role-reported"])
}

// parseReplica reads an entry of SENTINEL REPLICAS.
func parseReplica(m map[string]string) ReplicaView {
	return ReplicaView{
		Addr:         addrPort(m["ip"], m["port"]),
		RunID:        m["runid"],
		Flags:        parseFlags(m["flags"]),
		Priority:     int(integer(m["slave-priority"])),
		Offset:       integer(m["slave-repl-offset"]),
		LinkUp:       m["master-link-status"] == "ok",
		LinkDownFor:  milliseconds(m["master-link-down-time"]),
		PrimaryAddr:  addrPort(m["master-host"], m["master-port"]),
		RoleReported: roleReported(m),
		InfoAge:      milliseconds(m["info-refresh"]),
		PongAge:      milliseconds(m["last-ok-ping-reply"]),
	}
}

// parseSentinel reads an entry of SENTINEL SENTINELS.
func parseSentinel(m map[string]string) SentinelView {
	return SentinelView{
		Addr:     addrPort(m["ip"], m["port"]),
		RunID:    m["runid"],
		Flags:    parseFlags(m["flags"]),
		HelloAge: milliseconds(m["last-hello-message"]),
	}
}

// each reads an array of flat arrays of names and values.
func each[T any](reply any, parse func(map[string]string) T) []T {
	list, _ := reply.([]any)
	views := make([]T, 0, len(list))
	for _, entry := range list {
		words, _ := entry.([]any)
		flat := make([]string, len(words))
		for i, w := range words {
			flat[i], _ = w.(string)
		}
		views = append(views, parse(pairs(flat)))
	}
	return views
}

// SentinelInfo is what INFO says of a redis-sentinel.
type SentinelInfo struct {
	RunID, Version string // RunID is the process', not MyID
	Uptime         time.Duration
	Primaries      int
	Tilt           bool          // it mistrusts its clock and does nothing
	TiltFor        time.Duration // 0 unless Tilt
}

func parseSentinelInfo(text string) SentinelInfo {
	var i SentinelInfo
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch name {
		case "run_id":
			i.RunID = value
		case "redis_version":
			i.Version = value
		case "uptime_in_seconds":
			i.Uptime = seconds(value)
		case "sentinel_masters":
			i.Primaries = int(integer(value))
		case "sentinel_tilt":
			i.Tilt = value == "1"
		case "sentinel_tilt_since_seconds":
			i.TiltFor = max(seconds(value), 0)
		}
	}
	return i
}
