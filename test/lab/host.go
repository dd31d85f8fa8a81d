package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// nameForm: an interface of this machine is named after the host, see portName.
var nameForm = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,6}[a-z0-9])?$`)

// Host is a machine of the lab. Methods that need it powered on fail when it is not.
type Host struct {
	lab     *Lab
	name    string
	number  int    // last byte of its addresses
	dir     string // everything that is kept of it; survives the power
	root    string // the disk as the host sees it, also while it is off
	image   string
	lower   []string // what the disk lies over, top first
	group   group
	disk    *disk // its own: what it has changed of the image
	volumes []*volume

	// disks is held for writing while they are taken away and mounted again, after a power cut.
	disks sync.RWMutex

	mu      sync.Mutex
	boot    *boot // nil while it is off
	on      bool  // what was asked for: a host that is on comes back after a reboot of its own
	failed  error // why it did not come back
	frozen  bool
	changed chan struct{} // closed, and replaced, when the power does
	watched sync.WaitGroup

	link link
}

// HostOption changes what a host is made of.
type HostOption func(*hostSpec)

type hostSpec struct {
	image   string
	volumes []volumeSpec
	cloneOf *Host
}

// WithImage has the host boot from that image instead of the lab's own.
func WithImage(name string) HostOption {
	return func(s *hostSpec) { s.image = name }
}

// WithVolume gives the host an ext4 file system of its own, size bytes large, at path: a disk that
// can fill up (FillDisk) or hang (FreezeDisk) without the rest of the machine.
func WithVolume(path string, size int64) HostOption {
	return func(s *hostSpec) { s.volumes = append(s.volumes, volumeSpec{path: path, size: size}) }
}

func newHost(ctx context.Context, l *Lab, name string, number int, options []HostOption) (*Host, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("the name must be 1 to 8 of a-z 0-9 -, and begin with a letter")
	}
	spec := hostSpec{image: l.image}
	for _, o := range options {
		o(&spec)
	}
	if spec.cloneOf != nil {
		spec.image = spec.cloneOf.image
	}
	lower, err := l.lower(ctx, spec.image)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(l.res.dir, name)
	h := &Host{
		lab: l, name: name, number: number, dir: dir, root: filepath.Join(dir, "root"), group: l.group.sub(name),
		image: spec.image, lower: lower, changed: make(chan struct{}),
	}
	h.link.host = h
	for _, sub := range []string{"root", journalDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	// Few inodes for so large a disk, and a journal of its own size: mkfs takes 20 ms.
	if h.disk, err = makeDisk(ctx, filepath.Join(dir, "disk"), diskSize, "-i", "65536", "-J", "size=32"); err != nil {
		return nil, err
	}
	for _, sub := range []string{h.upper(), h.work()} {
		if err := os.Mkdir(sub, 0o755); err != nil {
			return nil, err
		}
	}
	if from := spec.cloneOf; from != nil {
		if err := command(ctx, "", "cp", "-a", from.upper()+"/.", h.upper()); err != nil {
			return nil, err
		}
	}
	if err := h.overlay(); err != nil {
		return nil, err
	}
	for i, v := range spec.volumes {
		made, err := makeVolume(ctx, filepath.Join(dir, fmt.Sprintf("volume%d", i)), v)
		if err != nil {
			return nil, err
		}
		h.volumes = append(h.volumes, made)
	}
	return h, h.personalise(ctx, spec.cloneOf == nil)
}

// upper is what the host has changed of the image, as a folder of its disk.
func (h *Host) upper() string { return filepath.Join(h.disk.mountPoint, "upper") }
func (h *Host) work() string  { return filepath.Join(h.disk.mountPoint, "work") }

// overlay lays the host's disk over the image.
func (h *Host) overlay() error {
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(h.lower, ":"), h.upper(), h.work())
	if err := unix.Mount("overlay", h.root, "overlay", 0, data); err != nil {
		return fmt.Errorf("mount the root of %s: %w", h.name, err)
	}
	return nil
}

// personalise writes what no two hosts share; a clone keeps the identity of the disk that it was
// made from.
func (h *Host) personalise(ctx context.Context, newIdentity bool) error {
	network := fmt.Sprintf("link set host0 up\naddr replace %s/64 dev host0 nodad\n", h.Addr6())
	if !h.lab.onlyIPv6 {
		network += fmt.Sprintf("addr replace %s/24 dev host0\n", h.Addr())
	}
	files := map[string]string{"/etc/hostname": h.name + "\n", "/etc/lab/network": network}
	if newIdentity {
		id := make([]byte, 16)
		rand.Read(id)
		files["/etc/machine-id"] = hex.EncodeToString(id) + "\n"
	}
	for path, text := range files {
		if err := h.WriteFile(ctx, path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Name is the host's.
func (h *Host) Name() string { return h.name }

// Addr is the host's own address, on its interface host0: IPv4, unless its lab has none.
func (h *Host) Addr() netip.Addr { return h.lab.IP(h.number) }

// Addr6 is the host's own IPv6 address.
func (h *Host) Addr6() netip.Addr { return h.lab.IP6(h.number) }

// Disk is the folder with the host's disk as the host sees it, for tools of this machine while the
// host is off.
func (h *Host) Disk() string { return h.root }

func (h *Host) endName() string { return h.name }

// Running says whether the host is powered on.
func (h *Host) Running() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.boot != nil
}

// Start gives the host power and returns as soon as commands can be run on it, while it is still
// booting.
func (h *Host) Start(ctx context.Context) error {
	h.disks.RLock() // not in the middle of a power cut
	h.mu.Lock()
	if h.boot != nil {
		h.mu.Unlock()
		h.disks.RUnlock()
		return fmt.Errorf("power on %s: it is on", h.name)
	}
	h.on, h.failed = true, nil
	b, err := h.launch()
	h.mu.Unlock()
	h.disks.RUnlock()
	if err == nil {
		err = b.await(ctx, b.up)
	}
	if err != nil {
		return fmt.Errorf("power on %s: %w", h.name, err)
	}
	return nil
}

// WaitReady waits until systemd has finished starting up: every unit has been started or has
// failed.
func (h *Host) WaitReady(ctx context.Context) error {
	b, err := h.current()
	if err == nil {
		err = b.await(ctx, b.ready)
	}
	if err != nil {
		return fmt.Errorf("boot %s: %w", h.name, err)
	}
	h.lab.log.Info("host is up", "host", h.name, "took", b.tookToReady().Round(time.Millisecond))
	return nil
}

// PowerOn is Start and WaitReady.
func (h *Host) PowerOn(ctx context.Context) error {
	if err := h.Start(ctx); err != nil {
		return err
	}
	return h.WaitReady(ctx)
}

// Shutdown powers the host off in good order and waits until it is off.
func (h *Host) Shutdown(ctx context.Context) error {
	b, err := h.current()
	if err != nil {
		return fmt.Errorf("shut %s down: %w", h.name, err)
	}
	h.mu.Lock()
	h.on = false
	h.mu.Unlock()
	if err := errors.Join(h.order(ctx, "poweroff"), b.await(ctx, b.gone)); err != nil {
		return fmt.Errorf("shut %s down: %w", h.name, err)
	}
	return nil
}

// Reboot restarts the host in good order and waits until it is up again.
func (h *Host) Reboot(ctx context.Context) error {
	b, err := h.current()
	if err != nil {
		return fmt.Errorf("reboot %s: %w", h.name, err)
	}
	if err := errors.Join(h.order(ctx, "reboot"), b.await(ctx, b.gone)); err != nil {
		return fmt.Errorf("reboot %s: %w", h.name, err)
	}
	next, err := h.after(ctx, b)
	if err == nil {
		err = next.await(ctx, next.ready)
	}
	if err != nil {
		return fmt.Errorf("reboot %s: %w", h.name, err)
	}
	return nil
}

// order has systemd carry out what then ends the host, which may well be before the answer.
func (h *Host) order(ctx context.Context, what string) error {
	_, err := h.Run(ctx, "systemctl", "--no-block", what)
	if errors.As(err, new(*RunError)) && !h.Running() {
		return nil
	}
	return err
}

// Freeze stops everything on the host at once, and its network with it, as when a hypervisor pauses
// it: nothing answers, no clock stops. Commands given by Run are not part of the host and go on.
func (h *Host) Freeze(ctx context.Context) error {
	if _, err := h.current(); err != nil {
		return fmt.Errorf("freeze %s: %w", h.name, err)
	}
	h.mu.Lock()
	h.frozen = true
	h.mu.Unlock()
	// The kernel acknowledges and answers for processes that are frozen; a paused machine does not.
	if err := errors.Join(h.lab.net.filter.setSilent(ctx, h, true, true), h.group.freeze(ctx, true)); err != nil {
		return fmt.Errorf("freeze %s: %w", h.name, err)
	}
	return nil
}

// Thaw undoes Freeze. The network comes back first: a paused machine finds what is waiting for it.
func (h *Host) Thaw(ctx context.Context) error {
	h.mu.Lock()
	frozen := h.frozen
	h.frozen = false
	h.mu.Unlock()
	if !frozen {
		return nil
	}
	if err := errors.Join(h.lab.net.filter.setSilent(ctx, h, true, false), h.group.freezeIfThere(ctx, false)); err != nil {
		return fmt.Errorf("thaw %s: %w", h.name, err)
	}
	return nil
}

// BootTime is how long the host took to finish starting up, counted from the power; 0 while it has
// not.
func (h *Host) BootTime() time.Duration {
	b, err := h.current()
	if err != nil {
		return 0
	}
	return b.tookToReady()
}

// Console is what the host has printed on its console since it was made: the place to look when one
// does not boot.
func (h *Host) Console() (string, error) {
	text, err := os.ReadFile(h.consolePath())
	return string(text), err
}

func (h *Host) consolePath() string { return filepath.Join(h.dir, "console") }

// close powers the host off and takes its disk apart; the files go with the reservation's folder.
func (h *Host) close(ctx context.Context) error {
	h.mu.Lock()
	h.on = false
	b := h.boot
	h.mu.Unlock()
	var errs []error
	if b != nil {
		b.powerCut.Store(true)
		// Cut, so that nothing is written that is thrown away next.
		errs = append(errs, h.cutDisks(), b.kill(), h.group.freezeIfThere(ctx, false))
		h.thawVolumes()
		errs = append(errs, b.await(ctx, b.gone))
	}
	h.watched.Wait()
	return errors.Join(append(errs, h.link.close(), h.unmount(ctx))...)
}
