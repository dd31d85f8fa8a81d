// Package node is everything that one node of a cluster decides.
//
// Its shape is that of etcd raft's RawNode: Step takes in what happened (a poll's result, a
// message, the exit of a process, the result of an action, an operator's request, or that time has
// passed) and returns a Ready, which says what to save, what to send, what to do, and until when
// all of that holds. Two drivers carry a Ready out: package agent on a real host, and the simulator
// in test/sim/nodes on models of hosts. Both run this code, so what is proven is what ships.
//
// The package does no input or output, reads no clock, starts no goroutine and draws no random
// number: time comes in with every Step, chance through Options. It is not safe for concurrent use,
// but whatever only reads (View, Observe, Plan, ...) may run beside itself: to observe changes
// nothing.
//
// Three lanes of work leave it, each with one thing under way at a time: the rounds (what reconcile
// plans), the guard (what the end of a lease asks for when the rounds are stuck) and the polls.
// Elections run beside them: package election votes and leases, and this package sees to it that
// what an answer depends on is on disk before the answer is sent.
//
// It never says how a thing is done: the driver knows Redis, Sentinel, addresses and disks.
package node
