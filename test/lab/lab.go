package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	clientHost = 254              // last byte of the client end's address
	firstHost  = 11               // last byte of the first host's address; those below are free for VIPs
	openLimit  = 10 * time.Minute // New builds the image when it is not there, on a slow mirror
	closeLimit = 30 * time.Second
)

// Options of a lab. The zero value is a lab over the plain image that logs nothing.
type Options struct {
	Logger *slog.Logger
	Image  string  // what hosts are booted from; empty: DefaultImage. A host may ask for another: WithImage
	Layers []Layer // laid over the image that each was made over, the last one on top; see Prepare

	// OnlyIPv6: the hosts have no IPv4 address, and what the lab names by an address is IPv6.
	OnlyIPv6 bool
}

// Lab is a network and the hosts on it. Its methods may be called from several goroutines.
type Lab struct {
	log    *slog.Logger
	res    *reservation
	image  string // of hosts that ask for no other
	layers []Layer
	// onlyIPv6 is Options.OnlyIPv6.
	onlyIPv6 bool

	net   *network
	group group
	guard *guard

	mu     sync.Mutex
	images map[string]*image // those that hosts are booted from
	closed bool
	hosts  []*Host // in the order in which they were made, which is that of their addresses
}

// New is Open for a test: it requires what a lab needs, ends the test when the lab cannot be made,
// closes the lab with the test and, if that failed, saves the hosts' journals (below
// REDISD_LAB_ARTIFACTS, else in the temporary folder).
func New(t testing.TB, o Options) *Lab {
	t.Helper()
	Require(t)
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	ctx, cancel := context.WithTimeout(t.Context(), openLimit)
	defer cancel()
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatalf("open the lab: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			l.saveJournals(t)
		}
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l
}

// Open makes a lab without hosts. The caller must Close it; should the process die first, its hosts
// die with it, and the next Open on this machine removes the rest.
func Open(ctx context.Context, o Options) (*Lab, error) {
	if err := available(); err != nil {
		return nil, err
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Lab{log: log, image: cmp.Or(o.Image, DefaultImage()), layers: o.Layers, onlyIPv6: o.OnlyIPv6, images: map[string]*image{}}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) open(ctx context.Context) (err error) {
	if _, err := l.lower(ctx, l.image); err != nil {
		return err
	}
	if l.res, err = reserve(ctx, l.log); err != nil {
		return err
	}
	if l.group, err = makeGroup(l.res.number); err != nil {
		return err
	}
	if l.guard, err = startGuard(l.group); err != nil {
		return err
	}
	l.net, err = makeNetwork(ctx, l.res.number, l.log)
	return err
}

// lower is what the disk of a host of that image lies over, top first. The image is held until the
// lab is closed; l.mu is held, or nobody else has the lab yet.
func (l *Lab) lower(ctx context.Context, name string) ([]string, error) {
	im := l.images[name]
	if im == nil {
		var err error
		if im, err = openImage(ctx, name); err != nil {
			return nil, err
		}
		l.images[name] = im
	}
	var dirs []string
	for _, y := range slices.Backward(l.layers) {
		switch {
		case y.image != name:
		case y.imageKey != im.key:
			return nil, fmt.Errorf("layer %s was made over another image", y.dir)
		default:
			dirs = append(dirs, y.dir)
		}
	}
	return append(dirs, im.dir), nil
}

// Close powers every host off and removes the lab and all disks. It may be called again.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	hosts := l.hosts
	l.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	var errs []error
	for _, h := range hosts {
		errs = append(errs, h.close(ctx))
	}
	if l.net != nil {
		errs = append(errs, l.net.close())
	}
	if l.res != nil {
		errs = append(errs, l.res.release(ctx))
	}
	if l.guard != nil {
		errs = append(errs, l.guard.stop())
	}
	for _, im := range l.images {
		errs = append(errs, im.close())
	}
	return errors.Join(errs...)
}

