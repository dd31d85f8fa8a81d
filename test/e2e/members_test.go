package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// TestMembers goes the ways in which a cluster changes for good: a node leaves, one is lost and
// replaced, a forgotten one comes back. After each of them what redisd says of its members, and
// what every Sentinel says, is compared with who is there.
func TestMembers(t *testing.T) {
	c := cluster.New(t, cluster.Lab(t), cluster.Options{})
	c.Start(t.Context())
	if _, err := c.Join(t.Context(), "d"); err != nil { // it is started later
		t.Fatal(err)
	}
	t.Run("replica leaves", func(t *testing.T) { replicaLeaves(t, c) })
	t.Run("primary leaves", func(t *testing.T) { primaryLeaves(t, c) })
	t.Run("refused", func(t *testing.T) { removalRefused(t, c) })
	t.Run("new disk", func(t *testing.T) { newDisk(t, c) })
	t.Run("new disk and name", func(t *testing.T) { newName(t, c) })
	t.Run("replaced by another", func(t *testing.T) { replacedByAnother(t, c) })
	t.Run("package removed", func(t *testing.T) { packageRemoved(t, c) })
}

// awaitMembers waits until these and no others are the members, and all is well with them: the
// votes, the counts, and every Sentinel.
func awaitMembers(t *testing.T, c *cluster.Cluster, names ...string) agent.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	began := time.Now()
	slices.Sort(names)
	var last agent.Status
	err := lab.Await(ctx, 100*time.Millisecond, func() error {
		for _, name := range names {
			s, err := c.Status(ctx, name)
			if err != nil {
				return err
			}
			if err := exactly(s, names); err != nil {
				return fmt.Errorf("%s says: %w", name, err)
			}
			last = s
		}
		for _, name := range names {
			if err := sentinelKnows(ctx, c, name, names); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("waited in vain for the members to be %v: %v\n%s", names, err, run(t, c.Host(names[0]), "redisd", "status"))
	}
	t.Logf("the members are %v after %v", names, time.Since(began).Round(10*time.Millisecond))
	return last
}

// exactly: the members are those, each once, all vote, and nothing is wrong.
func exactly(s agent.Status, names []string) error {
	var got []string
	for _, n := range s.Nodes {
		got = append(got, n.Name)
		if !n.Voter {
			return fmt.Errorf("%s does not vote", n.Name)
		}
	}
	if !slices.Equal(got, names) || s.Voters != len(names) || s.Majority != len(names)/2+1 {
		return fmt.Errorf("members %v, %d voters, majority %d", got, s.Voters, s.Majority)
	}
	if s.Health != "healthy" {
		return fmt.Errorf("%s: %v", s.Health, s.Problems)
	}
	if want := (len(names) - 1) / 2; s.Survives != want {
		return fmt.Errorf("it survives the loss of %d, want %d", s.Survives, want)
	}
	return nil
}

// sentinelKnows: the Sentinel of a node knows the others, nobody else, and their majority.
func sentinelKnows(ctx context.Context, c *cluster.Cluster, name string, names []string) error {
	s := spyAt(c, net.JoinHostPort(c.Host(name).Addr().String(), "26379"), "")
	defer s.Close()
	primary, err := s.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", clusterName).StringSlice()
	if err != nil {
		return err
	}
	var sentinels, replicas []string
	for _, n := range names {
		ip := c.Host(n).Addr().String()
		if n != name {
			sentinels = append(sentinels, ip)
		}
		if ip != primary[0] {
			replicas = append(replicas, ip)
		}
	}
	for what, want := range map[string][]string{"SENTINELS": sentinels, "REPLICAS": replicas} {
		list, err := s.Do(ctx, "SENTINEL", what, clusterName).Slice()
		if err != nil {
			return err
		}
		var got []string
		for _, entry := range list {
			if fields, ok := entry.(map[any]any); ok {
				got = append(got, fmt.Sprint(fields["ip"]))
				continue
			}
			fields := entry.([]any)
			for i := 0; i+1 < len(fields); i += 2 {
				if fields[i] == "ip" {
					got = append(got, fmt.Sprint(fields[i+1]))
				}
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("SENTINEL %s of %s are %v, want %v", what, name, got, want)
		}
	}
	master, err := s.Do(ctx, "SENTINEL", "MASTER", clusterName).StringSlice()
	if err != nil {
		return err
	}
	if i := slices.Index(master, "quorum"); master[i+1] != fmt.Sprint(len(names)/2+1) {
		return fmt.Errorf("the quorum of the Sentinel on %s is %s, with %d Sentinels", name, master[i+1], len(names))
	}
	return nil
}

func idOf(s agent.Status, name string) string { return cluster.Node(s, name).ID }

// underWrites runs do under a client that writes, and wants nothing lost.
func underWrites(t *testing.T, c *cluster.Cluster, do func()) {
	t.Helper()
	ctx := t.Context()
	w := c.Writer(ctx)
	defer w.Stop()
	if err := w.AwaitAck(ctx); err != nil {
		t.Fatal(err)
	}
	do()
	if err := w.AwaitAck(ctx); err != nil {
		t.Fatal(err)
	}
	r := w.Stop()
	s := c.Await(ctx, "a primary", func(s agent.Status) error {
		if s.Primary == nil {
			return errors.New("none")
		}
		return nil
	})
	v, err := w.Verify(ctx, s.Primary.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("write downtime %v, %d acknowledged, %d lost", r.Downtime().Length().Round(100*time.Microsecond), v.Acked, len(v.Lost))
	if len(v.Lost) > 0 || r.LongestDual().Length() > 0 {
		t.Errorf("lost %d, two nodes acknowledged for %v", len(v.Lost), r.LongestDual().Length())
	}
}

// leaveNode has a node leave, and looks at what is left of it.
func leaveNode(t *testing.T, c *cluster.Cluster, name string) {
	t.Helper()
	h := c.Host(name)
	t.Logf("%s: redisd leave\n%s", name, run(t, h, "redisd", "leave"))
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	if err := lab.Await(ctx, 50*time.Millisecond, func() error { // its last words to the others take a moment
		out, err := h.Run(ctx, "systemctl", "show", "--value", "-p", "ActiveState", "redisd")
		if err == nil && strings.TrimSpace(out) != "inactive" {
			err = fmt.Errorf("the service is %q", out)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if out, _ := h.Run(ctx, "pgrep", "-x", "redis-server|redis-sentinel|redisd"); out != "" {
		t.Errorf("processes are left: %s", out)
	}
}

// comesBackAsNew starts a node that is no member, and wants it to be another one with its old data
// aside.
func comesBackAsNew(t *testing.T, c *cluster.Cluster, name, oldID, event string, names ...string) {
	t.Helper()
	s := awaitMembers(t, c, names...)
	if id := idOf(s, name); id == oldID || id == "" {
		t.Errorf("%s came back as %q, it was %q", name, id, oldID)
	}
	h := c.Host(name)
	if out := run(t, h, "sh", "-c", "ls -d /var/lib/redisd/redis/set-aside-*/appendonlydir"); out == "" {
		t.Error("its old data is not kept")
	}
	if out := run(t, h, "redisd", "events"); !strings.Contains(out, event) {
		t.Errorf("no event says %q:\n%s", event, out)
	}
}

// sentinelWatch notes when Sentinels could not be asked, from the client's end of the network.
type sentinelWatch struct {
	mu    sync.Mutex
	gaps  []gap
	asked map[string]int
	stop  func()
}

// gap is a time in which one Sentinel did not answer.
type gap struct {
	name     string
	from, to time.Time
}

func watchSentinels(t *testing.T, c *cluster.Cluster, names []string) *sentinelWatch {
	ctx, cancel := context.WithCancel(t.Context())
	w := &sentinelWatch{asked: map[string]int{}}
	var wg sync.WaitGroup
	w.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(w.stop)
	for _, name := range names {
		address := net.JoinHostPort(c.Host(name).Addr().String(), "26379")
		wg.Go(func() {
			var since time.Time
			for ; ctx.Err() == nil; moment(ctx) {
				began := time.Now()
				err := askSentinel(ctx, c, address)
				w.mu.Lock()
				w.asked[name]++
				switch {
				case ctx.Err() != nil:
				case err != nil && since.IsZero():
					since = time.Now()
				case err == nil && !since.IsZero():
					w.gaps = append(w.gaps, gap{name, since, began})
					since = time.Time{}
				}
				w.mu.Unlock()
			}
		})
	}
	return w
}

// askSentinel asks once, on a connection of its own: a library's pool would try again by itself.
func askSentinel(ctx context.Context, c *cluster.Cluster, address string) error {
	const within = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := c.Lab.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
		return err
	}
	_, err = bufio.NewReader(conn).ReadString('\n')
	return err
}

// oneAtATime: a Sentinel was seen to be away for a moment, and no two at the same one.
func (w *sentinelWatch) oneAtATime(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	err := lab.Await(ctx, 10*time.Millisecond, func() error { // the last is back, and seen to be
		w.mu.Lock()
		defer w.mu.Unlock()
		away := map[string]bool{}
		for _, g := range w.gaps {
			away[g.name] = true
		}
		if len(away) == 0 { // a client that was not waiting for an answer may see nothing of it
			return fmt.Errorf("none was away and came back, of %v", w.asked)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	w.stop()
	for i, g := range w.gaps {
		t.Logf("the Sentinel on %s could not be asked for %v", g.name, g.to.Sub(g.from).Round(time.Millisecond))
		for _, h := range w.gaps[:i] {
			if h.name != g.name && g.from.Before(h.to) && h.from.Before(g.to) {
				t.Errorf("nor could that on %s at the same time", h.name)
			}
		}
	}
}

func replicaLeaves(t *testing.T, c *cluster.Cluster) {
	s := awaitMembers(t, c, "a", "b", "c")
	name := c.Names()[0]
	for name == cluster.Primary(s) || name == "d" {
		name = c.Names()[1]
	}
	others := slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == name })
	w := watchSentinels(t, c, others)
	underWrites(t, c, func() { leaveNode(t, c, name) })
	if after := awaitMembers(t, c, others...); cluster.Primary(after) != cluster.Primary(s) {
		t.Error("the primary moved")
	}
	w.oneAtATime(t)
	run(t, c.Host(name), "systemctl", "start", "redisd")
	comesBackAsNew(t, c, name, idOf(s, name), "joined: left", "a", "b", "c")
}

func primaryLeaves(t *testing.T, c *cluster.Cluster) {
	s := awaitMembers(t, c, "a", "b", "c")
	name := cluster.Primary(s)
	others := slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == name })
	underWrites(t, c, func() { leaveNode(t, c, name) })
	awaitMembers(t, c, others...)
	run(t, c.Host(name), "systemctl", "start", "redisd")
	comesBackAsNew(t, c, name, idOf(s, name), "joined: left", "a", "b", "c")
}

// removalRefused: what is refused changes nothing, and says why.
func removalRefused(t *testing.T, c *cluster.Cluster) {
	ctx := t.Context()
	before := awaitMembers(t, c, "a", "b", "c")
	refuses := func(host, want string, args ...string) {
		t.Helper()
		out, err := c.Host(host).Run(ctx, args...)
		if err == nil || !strings.Contains(out+err.Error(), want) {
			t.Errorf("%v on %s: %v %q, want %q", args, host, err, out, want)
		}
	}
	refuses("a", "is alive", "redisd", "forget", "b")
	refuses("b", "is alive", "redisd", "forget", idOf(before, "a"))
	refuses("a", "there is no member", "redisd", "forget", "x")
	refuses("a", "takes the name", "redisd", "forget")
	run(t, c.Host("a"), "redisd", "pause")
	refuses("b", "paused", "redisd", "leave")
	run(t, c.Host("a"), "redisd", "resume")
	after := awaitMembers(t, c, "a", "b", "c")
	for _, n := range before.Nodes {
		if idOf(after, n.Name) != n.ID {
			t.Errorf("%s is another one", n.Name)
		}
	}
}

// loseDisk has a node's host lost, and its disk with it: to the others it is dead without a word.
func loseDisk(t *testing.T, c *cluster.Cluster, name string) {
	t.Helper()
	h := c.Host(name)
	if err := h.Cut(); err != nil {
		t.Fatal(err)
	}
	run(t, h, "sh", "-c", "systemctl stop redisd && rm -rf /var/lib/redisd/* /run/redisd/*")
	c.Await(t.Context(), name+" to be gone", func(s agent.Status) error {
		if st := cluster.Node(s, name).State; st != "unreachable" || s.Primary == nil {
			return fmt.Errorf("it is %s", st)
		}
		return nil
	})
	if err := h.Heal(); err != nil {
		t.Fatal(err)
	}
}

func replicaOf(s agent.Status, among ...string) string {
	for _, n := range among {
		if n != cluster.Primary(s) {
			return n
		}
	}
	return ""
}

// newDisk: a node is lost and comes back with the same name and address and a new disk. Nothing is
// to be said.
func newDisk(t *testing.T, c *cluster.Cluster) {
	s := awaitMembers(t, c, "a", "b", "c")
	name := replicaOf(s, "a", "b", "c")
	loseDisk(t, c, name)
	run(t, c.Host(name), "systemctl", "start", "redisd")
	if after := awaitMembers(t, c, "a", "b", "c"); idOf(after, name) == idOf(s, name) {
		t.Error("the test lost no disk")
	}
}

// newName: another node comes to the address of one that was lost, with another name.
func newName(t *testing.T, c *cluster.Cluster) {
	s := awaitMembers(t, c, "a", "b", "c")
	name := replicaOf(s, "a", "b", "c")
	h := c.Host(name)
	loseDisk(t, c, name)
	conf := run(t, h, "cat", "/etc/redisd/redisd.toml")
	write(t, h, conf+"\n[node]\nname = \"e\"\n")
	run(t, h, "systemctl", "start", "redisd")
	other := replicaOf(s, slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == name })...)
	c.Await(t.Context(), "e to vote", func(s agent.Status) error {
		if n := cluster.Node(s, "e"); !n.Voter || n.Replication == nil || n.Replication.Link != "up" {
			return fmt.Errorf("it is %+v", n)
		}
		return nil
	})
	forget(t, c.Host(other), name)
	after := c.Await(t.Context(), "the old one to be gone", func(s agent.Status) error {
		if len(s.Nodes) != 3 || s.Voters != 3 || s.Health != "healthy" {
			return fmt.Errorf("%d nodes, %d voters, %v", len(s.Nodes), s.Voters, s.Problems)
		}
		return nil
	})
	run(t, h, "systemctl", "stop", "redisd")
	write(t, h, conf) // its name is its own affair
	run(t, h, "systemctl", "start", "redisd")
	if last := awaitMembers(t, c, "a", "b", "c"); idOf(last, name) != idOf(after, "e") {
		t.Error("its disk is another one")
	}
}

// forget has a host forget a node that was lost: the others hold it for alive for some seconds yet.
func forget(t *testing.T, on *lab.Host, name string) (told agent.Removed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	err := lab.Await(ctx, 200*time.Millisecond, func() error {
		out, err := on.Run(ctx, "redisd", "forget", name, "--json")
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(out), &told)
	})
	if err != nil {
		t.Fatalf("redisd forget %s: %v", name, err)
	}
	return told
}

// replacedByAnother: a node is lost, a fourth one comes, the lost one is forgotten: the loss of one
// more must leave a pair that works. Then those who were lost come back.
func replacedByAnother(t *testing.T, c *cluster.Cluster) {
	ctx := t.Context()
	s := awaitMembers(t, c, "a", "b", "c")
	first := cluster.Primary(s)
	lost := replicaOf(s, "a", "b", "c")
	kept := slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == first || n == lost })[0]
	off(t, c, []string{lost})
	run(t, c.Host("d"), "systemctl", "enable", "--now", "redisd")
	c.Await(ctx, "d in sync, and "+lost+" gone", func(s agent.Status) error {
		if n := cluster.Node(s, "d"); !n.Voter || n.Replication == nil || n.Replication.Link != "up" {
			return fmt.Errorf("d is %+v", n)
		}
		if st := cluster.Node(s, lost).State; st != "unreachable" {
			return fmt.Errorf("%s is %s", lost, st)
		}
		return nil
	})
	told := forget(t, c.Host("d"), lost)
	t.Logf("forgotten: before %v; now %v", told.Before, told.After)
	if told.Before.Survives != 0 || told.After.Survives != 1 || told.Before.Voters != 4 || told.After.Voters != 3 {
		t.Errorf("it says %+v", told)
	}
	awaitMembers(t, c, first, kept, "d")

	w := c.Writer(ctx)
	defer w.Stop()
	if err := w.AwaitAck(ctx); err != nil {
		t.Fatal(err)
	}
	off(t, c, []string{first})
	if err := w.AwaitAck(ctx); err != nil {
		t.Fatalf("the pair that is left accepts no writes: %v", err)
	}
	pair := c.Await(ctx, "a pair with one away", func(s agent.Status) error {
		if s.Primary == nil || cluster.Node(s, first).State != "unreachable" {
			return errors.New("not yet")
		}
		return nil
	})
	if !slices.ContainsFunc(pair.Problems, func(p string) bool {
		return strings.Contains(p, "2 of 3 voters are here, and no further node can be lost: start "+first+", or forget it and add another")
	}) {
		t.Errorf("it says %q", pair.Problems)
	}

	// The forgotten one comes back with its disk; then the other, which is still a member.
	on(t, c, []string{lost, first})
	comesBackAsNew(t, c, lost, idOf(s, lost), "joined: forgotten", "a", "b", "c", "d")
}

// packageRemoved: who takes the package off a host takes the node out of the cluster.
func packageRemoved(t *testing.T, c *cluster.Cluster) {
	s := awaitMembers(t, c, "a", "b", "c", "d")
	name := cluster.Primary(s)
	others := slices.DeleteFunc([]string{"a", "b", "c", "d"}, func(n string) bool { return n == name })
	w := watchSentinels(t, c, others)
	underWrites(t, c, func() {
		run(t, c.Host(name), "sh", "-c", "DEBIAN_FRONTEND=noninteractive apt-get remove -y -qq redisd")
	})
	awaitMembers(t, c, others...)
	w.oneAtATime(t)
}
