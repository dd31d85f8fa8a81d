package slotfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redisd/redisd/test/powerloss"
)

// TestPowerLoss takes the power at every call of the file's making and of every Write: what is read
// then is whole, not older than what was last made to survive, and can be written on.
func TestPowerLoss(t *testing.T) {
	const s, u = true, false
	for name, syncs := range map[string][]bool{
		"always synced":    {s, s, s, s},
		"never synced":     {u, u, u, u},
		"sometimes synced": {s, u, u, u, s, u, s, u, u},
		"begins unsynced":  {u, u, s, s, u, u},
	} {
		t.Run(name, func(t *testing.T) { play(t, nil, syncs) })
	}
}

// TestPowerLossAfterTheProcess is the same for a process that goes on with the file of another,
// which may have left a value that is not on disk.
func TestPowerLossAfterTheProcess(t *testing.T) {
	const s, u = true, false
	for name, syncs := range map[string][]bool{
		"synced":   {u, u, s},
		"unsynced": {u, u, u},
	} {
		t.Run(name, func(t *testing.T) {
			first := []bool{s, u, s, u, u}
			play(t, first, syncs)
		})
	}
}

// play writes the values 1, 2, … and begins anew, as another process does, after those of first.
func play(t *testing.T, first, syncs []bool) {
	trace := powerloss.Record(t, nil, func(dir string) error {
		n := 0
		for _, run := range [][]bool{first, syncs} {
			if run == nil {
				continue
			}
			f, err := Open(filepath.Join(dir, "value"), 0o600)
			if err != nil {
				return err
			}
			if _, err := f.Read(); err != nil && !errors.Is(err, ErrEmpty) {
				return err
			}
			for _, sync := range run {
				n++
				powerloss.Begin(n)
				if err := f.Write([]byte(value(n)), sync); err != nil {
					return err
				}
				if sync {
					powerloss.Done(n)
				}
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	trace.Play(t, func(dir string, m powerloss.Moment) error {
		f, err := Open(filepath.Join(dir, "value"), 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		text, err := f.Read()
		n := 0
		if err == nil {
			number, _, _ := strings.Cut(string(text), " ")
			if n, err = strconv.Atoi(number); err == nil && string(text) != value(n) {
				err = fmt.Errorf("read %q", text)
			}
		} else if (errors.Is(err, ErrEmpty) || errors.Is(err, ErrDamaged)) && m.Done == 0 { // nothing was ever to last
			err = nil
		}
		if err != nil {
			return err
		}
		if n < m.Done || n > m.Begun {
			return fmt.Errorf("read the value %d", n)
		}
		if err := f.Write([]byte("next"), true); err != nil {
			return err
		}
		if text, err := f.Read(); err != nil || string(text) != "next" {
			return fmt.Errorf("after the next write it reads %q, %v", text, err)
		}
		return nil
	})
}

func value(n int) string { return strings.Repeat(fmt.Sprint(n, " "), 20+n*7%5) }
