package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// BreakDisk makes a volume read-only for everybody, also for who has a file open, in the way in
// which a disk does that: ext4 meets an error, and takes no more writes. Nothing on the host undoes
// it but a reboot with a check of the file system, see RepairDisk.
func (h *Host) BreakDisk(ctx context.Context, path string) error {
	v, err := h.volume(path)
	if err != nil {
		return err
	}
	if err := command(ctx, "", "mount", "-o", "remount,errors=remount-ro", v.mountPoint); err != nil {
		return fmt.Errorf("break the disk: %w", err)
	}
	trigger, err := v.trigger()
	if err == nil {
		err = os.WriteFile(trigger, []byte("an I/O error"), 0)
	}
	if err != nil {
		return fmt.Errorf("break the disk: %w", err)
	}
	return nil
}

// RepairDisk checks a volume and mounts it anew. The host must be powered off.
func (h *Host) RepairDisk(ctx context.Context, path string) error {
	v, err := h.volume(path)
	if err == nil && h.Running() {
		err = errors.New("it is powered on")
	}
	if err != nil {
		return fmt.Errorf("repair the disk of %s: %w", h.name, err)
	}
	file := v.mountPoint + ".ext4"
	if err := unix.Unmount(v.mountPoint, 0); err != nil {
		return fmt.Errorf("repair the disk: %w", err)
	}
	// Of a copy: the namespaces of other hosts may still have the old file system mounted, and the
	// kernel would give it back as it is. 1: there were errors, and they are corrected.
	const script = `cp --sparse=always "$1" "$1.new"; mv "$1.new" "$1"; e2fsck -p "$1" || [ $? = 1 ]`
	if err := command(ctx, "", "sh", "-ec", script, "sh", file); err != nil {
		return fmt.Errorf("repair the disk: %w", err)
	}
	return command(ctx, "", "mount", "-o", "loop", file, v.mountPoint)
}

// trigger is the kernel's file that has ext4 meet an error on this volume.
func (v *volume) trigger() (string, error) {
	var info unix.Stat_t
	if err := unix.Stat(v.mountPoint, &info); err != nil {
		return "", err
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(info.Dev), unix.Minor(info.Dev)))
	if err != nil {
		return "", err
	}
	return filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error"), nil
}
