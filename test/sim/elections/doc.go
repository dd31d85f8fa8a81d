// Package elections runs a handful of electors in virtual time, against a network that loses,
// delays, doubles and re-orders messages and is cut in one direction or both, on hosts whose clocks
// drift, whose agents crash between any two steps and freeze, and whose redis-servers die and come
// back. After every step it checks that there is at most one holder, and in the end, when the
// faults stop, that there is one.
//
// Everything follows from a seed, so a failure is repeated by its number. The package does no input
// or output and reads no clock; only tests use it.
package elections
