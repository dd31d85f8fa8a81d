package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// RunError says what a command on a host came to.
type RunError struct {
	Host   string
	Args   []string
	Stderr string
	Err    error // often an *exec.ExitError
}

func (e *RunError) Error() string {
	text := fmt.Sprintf("on %s: %s: %v", e.Host, strings.Join(e.Args, " "), e.Err)
	if stderr := strings.TrimSpace(e.Stderr); stderr != "" {
		text += ": " + stderr
	}
	return text
}

func (e *RunError) Unwrap() error { return e.Err }

// ExitCode is that of the command, -1 if it did not get so far.
func (e *RunError) ExitCode() int {
	var exit *exec.ExitError
	if errors.As(e.Err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// Run runs a command on the host as root, without a terminal and with a clean environment, and
// returns what it wrote to its standard output. An error is a *RunError. When ctx ends, the command
// is killed; what it has started itself lives on if it wants to.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	return h.run(ctx, nil, args)
}

// RunTimeout is Run with nothing but a time limit.
func (h *Host) RunTimeout(limit time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return h.Run(ctx, args...)
}

// Shell runs a script on the host, by sh -e.
func (h *Host) Shell(ctx context.Context, script string) (string, error) {
	return h.Run(ctx, "/bin/sh", "-ec", script)
}

func (h *Host) run(ctx context.Context, input io.Reader, args []string) (string, error) {
	cmd, err := h.Command(ctx, args...)
	if err != nil {
		return "", &RunError{Host: h.name, Args: args, Err: err}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &stdout, &stderr
	// Something that the command left running may hold on to its output.
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return stdout.String(), &RunError{Host: h.name, Args: args, Stderr: stderr.String(), Err: err}
	}
	return stdout.String(), nil
}

// Command is Run for a caller who wants to see to input, output and waiting by themselves.
func (h *Host) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	b, err := h.current()
	if err != nil {
		return nil, err
	}
	if err := b.await(ctx, b.up); err != nil {
		return nil, err
	}
	// setpriv: a killed nsenter does not take along what it has started in another PID namespace.
	enter := []string{"--target", strconv.Itoa(b.leader.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--",
		"setpriv", "--pdeathsig", "KILL", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0",
	}
	return cmd, nil
}

// ReadFile reads a file of the host's disk; while the host is on, of any file system that it has.
func (h *Host) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if h.Running() {
		text, err := h.Run(ctx, "cat", "--", path)
		return []byte(text), err
	}
	h.disks.RLock()
	defer h.disks.RUnlock()
	root, err := os.OpenRoot(h.root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.ReadFile(strings.TrimPrefix(path, "/"))
}

// WriteFile writes a file of the host's disk, whole or not at all, and the folders that it is in.
// It is synced: a power cut does not take it away.
func (h *Host) WriteFile(ctx context.Context, path string, data []byte, mode os.FileMode) error {
	if h.Running() {
		return h.writeRunning(ctx, path, bytes.NewReader(data), mode)
	}
	return h.writeOff(path, bytes.NewReader(data), mode)
}

// CopyIn copies a file of this machine to the host, with its permissions.
func (h *Host) CopyIn(ctx context.Context, local, remote string) error {
	source, err := os.Open(local)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if h.Running() {
		return h.writeRunning(ctx, remote, source, info.Mode())
	}
	return h.writeOff(remote, source, info.Mode())
}

func (h *Host) writeRunning(ctx context.Context, path string, data io.Reader, mode os.FileMode) error {
	const script = `dir=$(dirname "$1"); mkdir -p "$dir"; new=$(mktemp "$1.XXXXXX"); cat >"$new"; chmod "$2" "$new"
		sync "$new"; mv "$new" "$1"; sync "$dir"`
	_, err := h.run(ctx, data, []string{"/bin/sh", "-ec", script, "sh", path, fmt.Sprintf("%o", mode.Perm())})
	return err
}

func (h *Host) writeOff(path string, data io.Reader, mode os.FileMode) (err error) {
	if err := h.writeRoot(strings.TrimPrefix(path, "/"), data, mode); err != nil {
		return err
	}
	return h.SyncDisks()
}

func (h *Host) writeRoot(path string, data io.Reader, mode os.FileMode) (err error) {
	h.disks.RLock()
	defer h.disks.RUnlock()
	root, err := os.OpenRoot(h.root) // no link on the disk leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode.Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	if err := errors.Join(err, f.Chmod(mode.Perm()), f.Close()); err != nil {
		return err
	}
	return root.Rename(path+".new", path)
}

// journalDir is where a host's journal is kept, beside its disk: a power cut takes nothing of it,
// for it is the evidence of what happened before; and journald, which syncs every second, does not
// sync the disk for others.
const journalDir = "journal"

// Journal is the host's journal from its first boot on, stamped (UTC) to the microsecond; of one
// unit, or with "" the whole. It can be read while the host is off, also after its power was cut.
func (h *Host) Journal(ctx context.Context, unit string) (string, error) {
	args := []string{"journalctl", "--no-pager", "--quiet", "--output=short-iso-precise", "--no-hostname", "--utc"}
	if unit != "" {
		args = append(args, "--unit="+unit)
	}
	if h.Running() {
		return h.Run(ctx, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], append(args[1:], "--directory="+filepath.Join(h.dir, journalDir))...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), &RunError{Host: h.name + " (off)", Args: args, Stderr: stderr.String(), Err: err}
	}
	return string(out), nil
}
