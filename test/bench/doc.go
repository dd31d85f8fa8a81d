// Package bench measures redisd beside three baselines, the usual manual set-ups that make Redis
// highly available: fault by fault, on the same kind of booted hosts, in the same run, with the
// same client (package lab/writer). It writes what docs/BENCHMARK.md shows.
//
// The baselines are as good as their recipes allow: every check once a second, Sentinel's
// down-after at 1 s. redisd has its defaults. Nothing here knows how redisd works: it is installed,
// asked and faulted like the others.
//
// TestBench is it; it runs only with REDISD_BENCH set, see `make bench`. What else can be set:
//
//	BENCH_RUNS    runs of each fault with redisd (5)
//	BENCH_BASELINE_RUNS
//	              with each baseline (3): they take the time, waiting for Sentinel
//	BENCH_WAYS    which ways: redisd,address,keepalived,haproxy
//	BENCH_FAULTS  which faults, by their short names in faults.go
//	BENCH_PARTS   which parts: matrix,bootstrap,throughput,footprint
//	BENCH_OUT     folder for the raw results (a new one in the temporary folder)
//	BENCH_DOCS    folder of BENCHMARK.md and benchmark.svg; they are only written
//	              there when nothing was left out, else to BENCH_OUT
//	BENCH_RENDER  a results.json: measure nothing, write its tables and picture anew
package bench
