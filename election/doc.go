// Package election decides which node may accept writes.
//
// It is the ballot of Raft (terms, one vote a term, most data wins) without Raft's log, and with a
// lease: the node that won a term holds the right to accept writes for a short while and renews it
// with a majority of the voters. Nobody else can win before that lease has lapsed everywhere, or
// its holder has given it back.
//
// The package is pure: it does no input or output, reads no clock, starts no goroutine and draws no
// random number. Time comes in as an argument, messages come in through Step and go out as
// Envelopes, and what must be on disk first is said by Unsaved. The agent carries them; the
// simulator does the same with lost, late and doubled messages.
//
// It never touches Redis, Sentinel or the VIP: package reconcile decides what follows from an
// election, and DESIGN.md beside this file argues why there can never be two holders.
package election