// Host makes a host, with an empty disk of its own over the image, and boots it. The name is that
// in the network, in /etc/hosts of every host, and the host's own.
func (l *Lab) Host(ctx context.Context, name string, options ...HostOption) (*Host, error) {
	h, err := l.add(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return h, h.PowerOn(ctx)
}

// Hosts is Host for several at once: they get their addresses in the order of their names and boot
// in parallel.
func (l *Lab) Hosts(ctx context.Context, names ...string) ([]*Host, error) {
	hosts := make([]*Host, len(names))
	for i, name := range names {
		h, err := l.add(ctx, name, nil)
		if err != nil {
			return nil, err
		}
		hosts[i] = h
	}
	booting, ctx := errgroup.WithContext(ctx)
	for _, h := range hosts {
		booting.Go(func() error { return h.PowerOn(ctx) })
	}
	return hosts, booting.Wait()
}

// Add is Host without booting it.
func (l *Lab) Add(ctx context.Context, name string, options ...HostOption) (*Host, error) {
	return l.add(ctx, name, options)
}

// Clone makes a host, powered off, whose disk is a copy of that of from, which must be powered off,
// too: same machine id, same state of everything that was installed. Only the name and the
// addresses are its own.
func (l *Lab) Clone(ctx context.Context, from *Host, name string) (*Host, error) {
	if from.Running() {
		return nil, fmt.Errorf("clone %s: it is powered on", from.name)
	}
	return l.add(ctx, name, []HostOption{func(s *hostSpec) { s.cloneOf = from }})
}

func (l *Lab) add(ctx context.Context, name string, options []HostOption) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("the lab is closed")
	}
	for _, h := range l.hosts {
		if h.name == name {
			return nil, fmt.Errorf("there is a host %s already", name)
		}
	}
	if firstHost+len(l.hosts) >= 100 {
		return nil, errors.New("the lab is full")
	}
	h, err := newHost(ctx, l, name, firstHost+len(l.hosts), options)
	if err != nil {
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	l.hosts = append(l.hosts, h)
	return h, l.writeHostsFiles(ctx)
}

// writeHostsFiles gives every host the names of all: there is no DNS in the lab.
func (l *Lab) writeHostsFiles(ctx context.Context) error {
	text := "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"
	for _, h := range l.hosts {
		text += fmt.Sprintf("%s %s\n", h.Addr(), h.name)
		if !l.onlyIPv6 {
			text += fmt.Sprintf("%s %s\n", h.Addr6(), h.name)
		}
	}
	for _, h := range l.hosts {
		if err := h.WriteFile(ctx, "/etc/hosts", []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Prefix is the lab's network, that of IP.
func (l *Lab) Prefix() netip.Prefix {
	if l.onlyIPv6 {
		return netip.PrefixFrom(l.IP(0), 64)
	}
	return netip.PrefixFrom(l.IP(0), 24)
}

// IP is the lab's address that ends in n. Hosts have 11, 12 … in the order in which they were made,
// the client end has 254; 1 to 10 and 100 to 253 are free for VIPs. It is IPv4, unless the lab has
// none.
func (l *Lab) IP(n int) netip.Addr {
	if l.onlyIPv6 {
		return l.IP6(n)
	}
	return l.res.number.ip(n)
}

// IP6 is the same in the lab's IPv6 network, a /64; it is written with the same digits.
func (l *Lab) IP6(n int) netip.Addr { return l.res.number.ip6(n) }

// Addr is the client end's address: where connections of DialContext come from.
func (l *Lab) Addr() netip.Addr { return l.IP(clientHost) }

func (l *Lab) saveJournals(t testing.TB) {
	dir := os.Getenv("REDISD_LAB_ARTIFACTS")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "redisd-lab")
	}
	dir = filepath.Join(dir, filepath.FromSlash(t.Name())+"-"+time.Now().Format("20060102-150405.000"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Logf("save the hosts' journals: %v", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	l.mu.Lock()
	hosts := l.hosts
	l.mu.Unlock()
	for _, h := range hosts {
		text, err := h.Journal(ctx, "")
		if err != nil {
			text += fmt.Sprintf("\n(the journal could not be read: %v)\n", err)
		}
		if err := os.WriteFile(filepath.Join(dir, h.name+".journal"), []byte(text), 0o644); err != nil {
			t.Logf("save the journal of %s: %v", h.name, err)
		}
	}
	t.Logf("the hosts' journals are in %s", dir)
}
