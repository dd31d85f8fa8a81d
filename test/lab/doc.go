// Package lab runs Debian hosts on one machine: booted with their own systemd, with a network,
// addresses and a disk of their own. They can be powered off, rebooted, frozen, cut off from one
// another, given a bad network or a full disk. It is what the end-to-end tests, the chaos runs and
// the benchmarks stand on; package lab/writer is the client that measures what all this does to
// someone who writes through the VIP.
//
// A host is a systemd-nspawn container over an image that setup.sh builds. Each lab has a network
// namespace with a bridge in it and no route that leads out: hosts reach one another and the client
// end (the bridge's own address) and nothing else. A host has a file system of its own over the
// image, and loses with the power what was not synced. The test process itself stays outside and
// reaches in by Lab.DialContext, Lab.Command and Host.Run.
//
// The package never touches the machine's own network, never ends a process by its name, and needs
// nothing of an earlier run: what a crashed one left behind is found by its lab's number and
// removed by the next.
//
// What a host does not have: a clock, kernel settings outside the network namespace (vm.*, THP) and
// a watchdog device of its own.
package lab
