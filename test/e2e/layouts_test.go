package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// layout is a section of docs/LAYOUTS.md: the files and commands in it, in their order.
type layout struct {
	title string
	steps []block
}

// block is one of the page: a file, or commands, on some hosts.
type block struct {
	hosts    []string
	file     string
	text     string
	commands []string
	// empty is a file with nothing in it, of which a command is said to answer text.
	empty string
}

// layouts reads the page. What stands before its first section comes before each of them.
func layouts(t *testing.T) []layout {
	t.Helper()
	page, err := os.ReadFile("../../docs/LAYOUTS.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(page), "\n## ")
	always := blocks(t, sections[0])
	if len(always) == 0 {
		t.Fatal("the page does not begin with the secret any more")
	}
	var all []layout
	for _, s := range sections[1:] {
		title, text, _ := strings.Cut(s, "\n")
		all = append(all, layout{title, append(slices.Clone(always), blocks(t, text)...)})
	}
	return all
}

var (
	fence   = regexp.MustCompile("(?ms)^```(toml|sh|)\n(.*?)^```$")
	onHosts = regexp.MustCompile(`^# (?:(/\S+) )?on ([a-z](?:, [a-z])*)(?:, with an empty (/\S+))?$`)
)

func blocks(t *testing.T, text string) []block {
	t.Helper()
	var all []block
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		first, rest, _ := strings.Cut(m[2], "\n")
		on := onHosts.FindStringSubmatch(first)
		if on == nil || (on[1] != "") != (m[1] == "toml") || (on[3] != "") != (m[1] == "") {
			t.Fatalf("a block does not say what it is, and on which hosts: %q", first)
		}
		s := block{hosts: strings.Split(on[2], ", "), file: on[1], text: rest, empty: on[3]}
		if m[1] == "sh" {
			s.commands = strings.Split(strings.TrimSpace(rest), "\n")
		}
		all = append(all, s)
	}
	return all
}

