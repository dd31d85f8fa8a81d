package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// rebootStatus is systemd-nspawn's exit code when the host asks for a reboot and it is not
	// nspawn's to do it (--keep-unit); nspawn's own unit file has the same number in
	// RestartForceExitStatus=.
	rebootStatus = 133

	// launchScript moves itself into the host's control groups, then becomes nsenter.
	// nsenter and not `ip netns exec`, which mounts a new /sys without the control groups.
	// Arguments: the groups, "--", the rest.
	launchScript = `while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done; shift; exec nsenter "$@"`

	// ownMountsScript drops, in a mount namespace of its own, the disks of all other hosts, then
	// becomes systemd-nspawn. What nspawn finds mounted when it starts stays in use as long as its
	// host runs, unseen, and a disk whose power was cut must be let go by all.
	// Arguments: the folder of all labs, that of the host, the rest.
	ownMountsScript = `while read -r _ _ _ _ at _; do
		case $at in "$2"/*) ;; "$1"/*) umount -l "$at" || exit 1 ;; esac
	done </proc/self/mountinfo; shift 2; exec systemd-nspawn "$@"`
)

// boot is one life of a host, from power to no power.
type boot struct {
	cmd     *exec.Cmd // systemd-nspawn
	notify  *net.UnixConn
	started time.Time

	up    chan struct{} // closed when the host's systemd runs and its link is as it should be
	ready chan struct{} // closed when systemd has finished starting up
	gone  chan struct{} // closed when nspawn has ended and cleared up

	powerCut atomic.Bool // it ends by a power cut, not in good order

	// Written before the channel closes.
	leader  *os.Process // up: the host's systemd; a pidfd, safe from its number being used again
	readyAt time.Time   // ready
	status  error       // gone
}

// launch starts the next life. h.mu is held.
func (h *Host) launch() (*boot, error) {
	b := &boot{started: time.Now(), up: make(chan struct{}), ready: make(chan struct{}), gone: make(chan struct{})}
	if err := h.group.make(); err != nil {
		return nil, err
	}
	socket := filepath.Join(h.lab.res.run, h.name+".notify")
	if err := os.RemoveAll(socket); err != nil {
		return nil, err
	}
	console, err := os.OpenFile(h.consolePath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	b.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	b.cmd = exec.Command("/bin/sh", h.launchArgs()...)
	b.cmd.Stdout, b.cmd.Stderr = console, console
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	b.cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"NOTIFY_SOCKET=" + socket,
		// Debian's default, whatever this machine has; and without it nspawn passes on the v1
		// hierarchies.
		"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
	}
	if err := b.cmd.Start(); err != nil {
		b.notify.Close()
		return nil, fmt.Errorf("start systemd-nspawn: %w", err)
	}
	h.set(b, nil)
	h.watched.Go(func() { h.listen(b) })
	h.watched.Go(func() { h.watch(b) })
	return b, nil
}

func (h *Host) launchArgs() []string {
	args := append([]string{"-c", launchScript, "lab"}, h.group.all...)
	args = append(args, "--", "--net="+h.lab.net.ns.Name(),
		"unshare", "--mount", "--propagation=private", "/bin/sh", "-c", ownMountsScript, "lab", labsDir(), h.dir,
		"--quiet", "--boot", "--directory="+h.root, "--machine="+h.machine(), "--hostname="+h.name,
		// No systemd-machined, no unit: works where systemd is not what runs this machine.
		"--register=no", "--keep-unit", "--notify-ready=yes",
		"--network-bridge="+bridgeName, "--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--capability=all",
		// What a Debian host gives its services; this machine's own may be lower.
		"--rlimit=RLIMIT_NOFILE=1024:524288", "--rlimit=RLIMIT_CORE=0:infinity",
		"--bind="+filepath.Join(h.dir, journalDir)+":/var/log/journal")
	for _, v := range h.volumes {
		args = append(args, "--bind="+v.mountPoint+":"+v.path)
	}
	return args
}

