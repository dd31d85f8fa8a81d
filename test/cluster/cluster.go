// Package cluster sets redisd up on the booted hosts of package lab, the way an operator does: the
// .deb is installed, the same two files are put on every host, the service is enabled. End-to-end
// tests, chaos runs and benchmarks stand on it.
//
// It touches a host only by what an operator could do there, and asks redisd only through its
// commands.
package cluster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

// Patience bounds the waits; what is to be fast is measured, not awaited.
const Patience = 60 * time.Second

// Name is that of every cluster, and by which Sentinel knows its primary.
const Name = "lab"

// slow is from when on a wait for health is worth a line.
const slow = 3 * time.Second

// Options of a cluster.
type Options struct {
	Nodes []string // names; a, b, c
	// Expect defaults to the number of Nodes.
	Expect int
	// Config is appended to the shipped configuration of every node.
	Config string
	// Host options for every host.
	Host []lab.HostOption
	// Images are what nodes are booted from whose image is not the default one; see Lab.
	Images map[string]string
	// Unconfigured hosts are only booted: the package may not be there yet.
	Unconfigured bool
}

// Cluster is redisd on some hosts.
type Cluster struct {
	T     testing.TB
	Lab   *lab.Lab
	VIP   string // the address alone
	hosts map[string]*lab.Host
	names []string
	opts  Options
	key   secret.Secret
	text  string
	as    Further
}

// Further is one more cluster on the same hosts.
type Further struct {
	Name     string // of its configuration and its service
	VIP      string // the address alone
	Port     int    // of Redis
	Password string // of the applications
}

// As is the same hosts as the nodes of another cluster.
func (c *Cluster) As(f Further) *Cluster {
	other := *c
	other.VIP, other.as = f.VIP, f
	return &other
}

// Deb is the package under test: $REDISD_DEB.
func Deb(t testing.TB) string {
	t.Helper()
	path := os.Getenv("REDISD_DEB")
	if path == "" {
		t.Fatal("REDISD_DEB is not set: run these tests by `make lab`, which builds the package and names it")
	}
	return path
}

// networkVariable is "ipv6" for a run of any test on hosts that have no IPv4, VIP included.
const networkVariable = "REDISD_LAB_NETWORK"

// Lab makes a lab whose hosts have the package installed, and nothing else done to them. Its hosts
// are booted from the default image unless they ask for another one, which is named here.
func Lab(t testing.TB, images ...string) *lab.Lab {
	t.Helper()
	lab.Require(t)
	deb := Deb(t)
	content, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var layers []lab.Layer
	images = append(images, lab.DefaultImage())
	slices.Sort(images)
	for _, image := range slices.Compact(images) {
		before := ""
		if image == lab.Valkey {
			before = "valkey-server valkey-sentinel" // the package asks for either, and tests tell them apart by name
		}
		key := "redisd-" + hex.EncodeToString(sum[:8]) + before
		layer, err := lab.Prepare(ctx, lab.Options{Image: image}, key, func(ctx context.Context, h *lab.Host) error {
			return Install(ctx, h, deb, strings.Fields(before)...)
		})
		if err != nil {
			t.Fatalf("install the package on a host of %s: %v", image, err)
		}
		layers = append(layers, layer)
	}
	return lab.New(t, lab.Options{Layers: layers, OnlyIPv6: os.Getenv(networkVariable) == "ipv6"})
}

// Install installs the package as the README says, and others before it.
func Install(ctx context.Context, h *lab.Host, deb string, before ...string) error {
	const remote = "/root/redisd.deb"
	if err := h.CopyIn(ctx, deb, remote); err != nil {
		return err
	}
	install := "apt-get install -y -qq "
	script := "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq"
	if len(before) > 0 {
		script += " && " + install + strings.Join(before, " ")
	}
	_, err := h.Shell(ctx, script+" && "+install+remote)
	return err
}

