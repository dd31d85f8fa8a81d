// Package atomicfile replaces a file so that a reader, and a machine that loses power at any
// moment, sees either the whole old content or the whole new one.
//
// It is for the few small files whose loss would break a promise: the state of a node (a vote is
// fsync'd before it is answered), redis.conf, users.acl and sentinel.conf. The agent and the
// commands call it. It never appends, never merges and never removes the file that it was asked to
// write. SyncDir is for who renames by themselves.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// WriteFile makes data the content of the file at path, with exactly the given permission bits (the
// umask does not apply). When it returns nil, content and name are on disk.
//
// The file keeps its owner and group. A new file gets those of its directory. Both only matter to
// root: a command that root types must not take a file away from the redis user, who has to write
// it next time. A symbolic link at path is replaced, not followed.
//
// The new content is prepared in a hidden file beside it, ".NAME.new". A crash can leave that one
// behind; the next call for the same path uses it up. Concurrent calls for one path, in one process
// or several, take turns.
func WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := refuseIrregular(path); err != nil {
		return err
	}
	dir, base := filepath.Split(filepath.Clean(path))
	if dir == "" {
		dir = "."
	}
	tmp := filepath.Join(dir, "."+base+".new")
	f, err := openLocked(tmp)
	if err != nil {
		return err
	}
	if err := fill(f, path, dir, data, mode); err != nil {
		return errors.Join(err, os.Remove(tmp), f.Close())
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp), f.Close())
	}
	// Closed only now: the lock has to outlive the rename, or another writer could empty the file
	// that is about to get the name.
	if err := f.Close(); err != nil {
		return err
	}
	return SyncDir(dir)
}

// refuseIrregular reports an error if something is at path that a rename would silently swallow: a
// directory cannot be, a device or a socket should not be.
func refuseIrregular(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink:
		return fmt.Errorf("it is not a regular file (%s)", info.Mode().Type())
	}
	return nil
}

// openLocked opens (or creates) the file in which the new content is prepared and locks it. The
// loop is for two writers: while the second waited, the first gave the locked file its final name,
// so the second must open a fresh one.
func openLocked(tmp string) (*os.File, error) {
	for {
		f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lock(f); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", tmp, err), f.Close())
		}
		same, err := stillNamed(f, tmp)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if same {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

func lock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// stillNamed reports whether f is the file that tmp names now.
func stillNamed(f *os.File, tmp string) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Lstat(tmp)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(opened, named), nil
}

// fill gives f its owner, permissions and content, in this order: nobody may read the content with
// the permissions that a left-over file happened to have.
func fill(f *os.File, path, dir string, data []byte, mode fs.FileMode) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	if err := own(f, path, dir); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode.Perm()); err != nil {
		return err
	}
	return f.Sync()
}

// own gives f the owner of the file that it is going to replace, or of the directory if there is
// none. Only root can, and only root needs to.
func own(f *os.File, path, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Stat(dir)
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// SyncDir makes durable what the directory's files are called: a rename, or a new file, is on disk
// when it has returned.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
