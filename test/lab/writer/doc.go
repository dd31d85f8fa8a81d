// Package writer is a client that writes to Redis all the time and keeps a record of every write,
// to say afterwards how long writes were down, which acknowledged ones are lost, and whether two
// nodes acknowledged at once. Tests, chaos runs and benchmarks point it at the VIP.
//
// It speaks RESP itself, over plain connections: a client library's pool, retries and back-off
// (go-redis waits up to a second between dials once its pool has seen enough of them fail) are
// exactly what must not get into a measurement that is to be good to a millisecond or two.
//
// The package knows nothing of the lab: connections come from Options.Dial. It never reads what it
// has not written.
package writer
