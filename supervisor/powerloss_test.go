package supervisor

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/redisd/redisd/test/powerloss"
)

// TestPowerLoss takes the power at every call that writes a record. Nothing of it needs to survive,
// for it names a process of that boot; but what is left must be read as a record or as none.
func TestPowerLoss(t *testing.T) {
	const name = "redis-server.json"
	of := func(n int) record {
		return record{PID: n, StartTicks: uint64(n), BootID: "boot", Exe: "/usr/bin/redis-server", Argv: []string{"redis-server"}}
	}
	trace := powerloss.Record(t, nil, func(dir string) error {
		for n := 1; n <= 4; n++ {
			raw, err := json.Marshal(of(n))
			if err != nil {
				return err
			}
			powerloss.Begin(n)
			if err := replaceFile(filepath.Join(dir, name), raw); err != nil {
				return err
			}
		}
		return nil
	})
	trace.Play(t, func(dir string, m powerloss.Moment) error {
		rec, err := loadRecord(filepath.Join(dir, name))
		if err != nil || rec == nil {
			return err
		}
		if want := of(rec.PID); rec.PID > m.Begun || rec.Exe != want.Exe || rec.StartTicks != want.StartTicks {
			return fmt.Errorf("it is read as %+v", rec)
		}
		run, err := rec.find()
		if err != nil || run != nil {
			return fmt.Errorf("a process of another boot was found: %v, %v", run, err)
		}
		return nil
	})
}
