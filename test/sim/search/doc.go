// Package search visits every state that a few electors can come to, where package elections plays
// some at random: each order in which messages arrive, are lost and come twice, agents die before
// and after their state is on disk, timers run out and people interfere, within the bounds of a
// scenario.
//
// The electors are those that ship, cloned at each step. Around them are disks, a network that is a
// bag of letters, and a redis-server each that accepts writes or not; an agent does whatever it may
// at any moment, so what real agents do is among it. Properties are in check.go, what happens in
// act.go, what begins where in scenarios.go.
//
// Time goes on in leaps, each to the next moment at which an elector would answer otherwise though
// nothing has come in, or by a pause where a scenario grants some. What happens between two such
// moments happens at the earlier: that is the one thing which is not exhaustive, and what the
// random schedules are for. Times are kept as ages, so that the same situation an hour later is the
// same state; so is the same one with two nodes exchanged that began alike. A message that is never
// delivered is a lost one. An elector that waits for its disk neither hears nor speaks, so a slow
// disk is a slow network.
//
// What was seen on two busy cores, at 10 000 to 40 000 states a second; all of it complete, with
// nothing left to visit within the scenario's bounds:
//
//	                          states  transitions  depth
//	2 nodes, a crash           9 155       24 423     16
//	3 nodes, a claim           2 240        5 369     13
//	  the same, clocks apart   9 250       21 604     17
//	  two claims             113 325      566 940     21
//	  a crash                 29 404       81 795     16
//	  a freeze                11 244       34 476     15
//	  a double                18 521       56 175     16
//	  a release               95 380      312 278     17
//	  a fence and a crash    325 740      977 464     23
//	  a change of two voters  90 596      328 647     18
//	  two bootstrap nodes             8 456       28 874     15
//	4 nodes, a claim          10 072       35 254     17
//	5 nodes, a claim          99 280      376 089     21
//
// Not complete: a change of three voters, 584 660 states, all to depth 13. The scenarios of several
// faults at once are complete to depth 4 (all of them) to 12 in a default run.
//
// Only tests use the package; it does no input or output.
package search
