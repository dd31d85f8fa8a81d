package ways

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
)

// The files an operator writes, with @WORDS@ for what differs.
//
//go:embed baseline
var baselineFiles embed.FS

const (
	setUpLimit       = 2 * time.Minute
	baselinePassword = "baseline"
	baselinePrimary  = "mymaster"
	baselinePackages = "redis-server redis-sentinel keepalived haproxy"
	virtualAddress   = 100 // last byte of it, as in package cluster
)

// openBaseline boots three hosts, and others that run no Redis, and sets replication and Sentinel
// up on the three.
func openBaseline(t testing.TB, others ...string) (r *Running, extra []*lab.Host) {
	t.Helper()
	lab.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), setUpLimit)
	defer cancel()
	layer, err := lab.Prepare(ctx, lab.Options{}, "bench baseline 1: "+baselinePackages, installBaseline)
	if err != nil {
		t.Fatalf("install Debian's packages on a host: %v", err)
	}
	l := lab.New(t, lab.Options{Layers: []lab.Layer{layer}})
	hosts, err := l.Hosts(ctx, append([]string{"a", "b", "c"}, others...)...)
	if err != nil {
		t.Fatal(err)
	}
	r = &Running{Lab: l, Nodes: hosts[:3], Password: baselinePassword, Name: baselinePrimary, Unit: "redis-server"}
	r.Switchover = func(ctx context.Context, primary *lab.Host) error {
		_, err := primary.Run(ctx, "redis-cli", "-p", sentinelPort, "sentinel", "failover", baselinePrimary)
		return err
	}
	if err := OnAll(r.Nodes, func(h *lab.Host) error { return r.replicate(ctx, h, h != hosts[0]) }); err != nil {
		t.Fatal(err)
	}
	return r, hosts[3:]
}

// installBaseline leaves nothing running: what the packages start at once has written files by then
// (a Sentinel its id) that no two hosts may share.
func installBaseline(ctx context.Context, h *lab.Host) error {
	_, err := h.Shell(ctx, `export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -y -qq `+baselinePackages+`
systemctl disable --now redis-server redis-sentinel keepalived haproxy
rm -rf /var/lib/redis/*`)
	return err
}

// replicate writes redis.conf and sentinel.conf as the recipes say. Sentinel is started by watch,
// once its other parts are there.
func (r *Running) replicate(ctx context.Context, h *lab.Host, replica bool) error {
	extra := ""
	if replica {
		extra = fmt.Sprintf("replicaof %s %s\n", r.Nodes[0].Addr(), redisPort)
	}
	_, err := h.Shell(ctx, fmt.Sprintf(`sed -i -e 's/^bind .*/bind * -::*/' -e 's/^protected-mode .*/protected-mode no/' \
	-e 's/^appendonly .*/appendonly yes/' /etc/redis/redis.conf
printf 'requirepass %[1]s\nmasterauth %[1]s\n%[2]s' >>/etc/redis/redis.conf
systemctl enable -q --now redis-server`, baselinePassword, extra))
	return err
}

// watch starts the Sentinels, with further lines in their configuration.
func (r *Running) watch(ctx context.Context, lines string) error {
	text := fill("baseline/sentinel.conf", map[string]string{
		"PRIMARY": r.Nodes[0].Addr().String(), "PASSWORD": baselinePassword}) + lines
	return OnAll(r.Nodes, func(h *lab.Host) error {
		if err := h.WriteFile(ctx, "/etc/redis/sentinel.conf", []byte(text), 0o640); err != nil {
			return err
		}
		_, err := h.Shell(ctx, "chown redis:redis /etc/redis/sentinel.conf; systemctl enable -q --now redis-sentinel")
		return err
	})
}

