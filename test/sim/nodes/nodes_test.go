package nodes

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/redisd/redisd/test/sim/seeds"
)

var (
	flags = seeds.NewFlags(4000)
	wrong = flag.Int("sim.wrong", 0, "the mutant that plays")
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(800) // schedules are short-lived garbage
	os.Exit(m.Run())
}

func simulation(m Mutant, add func(Result)) seeds.Simulation[Result] {
	return seeds.Simulation[Result]{
		Run: func(seed uint64, trace io.Writer) (Result, error) {
			r := Run(seed, Options{Trace: trace, Wrong: m})
			return r, r.Err
		},
		Add: add,
	}
}

// TestCluster plays seeds: those that failed once, then a fixed number, or for a time
// (-sim.for=1h -sim.from=1000000 -timeout 0).
func TestCluster(t *testing.T) {
	var sum Result
	report, span := seeds.Test(t, flags, "testdata/seeds.txt", simulation(Mutant(*wrong), sum.add))
	if !span {
		return
	}
	t.Logf("%v; %v", report, sum)
	if uint64(sum.Promotions) < report.Runs/5 {
		t.Errorf("%d promotions in %d schedules: the simulator no longer elects anyone", sum.Promotions, report.Runs)
	}
}

// TestMutants: what is done wrong on purpose is found within so many seeds.
// Three are not among them, and are left to tests of package agent: GuardLate takes a cut,
// a new agent and a slow disk at one moment, and was not found in 41 000 schedules;
// AnyHistory and StopFreely once showed themselves in some 500 000 each.
func TestMutants(t *testing.T) {
	for m, want := range map[Mutant]struct{ from, within uint64 }{
		NoFence:         {1, 1500},
		NoFenceAtLapse:  {10000, 1000},
		PromoteUnleased: {1, 3000},
		VoteAnyData:     {1, 1500},
		VoteUnseen:      {1, 1500},
		VoteUnsaved:     {1, 3000},
		HandOverHasty:   {1, 1500},
		KeepVIP:         {1, 500},
		StaleRecord:     {1, 1500},
		StaleDrain:      {1, 1500},
		NoCloseOthers:   {1, 3000},
		DrainUnsaved:    {1, 1500},
		WholeIgnored:    {1, 3000},
		WholeUnsaved:    {14000, 1000},
		VoteAfterCrash:  {1, 4000},
	} {
		t.Run(m.String(), func(t *testing.T) {
			r := simulation(m, nil).Play(seeds.Span{From: want.from, Count: want.within, UntilFailed: true})
			if len(r.Failed) == 0 {
				t.Fatalf("not found in %d schedules", r.Runs)
			}
			t.Logf("after %d schedules: seed %d: %v", r.Runs, r.Failed[0].Seed, r.Failed[0].Err)
		})
	}
}

func (r *Result) add(o Result) {
	r.Steps += o.Steps
	r.Rounds += o.Rounds
	r.Claims += o.Claims
	r.Promotions += o.Promotions
	r.Losses += o.Losses
	r.WideLosses += o.WideLosses
	r.Crashes += o.Crashes
	r.Freezes += o.Freezes
	r.PowerLosses += o.PowerLosses
	r.HandOvers += o.HandOvers
	r.RemoteFences += o.RemoteFences
	r.Kills += o.Kills
	r.Guarded += o.Guarded
	r.FullSyncs += o.FullSyncs
	r.Waits += o.Waits
	r.Late += o.Late
	r.Virtual += o.Virtual
	r.Settled = max(r.Settled, o.Settled)
}

func (r Result) String() string {
	return fmt.Sprintf("%d steps, %v of virtual time, %d rounds, %d claims, %d promotions (%d lost writes, %d some that a majority had), %d agents died, %d froze, %d power losses, %d handovers, %d remote fences, %d killed, guard %d times, %d full syncs, %d came late, %d need operator action, all well at most %v after the last fault",
		r.Steps, r.Virtual.Round(time.Second), r.Rounds, r.Claims, r.Promotions, r.Losses, r.WideLosses, r.Crashes, r.Freezes, r.PowerLosses, r.HandOvers, r.RemoteFences, r.Kills, r.Guarded, r.FullSyncs, r.Late, r.Waits, r.Settled)
}
