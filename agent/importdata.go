package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// debianDir is where Debian's redis-server keeps its data.
const debianDir = "/var/lib/redis"

// importDataset copies, on the very first start, the data of Debian's
// redis-server, so that a server that had data goes on with it. The original is
// left as it is. A node of a loopback cluster (the demo) imports nothing.
func (a *Agent) importDataset() error {
	dir := a.redisDir()
	marker := filepath.Join(dir, ".imported")
	if _, err := os.Stat(marker); err == nil || a.gossipAddr.Addr().IsLoopback() {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		copied, err := importFrom(debianDir, dir)
		if err != nil {
			return fmt.Errorf("copy the data of Debian's redis-server from %s: %w; move it away if it is not wanted", debianDir, err)
		}
		if copied != "" {
			a.log.Info("took over the data of Debian's redis-server; the original stays where it is", "from", copied)
			a.events.add("imported", copied)
		}
	}
	return os.WriteFile(marker, nil, 0o640)
}

// importFrom copies an append-only directory, or makes one whose base is the
// dump: with appendonly, Redis does not look at dump.rdb.
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
