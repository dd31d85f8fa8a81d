// Package reconcile decides what a node does next.
//
// Plan compares what the agent has observed with what is wanted and returns the actions that bring
// the node nearer, the ones that let go before the ones that take hold. It is pure: no clock, no
// input or output, no log, no random number and no map order, so that a logged round can be
// replayed as a test.
//
// It never acts: package node has its actions carried out, one by one, and a first failed action
// ends the round, since the next round looks afresh. Who may accept writes is decided by package
// election; Plan only follows it.
package reconcile
