package atomicfile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/redisd/redisd/internal/atomicfile"
	"github.com/redisd/redisd/test/powerloss"
)

// TestPowerLoss takes the power at every call of WriteFile: the old content is there or the new
// one, whole, and the new one once WriteFile has returned.
func TestPowerLoss(t *testing.T) {
	const name = "redis.conf"
	for _, c := range []struct {
		name    string
		prepare func(dir string) error
	}{
		{"new", nil},
		{"replaced", func(dir string) error { return os.WriteFile(filepath.Join(dir, name), content(0), 0o600) }},
		{"left over", func(dir string) error { return os.WriteFile(filepath.Join(dir, "."+name+".new"), content(9), 0o600) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			trace := powerloss.Record(t, c.prepare, func(dir string) error {
				for n := 1; n <= 4; n++ {
					powerloss.Begin(n)
					if err := atomicfile.WriteFile(filepath.Join(dir, name), content(n*(5-n)), 0o600); err != nil {
						return err
					}
					powerloss.Done(n)
				}
				return nil
			})
			trace.Play(t, func(dir string, m powerloss.Moment) error {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if errors.Is(err, fs.ErrNotExist) && m.Done == 0 && c.name != "replaced" {
					return nil
				}
				for n := m.Done; err == nil && n <= m.Begun; n++ {
					if string(data) == string(content(n*(5-n))) {
						return atomicfile.WriteFile(filepath.Join(dir, name), content(1), 0o600) // and it goes on
					}
				}
				return errors.Join(err, fmt.Errorf("the file has %.40q", data))
			})
		})
	}
}
