package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"
)

// service is what the files and directories of a node are checked for: the user that redisd.service
// runs as, and where systemd lets it write. The zero value is this very process, as when the agent
// checks for itself.
type service struct {
	user       string
	credential *syscall.Credential
	made       []string // directories that systemd makes for it
	writable   []string // nil: everything, as far as the user may
}

// askSystemd describes the service. Only root can check for another user; where there is no such
// service, or no systemd, it is this process.
func askSystemd(ctx context.Context, unit string) service {
	if os.Geteuid() != 0 {
		return service{}
	}
	ctx, cancel := context.WithTimeout(ctx, systemdPatience)
	defer cancel()
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return service{}
	}
	defer conn.Close()
	p, err := conn.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		return service{}
	}
	return serviceOf(p)
}

// serviceOf reads the properties of a unit (org.freedesktop.systemd1(5)).
func serviceOf(p map[string]any) service {
	name, _ := p["User"].(string)
	credential, err := credentialOf(name)
	if p["LoadState"] != "loaded" || err != nil {
		return service{}
	}
	s := service{user: name, credential: credential}
	state, _ := p["StateDirectory"].([]string)
	run, _ := p["RuntimeDirectory"].([]string)
	for _, d := range state {
		s.made = append(s.made, filepath.Join("/var/lib", d))
	}
	for _, d := range run {
		s.made = append(s.made, filepath.Join("/run", d))
	}
	if p["ProtectSystem"] == "strict" {
		s.writable = s.made
		more, _ := p["ReadWritePaths"].([]string)
		for _, path := range more {
			s.writable = append(s.writable, strings.TrimLeft(path, "-+"))
		}
	}
	return s
}

func credentialOf(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("look up the user of the service: %w", err)
	}
	names, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("look up the groups of %s: %w", name, err)
	}
	var ids []uint32
	for _, text := range slices.Concat([]string{u.Uid, u.Gid}, names) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, err
		}
		ids = append(ids, uint32(id))
	}
	return &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}, nil
}

// makes reports that systemd makes the directory, and gives it to the user.
func (s service) makes(path string) bool { return slices.ContainsFunc(s.made, within(path)) }

// reaches reports that systemd lets the service write there.
func (s service) reaches(path string) bool {
	return s.writable == nil || slices.ContainsFunc(s.writable, within(path))
}

// within returns whether path is a directory itself or below it.
func within(path string) func(string) bool {
	return func(dir string) bool { return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") }
}

func (s service) who() string {
	if s.credential == nil {
		return "this user"
	}
	return "the user " + s.user + ", which redisd.service runs as,"
}

// may asks the kernel, as test(1) does for another user: access control lists and read-only file
// systems count as well. permission is "-r", "-w" or "-x".
func (s service) may(ctx context.Context, permission, path string) bool {
	if s.credential == nil {
		mode := map[string]uint32{"-r": unix.R_OK, "-w": unix.W_OK, "-x": unix.X_OK}[permission]
		return unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS) == nil
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/test", permission, path) // path is absolute: config sees to that
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential}
	return cmd.Run() == nil
}
