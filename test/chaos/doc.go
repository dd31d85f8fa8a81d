// Package chaos injects faults into a cluster on booted hosts, by a schedule that a seed
// determines, and checks after each round what must hold whatever happened:
//
//   - no two nodes acknowledge writes at once, nor does an old primary after another one had the
//     lease, by its agent's journal;
//   - no dataset is replaced by an emptier one, and all nodes hold the same, key by key;
//   - what is planned (switchover, stop, reboot, a new agent) loses nothing, and what is not loses
//     only writes acknowledged in the last moments; what WAIT said that a replica has stays;
//   - the VIP is on one host at most, but for a moment when it is handed over, leaves a host that lost
//     touch, and leads to the primary;
//   - the end of an agent does not end its redis-server, and no agent ends one that is well, nor
//     itself;
//   - what redisd owns in a redis-server is as redisd renders it, whatever clients have set;
//   - the cluster is whole again soon after the last fault, without help, and all nodes say so.
//
// kinds has every kind of fault with what it may come to at most: for how long writes are down, how
// old a write may be that is lost, who may be another one afterwards. Schedule and the catalogue
// say what is done, world does it, Check judges what was seen and knows nothing of hosts, story
// writes down how it came about. `make chaos SEED=… ROUNDS=…` is the way in; the package changes
// nothing but the hosts of its own lab.
package chaos
