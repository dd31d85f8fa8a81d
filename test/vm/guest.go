// Package vm boots one host of the lab as a virtual machine, with a kernel and clocks of its own:
// the lab's other hosts share this machine's, so that a pause by a hypervisor, in which a host's
// clocks stand still, cannot be had with them. It is QEMU without KVM, several times slower than
// the machine: times that a guest takes are not compared with those of other hosts.
package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redisd/redisd/test/lab"
)

const (
	shellPort = "99"
	diskSize  = "2G"
	// The clock is read without a trap, which costs a program in Go most of its time otherwise.
	kernelOptions = "console=ttyS0 edd=off net.ifnames=0 root=/dev/vda rw quiet mitigations=off audit=0 " +
		"tsc=reliable clocksource=tsc"

	// quitLimit: QEMU ends at once; more means that it hangs.
	quitLimit = 5 * time.Second
)

// Guest is a host of the lab that runs in QEMU. Its disk is written as that of the lab's host,
// which stays off, until the first PowerOn copies it.
type Guest struct {
	Host *lab.Host
	lab  *lab.Lab
	dir  string
	cmd  *exec.Cmd
	qmp  net.Conn
	said *bufio.Reader // by qmp
}

// files make a guest of a host's disk: the interface's name, and a shell at the lab's client end.
var files = []struct {
	path, text string
	mode       os.FileMode
}{
	{"/etc/systemd/system/lab-network.service.d/guest.conf", `[Service]
ExecStartPre=/bin/sh -c 'until ip link set eth0 name host0; do sleep 0.1; done'
`, 0o644},
	{"/etc/systemd/system/vm-shell.socket", "[Socket]\nListenStream=" + shellPort + "\nAccept=yes\n", 0o644},
	{"/etc/systemd/system/vm-shell@.service", `[Service]
ExecStart=/usr/local/sbin/vm-shell
StandardInput=socket
StandardOutput=socket
StandardError=socket
`, 0o644},
	{"/usr/local/sbin/vm-shell", `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root SYSTEMD_PAGER=cat
script=$(cat)
/bin/sh -ec "$script" </dev/null 2>&1
echo "exit $?"
`, 0o755},
}

// InstallKernel puts Debian's kernel for virtual machines on a host that is on, from the folder of
// .deb files that setup.sh has made.
func InstallKernel(ctx context.Context, h *lab.Host, debs string) error {
	paths, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("no .deb file in %s (%v)", debs, err)
	}
	for _, path := range paths {
		if err := h.CopyIn(ctx, path, "/root/kernel/"+filepath.Base(path)); err != nil {
			return err
		}
	}
	// Only what finds a guest's disk and network: a small initrd boots sooner without KVM.
	_, err = h.Shell(ctx, `mkdir -p /etc/initramfs-tools/conf.d
echo MODULES=list >/etc/initramfs-tools/conf.d/vm
printf 'virtio_pci\nvirtio_blk\nvirtio_net\next4\n' >/etc/initramfs-tools/modules
dpkg --force-confold -i /root/kernel/*.deb && rm -r /root/kernel`)
	return err
}

// Add makes a guest, powered off, in a lab whose hosts have the kernel.
func Add(ctx context.Context, l *lab.Lab, name string) (*Guest, error) {
	h, err := l.Add(ctx, name)
	if err != nil {
		return nil, err
	}
	g := &Guest{Host: h, lab: l, dir: filepath.Dir(h.Disk())}
	for _, f := range files {
		if err := h.WriteFile(ctx, f.path, []byte(f.text), f.mode); err != nil {
			return nil, err
		}
	}
	if err := g.Chroot(ctx, "systemctl", "-q", "add-wants", "sockets.target", "vm-shell.socket"); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"tuntap", "add", g.tap(), "mode", "tap"},
		{"link", "set", g.tap(), "master", "br0", "up"},
	} {
		if out, err := l.Command(ctx, "ip", args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make the guest's cable: %w: %s", err, out)
		}
	}
	return g, nil
}

func (g *Guest) tap() string { return "vt-" + g.Host.Name() }

// Chroot runs a command on the disk before the guest's first boot.
func (g *Guest) Chroot(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "chroot", append([]string{g.Host.Disk()}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("on the disk of %s: %s: %w: %s", g.Host.Name(), strings.Join(args, " "), err, out)
	}
	return nil
}

