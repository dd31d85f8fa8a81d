// Package chaos injects faults into a cluster on booted hosts, by a schedule that a seed
// determines, and checks after each round what must hold whatever happened:
//
//   - no two nodes acknowledge writes at once, nor does an old primary after
//     another was promoted;
//   - no dataset is replaced by an emptier one;
//   - what is planned (switchover, stop, reboot, a new agent) loses nothing, and
//     what is not loses only writes acknowledged in the last moments, see Window;
//   - the VIP is on one host at most, and leaves a host that lost touch;
//   - the end of an agent does not end its redis-server;
//   - the cluster is whole again, without help, a minute after the last fault.
//
// Schedule and the catalogue of kinds say what is done, world does it, Check judges what was seen
// and knows nothing of hosts, story writes down how it came about. `make chaos SEED=… ROUNDS=…` is
// the way in; the package changes nothing but the hosts of its own lab.
package chaos
