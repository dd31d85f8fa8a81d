// Package mutants takes the rules of the shipped code away, one at a time, and finds out which of
// the tests notice. A rule that nobody misses is one that is not tested, or none.
//
// A mutant is a file in testdata: the rule in words, the source file, the text that stands there
// exactly once, and what stands there instead. It is built with go's -overlay, so nothing of it is
// ever in the tree, and what ships has no hooks for it. Any package of this module can have
// mutants. The lines "judge: ..." are what each judge said the last time; `go test
// ./test/sim/mutants -run 'TestMutants$' -update -timeout 0` asks them all and writes these lines
// and ../MUTANTS.md. Without -update every mutant is built, and shown to the judge that is done
// soonest: to a test beside the code, or to a search of the scenario, or the one schedule, that
// failed the last time. Should that pass, all judges that caught it then are asked in full; a
// mutant that none of them catches fails the test.
//
// Only tests use the package.
package mutants
