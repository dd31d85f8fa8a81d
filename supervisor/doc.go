// Package supervisor runs redis-server and redis-sentinel for the agent, and takes over the ones
// that an earlier agent left running.
//
// A [Process] is one supervised program. The agent's end, planned or not, never touches it: it
// leads its own session, writes to a file instead of to a pipe, and is known to the next agent by a
// record of its identity. What happens to it is an event at once ([Process.Changed]), whether it is
// a child of this agent or of one long gone, because its exit is awaited on a pidfd.
//
// The package never decides whether a program should run and never starts one again by itself: that
// a crashed primary stays down until another holds its place is the agent's business. It knows
// nothing of Redis but the form of its log lines. The only process that it ever ends unasked is a
// fork (a BGSAVE, an AOF rewrite) whose parent is dead: it would hold the memory of the dataset,
// and keep the clients' connections to the dead server open.
//
// Only the agent calls it. Two agents on one state directory must be excluded by the caller.
package supervisor
