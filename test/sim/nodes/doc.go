// Package nodes plays whole clusters in virtual time: the node.Node of every host, which is
// all that ships of what a node decides, against models of redis-server, redis-sentinel,
// gossip, the network, the VIP, the disks and the clocks. The driver of a host (driver.go,
// perform.go) is what package agent is on a real one: it tells the node what happens, and
// carries out on the models what the node asks for. It decides nothing, so there is no second
// agent here that could differ from the one that ships.
//
// Messages are lost, late, doubled and re-ordered, links are cut in one direction or both,
// agents die and freeze before and after everything that they save or do, hosts lose power,
// processes die, hang and are busy, disks are slow, and operators ask for switchovers, stops
// and pauses meanwhile. After every step that matters it checks what docs/GUARANTEES.md
// promises (S1 to S4), and after the last fault that all is well again: one primary that
// accepts writes, all others in sync with it, the VIPs where they belong, every Sentinel
// naming it, and no plans left.
//
// What is done wrong on purpose, to see that the checker sees it, are edits of the source
// that ships: test/sim/mutants/testdata.
//
// Everything follows from a seed, so a failure is repeated by its number. The package
// does no input or output and reads no clock; only tests use it. Package elections plays the
// election alone, and nastier: foundings, changing rosters, clocks 5 % off.
//
// # What the models assume
//
// TestAssumptions tries each of these on the real programs:
//
//  1. With min-replicas-to-write 1000000 a redis-server acknowledges no write, and
//     serves reads.
//  2. REPLICAOF NO ONE and CONFIG SET in one MULTI are carried out together.
//  3. A replica that is promoted keeps its offset.
//  4. The other replicas then need a partial resync only.
//  5. A primary goes on acknowledging without replicas when min-replicas-to-write is 0,
//     and stops when it is 1 and its replica is gone.
//  6. A process that is killed closes its connections at once.
//  7. A command that a stopped process has received is carried out when it goes on, also
//     when its sender has hung up.
//  8. A redis-server started with an append-only file has its data, and shows another
//     offset than before.
//  9. A replica whose primary has ended goes on showing how far it had come.
//  10. A Sentinel that may not say SLAVEOF changes no redis-server, and SENTINEL FAILOVER
//     after a promotion has all Sentinels name the new primary within 3 s.
//  11. A replica whose link is up shows the replication id of its primary, and goes on
//     showing it without the link. A promotion and a restart begin a new one, a second
//     REPLICAOF NO ONE does not.
//
// And TestCloseOthers of package redis: once CLIENT KILL of a user's other connections is
// answered, nothing more that was sent on them is carried out.
//
// # What is not modelled
//
// A disk that fails (what is saved is late at worst); a redis-server whose disk fails;
// what package agent does with a Ready on a real host, which its own tests and those on
// real hosts try. Writes by single clients (a primary that accepts writes has some all the time);
// chained replicas; a dataset that does not load; full disks; IP addresses that change;
// changes of the roster after the founding; forced failovers; a host that sleeps as a
// whole; clocks more than 0.5 % off. A person who repeats what he asks for is: he
// resumes a paused cluster at one node after the other.
//
// # What the checker leaves out
//
// Only what docs/GUARANTEES.md lists as not covered:
//
//   - "The agent hangs at the same moment in which its host is cut off", or is dead: a
//     redis-server which the voters cannot reach, or which stands still itself, until
//     its agent, or the next one, has run for 600 ms. What an agent asked for that has
//     died may be carried out late only before the next one has closed its connections;
//     from then on S1 holds again.
//   - "A vote by a node that does not know what it has": what a redis-server that has
//     ended had received since the last look at it, and what a replica received from a
//     primary that ended before the replica's agent saw the link. Who gave a lease back
//     with all its data, also by a handover and an agent ago, and for a second who has
//     crashed and knows what a replica acknowledged, is held to that.
//   - A dataset after a power loss ("all hosts lose power": the last second or two).
//   - With max_lag_on_failover nobody may be left to become primary by himself; a person
//     decides (Result.Waits), as where a founder gave the lease back before it was ever
//     primary (Result.Barren). How much a failover loses under a limit is not checked.
package nodes