// hosts are all hosts of a layout.
func (l layout) hosts() []string {
	var names []string
	for _, s := range l.steps {
		names = append(names, s.hosts...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// follow does what the page says, on hosts that have the package and nothing else.
func follow(t *testing.T, l layout) *cluster.Cluster {
	t.Helper()
	on := cluster.Lab(t)
	c := cluster.New(t, on, cluster.Options{Nodes: l.hosts(), Unconfigured: true})
	oldData(t, c.Host("a"))
	for _, s := range l.steps {
		switch {
		case s.empty != "":
			answers(t, c, s)
		case s.file != "":
			for _, name := range s.hosts {
				put(t, c, name, s.file, inLab(on, s.text))
			}
		default:
			for _, command := range s.commands {
				onEach(t, c, s.hosts, command)
			}
		}
	}
	return c
}

// oldData is what the distribution's redis-server has left on a host.
func oldData(t *testing.T, h *lab.Host) {
	t.Helper()
	server, cli := program("redis-server"), program("redis-cli")+" -p 7777 "
	user := "redis"
	if server != "redis-server" {
		user = "valkey"
	}
	_, err := h.Shell(t.Context(), "runuser -u "+user+" -- "+server+" --port 7777 --dir /var/lib/"+user+" --daemonize yes >/dev/null\n"+
		"until "+cli+"PING >/dev/null 2>&1; do sleep 0.02; done\n"+cli+"SET old data\n"+cli+"SHUTDOWN SAVE")
	if err != nil {
		t.Fatal(err)
	}
}

// inLab has a text speak of the lab's network.
func inLab(l *lab.Lab, text string) string {
	return strings.ReplaceAll(text, "10.0.0.", strings.TrimSuffix(l.IP(0).String(), "0"))
}

func put(t *testing.T, c *cluster.Cluster, name, file, text string) {
	t.Helper()
	if err := c.Host(name).WriteFile(t.Context(), file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	run(t, c.Host(name), "chgrp", "redis", file)
}

// onEach gives a command on all hosts at once, and again while it asks about what is still coming
// to be. A secret that it made is copied to all.
func onEach(t *testing.T, c *cluster.Cluster, hosts []string, command string) {
	t.Helper()
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, name := range hosts {
		wg.Go(func() {
			again := time.Nanosecond // the first failure counts
			if strings.HasSuffix(command, " status") {
				again = cluster.Patience
			}
			limit := time.Now().Add(again)
			for {
				out, err := c.Host(name).Shell(t.Context(), command)
				if errs[i] = err; err == nil || time.Now().After(limit) {
					return
				}
				errs[i] = fmt.Errorf("%s: `%s`: %w: %s", name, command, err, out)
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if _, secret, made := strings.Cut(command, "redisd keygen > "); made {
		text := run(t, c.Host(hosts[0]), "cat", secret)
		for _, name := range c.Names() {
			put(t, c, name, secret, text)
		}
	}
}

// answers compares what the page shows on a prompt, with a file that is there and empty.
func answers(t *testing.T, c *cluster.Cluster, s block) {
	t.Helper()
	command, want, _ := strings.Cut(strings.TrimPrefix(s.text, "$ "), "\n")
	put(t, c, s.hosts[0], s.empty, "")
	defer run(t, c.Host(s.hosts[0]), "rm", s.empty)
	out, err := c.Host(s.hosts[0]).Shell(t.Context(), command)
	if err == nil {
		t.Fatalf("`%s` accepts the file:\n%s", command, out)
	}
	for line := range strings.Lines(want) {
		if !strings.Contains(err.Error(), strings.TrimSpace(line)) {
			t.Errorf("`%s` does not say: %s\nbut: %v", command, line, err)
		}
	}
}

// TestLayouts follows docs/LAYOUTS.md to the letter, and then takes away what each layout is said
// to survive.
func TestLayouts(t *testing.T) {
	lab.Require(t)
	then := map[string]func(*testing.T, *cluster.Cluster){
		"One server":                              oneServer,
		"Two servers and a witness":               twoAndWitness,
		"Three servers":                           threeServers,
		"Two data centres, one of them preferred": twoCentres,
		"A replica that never becomes primary":    neverPrimary,
		"Another port on one server":              anotherPort,
	}
	var titles []string
	for _, l := range layouts(t) {
		if l.title == several {
			continue
		}
		titles = append(titles, l.title)
		if then[l.title] == nil {
			t.Errorf("nothing is known of the layout %q", l.title)
			continue
		}
		t.Run(strings.ToLower(l.title), func(t *testing.T) { then[l.title](t, follow(t, l)) })
	}
	if len(titles) != len(then) {
		t.Errorf("the page has %q", titles)
	}
}

// several is the layout of TestSeveralClusters.
const several = "Several clusters on the same servers"

// as reads the password, so that clients can be played.
func as(t *testing.T, c *cluster.Cluster, instance string, vip int, port int) *cluster.Cluster {
	t.Helper()
	password := strings.TrimSpace(run(t, c.Host(c.Names()[0]), "redisd", "-c", instance, "password"))
	return c.As(cluster.Further{Name: instance, VIP: c.Lab.IP(vip).String(), Port: port, Password: password})
}

// first is the cluster of redisd.service.
func first(t *testing.T, c *cluster.Cluster) *cluster.Cluster { return as(t, c, "redisd", 100, 6379) }

func oneServer(t *testing.T, c *cluster.Cluster) {
	s := c.Healthy(t.Context())
	if s.Cluster != "cache" || s.Voters != 1 || cluster.Primary(s) != "a" {
		t.Errorf("%+v", s)
	}
}

func threeServers(t *testing.T, c *cluster.Cluster) {
	c = first(t, c)
	fault(t, c, asyncWindow, func(ctx context.Context, primary string) {
		off(t, c, []string{primary})
		awaitOther(t, c, primary)
		on(t, c, []string{primary})
	})
	t.Run("roles change", func(t *testing.T) { rolesChange(t, c) })
}

// rolesChange makes a witness of the primary, a node without a Sentinel of that, and a full one
// again. What a node is not to run any more is stopped, in order.
func rolesChange(t *testing.T, c *cluster.Cluster) {
	node := cluster.Primary(c.Healthy(t.Context()))
	h := c.Host(node)
	const file = "/etc/redisd/redisd.toml"
	whole := run(t, h, "cat", file)
	for _, to := range []struct{ roles, role, sentinel string }{
		{`["sentinel"]`, "sentinel", "running"}, {`["redis"]`, "replica", "none"}, {`["redis", "sentinel"]`, "replica", "running"},
	} {
		fault(t, c, 0, func(ctx context.Context, _ string) {
			put(t, c, node, file, whole+"\n[node]\nroles = "+to.roles+"\n")
			run(t, h, "systemctl", "restart", "redisd")
			c.Await(ctx, node+" as "+to.roles, func(s agent.Status) error {
				n := cluster.Node(s, node)
				if s.Health != "healthy" || n.Role != to.role || n.Sentinel.State != to.sentinel || !n.Voter {
					return fmt.Errorf("%s: %q: %+v", s.Health, s.Problems, n)
				}
				return nil
			})
		})
		for process, there := range map[string]bool{"redis-server": to.role == "replica", "redis-sentinel": to.sentinel == "running"} {
			ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
			err := lab.Await(ctx, 50*time.Millisecond, func() error {
				if _, err := h.PIDOf(ctx, program(process)); (err == nil) != there {
					return fmt.Errorf("it runs: %v, want %v (%w)", err == nil, there, err)
				}
				return nil
			})
			if cancel(); err != nil {
				t.Errorf("with the roles %s, %s: %v", to.roles, process, err)
			}
		}
	}
}

// twoAndWitness loses the primary, the other data node, and the witness, each alone.
func twoAndWitness(t *testing.T, c *cluster.Cluster) {
	c = first(t, c)
	s := c.Healthy(t.Context())
	w := cluster.Node(s, "c")
	if w.Role != "sentinel" || w.State != "running" || !w.Voter || w.Sentinel.State != "running" || w.Sentinel.Known != 3 || w.RedisPID != 0 || w.Successor != 0 {
		t.Errorf("the witness is %+v", w)
	}
	if _, err := c.Host("c").PIDOf(t.Context(), program("redis-server")); err == nil {
		t.Error("the witness runs a redis-server")
	}
	if out := run(t, c.Host("c"), "redisd", "members"); !strings.Contains(out, "c") {
		t.Errorf("members:\n%s", out)
	}
	for _, lost := range []string{"primary", "replica", "witness"} {
		fault(t, c, asyncWindow, func(ctx context.Context, primary string) {
			name := map[string]string{"primary": primary, "replica": otherData(primary), "witness": "c"}[lost]
			off(t, c, []string{name})
			if lost == "primary" {
				if now := cluster.Primary(awaitOther(t, c, primary)); now != otherData(primary) {
					t.Errorf("the primary is %s", now)
				}
			}
			on(t, c, []string{name})
		})
	}
	if out, err := c.Host("c").Run(t.Context(), "redisd", "switchover", "--to", "c"); err == nil || !strings.Contains(err.Error()+out, "redis-server") {
		t.Errorf("a switchover to the witness: %v %s", err, out)
	}
	fault(t, c, 0, func(ctx context.Context, primary string) { run(t, c.Host("c"), "redisd", "switchover") })
}

// twoCentres: the north goes first, the south takes over when there is no north, and nothing moves
// back by itself.
func twoCentres(t *testing.T, c *cluster.Cluster) {
	ctx := t.Context()
	north, south := []string{"a", "b"}, []string{"c", "d"}
	next := func(s agent.Status) string {
		i := slices.IndexFunc(s.Nodes, func(n agent.NodeStatus) bool { return n.Successor == 1 })
		if i < 0 {
			return ""
		}
		return s.Nodes[i].Name
	}
	s := c.Healthy(ctx)
	was := cluster.Primary(s)
	if !slices.Contains(north, was) || next(s) != otherData(was) || s.Voters != 5 {
		t.Fatalf("the primary is %s, %s is next, %d vote", was, next(s), s.Voters)
	}
	kill(t, c, was, "redis-server", unix.SIGKILL)
	if now := cluster.Primary(awaitOther(t, c, was)); now != otherData(was) {
		t.Errorf("%s took over", now)
	}
	c.Healthy(ctx)
	off(t, c, north)
	taken := cluster.Primary(c.Await(ctx, "a primary in the south", func(s agent.Status) error {
		if !slices.Contains(south, cluster.Primary(s)) {
			return fmt.Errorf("the primary is %q", cluster.Primary(s))
		}
		return nil
	}))
	on(t, c, north)
	s = c.Healthy(ctx)
	if cluster.Primary(s) != taken {
		t.Errorf("the primary went back to %s by itself", cluster.Primary(s))
	}
	if !slices.Contains(north, next(s)) {
		t.Errorf("%s is next", next(s))
	}
	run(t, c.Host("e"), "redisd", "switchover", "--to", "a")
	if s = c.Healthy(ctx); cluster.Primary(s) != "a" || next(s) != "b" {
		t.Errorf("the primary is %s, %s is next", cluster.Primary(s), next(s))
	}
}

func otherData(primary string) string { return map[string]string{"a": "b", "b": "a"}[primary] }

func neverPrimary(t *testing.T, c *cluster.Cluster) {
	c = first(t, c)
	s := c.Healthy(t.Context())
	if n := cluster.Node(s, "c"); n.Role != "replica" || n.Successor != 0 || !n.Voter || n.Sentinel.State != "none" {
		t.Errorf("c is %+v", n)
	}
	for _, name := range []string{"a", "b"} {
		if n := cluster.Node(s, name); n.Sentinel.Known != 2 {
			t.Errorf("%s: %+v", name, n.Sentinel)
		}
	}
	if out, err := c.Host("a").Run(t.Context(), "redisd", "switchover", "--to", "c"); err == nil || !strings.Contains(err.Error()+out, "priority") {
		t.Errorf("a switchover to c: %v %s", err, out)
	}
	primary := cluster.Primary(s)
	other := otherData(primary)
	off(t, c, []string{primary})
	if now := cluster.Primary(awaitOther(t, c, primary)); now != other {
		t.Errorf("the primary is %s", now)
	}
	on(t, c, []string{primary})
	c.Healthy(t.Context())
	// With both others lost there is no majority; with both back, all is well again.
	off(t, c, []string{"a", "b"})
	c.Await(t.Context(), "no primary", func(s agent.Status) error {
		if s.Primary != nil || s.Health != "down" {
			return fmt.Errorf("%s, primary %v", s.Health, s.Primary)
		}
		return nil
	})
	on(t, c, []string{"a", "b"})
	if now := cluster.Primary(c.Healthy(t.Context())); now == "c" {
		t.Error("c has become the primary")
	}
}

func anotherPort(t *testing.T, c *cluster.Cluster) {
	c = first(t, c)
	ctx := t.Context()
	c.Healthy(ctx)
	for range 2 { // there and back
		from := cluster.Primary(c.Healthy(ctx))
		to := "c"
		if from == "c" {
			to = "a"
		}
		run(t, c.Host("b"), "redisd", "switchover", "--to", to)
		s := c.Healthy(ctx)
		port := map[bool]string{true: "6380", false: "6379"}[to == "c"]
		if want := c.Host(to).Addr().String() + ":" + port; s.Primary.Address != want || cluster.Primary(s) != to {
			t.Errorf("the primary is %+v, want %s", s.Primary, want)
		}
		for _, name := range c.Names() {
			if got := strings.TrimSpace(run(t, c.Host(name), "redisd", "primary")); got != s.Primary.Address {
				t.Errorf("`redisd primary` on %s: %s", name, got)
			}
		}
		c.Await(ctx, "all Sentinels to name it", func(now agent.Status) error {
			var errs []error
			for _, n := range now.Nodes {
				if n.Sentinel.Primary != s.Primary.Address || n.Sentinel.Known != 3 {
					errs = append(errs, fmt.Errorf("the sentinel of %s: %+v", n.Name, n.Sentinel))
				}
			}
			return errors.Join(errs...)
		})
	}
}
