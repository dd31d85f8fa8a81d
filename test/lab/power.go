package lab

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// PowerOff takes the power away; see Lab.PowerOff.
func (h *Host) PowerOff(ctx context.Context) error { return h.lab.PowerOff(ctx, h) }

// PowerOff takes the power from several hosts at the same moment. The links go first, so that no
// process can say good-bye (the kernel would close its connections in good order), then the disks,
// then every process is gone at once. What a host had written and not synced is lost, unless the
// kernel happened to have written it out; what it had synced is there when the power comes back.
func (l *Lab) PowerOff(ctx context.Context, hosts ...*Host) error {
	lives := make([]*boot, len(hosts))
	for i, h := range hosts {
		b, err := h.current()
		if err != nil {
			return fmt.Errorf("power off %s: %w", h.name, err)
		}
		lives[i] = b
	}
	for _, h := range hosts {
		h.mu.Lock()
		h.on = false
		h.mu.Unlock()
	}
	errs := make([]error, len(hosts))
	for i, h := range hosts {
		errs[i] = h.link.unplug()
	}
	for i, h := range hosts {
		lives[i].powerCut.Store(true)
		errs[i] = errors.Join(errs[i], h.cutDisks())
	}
	for i := range hosts {
		errs[i] = errors.Join(errs[i], lives[i].kill())
	}
	var after errgroup.Group
	for i, h := range hosts {
		after.Go(func() error {
			errs[i] = errors.Join(errs[i], h.afterCut(ctx, lives[i]))
			if errs[i] != nil {
				return fmt.Errorf("power off %s: %w", h.name, errs[i])
			}
			return nil
		})
	}
	return after.Wait()
}

// afterCut waits for the end of a host whose power was cut and readies it for the next boot.
func (h *Host) afterCut(ctx context.Context, b *boot) error {
	h.disks.Lock()
	defer h.disks.Unlock()
	h.thawVolumes() // who waits for a disk that hangs cannot die
	if err := b.await(ctx, b.gone); err != nil {
		return err
	}
	if err := h.Thaw(ctx); err != nil { // it will not be frozen when it comes back
		return err
	}
	if err := h.unmount(ctx); err != nil {
		return err
	}
	return h.mount(ctx)
}

// cutDisks ends all writing to the host's disks. Programs that still run get EIO.
func (h *Host) cutDisks() error {
	errs := []error{h.disk.cut()}
	for _, v := range h.volumes {
		errs = append(errs, v.cut())
	}
	return errors.Join(errs...)
}

// SyncDisks puts on disk all that was written on the host: for what a test's own preparations have
// changed by commands that do not sync, before it cuts the power.
func (h *Host) SyncDisks() error {
	h.disks.RLock()
	defer h.disks.RUnlock()
	return h.syncDisks()
}

// syncDisks is for who knows that the disks stay mounted.
func (h *Host) syncDisks() error {
	errs := []error{h.disk.sync()}
	for _, v := range h.volumes {
		errs = append(errs, v.sync())
	}
	return errors.Join(errs...)
}

// mount mounts the host's disks again, and lays its own over the image.
func (h *Host) mount(ctx context.Context) error {
	if err := h.disk.mount(ctx); err != nil {
		return err
	}
	for _, v := range h.volumes {
		if err := v.mount(ctx); err != nil {
			return err
		}
	}
	return h.overlay()
}

func (h *Host) unmount(ctx context.Context) error {
	var errs []error
	if err := unix.Unmount(h.root, 0); err != nil {
		errs = append(errs, fmt.Errorf("unmount the root of %s: %w", h.name, err))
	}
	errs = append(errs, h.disk.unmount(ctx))
	for _, v := range h.volumes {
		errs = append(errs, v.unmount(ctx))
	}
	return errors.Join(errs...)
}