// New boots the hosts and leaves redisd off; Start starts it.
func New(t testing.TB, l *lab.Lab, o Options) *Cluster {
	t.Helper()
	if len(o.Nodes) == 0 {
		o.Nodes = []string{"a", "b", "c"}
	}
	if o.Expect == 0 {
		o.Expect = len(o.Nodes)
	}
	c := &Cluster{T: t, Lab: l, VIP: l.IP(100).String(), hosts: map[string]*lab.Host{}, opts: o}
	c.text = secret.Generate()
	var err error
	if c.key, err = secret.Parse(c.text); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(o.Nodes))
	var hosts []*lab.Host
	for _, name := range o.Nodes {
		h, err := l.Add(ctx, name, o.host(name)...)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	for i, h := range hosts {
		wg.Go(func() {
			errs[i] = h.PowerOn(ctx)
			if errs[i] == nil && !o.Unconfigured {
				errs[i] = c.Configure(ctx, h)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i, name := range o.Nodes {
		c.hosts[name] = hosts[i]
	}
	c.names = append(c.names, o.Nodes...)
	return c
}

// host is what a node's host is made of.
func (o Options) host(name string) []lab.HostOption {
	options := slices.Clone(o.Host)
	if image := o.Images[name]; image != "" {
		options = append(options, lab.WithImage(image))
	}
	return options
}

// Configure puts the two files on a host.
func (c *Cluster) Configure(ctx context.Context, h *lab.Host) error {
	err := errors.Join(
		h.WriteFile(ctx, "/etc/redisd/secret", []byte(c.text+"\n"), 0o640),
		h.WriteFile(ctx, "/etc/redisd/redisd.toml", []byte(c.Config()), 0o640),
	)
	if err != nil {
		return err
	}
	_, err = h.Run(ctx, "chgrp", "redis", "/etc/redisd/secret", "/etc/redisd/redisd.toml")
	return err
}

// Config is the configuration file of every node.
func (c *Cluster) Config() string {
	return fmt.Sprintf("[cluster]\nname = %q\nexpect = %d\n\n[[vip]]\naddress = \"%s/%d\"\n\n%s", Name, c.opts.Expect, c.VIP, c.Lab.Prefix().Bits(), c.opts.Config)
}

// Join boots another host, configures it and starts redisd.
func (c *Cluster) Join(ctx context.Context, name string) (*lab.Host, error) {
	h, err := c.Lab.Host(ctx, name, c.opts.host(name)...)
	if err != nil {
		return nil, err
	}
	c.hosts[name] = h
	c.names = append(c.names, name)
	return h, c.Configure(ctx, h)
}

// Host returns a host by its name.
func (c *Cluster) Host(name string) *lab.Host {
	h, ok := c.hosts[name]
	if !ok {
		c.T.Fatalf("no host %q", name)
	}
	return h
}

// Names of the hosts in the order in which they were made.
func (c *Cluster) Names() []string { return c.names }

// Others are the names of all hosts but one.
func (c *Cluster) Others(name string) []string {
	var out []string
	for _, n := range c.names {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}

// Enable runs `systemctl enable --now redisd` on the hosts, all at once. What was prepared until
// then is on disk, so that a power cut can take no more than what redisd itself did not sync.
func (c *Cluster) Enable(ctx context.Context, names ...string) error {
	return c.onAll(names, func(h *lab.Host) error {
		if _, err := h.Run(ctx, "systemctl", "enable", "redisd"); err != nil {
			return err
		}
		if err := h.SyncDisks(); err != nil {
			return err
		}
		_, err := h.Run(ctx, "systemctl", "enable", "--now", "redisd")
		return err
	})
}

func (c *Cluster) onAll(names []string, do func(*lab.Host) error) error {
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { errs[i] = do(c.Host(name)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Start starts redisd everywhere and waits for a healthy cluster.
func (c *Cluster) Start(ctx context.Context) {
	c.T.Helper()
	if err := c.Enable(ctx, c.names...); err != nil {
		c.T.Fatal(err)
	}
	c.Healthy(ctx)
}

// Status is what redisd says on a host.
func (c *Cluster) Status(ctx context.Context, name string) (agent.Status, error) {
	var s agent.Status
	out, err := c.Host(name).Run(ctx, "redisd", "-c", cmp.Or(c.as.Name, "redisd"), "status", "--json")
	if out == "" && err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("read the status of %s: %w", name, err)
	}
	return s, nil
}

// Await asks the running hosts, one after the other, until one of them answers what is waited for,
// and fails the test with the last answer otherwise.
func (c *Cluster) Await(ctx context.Context, what string, ok func(agent.Status) error) agent.Status {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	var found agent.Status
	err := lab.Await(ctx, 50*time.Millisecond, func() error {
		var errs []error
		for _, name := range c.names {
			if !c.Host(name).Running() {
				continue
			}
			s, err := c.Status(ctx, name)
			if err == nil {
				err = ok(s)
			}
			if err == nil {
				found = s
				return nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		c.T.Fatalf("waited in vain for %s: %v", what, err)
	}
	return found
}

// Healthy waits until every host that is on is a healthy member.
func (c *Cluster) Healthy(ctx context.Context) agent.Status {
	c.T.Helper()
	on := 0
	for _, name := range c.names {
		if c.Host(name).Running() {
			on++
		}
	}
	began, last := time.Now(), ""
	s := c.Await(ctx, "a healthy cluster", func(s agent.Status) error {
		if s.Health != "healthy" || len(s.Nodes) < on {
			last = fmt.Sprintf("%s with %d nodes: %s", s.Health, len(s.Nodes), strings.Join(s.Problems, "; "))
			return errors.New(last)
		}
		if err := Linked(s); err != nil {
			last = err.Error()
			return err
		}
		return nil
	})
	if took := time.Since(began); took > slow {
		c.T.Logf("healthy only after %v; the last that was missing: %s", took.Round(time.Millisecond), last)
	}
	return s
}

// Linked: all replicas replicate. Right after a change of the primary a cluster is healthy before.
func Linked(s agent.Status) error {
	for _, n := range s.Nodes {
		if n.Replication != nil && n.Replication.Changing {
			return fmt.Errorf("the link of %s is being made anew", n.Name)
		}
	}
	return nil
}

// Primary is the name of the primary in a status.
func Primary(s agent.Status) string {
	if s.Primary == nil {
		return ""
	}
	return s.Primary.Name
}

// Node is a node in a status.
func Node(s agent.Status, name string) agent.NodeStatus {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n
		}
	}
	return agent.NodeStatus{}
}

// Password is what applications log in with.
func (c *Cluster) Password() string { return cmp.Or(c.as.Password, c.key.Password("redis client")) }

// Writer starts a client that writes through the VIP all the time.
func (c *Cluster) Writer(ctx context.Context, change ...func(*writer.Options)) *writer.Writer {
	c.T.Helper()
	o := writer.Options{Dial: c.Lab.DialContext, Addrs: []string{net.JoinHostPort(c.VIP, strconv.Itoa(cmp.Or(c.as.Port, 6379)))}, Password: c.Password()}
	for _, f := range change {
		f(&o)
	}
	w, err := writer.Start(ctx, o)
	if err != nil {
		c.T.Fatal(err)
	}
	return w
}
