// Package redis speaks to one redis-server (Server) or one redis-sentinel (Sentinel). It is the
// only place that knows the wire's words: master and slave, the fields of INFO, the arrays of
// SENTINEL. Callers see primaries, replicas, addresses and durations.
//
// Every call is one attempt, bounded by its context's deadline and by a second (the few that may
// wait longer say so). Nothing is retried and nothing is decided here: an error means that the
// outcome is unknown, and the caller polls again. AnswerOf classifies an error by its kind and by
// the first word of an error reply, never by its prose.
//
// A Door is the exception: the way into the redis-server of the agent's own host, which it keeps
// open against what clients and operators do, and says so.
//
// The package never starts, stops or configures a process by itself, never chooses a primary and
// keeps no state but its connections. The agent calls it; docs/findings-sentinel.md has the
// measurements that shaped it.
package redis
