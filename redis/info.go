package redis

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Role of a redis-server. The zero value is no role: not learnt.
type Role int

const (
	Primary Role = iota + 1
	Replica
)

func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Replica:
		return "replica"
	}
	return "unknown"
}

// infoSections are those that Info has fields of. Measured on a 2-core machine: 14 µs of the
// server's time for these 4.7 KB, of which memory takes 5 µs and clients and stats 3 µs; plain INFO
// takes 15 µs.
var infoSections = []any{"server", "clients", "replication", "persistence", "memory", "stats", "keyspace"}

// Info is what INFO says of a redis-server.
type Info struct {
	Role    Role
	RunID   string // new with every start of the process
	Version string // of the Redis that it is, or is compatible with
	Valkey  string // its version, if it is Valkey
	PID     int
	Uptime  time.Duration // whole seconds

	// ReplID names the history that the dataset belongs to, ReplID2 the one that it was until
	// SecondOffset, if any; Offset is how much this server has. A replica that never had a link has
	// Offset 1 at most.
	ReplID, ReplID2      string
	Offset, SecondOffset int64
	FailoverInProgress   bool // Redis' own FAILOVER command

	// Of a replica.
	PrimaryAddr    netip.AddrPort // invalid when it was given a name instead of an address
	LinkUp         bool
	NeverLinked    bool          // no link to any primary since its start, or since it was a primary itself
	LinkDownFor    time.Duration // 0 while LinkUp or NeverLinked
	LastIO         time.Duration // since the primary was last heard; negative without a link
	SyncInProgress bool          // a full synchronisation
	Priority       int           // replica-priority
	Writable       bool          // it takes its clients' writes: replica-read-only is no

	// Of a primary, and of a replica that has replicas itself.
	Replicas     []ReplicaLink
	GoodReplicas int // as min-replicas-max-lag counts; -1 where Redis does not say, because min-replicas-to-write is 0

	Loading        bool
	LoadingETA     time.Duration
	AOFEnabled     bool
	AOFWriteOK     bool // true also where there is no AOF
	AOFRewriting   bool // or about to be rewritten
	AOFRewriteOK   bool // the last rewrite, true also where there was none
	RDBOK          bool // the last BGSAVE, true also where there was none
	ForkInProgress bool // BGSAVE, AOF rewrite or a replica's full synchronisation: it may answer late

	Keys                  int64 // in all databases
	UsedMemory, MaxMemory int64 // bytes; MaxMemory 0 is no limit
	Clients               int   // connections without replicas
	BlockedClients        int

	// Counters since the start or CONFIG RESETSTAT.
	Commands, ErrorReplies  int64
	FullSyncs, PartialSyncs int64
	EvictedKeys             int64
	RejectedConnections     int64
}

// ReplicaLink is a replica as its primary sees it.
type ReplicaLink struct {
	Addr   netip.AddrPort // as the replica announces it
	Online bool           // synchronised, and fed since
	Offset int64          // acknowledged; up to a second old, see WaitAcks
	Lag    time.Duration  // since that acknowledgement, whole seconds
}

var errNoRole = errors.New("no role in it")

// parseInfo reads the text of INFO. Fields that are missing or malformed keep their zero value:
// versions differ. Only a text without a role is refused.
func parseInfo(text string) (Info, error) {
	i := Info{AOFWriteOK: true, AOFRewriteOK: true, RDBOK: true, GoodReplicas: -1}
	var slaveOffset, masterOffset int64
	var host, port string
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !ok {
			continue
		}
		switch name {
		case "role":
			i.Role = roleOf(value)
		case "slave_repl_offset":
			slaveOffset = integer(value)
		case "master_repl_offset":
			masterOffset = integer(value)
		case "master_host":
			host = value
		case "master_port":
			port = value
		default:
			i.server(name, value)
			i.replication(name, value)
			i.storage(name, value)
			i.counter(name, value)
		}
	}
	switch i.Role {
	case Primary:
		i.Offset = masterOffset
	case Replica:
		i.Offset = slaveOffset
		i.PrimaryAddr = addrPort(host, port)
	default:
		return Info{}, errNoRole
	}
	return i, nil
}

func roleOf(word string) Role {
	switch word {
	case "master":
		return Primary
	case "slave":
		return Replica
	}
	return 0
}

func (i *Info) server(name, value string) {
	switch name {
	case "redis_version":
		i.Version = value
	case "valkey_version":
		i.Valkey = value
	case "run_id":
		i.RunID = value
	case "process_id":
		i.PID = int(integer(value))
	case "uptime_in_seconds":
		i.Uptime = seconds(value)
	case "connected_clients":
		i.Clients = int(integer(value))
	case "blocked_clients":
		i.BlockedClients = int(integer(value))
	}
}

