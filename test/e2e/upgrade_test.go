package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

// agentDowntime is what two busy processors may cost the client itself, while an agent is
// replaced. A redis-server that was fenced shows by the writes that it refused.
const agentDowntime = 400 * time.Millisecond

// laterVersion is that of the build with laterChanges.
const laterVersion = "9.9.9"

// laterChanges make another build of this one: each adds something that the build under test does
// not know.
var laterChanges = []struct{ what, file, old, new string }{
	{"a feature", "internal/feature/feature.go", "\tend\n)", "\tlater\n\tend\n)"},
	{"its name", "internal/feature/feature.go", `{"lenient"}`, `{"lenient", "later"}`},
	{"a later protocol", "internal/feature/feature.go", "Protocol = 2", "Protocol = 3"},
	{"a field of an answer to a renewal", "election/wire.go", " `json:\"u,omitempty\"`\n\tBoot", " `json:\"u,omitempty\"`\n\tLater uint64 `json:\"later\"`\n\tBoot"},
	{"its value", "election/wire.go", "Tag: string(tagRenewReply), ", "Tag: string(tagRenewReply), Later: 7, "},
	{"a field of a claim", "election/wire.go", " `json:\"w,omitempty\"`\n", " `json:\"w,omitempty\"`\n\tLater []string `json:\"later\"`\n"},
	{"its value", "election/wire.go", "Tag: string(tag), ClusterID", "Tag: string(tag), Later: []string{\"x\"}, ClusterID"},
	{"a field of every message", "election/wire.go", `,"fs":%d}`, `,"later2":{"a":[1]},"fs":%d}`},
	{
		"kinds of messages", "agent/talk.go", "\tif s.Reliable {\n",
		"\t_ = t.gossip.Send(addr, []byte(\"Zlater\"))\n\t_ = t.gossip.Send(addr, []byte(`E{\"t\":\"z\",\"later\":1}`))\n\tif s.Reliable {\n",
	},
	{"a field of a heartbeat", "node/heartbeat.go", "type Heartbeat struct {", "type Heartbeat struct {\n\tLater int `json:\"later\"`"},
	{"what gossip says of a node", "gossip/meta.go", "\tProtocol uint16\n", "\tLater uint16\n\tProtocol uint16\n"},
	{"its number", "gossip/meta.go", "\t\t{19, ", "\t\t{40, \"later\", nil, integer(&m.Later, 0, math.MaxUint16)},\n\t\t{19, "},
	{"its value", "agent/members.go", "Protocol: feature.Protocol,", "Protocol: feature.Protocol, Later: 7,"},
	{"a later form on disk", "agent/format.go", "diskFormat = 1", "diskFormat = 2"},
	{"a field of the state", "election/types.go", "type State struct {", "type State struct {\n\tLater int `json:\"later\"`"},
	{"a field of the record", "node/version.go", "type Record struct {", "type Record struct {\n\tLater int `json:\"later\"`"},
	{"a field of a call", "agent/talk.go", "type call struct {", "type call struct {\n\tLater int `json:\"later\"`"},
}

// buildLater builds the later one.
func buildLater(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, c := range laterChanges {
		text, changed := texts[c.file]
		if !changed {
			b, err := os.ReadFile(filepath.Join(root, c.file))
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		if n := strings.Count(text, c.old); n != 1 {
			t.Fatalf("%s: %q is %d times in %s, not once: the code has changed, and this is to follow", c.what, c.old, n, c.file)
		}
		texts[c.file] = strings.Replace(text, c.old, c.new, 1)
	}
	replace := map[string]string{}
	for i, file := range slices.Sorted(maps.Keys(texts)) {
		at := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(at, []byte(texts[file]), 0o644); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, file)] = at
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "redisd")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w -X main.version="+laterVersion,
		"-overlay", filepath.Join(dir, "overlay.json"), "-o", path, "./cmd/redisd")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the later redisd: %v\n%s", err, out)
	}
	return path
}

