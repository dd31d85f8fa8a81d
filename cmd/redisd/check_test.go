package main

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redisd/redisd/config"
)

func TestHostWarnings(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []string // the beginning of each
	}{
		{"a container that shows nothing", nil, nil},
		{"as the package sets it", map[string]string{
			"proc/vm/overcommit_memory": "1\n", "proc/vm/swappiness": "1\n", "proc/net/core/somaxconn": "4096\n",
			"sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
		}, nil},
		{"as the kernel has it", map[string]string{
			"proc/vm/overcommit_memory": "0\n", "proc/vm/swappiness": "60\n", "proc/net/core/somaxconn": "128\n",
			"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
		}, []string{"vm.overcommit_memory is 0", "vm.swappiness is 60", "net.core.somaxconn is 128", "transparent huge pages are on"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range test.files {
				write(t, filepath.Join(root, name), text, 0o644)
			}
			got := hostWarnings(filepath.Join(root, "proc"), filepath.Join(root, "sys"))
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("%q, want %q", got, test.want)
			}
			for _, w := range got {
				if strings.Count(w, "`") != 2 {
					t.Errorf("%q names no cure", w)
				}
			}
		})
	}
}

// TestServiceUserMustRead checks as root for the user that the service runs as.
func TestServiceUserMustRead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can check for another user")
	}
	credential, err := credentialOf("nobody")
	if err != nil {
		t.Skip(err)
	}
	svc := service{user: "nobody", credential: credential}
	dir := t.TempDir()
	for path := dir; strings.HasPrefix(path, os.TempDir()+"/"); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cfg := config.Default()
	cfg.Cluster.SecretFile, cfg.Redis.PasswordFile = filepath.Join(dir, "secret"), filepath.Join(dir, "password")
	cfg.Node.StateDir, cfg.Node.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run/redisd")
	write(t, cfg.Cluster.SecretFile, strings.Repeat("secret", 6), 0o600)
	write(t, cfg.Redis.PasswordFile, "password", 0o600)

	find := func() []string {
		f := &findings{cfg: cfg, file: "redisd.toml"}
		f.files(t.Context(), svc)
		f.directories(t.Context(), svc)
		var got []string
		for _, err := range f.of(mistake) {
			got = append(got, strings.ReplaceAll(err.Error(), dir, "DIR"))
		}
		return got
	}
	want := []string{
		"redisd.toml: cluster.secret_file (not set there): the user nobody, which redisd.service runs as, cannot read DIR/secret: `chgrp redis DIR/secret` and `chmod 0640 DIR/secret`, in a directory that it may enter",
		"redisd.toml: redis.password_file (not set there): the user nobody, which redisd.service runs as, cannot read DIR/password: `chgrp redis DIR/password` and `chmod 0640 DIR/password`, in a directory that it may enter",
		"redisd.toml: node.state_dir (not set there): the user nobody, which redisd.service runs as, cannot write in DIR: `install -d -o redis -g redis -m 0750 DIR/state`, or name another directory",
		"redisd.toml: node.run_dir (not set there): the user nobody, which redisd.service runs as, cannot write in DIR: `install -d -o redis -g redis -m 0750 DIR/run/redisd`, or name another directory",
	}
	if got := find(); !slices.Equal(got, want) {
		t.Errorf("found:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// Each is cured by what the finding says, or is systemd's to make.
	for _, path := range []string{cfg.Cluster.SecretFile, cfg.Redis.PasswordFile} {
		if err := errors.Join(os.Chown(path, 0, int(credential.Gid)), os.Chmod(path, 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	svc.made = []string{filepath.Join(dir, "state"), filepath.Join(dir, "run")}
	if got := find(); len(got) > 0 {
		t.Errorf("found, after the cure:\n%s", strings.Join(got, "\n"))
	}

	// Where systemd does not let the service write, its user's rights do not matter.
	svc.made, svc.writable = nil, []string{"/var/lib/redisd"}
	got := find()
	if len(got) != 2 || !strings.Contains(got[0], "may write below /var/lib/redisd only: `systemctl edit redisd`, and in its section [Service] ReadWritePaths=DIR/state") {
		t.Errorf("found:\n%s", strings.Join(got, "\n"))
	}
}

func TestServiceOf(t *testing.T) {
	p := map[string]any{
		"LoadState": "loaded", "User": "nobody", "ProtectSystem": "strict", "ReadWritePaths": []string{"-/srv/redis", "/data/"},
		"StateDirectory": []string{"redisd"}, "RuntimeDirectory": []string{"redisd"},
	}
	s := serviceOf(p)
	if s.credential == nil {
		t.Skip("there is no user nobody here")
	}
	for path, want := range map[string][2]bool{ // made, writable
		"/var/lib/redisd": {true, true}, "/run/redisd": {true, true}, "/srv/redis": {false, true}, "/data/redis": {false, true},
		"/srv/redis2": {false, false}, "/var/lib": {false, false},
	} {
		if got := [2]bool{s.makes(path), s.reaches(path)}; got != want {
			t.Errorf("%s: made and writable: %v, want %v", path, got, want)
		}
	}
	p["LoadState"] = "not-found"
	if s := serviceOf(p); s.credential != nil {
		t.Error("a service that is not there is checked for")
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// TestExpectBelowJoin: fewer expected than listed is how one cluster becomes two.
func TestExpectBelowJoin(t *testing.T) {
	for name, c := range map[string]struct {
		expect int
		join   []string
		warned bool
	}{
		"no list":           {1, nil, false},
		"as many":           {3, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, false},
		"fewer":             {1, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3:7946"}, true},
		"only the others":   {2, []string{"10.0.0.2", "c"}, true},
		"itself by name":    {2, []string{"a:7946", "b"}, false},
		"more":              {5, []string{"10.0.0.2"}, false},
		"as a record names": {1, []string{"srv:_redisd._tcp.example.com"}, false},
	} {
		f := &findings{cfg: config.Default(), file: "redisd.toml"}
		f.cfg.Node.Name, f.cfg.Node.Address = "a", netip.MustParseAddr("10.0.0.1")
		f.cfg.Cluster.Expect, f.cfg.Cluster.Join = c.expect, c.join
		f.expect()
		if got := len(f.of(warning)) > 0; got != c.warned {
			t.Errorf("%s: %v", name, f.of(warning))
		}
	}
}
