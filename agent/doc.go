// Package agent is one node of a cluster: it observes, has package reconcile plan, and acts.
//
// One goroutine runs the rounds. Beside it, small watchers keep the newest answer of everything
// that has to be asked (the local redis-server and redis-sentinel, the holder's redis-server), and
// one goroutine answers the other agents' messages, so that a slow answer of one never delays
// another.
//
// The agent is the only package that knows all the others: observed.go turns what they say into
// reconcile.Observed, apply.go turns an action into calls. It decides nothing about roles itself.
// cmd/redisd runs it.
package agent
