package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// From linux/fs.h; golang.org/x/sys has no names for them.
const (
	ioctlFreeze = 0xc0045877 // FIFREEZE
	ioctlThaw   = 0xc0045878 // FITHAW
)

type volumeSpec struct {
	path string
	size int64
}

// volume is a disk beside the host's own, bound into the host at every boot.
type volume struct {
	*disk
	path string // on the host
}

func makeVolume(ctx context.Context, base string, spec volumeSpec) (*volume, error) {
	d, err := makeDisk(ctx, base, spec.size)
	if err != nil {
		return nil, err
	}
	return &volume{disk: d, path: spec.path}, nil
}

func (h *Host) volume(path string) (*volume, error) {
	for _, v := range h.volumes {
		if v.path == path {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%s has no volume at %s", h.name, path)
}

// FillDisk takes all the room there is on a volume (see WithVolume): the next write fails with
// ENOSPC.
func (h *Host) FillDisk(path string) error {
	v, err := h.volume(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(v.fillFile(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	const block = 1024 // mkfs.ext4's, on small volumes
	offset := info.Size()
	for step := int64(64 << 20); step >= block; {
		switch err := unix.Fallocate(int(f.Fd()), 0, offset, step); err {
		case nil:
			offset += step
		case unix.ENOSPC:
			step /= 2
		case unix.EINTR:
		default:
			return fmt.Errorf("fill the disk: %w", err)
		}
	}
	return f.Sync() // so that blocks promised to earlier writes are accounted for
}

// FreeDisk undoes FillDisk.
func (h *Host) FreeDisk(path string) error {
	v, err := h.volume(path)
	if err != nil {
		return err
	}
	return os.Remove(v.fillFile())
}

func (v *volume) fillFile() string { return filepath.Join(v.mountPoint, ".filled-by-the-lab") }

// FreezeDisk makes a volume hang: whoever writes to it, or syncs it, waits until ThawDisk and
// cannot be killed.
func (h *Host) FreezeDisk(path string) error {
	v, err := h.volume(path)
	if err != nil {
		return err
	}
	if err := mountIoctl(v.mountPoint, ioctlFreeze); err != nil {
		return fmt.Errorf("freeze the disk: %w", err)
	}
	return nil
}

// ThawDisk undoes FreezeDisk.
func (h *Host) ThawDisk(path string) error {
	v, err := h.volume(path)
	if err != nil {
		return err
	}
	if err := thaw(v.mountPoint); err != nil {
		return fmt.Errorf("thaw the disk: %w", err)
	}
	return nil
}

// FailDisk makes a disk read-only, as the kernel does after an error on it (errors=remount-ro):
// writes end with EROFS, also those to files that are open. The path is that of a volume, or "/"
// for the host's own disk. It stays so until the power is cut and comes back; the disk is checked
// on the way, as a boot does.
func (h *Host) FailDisk(path string) error {
	if path == "/" {
		return h.disk.fail()
	}
	v, err := h.volume(path)
	if err != nil {
		return err
	}
	return v.fail()
}

func (h *Host) thawVolumes() {
	for _, v := range h.volumes {
		_ = thaw(v.mountPoint) // an error if it was not frozen
	}
}

func thaw(mountPoint string) error { return mountIoctl(mountPoint, ioctlThaw) }

func mountIoctl(mountPoint string, request uint) error {
	d, err := os.Open(mountPoint)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.IoctlSetInt(int(d.Fd()), request, 0)
}
