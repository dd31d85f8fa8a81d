package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/atomicfile"
)

// importName is where the copy is made: it becomes the dataset only when it is whole.
const importName = ".import"

// importMarker says that there is nothing to import any more.
const importMarker = ".imported"

// importDataset copies, on the very first start, the data of the server that was on this host
// before, the distribution's redis-server or valkey-server, so that a server that had data goes on
// with it. The original is left as it is. A copy that is cut short is begun again: redis-server is
// not started without it. A node of a loopback cluster (the demo) imports nothing, and neither does
// one of a further cluster on this host: the data is redisd.service's, which stands in for that
// server.
func (f *files) importDataset() error {
	cfg := *f.cfg.Load()
	if f.gossipAddr.Addr().IsLoopback() || config.Further(cfg.Instance()) {
		return nil
	}
	copied, err := importInto(f.redisDir(), func(to string) (string, error) {
		datasets, err := oldDatasets(OldServers(cfg))
		if err != nil {
			return "", err
		}
		return f.importFirstOf(datasets, to)
	})
	if copied != "" {
		f.log.Info("took over the data of the server that was here before; the original stays where it is", "from", copied)
		f.events.add("imported", copied)
	}
	return err
}

// FirstStart reports whether a start of the agent would take over the data of the server that was
// on this host before, if there was one.
func FirstStart(cfg config.Config) (bool, error) {
	if !cfg.HasRole(config.RoleRedis) || cfg.Node.Address.IsLoopback() {
		return false, nil
	}
	entries, err := os.ReadDir(filepath.Join(cfg.Node.StateDir, "redis"))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	for _, e := range entries {
		if e.Name() != importName {
			return false, nil
		}
	}
	return err == nil, err
}

// importInto has a dataset copied and moves it to dir, unless something was there before; it says
// what was copied.
func importInto(dir string, copyTo func(to string) (from string, err error)) (copied string, err error) {
	marker, part := filepath.Join(dir, importMarker), filepath.Join(dir, importName)
	if _, err := os.Stat(marker); err == nil {
		return "", nil
	}
	if err := os.RemoveAll(part); err != nil {
		return "", err
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return "", errors.Join(err, os.WriteFile(marker, nil, 0o640)) // it has run before
	}
	if err := os.Mkdir(part, 0o750); err != nil {
		return "", err
	}
	copied, err = copyTo(part)
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(part))
	}
	if copied != "" {
		unix.Sync()
		if err := moveAll(part, dir); err != nil {
			return "", err
		}
		// The marker must not be on disk before the dataset is in its place.
		if err := errors.Join(atomicfile.SyncDir(part), atomicfile.SyncDir(dir)); err != nil {
			return "", err
		}
	}
	return copied, errors.Join(os.RemoveAll(part), os.WriteFile(marker, nil, 0o640))
}

// moveAll moves what is in a folder, which is one file or one folder: a power loss leaves all of it
// or nothing.
func moveAll(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// importFirstOf copies the first dataset that is there. What belongs to the program that runs here
// must be readable; what else is left behind, an operator learns.
func (f *files) importFirstOf(datasets []oldDataset, to string) (copied string, err error) {
	for i, d := range datasets {
		if copied != "" {
			if found, err := d.find(); found.form != noData || err != nil {
				f.log.Warn("there may be data of another server on this host: it is left where it is, and not used", "directory", d.Dir, "used", copied)
			}
			continue
		}
		from, err := f.importFrom(d, to)
		mistake, isMistake := errors.AsType[*config.Mistake](err)
		switch {
		case isMistake:
			return "", mistake
		case err != nil && i > 0 && errors.Is(err, fs.ErrPermission):
			f.log.Warn("data of another server on this host cannot be read: if it is wanted, stop redisd, move its state directory away, and let the user redis read it", "directory", d.Dir, "error", err)
		case err != nil:
			return "", fmt.Errorf("copy the data of the server that was here before from %s: %w; move it away if it is not wanted, or let the user that redisd runs as read it (`adduser redis valkey` for Valkey's)", d.Dir, err)
		}
		copied = from
	}
	return copied, nil
}

// importFirst runs the import before the rounds, and keeps systemd waiting for as long as it takes;
// runs: redis-server does already.
func (f *files) importFirst(ctx context.Context, runs bool) error {
	if !f.cfg.Load().HasRole(config.RoleRedis) || runs {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { keepStarting(ctx) })
	defer wg.Wait()
	defer cancel()
	return f.importDataset()
}

// importFrom copies a dataset in the form in which the redis-server of this node loads it: an
// append-only folder, which may have a dump as its base, or a dump where it has no append-only
// file.
func (f *files) importFrom(d oldDataset, to string) (copied string, err error) {
	found, err := d.find()
	if err != nil || found.form == noData {
		return "", err
	}
	if err := f.fits(found); err != nil {
		return "", err
	}
	if found.older != "" {
		f.log.Warn("this host has data of the server that was here before twice: the older of the two is not used", "used", found.path, "not_used", found.older)
	}
	if !f.usesAOF() {
		return found.path, copyFile(found.path, filepath.Join(to, filepath.Base(f.rdbFile())))
	}
	dir, name := filepath.Join(to, filepath.Base(f.aofDir())), f.directive("appendfilename", "appendonly.aof")
	if found.form == folderAOF {
		if err := os.CopyFS(dir, os.DirFS(found.path)); err != nil {
			return "", err
		}
		return found.path, renameManifest(dir, d.AOFName, name)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		return "", err
	}
	base := name // as Redis 7 itself calls an append-only file of before
	if found.form == dump {
		base = name + ".1.base.rdb"
	}
	if err := copyFile(found.path, filepath.Join(dir, base)); err != nil {
		return "", err
	}
	manifest := "file " + base + " seq 1 type b\n"
	return found.path, os.WriteFile(filepath.Join(dir, name+manifestSuffix), []byte(manifest), 0o640)
}

func renameManifest(dir, from, to string) error {
	if from == to {
		return nil
	}
	return os.Rename(filepath.Join(dir, from+manifestSuffix), filepath.Join(dir, to+manifestSuffix))
}

// fits: the redis-server of this node can load it, with what redisd.toml says.
func (f *files) fits(found foundData) error {
	if !f.usesAOF() && found.form != dump {
		return &config.Mistake{Where: f.cfg.Load().Where("redis.directives.appendonly"), Key: "redis.directives.appendonly", Problem: fmt.Sprintf(
			"the data that was on this host before is in an append-only file, %s, and without appendonly it would not be loaded: take this out until the first start is over", found.path)}
	}
	problem, err := databasesProblem(*f.cfg.Load(), found)
	if err != nil {
		f.log.Warn("which databases the data has that was on this host before is not known: if redis-server does not load it, set databases under [redis.directives] to the number that it had", "error", err)
	}
	if problem != nil {
		return problem
	}
	return nil
}

func copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Sync()
}