// OnAll does something at all hosts at the same time.
func OnAll(hosts []*lab.Host, do func(*lab.Host) error) error {
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { errs[i] = do(h) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func fill(name string, words map[string]string) string {
	text, err := baselineFiles.ReadFile(name)
	if err != nil {
		panic(err) // embedded
	}
	out := string(text)
	for word, value := range words {
		out = strings.ReplaceAll(out, "@"+word+"@", value)
	}
	return out
}

// wholeBaseline is whole but for where the service's address is.
func (r *Running) wholeBaseline(ctx context.Context) (*lab.Host, error) {
	var primary *lab.Host
	for _, h := range r.Nodes {
		isPrimary, err := r.inSync(ctx, h)
		if err != nil {
			return nil, err
		}
		if isPrimary && primary != nil {
			return nil, fmt.Errorf("%s and %s are primaries", primary.Name(), h.Name())
		}
		if isPrimary {
			primary = h
		}
	}
	if primary == nil {
		return nil, errors.New("there is no primary")
	}
	for _, h := range r.Nodes {
		if err := r.sentinelContent(ctx, h, primary); err != nil {
			return nil, fmt.Errorf("sentinel on %s: %w", h.Name(), err)
		}
	}
	return primary, nil
}

// inSync says whether a node is primary; a replica has to be in sync.
func (r *Running) inSync(ctx context.Context, h *lab.Host) (isPrimary bool, err error) {
	answer, err := r.Ask(ctx, RedisOf(h), baselinePassword, "ROLE")
	if err != nil {
		return false, err
	}
	role, err := list(answer, 3)
	if err != nil {
		return false, err
	}
	if role[0] == "master" {
		return true, nil
	}
	if len(role) < 4 || role[3] != "connected" {
		return false, fmt.Errorf("%s is a replica: %v", h.Name(), role[1:])
	}
	return false, nil
}

// sentinelContent returns why a Sentinel is not content.
func (r *Running) sentinelContent(ctx context.Context, h, primary *lab.Host) error {
	answer, err := r.Ask(ctx, SentinelOf(h), "", "SENTINEL", "master", baselinePrimary)
	if err != nil {
		return err
	}
	m, err := fields(answer)
	if err != nil {
		return err
	}
	if m["ip"] != primary.Addr().String() || m["flags"] != "master" || m["num-slaves"] != "2" || m["num-other-sentinels"] != "2" {
		return fmt.Errorf("it has %s as %s, with %s replicas and %s other sentinels", m["ip"], m["flags"], m["num-slaves"], m["num-other-sentinels"])
	}
	if answer, err = r.Ask(ctx, SentinelOf(h), "", "SENTINEL", "replicas", baselinePrimary); err != nil {
		return err
	}
	replicas, err := list(answer, 2)
	if err != nil {
		return err
	}
	for _, one := range replicas {
		f, err := fields(one)
		if err != nil {
			return err
		}
		if f["flags"] != "slave" {
			return fmt.Errorf("it has the replica %s as %s", f["ip"], f["flags"])
		}
	}
	return nil
}

// withAddress makes whole a matter of the floating address, too.
func (r *Running) withAddress() {
	address := r.Lab.IP(virtualAddress).String()
	r.Service = address + ":" + redisPort
	r.Whole = func(ctx context.Context) (*lab.Host, error) {
		primary, err := r.wholeBaseline(ctx)
		if err == nil {
			err = heldBy(ctx, r.Nodes, address, primary)
		}
		return primary, err
	}
}

// openAddress has Sentinel call a script that moves an address. Debian's unit lets Sentinel run no
// other program and gives it no rights: the drop-in takes that back.
func openAddress(t testing.TB) *Running {
	r, _ := openBaseline(t)
	r.withAddress()
	ctx, cancel := context.WithTimeout(t.Context(), setUpLimit)
	defer cancel()
	script := fill("baseline/move-address", map[string]string{"ADDRESS": r.Lab.IP(virtualAddress).String()})
	err := OnAll(r.Nodes, func(h *lab.Host) error {
		if err := errors.Join(
			h.WriteFile(ctx, "/usr/local/sbin/move-address", []byte(script), 0o755),
			h.WriteFile(ctx, "/etc/systemd/system/redis-sentinel.service.d/script.conf", []byte(fill("baseline/script.conf", nil)), 0o644),
		); err != nil {
			return err
		}
		_, err := h.Run(ctx, "systemctl", "daemon-reload")
		return err
	})
	if err == nil {
		err = r.watch(ctx, "sentinel client-reconfig-script "+baselinePrimary+" /usr/local/sbin/move-address\n")
	}
	if err == nil {
		_, err = r.Nodes[0].Shell(ctx, "/usr/local/sbin/move-address - - start - - "+r.Nodes[0].Addr().String()+" "+redisPort)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// openKeepalived has keepalived move the address to where its check finds a primary.
func openKeepalived(t testing.TB) *Running {
	r, _ := openBaseline(t)
	r.withAddress()
	ctx, cancel := context.WithTimeout(t.Context(), setUpLimit)
	defer cancel()
	err := r.watch(ctx, "")
	if err == nil {
		err = OnAll(r.Nodes, func(h *lab.Host) error {
			words := map[string]string{"ADDRESS": r.Lab.IP(virtualAddress).String(), "PASSWORD": baselinePassword}
			if err := errors.Join(
				h.WriteFile(ctx, "/usr/local/sbin/redis-is-primary", []byte(fill("baseline/redis-is-primary", words)), 0o755),
				h.WriteFile(ctx, "/etc/keepalived/keepalived.conf", []byte(fill("baseline/keepalived.conf", words)), 0o644),
			); err != nil {
				return err
			}
			_, err := h.Run(ctx, "systemctl", "enable", "-q", "--now", "keepalived")
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// openHAProxy has HAProxy on a host of its own, which has no fault, send clients to where its check
// finds a primary.
func openHAProxy(t testing.TB) *Running {
	r, extra := openBaseline(t, "proxy")
	proxy := extra[0]
	r.Service = RedisOf(proxy)
	ctx, cancel := context.WithTimeout(t.Context(), setUpLimit)
	defer cancel()
	words := map[string]string{"PASSWORD": baselinePassword}
	for _, h := range r.Nodes {
		words[strings.ToUpper(h.Name())] = RedisOf(h)
	}
	err := errors.Join(r.watch(ctx, ""),
		proxy.WriteFile(ctx, "/etc/haproxy/haproxy.cfg", []byte(fill("baseline/haproxy.cfg", words)), 0o644))
	if err == nil {
		_, err = proxy.Run(ctx, "systemctl", "enable", "-q", "--now", "haproxy")
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Whole = func(ctx context.Context) (*lab.Host, error) {
		primary, err := r.wholeBaseline(ctx)
		if err == nil {
			err = r.proxied(ctx, proxy, primary)
		}
		return primary, err
	}
	return r
}

// proxied says whether HAProxy has this server up and no other, by its statistics.
func (r *Running) proxied(ctx context.Context, proxy, primary *lab.Host) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	transport := &http.Transport{DialContext: r.Lab.DialContext, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+proxy.Addr().String()+":8080/;csv", nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("ask HAProxy: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("ask HAProxy: %w", err)
	}
	var up []string
	for line := range strings.Lines(string(text)) {
		column := strings.Split(line, ",")
		if len(column) > 17 && column[0] == "redis" && column[1] != "BACKEND" && column[1] != "FRONTEND" && strings.HasPrefix(column[17], "UP") {
			up = append(up, column[1])
		}
	}
	if len(up) != 1 || up[0] != primary.Name() {
		return fmt.Errorf("HAProxy has %v up, the primary is %s", up, primary.Name())
	}
	return nil
}
