package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/slotfile"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/test/powerloss"
)

// TestPowerLossState takes the power at every call that makes and changes a node's state and its
// record: a node never votes twice, and keeps its name.
func TestPowerLossState(t *testing.T) {
	state := func(s stateFile, n int) stateFile {
		s.Election = election.State{ClusterID: "c1", Term: election.Term(n), Vote: election.NodeID(fmt.Sprint("node", n))}
		return s
	}
	trace := powerloss.Record(t, nil, func(dir string) error {
		d, err := openDisk(dir, dir, "test")
		if err != nil {
			return err
		}
		s, err := d.loadState("cache")
		if err != nil {
			return err
		}
		if _, err := d.loadRecord(); err != nil {
			return err
		}
		for n := 1; n <= 4; n++ {
			powerloss.Begin(n)
			if err := d.saveElection(state(s, n).State); err != nil {
				return err
			}
			powerloss.Done(n)
			if err := d.saveRecord(node.Record{Version: node.Version{Term: uint64(n), Offset: int64(n)}}, n%2 == 0); err != nil {
				return err
			}
		}
		return d.close()
	})
	id := ""
	trace.Play(t, func(dir string, m powerloss.Moment) error {
		d, err := openDisk(dir, dir, "test")
		if err != nil {
			return err
		}
		defer d.close()
		s, err := d.loadState("cache")
		if err != nil {
			return err
		}
		n := int(s.Election.Term)
		if n < m.Done || n > m.Begun || n > 0 && s.Election.Vote != election.NodeID(fmt.Sprint("node", n)) {
			return fmt.Errorf("the state is of term %d, vote %q", n, s.Election.Vote)
		}
		if m.Begun > 0 {
			if id == "" {
				id = s.ID
			}
			if s.ID != id {
				return fmt.Errorf("the node was %s and is %s", id, s.ID)
			}
		}
		r, err := d.loadRecord()
		if err != nil && (!errors.Is(err, slotfile.ErrDamaged) || m.Begun > 2) { // before the first that was synced
			return err
		}
		// The record of an even term was synced before the next term began.
		if synced := max(0, m.Begun-1) / 2 * 2; int(r.Term) < synced || int(r.Term) > m.Done || r.Offset != int64(r.Term) {
			return fmt.Errorf("the record is %+v", r)
		}
		return nil
	})
}

// TestPowerLossSetAside takes the power at every call that moves a dataset out of the way: it is in
// one of the two places.
func TestPowerLossSetAside(t *testing.T) {
	const part = "appendonlydir/appendonly.aof.manifest"
	prepare := func(dir string) error {
		path := filepath.Join(dir, "redis", part)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		return os.WriteFile(path, []byte("manifest"), 0o600)
	}
	trace := powerloss.Record(t, prepare, func(dir string) error {
		powerloss.Begin(1)
		redis := filepath.Join(dir, "redis")
		if _, err := setAside(redis, filepath.Join(redis, "appendonlydir"), filepath.Join(redis, "dump.rdb")); err != nil {
			return err
		}
		powerloss.Done(1)
		return nil
	})
	trace.Play(t, func(dir string, m powerloss.Moment) error {
		here, err := filepath.Glob(filepath.Join(dir, "redis", part))
		if err != nil {
			return err
		}
		aside, err := filepath.Glob(filepath.Join(dir, "redis", "set-aside-*", part))
		if err != nil {
			return err
		}
		if len(here)+len(aside) != 1 || len(aside) < m.Done {
			return fmt.Errorf("in place: %q, set aside: %q", here, aside)
		}
		return nil
	})
}

// TestPowerLossImport takes the power at every call of the first start's copy of another dataset:
// the next start has all of it, or copies it.
func TestPowerLossImport(t *testing.T) {
	const dump = "what Debian's redis-server had"
	node := importingNode(t, nil)
	takeOver := func(from, to string) (string, error) {
		return importInto(to, func(part string) (string, error) { return node.importFrom(usualIn(from, "no"), part) })
	}
	paths := func(dir string) (from, to string) { return filepath.Join(dir, "debian"), filepath.Join(dir, "redis") }
	trace := powerloss.Record(t, func(dir string) error {
		from, to := paths(dir)
		for _, d := range []string{from, to} {
			if err := os.Mkdir(d, 0o750); err != nil {
				return err
			}
		}
		return os.WriteFile(filepath.Join(from, "dump.rdb"), []byte(dump), 0o600)
	}, func(dir string) error {
		powerloss.Begin(1)
		if _, err := takeOver(paths(dir)); err != nil {
			return err
		}
		powerloss.Done(1)
		return nil
	})
	trace.Play(t, func(dir string, m powerloss.Moment) error {
		from, to := paths(dir)
		copied, err := takeOver(from, to)
		if err != nil {
			return err
		}
		if copied != "" && m.Done > 0 {
			return fmt.Errorf("it was copied a second time")
		}
		text, err := os.ReadFile(filepath.Join(to, "appendonlydir", "appendonly.aof.1.base.rdb"))
		if err != nil || string(text) != dump {
			return fmt.Errorf("the dataset is %q: %v", text, err)
		}
		manifest, err := os.ReadFile(filepath.Join(to, "appendonlydir", "appendonly.aof.manifest"))
		if err != nil || len(manifest) == 0 {
			return fmt.Errorf("the manifest is %q: %v", manifest, err)
		}
		return nil
	})
}

// TestPowerLossLastGood takes the power at every call that keeps a copy of a configuration that
// works.
func TestPowerLossLastGood(t *testing.T) {
	text := func(n int) string { return fmt.Sprintf("[cluster]\nname = \"cache%d\"\n", n) }
	trace := powerloss.Record(t, nil, func(dir string) error {
		r := &reloader{site: &site{log: slog.New(slog.NewTextHandler(io.Discard, nil)), disk: &disk{dir: dir}},
			configPath: filepath.Join(dir, "redisd.toml")}
		for n := 1; n <= 3; n++ {
			if err := os.WriteFile(r.configPath, []byte(text(n)), 0o600); err != nil {
				return err
			}
			powerloss.Begin(n)
			r.rememberConfig()
			powerloss.Done(n)
		}
		return nil
	})
	trace.Play(t, func(dir string, m powerloss.Moment) error {
		got, err := os.ReadFile(filepath.Join(dir, LastGoodName))
		if os.IsNotExist(err) && m.Done == 0 {
			return nil
		}
		for n := max(1, m.Done); n <= m.Begun; n++ {
			if string(got) == text(n) {
				return nil
			}
		}
		return fmt.Errorf("it has %q: %v", got, err)
	})
}