// PowerOn boots the guest and waits until its systemd and udev have finished starting up.
func (g *Guest) PowerOn(ctx context.Context) error {
	if err := g.makeDisk(ctx); err != nil {
		return fmt.Errorf("make the disk of %s: %w", g.Host.Name(), err)
	}
	if err := g.start(ctx); err != nil {
		return fmt.Errorf("power on %s: %w", g.Host.Name(), err)
	}
	err := lab.Await(ctx, 200*time.Millisecond, func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		out, err := g.Shell(ctx, "systemctl is-system-running || true; udevadm settle -t 1")
		if state := strings.TrimSpace(out); err == nil && state != "running" && state != "degraded" {
			err = fmt.Errorf("it is %s", state)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("boot %s: %w; its console ended with:\n%s", g.Host.Name(), err, g.consoleEnd())
	}
	return nil
}

func (g *Guest) makeDisk(ctx context.Context) error {
	if _, err := os.Stat(g.path("disk")); err == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-d", g.Host.Disk(), g.path("disk"), diskSize)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (g *Guest) path(name string) string { return filepath.Join(g.dir, "guest-"+name) }

func (g *Guest) start(ctx context.Context) error {
	kernel, err := filepath.Glob(filepath.Join(g.Host.Disk(), "boot/vmlinuz-*"))
	if err != nil || len(kernel) != 1 {
		return fmt.Errorf("there must be one kernel on the disk, not %v", kernel)
	}
	initrd := strings.Replace(kernel[0], "vmlinuz-", "initrd.img-", 1)
	last := g.Host.Addr().As4()[3]
	console, err := os.OpenFile(g.path("console"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer console.Close()
	if err := os.RemoveAll(g.path("qmp")); err != nil {
		return err
	}
	g.cmd = g.lab.Command(context.WithoutCancel(ctx), "qemu-system-x86_64",
		"-M", "q35,accel=tcg", "-cpu", "max,la57=off", "-m", "768", "-nodefaults", "-display", "none", "-serial", "stdio",
		"-kernel", kernel[0], "-initrd", initrd, "-append", kernelOptions,
		"-drive", "file="+g.path("disk")+",format=raw,if=virtio,cache=writeback",
		"-netdev", "tap,id=lab,script=no,downscript=no,ifname="+g.tap(),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=lab,mac=52:54:00:77:00:%02x", last),
		"-qmp", "unix:"+g.path("qmp")+",server=on,wait=off")
	g.cmd.Stdout, g.cmd.Stderr = console, console
	// Should the test be killed, so is the guest: the lab that clears up later does not know it.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		return err
	}
	return lab.Await(ctx, 50*time.Millisecond, func() (err error) {
		if g.qmp, err = net.Dial("unix", g.path("qmp")); err != nil {
			return fmt.Errorf("%w; QEMU said:\n%s", err, g.consoleEnd())
		}
		g.said = bufio.NewReader(g.qmp)
		return g.monitor("qmp_capabilities")
	})
}

// monitor has QEMU carry out a command of its monitor and waits until it has.
func (g *Guest) monitor(command string) error {
	g.qmp.SetDeadline(time.Now().Add(quitLimit))
	if _, err := fmt.Fprintf(g.qmp, `{"execute":%q}`+"\n", command); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	for {
		line, err := g.said.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		var answer struct {
			Return *struct{}
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		switch { // anything else is an event, or the greeting
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", command, answer.Error.Desc)
		case answer.Return != nil:
			return nil
		}
	}
}

// Pause stops the guest's processor and clocks. What is sent to it waits at its cable.
func (g *Guest) Pause() error { return g.monitor("stop") }

// Resume undoes Pause.
func (g *Guest) Resume() error { return g.monitor("cont") }

// PowerOff ends QEMU: what the guest's kernel had not yet written to its disk is lost.
func (g *Guest) PowerOff() error {
	if g.cmd == nil || g.cmd.Process == nil {
		return nil
	}
	var err error
	if g.qmp != nil {
		err = g.monitor("quit")
		g.qmp.Close()
	}
	dead := time.AfterFunc(quitLimit, func() { g.cmd.Process.Kill() })
	defer dead.Stop()
	if err != nil {
		g.cmd.Process.Kill()
	}
	err = errors.Join(err, g.cmd.Wait())
	g.cmd, g.qmp = nil, nil
	return err
}

// Shell runs a script on the guest as root, by sh -e, and returns what it printed.
func (g *Guest) Shell(ctx context.Context, script string) (string, error) {
	conn, err := g.lab.DialContext(ctx, "tcp", net.JoinHostPort(g.Host.Addr().String(), shellPort))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, script); err != nil {
		return "", err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	out, err := io.ReadAll(conn)
	if err != nil {
		return string(out), fmt.Errorf("on %s: %w", g.Host.Name(), err)
	}
	i := strings.LastIndex(string(out), "exit ")
	if i < 0 {
		return string(out), fmt.Errorf("on %s: the connection ended early", g.Host.Name())
	}
	text, status := string(out[:i]), strings.TrimSpace(string(out[i+len("exit "):]))
	if status != "0" {
		return text, fmt.Errorf("on %s: exit code %q: %s", g.Host.Name(), status, text)
	}
	return text, nil
}

// Uptime is the guest's CLOCK_BOOTTIME.
func (g *Guest) Uptime(ctx context.Context) (time.Duration, error) {
	out, err := g.Shell(ctx, "cat /proc/uptime")
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseFloat(strings.Fields(out + " ?")[0], 64)
	return time.Duration(seconds * float64(time.Second)), err
}

func (g *Guest) consoleEnd() string {
	text, err := os.ReadFile(g.path("console"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}
