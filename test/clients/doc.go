// Package clients measures what ordinary client libraries see when the primary changes hosts: one
// small program a library, run at the client end of a lab of three hosts (package lab), by the VIP
// and by Sentinel, while the primary has a fault. It looks at clients from outside, and nothing
// here knows how redisd works.
//
// TestBeside measures the same libraries on the manual set-ups of package ways as well, with the
// variables below and BENCH_WAYS: `make bench`, docs/BENCHMARK.md.
//
// TestClients is the rest. As part of all tests it plays one switchover and one crash, with the
// libraries that Debian has, set as docs/CLIENTS.md says. `make clients` (CLIENTS=all) measures
// everything, with the libraries' defaults, and writes the tables of that page. What can be set:
//
//	RUNS                runs of each fault (3)
//	CLIENTS_FAULTS      which faults, by their short names in faults.go
//	CLIENTS_LIBRARIES   which libraries, by the folders of their programs
//	CLIENTS_VIA         how they find the primary: vip,sentinel
//	CLIENTS_MODES       what they do: writer,blpop,subscribe,pool,multi,pipeline
//	CLIENTS_SETTINGS    the libraries' own, and as docs/CLIENTS.md says: defaults,documented
//	CLIENTS_PATIENCE    for how many seconds a client that has not come back is watched (35)
//	CLIENTS_OUT         folder of results.json and tables.md (a new one in the temporary folder)
//	CLIENTS_DOCS        folder of CLIENTS.md, whose tables are written anew when nothing was left out
//	CLIENTS_RENDER      a results.json, or several (a,b): measure nothing, write the tables
package clients
