// Package nodes plays whole clusters in virtual time: the node.Node of every host, which is all
// that ships of what a node decides, against models of redis-server, redis-sentinel, gossip, the
// network, the VIP, the disks and the clocks. The driver of a host (driver.go, perform.go) is what
// package agent is on a real one: it tells the node what happens, and carries out on the models
// what the node asks for. It decides nothing, so there is no second agent here that could differ
// from the one that ships.
//
// Messages are lost, late, doubled and re-ordered, links are cut in one direction or both, agents
// die and freeze before and after everything that they save or do, hosts lose power, processes die,
// hang and are busy, disks are slow, and operators ask for switchovers, stops and pauses meanwhile.
// After every step that matters it checks what docs/GUARANTEES.md promises (S1 to S4), and after
// the last fault that all is well again: one primary that accepts writes, all others in sync with
// it, the VIPs where they belong, every Sentinel naming it, and no plans left.
//
// What is done wrong on purpose, to see that the checker sees it, are edits of the source that
// ships: test/sim/mutants/testdata.
//
// Everything follows from a seed, so a failure is repeated by its number. The package does no input
// or output and reads no clock; only tests use it. Package elections plays the election alone, and
// nastier: bootstraps and changing rosters.
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
//  10. A Sentinel that may not say SLAVEOF changes no redis-server. It names another primary
//     the moment it hears of a later configuration, and the others learn it from its
//     greetings, which come twice a second.
//  11. A replica whose link is up shows the replication id of its primary, and goes on
//     showing it without the link. A promotion and a restart begin a new one, a second
//     REPLICAOF NO ONE does not.
//  12. After a full copy the append-only file is the old one until the rewrite that
//     follows has ended: who is killed before that starts with the old dataset, and does
//     not let itself be shut down.
//  13. A full copy that cannot be loaded leaves an empty memory, in a process that goes on,
//     and the old file.
//  14. A server without an append-only file that is killed starts with its last snapshot.
//  15. A server that loads answers: -LOADING to most, INFO and CONFIG SET as ever; it
//     refuses REPLICAOF.
//  16. A server that runs a script answers nobody, after busy-reply-threshold -BUSY, also to
//     the fence, which then is not carried out.
//  17. CLIENT PAUSE ALL has PING and INFO wait and lapses by itself; CLIENT PAUSE WRITE has
//     writes wait, takes the fence, and what is fenced is refused and does not wait.
//  18. A refused login is an answer, and so is "max number of clients reached"; those who are
//     connected notice nothing.
//
// And TestCloseOthers of package redis: once CLIENT KILL of a user's other connections is answered,
// nothing more that was sent on them is carried out.
//
// # Classes
//
// What makes the models as unkind as the real programs and machines is divided into classes
// (class.go), drawn from a random stream of its own, so that a seed plays the same without any
// (-sim.only=plain, which the mutants play) whatever classes there are. A schedule draws few of
// Default; -sim.only= plays given ones. Those of Known show defects of the product that are not
// cured yet: testdata/open.txt lists a schedule or two of each, and TestOpenDefects sees that they
// still fail. At present there is none.
//
//   - On disk: redis-server syncs by its own clock (everysec); some have no append-only file
//     (RDB only); after a full copy the disk has the old dataset (stale AOF); a full copy
//     empties the replica and may fail, and a replica that was too slow needs one while its
//     process goes on (flush); all hosts lose power and return in any order, and voters
//     answer for what their disks have kept, but for the 2.1 s by which a record may be older
//     (blackout), even a voter that was the primary or has no record (disk counts).
//   - Answers: loading for minutes, refused logins, maxclients, CLIENT PAUSE of both kinds,
//     scripts of up to 30 s. To kill a server that answers, if only with an error, or whose
//     clients are paused, is a violation.
//   - Hosts: one joins, one returns with other addresses, one is paused with its clock,
//     clocks are up to 5 % off, an agent hangs while a script runs.
//   - Voters: there are more hosts than voters, one or two of these are gone for so long that
//     learners vote in their place, and come back as learners (learners).
//   - Persons: a forced failover, with and without voters that are left out. These stay
//     down until the faults are over, and return one by one; or they live on the other
//     side of a cut (parted), where they may have a primary, or be forced to one, too.
//
// # What is not modelled
//
// A disk that fails (what is saved is late at worst); a redis-server whose disk fails; what package
// agent does with a Ready on a real host, which its own tests and those on real hosts try. Writes
// by single clients (a primary that accepts writes has some all the time); chained replicas; a
// dataset of this node that does not load; full disks; a backlog that overflows by itself (being
// too slow is a fault of its own); a copy that is loaded as it comes in is there (later versions of
// Redis do that) and was not tried on a real server; a partial resync after a restart from a
// snapshot; Sentinels, which follow a host to its new address by themselves; a script that is
// killed; connections that a client's changes of users close. Without the class of flush a full
// copy is done in one step and the replica keeps what it had until then; without the class of
// everysec the disk has what was there when the agent last wrote its record. An operator who
// repeats what he asks for is: he resumes a paused cluster at one node after the other.
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
//   - A dataset after a power loss ("all hosts lose power": the last second or two), until its
//     record was written anew and synced; and see the classes of blackout.
//   - A host that stood still and goes on: 250 ms.
//   - "Voters that a forced failover left out, and that live": they may take writes until
//     their agent was shown the later epoch, and has fenced, and never for 2 s in touch
//     with who takes writes in that.
//   - With max_lag_on_failover nobody may be left to become primary by himself; an operator
//     decides (Result.Waits), as where nobody has data and not every voter knows that there never
//     was any (Result.Barren). How much a failover loses under a limit is not checked.
package nodes
