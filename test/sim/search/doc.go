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
// From where a walk ends, agents that claim as ours do must come to one holder within some seconds,
// with all nodes back but perhaps one: settle.go. What each node keeps by itself, of which the
// arguments in election/DESIGN.md are made, is in promises.go.
//
// What a default run sees, in 47 s of two cores that others used as well (58 s of processor): the
// small scenarios completely, with nothing left to visit within their bounds; the others up to 20
// 000 states each, and by 400 walks, or 4000 short ones. At 30 000 to 100 000 states a second:
//
//	                             states  transitions  depth    time
//	2 nodes, a crash              9 155       24 423     16    0.1 s
//	3 nodes, a claim              2 240        5 369     13    0.0 s
//	  the same, clocks apart      9 250       21 604     17    0.2 s
//	  two claims                113 325      566 940     21    3.7 s
//	  a crash                    29 404       81 795     16    0.5 s
//	  a freeze                   11 244       34 476     15    0.2 s
//	  a double                   18 521       56 175     16    0.4 s
//	  a release                  95 380      312 278     17    2.0 s
//	  a fence and a crash       325 740      977 464     23    7.2 s
//	  a change of two voters     90 596      328 647     18    1.9 s
//	  a change and a beat        48 119      137 680     19    1.0 s
//	  a bootstrap node                  39 804      149 728     22    0.7 s
//	  two bootstrap nodes                9 964       32 666     16    0.1 s
//	  two bootstrap nodes, a crash     105 490      373 150     18    1.9 s
//	4 nodes, a claim             10 072       35 254     17    0.3 s
//	  two clusters                2 076        6 103     12    0.0 s
//
// and after some steps in one order (Scenario.Begin): a fence lifted again, 125 states; a fence and
// a late vote, 4344; a writer nobody knows of, 4654. Larger runs, each with go test
// ./test/sim/search -run TestSearch -search.only=NAME -search.for=40s (or 25s):
//
//	                             states  transitions  depth    time
//	2 nodes                     389 156    1 399 019     20    4.5 s
//	3 nodes, lapse               87 818      338 673     19    1.3 s
//	  lapse, clocks apart       387 326    1 773 880     24    7.7 s
//	  empty, and a witness       67 432      333 263     20    1.4 s
//	  what is known of data      43 261      219 362     20    0.8 s
//	  rivals                  1 055 367    3 419 232     14   25.0 s, not complete
//	4 nodes, a change of three
//	  voters                  1 667 354    8 047 431     23   36.4 s
//	5 nodes                      99 280      376 089     21   13.3 s
//	bootstrap nodes of two           1 981 148    5 474 156     13   25.0 s, not complete
//
// The other scenarios of several faults at once were not seen completely in any run: to depth 4
// (all faults at once) to 11 in a default one.
//
// Only tests use the package; it does no input or output.
package search
