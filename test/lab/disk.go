package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ioctlShutdown is EXT4_IOC_SHUTDOWN, from the kernel's fs/ext4/ext4.h.
	ioctlShutdown = 0x8004587d
	// shutdownNow is EXT4_GOING_FLAGS_NOLOGFLUSH: nothing more is written, not even the journal.
	shutdownNow = 2

	// diskSize is that of a host's own disk. Its file is sparse, so it costs what is written.
	diskSize = 32 << 30
	// freeLimit bounds how long a disk is waited for that nobody should use any more.
	freeLimit = 10 * time.Second
)

// disk is an ext4 file system in a sparse file, mounted on this machine by a loop device. It has a
// page cache of its own, so a power cut can lose what was written and not synced.
type disk struct {
	file       string
	mountPoint string
	failed     bool // the kernel has made it read-only: it wants a check before it is mounted again
}

// makeDisk makes a file system of size bytes in base.ext4 and mounts it at base.
func makeDisk(ctx context.Context, base string, size int64, options ...string) (*disk, error) {
	d := &disk{file: base + ".ext4", mountPoint: base}
	if err := os.WriteFile(d.file, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(d.file, size); err != nil {
		return nil, err
	}
	// -m 0: full is full for root, too. A new sparse file reads as zeros: nothing is to be cleared.
	args := append([]string{"-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"}, options...)
	if err := command(ctx, "", "mkfs.ext4", append(args, d.file)...); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, err
	}
	if err := d.mount(ctx); err != nil {
		return nil, err
	}
	return d, os.RemoveAll(filepath.Join(base, "lost+found"))
}

// mount mounts the disk; the kernel replays the journal first.
func (d *disk) mount(ctx context.Context) error {
	if d.failed {
		var exit *exec.ExitError
		err := command(ctx, "", "e2fsck", "-p", d.file)
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: all errors are mended
			return err
		}
		d.failed = false
	}
	// noauto_da_alloc: other file systems do not write a file out because it is about to replace
	// another, so a program that relies on it is to be noticed here.
	return command(ctx, "", "mount", "-o", "loop,noinit_itable,noauto_da_alloc,errors=remount-ro", d.file, d.mountPoint)
}

// cut is the power cut: from now on nothing gets to the disk, neither what is in the page cache nor
// what the journal has gathered. What was synced is there, or in the journal.
func (d *disk) cut() error {
	dir, err := os.Open(d.mountPoint)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), ioctlShutdown, shutdownNow); err != nil {
		return fmt.Errorf("cut the power of a disk: %w", err)
	}
	return nil
}

// unmount returns when the loop device is free, too. As long as somebody holds the file system, a
// mount of the same file would be the old one again.
func (d *disk) unmount(ctx context.Context) error {
	_ = thaw(d.mountPoint) // an error if it was not frozen
	if err := unix.Unmount(d.mountPoint, 0); err != nil {
		return fmt.Errorf("unmount a disk: %w", err)
	}
	return awaitLoopsFree(ctx, d.file)
}

// sync puts all that was written on the disk.
func (d *disk) sync() error {
	dir, err := os.Open(d.mountPoint)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync a disk: %w", err)
	}
	return nil
}

// fail makes the disk read-only the way the kernel does when it meets an error on it
// (errors=remount-ro): also for files that are open.
func (d *disk) fail() error {
	var stat unix.Stat_t
	if err := unix.Stat(d.mountPoint, &stat); err != nil {
		return err
	}
	trigger := fmt.Sprintf("/sys/fs/ext4/loop%d/trigger_fs_error", unix.Minor(stat.Dev))
	if err := os.WriteFile(trigger, []byte("the lab"), 0); err != nil {
		return fmt.Errorf("make a disk read-only: %w", err)
	}
	d.failed = true
	return nil
}

// awaitLoopsFree waits until no loop device has the file, or one below the folder, any more. Loop
// devices of mount(8) go with the last user.
func awaitLoopsFree(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, freeLimit)
	defer cancel()
	return Await(ctx, time.Millisecond, func() error {
		loops, err := loopsOf(path)
		if err == nil && len(loops) > 0 {
			err = fmt.Errorf("%s still has %s", strings.Join(loops, ", "), path)
		}
		return err
	})
}

// loopsOf are the loop devices on the file, or on files below the folder.
func loopsOf(path string) ([]string, error) {
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var loops []string
	for _, b := range backing {
		text, err := os.ReadFile(b)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
			continue // let go in this moment
		}
		if err != nil {
			return nil, err
		}
		file := strings.TrimSuffix(strings.TrimSpace(string(text)), " (deleted)")
		if file == path || strings.HasPrefix(file, path+"/") {
			loops = append(loops, filepath.Base(filepath.Dir(filepath.Dir(b))))
		}
	}
	return loops, nil
}
