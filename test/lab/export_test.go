package lab

import "context"

// CheckDisks has e2fsck look at every disk of a host that is off: all of it, mending nothing.
func (h *Host) CheckDisks(ctx context.Context) error {
	disks := []*disk{h.disk}
	for _, v := range h.volumes {
		disks = append(disks, v.disk)
	}
	if err := h.unmount(ctx); err != nil {
		return err
	}
	for _, d := range disks {
		if err := command(ctx, "", "e2fsck", "-f", "-n", d.file); err != nil {
			return err
		}
	}
	return h.mount(ctx)
}
