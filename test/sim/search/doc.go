// Package search visits every state that a few electors can come to, where package
// elections plays some at random: each order in which messages arrive, are lost and come
// twice, agents die before and after their state is on disk, timers run out and people
// interfere, within the bounds of a scenario.
//
// The electors are those that ship, cloned at each step. Around them are disks, a network
// that is a bag of letters, and a redis-server each that accepts writes or not; an agent
// does whatever it may at any moment, so what real agents do is among it. Properties are
// in check.go, what happens in act.go, what begins where in scenarios.go.
//
// Time goes on in leaps, each to the next moment at which an elector would answer
// otherwise though nothing has come in, or by a pause where a scenario grants some. What
// happens between two such moments happens at the earlier: that is the one thing which is
// not exhaustive, and what the random schedules are for. Times are kept as ages, so that
// the same situation an hour later is the same state; so is the same one with two nodes
// exchanged that began alike. A message that is never delivered is a lost one. An elector
// that waits for its disk neither hears nor speaks, so a slow disk is a slow network.
//
// Only tests use the package; it does no input or output.
package search
