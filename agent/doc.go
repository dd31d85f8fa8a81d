// Package agent is one node with real I/O: it feeds what happens into package node, and has what
// comes out saved, sent and done. It decides nothing.
//
// Its rooms are a type each: driver (feeds the node), poller (asks redis-server, redis-sentinel and
// the holder's redis-server), actor (carries actions out), talk (speaks with other agents),
// coordinator (carries switchovers through), commands (answers operators), reloader (applies a
// changed file), keeper (restores what clients changed in redis-server), tickler (tells the clients
// of a lost host), journal (tells people). What all of them know of the host is site.
//
// It is the only package that knows all the leaves: poll.go and site.go turn what they say into
// what the node reads, actor.go turns an action into calls. cmd/redisd runs it.
package agent