func (h *Host) machine() string { return fmt.Sprintf("l%d-%s", h.lab.res.number, h.name) }

// portName is the interface that leads to the host: 15 letters at most. nspawn makes that with the
// prefix "vb".
func (h *Host) portName(prefix string) string { return prefix + "-" + h.machine() }

func (h *Host) ports() []string { return []string{h.portName("vb"), h.portName("rb")} }

// listen takes in what nspawn and, through it, the host's systemd notify, until the socket closes.
func (h *Host) listen(b *boot) {
	message := make([]byte, 4096)
	for {
		n, err := b.notify.Read(message)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(message[:n])) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "X_NSPAWN_LEADER_PID":
				if err := h.begun(b, value); err != nil {
					h.lab.log.Error("host did not start as it should", "host", h.name, "error", err)
					b.cmd.Process.Kill()
				}
			case "READY":
				if b.readyAt.IsZero() { // systemd says so again after a daemon-reexec
					b.readyAt = time.Now()
					close(b.ready)
				}
			}
		}
	}
}

// begun notes the host's first process and puts its new link into the state that the old one was
// in.
func (h *Host) begun(b *boot, leader string) error {
	pid, err := strconv.Atoi(leader)
	if err != nil {
		return err
	}
	if b.leader, err = os.FindProcess(pid); err != nil {
		return fmt.Errorf("watch the host's systemd: %w", err)
	}
	if err := h.link.plug(); err != nil {
		return err
	}
	close(b.up)
	return nil
}

// watch waits for the end of one life and begins the next one if the host was rebooting.
func (h *Host) watch(b *boot) {
	b.status = b.cmd.Wait()
	b.notify.Close()
	h.link.lost()
	if !b.powerCut.Load() { // who shuts down in good order syncs
		if err := h.syncDisks(); err != nil {
			h.lab.log.Error("disks not synced at the end of a boot", "host", h.name, "error", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	close(b.gone)
	var exit *exec.ExitError
	if h.on && errors.As(b.status, &exit) && exit.ExitCode() == rebootStatus {
		if _, err := h.launch(); err != nil {
			h.set(nil, fmt.Errorf("start again: %w", err))
		}
		return
	}
	h.set(nil, nil)
}

// set changes the current life and tells who waits for that. h.mu is held.
func (h *Host) set(b *boot, failed error) {
	h.boot, h.failed = b, failed
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *Host) current() (*boot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.boot != nil:
		return h.boot, nil
	case h.failed != nil:
		return nil, h.failed
	}
	return nil, errors.New("it is off")
}

// after waits for the life that follows b.
func (h *Host) after(ctx context.Context, b *boot) (*boot, error) {
	for {
		h.mu.Lock()
		next, failed, on, changed := h.boot, h.failed, h.on, h.changed
		h.mu.Unlock()
		switch {
		case failed != nil:
			return nil, failed
		case next != nil && next != b:
			return next, nil
		case next == nil:
			return nil, fmt.Errorf("it stayed off (was to stay on: %t; systemd-nspawn: %v)", on, b.status)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// await waits for one of b's own channels, or for the end of that life.
func (b *boot) await(ctx context.Context, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w (see Host.Console)", context.Cause(ctx))
	case <-b.gone:
	}
	select {
	case <-event: // both, and the runtime picked the other
		return nil
	default:
		return fmt.Errorf("it went off by itself (systemd-nspawn: %v)", b.status)
	}
}

// kill ends the host's first process, and with it, by the kernel, all others.
func (b *boot) kill() error {
	select {
	case <-b.up:
		if err := b.leader.Kill(); !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		return nil
	case <-b.gone:
		return nil
	default: // still coming up: nspawn takes with it what it has started
		return b.cmd.Process.Kill()
	}
}

func (b *boot) tookToReady() time.Duration {
	select {
	case <-b.ready:
		return b.readyAt.Sub(b.started)
	default:
		return 0
	}
}
