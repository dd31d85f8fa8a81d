package search

import (
	"os"
	"runtime/debug"
	"testing"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // there is much to look at and little garbage
	os.Exit(m.Run())
}