// TestRollingUpgrade replaces the package on one host after the other by that of a later build,
// with fields, messages and a feature that this one does not know, and then goes back. The agents
// that run at any time understand one another: no write is refused, the primary stays, and what is
// new is used only while all have it.
func TestRollingUpgrade(t *testing.T) {
	ctx := t.Context()
	later := buildLater(t)
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(ctx)
	before := c.Healthy(ctx)
	primary := cluster.Primary(before)
	pid := redisPID(t, c, primary)
	for _, name := range c.Names() {
		repack(t, c.Host(name), later)
	}
	w := c.Writer(ctx)
	defer w.Stop()
	if err := w.AwaitAck(ctx); err != nil {
		t.Fatal(err)
	}
	order := append(c.Others(primary), primary)
	for _, deb := range []string{"/root/later.deb", "/root/redisd.deb"} {
		for i, name := range order {
			w.Mark(name + " gets " + filepath.Base(deb))
			run(t, c.Host(name), "dpkg", "-i", deb)
			upgraded := i == len(order)-1 && deb == "/root/later.deb"
			awaitBuild(t, c, name, strings.HasSuffix(deb, "later.deb"), upgraded)
			writesGoOn(t, w)
		}
	}
	after := c.Healthy(ctx)
	unmoved(t, c, after, primary, pid)
	r := w.Stop()
	v, err := w.Verify(ctx, after.Primary.Address)
	if err != nil {
		t.Fatal(err)
	}
	d := r.Downtime()
	t.Logf("write downtime %v, %d acknowledged, %d lost", d.Length().Round(100*time.Microsecond), v.Acked, len(v.Lost))
	if d.Length()-r.OwnShare(d) > agentDowntime || r.Errors["NOREPLICAS"] > 0 || len(v.Lost) > 0 {
		t.Errorf("write downtime %v, %d writes refused, %d lost:\n%s", d.Length(), r.Errors["NOREPLICAS"], len(v.Lost), r)
	}
	keptLease(t, c.Host(primary))
}

// repack makes a package with another program in it of the one that is installed.
func repack(t *testing.T, h *lab.Host, program string) {
	t.Helper()
	ctx := t.Context()
	if err := h.CopyIn(ctx, program, "/root/redisd.later"); err != nil {
		t.Fatal(err)
	}
	_, err := h.Shell(ctx, `dir=$(mktemp -d /root/later.XXXXXX)
dpkg-deb -R /root/redisd.deb "$dir"
sed -i "s/^Version:.*/Version: `+laterVersion+`/" "$dir/DEBIAN/control"
install -m 0755 /root/redisd.later "$dir/usr/bin/redisd"
dpkg-deb -Znone -b "$dir" /root/later.deb >/dev/null
rm -r "$dir" /root/redisd.later`)
	if err != nil {
		t.Fatal(err)
	}
}

// awaitBuild waits until the node runs the build, and all say what they have in common.
func awaitBuild(t *testing.T, c *cluster.Cluster, name string, later, all bool) {
	t.Helper()
	c.Await(t.Context(), "the other build on "+name, func(s agent.Status) error {
		var errs []error
		if v := cluster.Node(s, name).Versions.Redisd; (v == laterVersion) != later {
			errs = append(errs, fmt.Errorf("%s runs redisd %q", name, v))
		}
		if has := slices.Contains(s.Features, "later") || slices.Contains(s.Features, "feature 1"); has != all || !slices.Contains(s.Features, "lenient") {
			errs = append(errs, fmt.Errorf("all can do %q", s.Features))
		}
		if s.Health != "healthy" {
			errs = append(errs, fmt.Errorf("%s: %s", s.Health, strings.Join(s.Problems, "; ")))
		}
		return errors.Join(errs...)
	})
}

// writesGoOn waits until so much more was written that a lease would have lapsed meanwhile.
func writesGoOn(t *testing.T, w *writer.Writer) {
	t.Helper()
	const aSecond = 2000 // of this client
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	from, began := w.Acked(), time.Now()
	err := lab.Await(ctx, 20*time.Millisecond, func() error {
		if n := w.Acked() - from; n < aSecond || time.Since(began) < time.Second {
			return fmt.Errorf("%d writes", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// keptLease: no agent of the host has lost the lease.
func keptLease(t *testing.T, h *lab.Host) {
	t.Helper()
	for line := range strings.Lines(run(t, h, "journalctl", "-u", "redisd", "--no-pager", "-o", "cat")) {
		if strings.Contains(line, "lease lost") {
			t.Errorf("the journal of %s says: %s", h.Name(), line)
		}
	}
}