func (i *Info) replication(name, value string) {
	switch name {
	case "master_replid":
		i.ReplID = value
	case "master_replid2":
		if strings.Trim(value, "0") != "" {
			i.ReplID2 = value
		}
	case "second_repl_offset":
		i.SecondOffset = max(integer(value), 0)
	case "master_failover_state":
		i.FailoverInProgress = value != "no-failover"
	case "master_link_status":
		i.LinkUp = value == "up"
	case "master_link_down_since_seconds":
		if down := seconds(value); down >= 0 {
			i.LinkDownFor = down
		} else {
			i.NeverLinked = true
		}
	case "master_last_io_seconds_ago":
		i.LastIO = seconds(value)
	case "master_sync_in_progress":
		i.SyncInProgress = value == "1"
	case "slave_read_only":
		i.Writable = value == "0"
	case "slave_priority":
		i.Priority = int(integer(value))
	case "min_slaves_good_slaves":
		i.GoodReplicas = int(integer(value))
	default:
		if r, ok := replicaLink(name, value); ok {
			i.Replicas = append(i.Replicas, r)
		}
	}
}

func (i *Info) storage(name, value string) {
	switch name {
	case "loading", "async_loading":
		i.Loading = i.Loading || value == "1"
	case "loading_eta_seconds":
		i.LoadingETA = seconds(value)
	case "aof_enabled":
		i.AOFEnabled = value == "1"
	case "aof_last_write_status":
		i.AOFWriteOK = value == "ok"
	case "rdb_last_bgsave_status":
		i.RDBOK = value == "ok"
	case "aof_last_bgrewrite_status":
		i.AOFRewriteOK = value == "ok"
	case "aof_rewrite_scheduled":
		i.AOFRewriting = i.AOFRewriting || value == "1"
	case "aof_rewrite_in_progress":
		i.AOFRewriting = i.AOFRewriting || value == "1"
		i.ForkInProgress = i.ForkInProgress || value == "1"
	case "rdb_bgsave_in_progress":
		i.ForkInProgress = i.ForkInProgress || value == "1"
	case "used_memory":
		i.UsedMemory = integer(value)
	case "maxmemory":
		i.MaxMemory = integer(value)
	default:
		i.Keys += keys(name, value)
	}
}

func (i *Info) counter(name, value string) {
	switch name {
	case "total_commands_processed":
		i.Commands = integer(value)
	case "total_error_replies":
		i.ErrorReplies = integer(value)
	case "sync_full":
		i.FullSyncs = integer(value)
	case "sync_partial_ok":
		i.PartialSyncs = integer(value)
	case "evicted_keys":
		i.EvictedKeys = integer(value)
	case "rejected_connections":
		i.RejectedConnections = integer(value)
	}
}

// replicaLink reads "slave0", "ip=…,port=…,state=online,offset=…,lag=…".
func replicaLink(name, value string) (ReplicaLink, bool) {
	if !numbered(name, "slave") {
		return ReplicaLink{}, false
	}
	f := fields(value)
	return ReplicaLink{
		Addr:   addrPort(f["ip"], f["port"]),
		Online: f["state"] == "online",
		Offset: integer(f["offset"]),
		Lag:    seconds(f["lag"]),
	}, true
}

// keys reads "db0", "keys=…,expires=…,avg_ttl=…".
func keys(name, value string) int64 {
	if !numbered(name, "db") {
		return 0
	}
	return integer(fields(value)["keys"])
}

// numbered reports whether name is prefix and a number.
func numbered(name, prefix string) bool {
	number, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return false
	}
	_, err := strconv.ParseUint(number, 10, 32)
	return err == nil
}

// fields reads "a=1,b=2".
func fields(list string) map[string]string {
	m := make(map[string]string)
	for field := range strings.SplitSeq(list, ",") {
		if name, value, ok := strings.Cut(field, "="); ok {
			m[name] = value
		}
	}
	return m
}

// integer is 0 for what is none.
func integer(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func seconds(s string) time.Duration      { return span(s, time.Second) }
func milliseconds(s string) time.Duration { return span(s, time.Millisecond) }

// span keeps within what a Duration can hold.
func span(s string, unit time.Duration) time.Duration {
	const most = int64(1<<63 - 1)
	n := integer(s)
	if n > most/int64(unit) || n < -most/int64(unit) {
		return 0
	}
	return time.Duration(n) * unit
}

// addrPort is invalid when host is no IP address or port no port.
func addrPort(host, port string) netip.AddrPort {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(p))
}
