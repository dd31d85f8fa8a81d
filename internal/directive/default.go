package directive

// Default returns the value that redisd gives a directive if nobody else does; ok is false where it
// leaves that to redis-server.
func Default(directive string) (value string, ok bool) {
	name := Canonical(directive)
	for _, d := range Defaults {
		if d.Name == name {
			return d.Value, true
		}
	}
	return "", false
}

// Defaults are redisd's better values, in the words in which CONFIG REWRITE would write them:
// confgen.Merge recognizes a run-time change by its being different. Every entry has one line. The
// comments end up in redis.conf.
var Defaults = []struct{ Name, Value, Why string }{
	{"loglevel", "notice", "Changes of role and copies between nodes are logged, single connections are not."},
	{"appendonly", "yes", "A restarted node still has its data, but for the last second."},
	{"appendfsync", "everysec", "Clients do not wait for the disk; the replicas have what it still lacks."},
	{"aof-use-rdb-preamble", "yes", "The append-only file loads as fast as a snapshot."},
	{"repl-backlog-size", "64mb", "A replica that was away for a moment catches up without a full copy: 1mb is soon written."},
	{"repl-diskless-sync", "yes", "A full copy goes straight to the replicas."},
	{"repl-diskless-sync-delay", "0", "The first replica does not wait for a second one."},
	{"repl-ping-replica-period", "2", "Seconds between heartbeats to the replicas: well below repl-timeout."},
	{"repl-timeout", "20", "Seconds until a dead replication link is given up and made anew."},
	{"tcp-keepalive", "30", "Seconds of silence after which a client is probed for being there."},
	{"replica-ignore-disk-write-errors", "yes", "A replica whose disk is full stays in sync in memory, instead of ending."},
	{"shutdown-timeout", "5", "Seconds that a stopping primary waits for replicas: redisd hands over before."},
}
