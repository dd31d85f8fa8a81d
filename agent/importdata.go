package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/atomicfile"
)

// Where the services of the distribution keep their data.
const (
	redisData  = "/var/lib/redis"
	valkeyData = "/var/lib/valkey"
)

// importName is where the copy is made: it becomes the dataset only when it is whole.
const importName = ".import"

// importDataset copies, on the very first start, the data of the distribution's redis-server or
// valkey-server, so that a server that had data goes on with it. The original is left as it is. A
// copy that is cut short is begun again: redis-server is not started without it. A node of a
// loopback cluster (the demo) imports nothing, and neither does one of a further cluster on this
// host: the data is redisd.service's, which stands in for that server.
func (f *files) importDataset() error {
	if f.gossipAddr.Addr().IsLoopback() || config.Further(f.cfg.Load().Instance()) {
		return nil
	}
	from := dataDirs(f.cfg.Load().Redis.Binary)
	copied, err := importInto(f.redisDir(), func(to string) (string, error) { return f.importFirstOf(from, to) })
	if copied != "" {
		f.log.Info("took over the data of the distribution's server; the original stays where it is", "from", copied)
		f.events.add("imported", copied)
	}
	return err
}

// importInto has a dataset copied and moves it to dir, unless something was there before; it says
// what was copied.
func importInto(dir string, copyTo func(to string) (from string, err error)) (copied string, err error) {
	marker, part := filepath.Join(dir, ".imported"), filepath.Join(dir, importName)
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
		return "", err
	}
	if copied != "" {
		unix.Sync()
		if err := os.Rename(filepath.Join(part, "appendonlydir"), filepath.Join(dir, "appendonlydir")); err != nil {
			return "", err
		}
		// The marker must not be on disk before the dataset is in its place.
		if err := errors.Join(atomicfile.SyncDir(part), atomicfile.SyncDir(dir)); err != nil {
			return "", err
		}
	}
	return copied, errors.Join(os.RemoveAll(part), os.WriteFile(marker, nil, 0o640))
}

// dataDirs are where data may be that this program goes on with: its own first.
func dataDirs(binary string) []string {
	if strings.HasPrefix(filepath.Base(binary), "valkey") {
		return []string{valkeyData, redisData}
	}
	return []string{redisData, valkeyData}
}

// importFirstOf copies the first dataset that is there. Of the program that runs here it must be
// readable; what else is left behind, an operator learns.
func (f *files) importFirstOf(dirs []string, to string) (copied string, err error) {
	for i, dir := range dirs {
		if copied != "" {
			if found, err := hasDataset(dir); found || err != nil {
				f.log.Warn("there may be data of another server on this host: it is left where it is, and not used", "directory", dir, "used", copied)
			}
			continue
		}
		from, err := importFrom(dir, to)
		switch {
		case err != nil && i > 0 && errors.Is(err, fs.ErrPermission):
			f.log.Warn("data of another server on this host cannot be read: if it is wanted, stop redisd, move its state directory away, and let the user redis read it", "directory", dir, "error", err)
		case err != nil:
			return "", fmt.Errorf("copy the data of the distribution's server from %s: %w; move it away if it is not wanted, or let the user that redisd runs as read it (`adduser redis valkey` for Valkey's)", dir, err)
		}
		copied = from
	}
	return copied, nil
}

// hasDataset: there is something in dir that importFrom would copy.
func hasDataset(dir string) (bool, error) {
	for _, name := range []string{filepath.Join("appendonlydir", "appendonly.aof.manifest"), "dump.rdb"} {
		switch st, err := os.Stat(filepath.Join(dir, name)); {
		case err == nil && st.Size() > 0:
			return true, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return false, err
		}
	}
	return false, nil
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

// importFrom copies an append-only directory, or makes one whose base is the dump: with appendonly,
// Redis does not look at dump.rdb.
func importFrom(from, to string) (copied string, err error) {
	aof := filepath.Join(from, "appendonlydir")
	if st, err := os.Stat(filepath.Join(aof, "appendonly.aof.manifest")); err == nil && st.Size() > 0 {
		return aof, os.CopyFS(filepath.Join(to, "appendonlydir"), os.DirFS(aof))
	}
	dump := filepath.Join(from, "dump.rdb")
	st, err := os.Stat(dump)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case st.Size() == 0:
		return "", nil
	}
	dir := filepath.Join(to, "appendonlydir")
	if err := os.Mkdir(dir, 0o750); err != nil {
		return "", err
	}
	if err := copyFile(dump, filepath.Join(dir, "appendonly.aof.1.base.rdb")); err != nil {
		return "", err
	}
	manifest := "file appendonly.aof.1.base.rdb seq 1 type b\n"
	return dump, os.WriteFile(filepath.Join(dir, "appendonly.aof.manifest"), []byte(manifest), 0o640)
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
