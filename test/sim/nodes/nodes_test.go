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
	only  = flag.String("sim.only", "", "play these classes and no others: names joined by +, or plain")
)

// classes is what -sim.only says.
func classes(t *testing.T) Class {
	if *only == "" {
		return 0
	}
	c, err := ParseClass(*only)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMain(m *testing.M) {
	debug.SetGCPercent(800) // schedules are short-lived garbage
	os.Exit(m.Run())
}

// TestCluster plays seeds: those that failed once, then a fixed number, or for a time (-sim.for=1h
// -sim.from=1000000 -timeout 0).
func TestCluster(t *testing.T) {
	var sum Result
	classes := classes(t)
	report, span := seeds.Test(t, flags, "testdata/seeds.txt", seeds.Simulation[Result]{
		Run: func(seed uint64, trace io.Writer) (Result, error) {
			r := Run(seed, Options{Trace: trace, Only: classes})
			if r.Err != nil {
				return r, fmt.Errorf("%v: %w", r.Classes, r.Err)
			}
			return r, nil
		},
		Add: sum.add,
	})
	if !span {
		return
	}
	t.Logf("%v; %v", report, sum)
	if uint64(sum.Promotions) < report.Runs/5 && len(report.Failed) == 0 {
		t.Errorf("%d promotions in %d schedules: the simulator no longer elects anyone", sum.Promotions, report.Runs)
	}
}

// TestSeeds plays what failed once without any class: TestCluster plays it with those that it
// draws.
func TestSeeds(t *testing.T) {
	failedOnce, err := seeds.Read("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, seed := range failedOnce {
		if r := Run(seed, Options{Only: Plain}); r.Err != nil {
			t.Errorf("seed %d, which failed once: %v", seed, r.Err)
		}
	}
}

func (r *Result) add(o Result) {
	r.Steps += o.Steps
	r.Inputs += o.Inputs
	r.Claims += o.Claims
	r.Promotions += o.Promotions
	r.Losses += o.Losses
	r.WideLosses += o.WideLosses
	r.PassedOver += o.PassedOver
	r.Crashes += o.Crashes
	r.Freezes += o.Freezes
	r.PowerLosses += o.PowerLosses
	r.HandOvers += o.HandOvers
	r.RemoteFences += o.RemoteFences
	r.Kills += o.Kills
	r.Guarded += o.Guarded
	r.FullSyncs += o.FullSyncs
	r.Rosters += o.Rosters
	r.Waits += o.Waits
	r.LeftOut += o.LeftOut
	r.Touch = max(r.Touch, o.Touch)
	r.Late += o.Late
	r.Virtual += o.Virtual
	r.Settled = max(r.Settled, o.Settled)
}

func (r Result) String() string {
	return fmt.Sprintf("%d steps, %v of virtual time, %d inputs, %d claims, %d promotions (%d lost writes, %d some that a majority had, %d that a replica in touch had), %d agents died, %d froze, %d power losses, %d handovers, %d remote fences, %d killed, guard %d times, %d full syncs, %d changes of the voters, %d came late, %d left out wrote beside another (in touch for at most %v), %d need operator action, all well at most %v after the last fault",
		r.Steps, r.Virtual.Round(time.Second), r.Inputs, r.Claims, r.Promotions, r.Losses, r.WideLosses, r.PassedOver, r.Crashes, r.Freezes, r.PowerLosses, r.HandOvers, r.RemoteFences, r.Kills, r.Guarded, r.FullSyncs, r.Rosters, r.Late, r.LeftOut, r.Touch.Round(time.Millisecond), r.Waits, r.Settled)
}

// TestUnserved plays clusters whose bootstrap node is lost before it is made the primary: with all
// voters back there is one, and nobody is asked.
func TestUnserved(t *testing.T) {
	lost, barren := 0, 0
	for seed := range uint64(150) {
		r := Run(seed, Options{Only: Unserved})
		if r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		}
		lost += r.Ends + r.Crashes + r.PowerLosses
		if r.Barren {
			barren++
		}
	}
	t.Logf("%d losses, %d schedules in which an operator decides", lost, barren)
	if lost < 150 {
		t.Errorf("only %d losses: the class plays nothing", lost)
	}
}
