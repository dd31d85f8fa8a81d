package redis

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

func TestPromote(t *testing.T) {
	p, s := newServer(t, placeholder)
	kept := client(t, p.addr, "default")
	if err := write(t, client(t, p.addr, "default")); Code(err) != "READONLY" {
		t.Fatalf("a write on a replica: %v", err)
	}
	for range 2 { // it may be repeated
		must(t, s.Promote(t.Context(), 0))
	}
	must(t, write(t, client(t, p.addr, "default")))
	must(t, kept.Ping(t.Context()).Err())
	r, err := s.Role(t.Context())
	must(t, err)
	if r.Role != Primary || r.PrimaryAddr.IsValid() {
		t.Errorf("Role = %+v", r)
	}
}

// What is promoted by another hand keeps the fence it started with.
func TestFenceOutlivesPromotion(t *testing.T) {
	p, s := newServer(t, placeholder)
	must(t, client(t, p.addr, AgentUser).ReplicaOf(t.Context(), "NO", "ONE").Err())
	c := client(t, p.addr, "default")
	if err := write(t, c); Code(err) != "NOREPLICAS" {
		t.Errorf("a write: %v, want it refused", err)
	}
	must(t, c.Get(t.Context(), "counter").Err(), goredis.Nil)
	must(t, s.SetMinReplicas(t.Context(), 0))
	must(t, write(t, c))
	must(t, s.SetFence(t.Context()))
	if err := write(t, c); Code(err) != "NOREPLICAS" {
		t.Errorf("a write behind the fence: %v", err)
	}
}

func TestFollow(t *testing.T) {
	p1, s1 := newPrimary(t)
	p2, s2 := newPrimary(t)
	must(t, write(t, client(t, p1.addr, "default")))
	c, own := client(t, p2.addr, "default"), client(t, p2.addr, SentinelUser)

	must(t, s2.Follow(t.Context(), p1.addr, false))
	must(t, c.Ping(t.Context()).Err())
	linked(t, s2, p1.addr)
	set, err := s2.Settings(t.Context())
	must(t, err)
	if set.MinReplicas != Fence {
		t.Errorf("MinReplicas = %d", set.MinReplicas)
	}

	// Repeated, it keeps the link.
	must(t, s2.Follow(t.Context(), p1.addr, true))
	if r, err := s2.Role(t.Context()); err != nil || !r.LinkUp {
		t.Errorf("Role = %+v, %v", r, err)
	}
	if err := c.Ping(t.Context()).Err(); AnswerOf(err) != Closed {
		t.Errorf("the client: %v, want it closed", err)
	}
	must(t, own.Ping(t.Context()).Err())

	i, err := s1.Info(t.Context())
	must(t, err)
	if i.FullSyncs != 1 {
		t.Errorf("FullSyncs = %d, want 1", i.FullSyncs)
	}
	if err := s1.Follow(t.Context(), placeholder, false); err != nil {
		t.Error(err)
	}
	if err := s1.Follow(t.Context(), noAddr, false); err == nil {
		t.Error("followed no address")
	}
}

func TestCloseClients(t *testing.T) {
	p, s := newPrimary(t)
	_, replica := newServer(t, p.addr)
	linked(t, replica, p.addr)

	closed := []*goredis.Conn{client(t, p.addr, "default"), client(t, p.addr, "app")}
	kept := []*goredis.Conn{client(t, p.addr, AgentUser), client(t, p.addr, SentinelUser)}
	subscriber := subscribe(t, p)

	n, err := s.CloseClients(t.Context())
	must(t, err)
	if n != 3 {
		t.Errorf("closed %d, want 3", n)
	}
	for _, c := range closed {
		if err := c.Ping(t.Context()).Err(); AnswerOf(err) != Closed {
			t.Errorf("a client: %v, want it closed", err)
		}
	}
	if err := <-subscriber; AnswerOf(err) != Closed {
		t.Errorf("the subscriber: %v, want it closed", err)
	}
	for _, c := range kept {
		must(t, c.Ping(t.Context()).Err())
	}
	if r, err := replica.Role(t.Context()); err != nil || !r.LinkUp {
		t.Errorf("the replica: %+v, %v", r, err)
	}
}

// acknowledged waits until the primary's one replica has all: it is fed only after its first
// acknowledgement, which may come after it shows its link.
func acknowledged(t *testing.T, s *Server) {
	t.Helper()
	// Of an empty history it counts as acknowledged without a word.
	_, err := s.do(t.Context(), call("publish", "PUBLISH", "channel", "x"))
	must(t, err)
	await(t, "the replica's acknowledgement", func() bool {
		acked, _, err := s.WaitAcks(t.Context(), 1, time.Second)
		must(t, err)
		return acked == 1
	})
}

func TestWaitAcks(t *testing.T) {
	p, s := newPrimary(t)
	_, replica := newServer(t, p.addr)
	linked(t, replica, p.addr)
	acknowledged(t, s)
	c := client(t, p.addr, "default")
	for range 20 {
		must(t, write(t, c))
		acked, offset, err := s.WaitAcks(t.Context(), 1, time.Second)
		must(t, err)
		i, err := s.Info(t.Context())
		must(t, err)
		if acked != 1 || offset > i.Offset || i.Replicas[0].Offset < offset {
			t.Fatalf("WaitAcks = %d at %d; Info: %d, acknowledged %d", acked, offset, i.Offset, i.Replicas[0].Offset)
		}
	}
	start := time.Now()
	acked, _, err := s.WaitAcks(t.Context(), 2, 50*time.Millisecond)
	must(t, err)
	if took := time.Since(start); acked != 1 || took < 50*time.Millisecond || took > 2*time.Second {
		t.Errorf("WaitAcks for 2 = %d after %v", acked, took)
	}
}

func TestShutdown(t *testing.T) {
	for _, save := range []bool{false, true} {
		p, s := newPrimary(t)
		must(t, write(t, client(t, p.addr, "default")))
		must(t, s.Shutdown(within(t, 10*time.Second), save))
		must(t, p.cmd.Wait())
		p.cmd = nil
		_, err := os.Stat(p.dir + "/dump.rdb")
		if save != (err == nil) {
			t.Errorf("save %v: %v", save, err)
		}
	}
}

func TestShutdownRefused(t *testing.T) {
	p, s := newPrimary(t)
	must(t, os.RemoveAll(p.dir))
	if err := s.Shutdown(within(t, 10*time.Second), true); AnswerOf(err) != Refusal {
		t.Errorf("Shutdown without a directory to save to: %v", err)
	}
	must(t, s.Ping(t.Context()))
}

func TestConfig(t *testing.T) {
	_, s := newServer(t, placeholder)
	must(t, s.ConfigSet(t.Context()))
	must(t, s.ConfigSet(t.Context(), Directive{"maxmemory", "123mb"}, Directive{"hz", "20"}))
	got, err := s.ConfigGet(t.Context(), "maxmemory", "hz", "no-such")
	must(t, err)
	if len(got) != 2 || got["maxmemory"] != "128974848" || got["hz"] != "20" {
		t.Errorf("ConfigGet = %v", got)
	}
	if got, err := s.ConfigGet(t.Context()); len(got) != 0 || err != nil {
		t.Errorf("ConfigGet of nothing = %v, %v", got, err)
	}
	for name, tt := range map[string]struct {
		set  []Directive
		want string
	}{
		"value":   {[]Directive{{"hz", "30"}, {"maxmemory-policy", "bad"}}, "maxmemory-policy"},
		"unknown": {[]Directive{{"hz", "30"}, {"no-such", "1"}}, "no-such"},
		"single":  {[]Directive{{"no-such", "1"}}, "no-such"},
	} {
		err := s.ConfigSet(t.Context(), tt.set...)
		var refused *ConfigError
		if !errors.As(err, &refused) || refused.Directive != tt.want {
			t.Errorf("%s: %v, want it to name %s", name, err, tt.want)
		}
	}
	if got, err := s.ConfigGet(t.Context(), "hz"); err != nil || got["hz"] != "20" {
		t.Errorf("after refusals hz = %v, %v", got, err)
	}
}

func TestSettings(t *testing.T) {
	_, s := newServer(t, placeholder)
	got, err := s.Settings(t.Context())
	must(t, err)
	if want := (Settings{MinReplicas: Fence, MaxLag: 2 * time.Second}); got != want {
		t.Errorf("Settings = %+v", got)
	}
	must(t, s.SetMinReplicas(t.Context(), 1))
	got, err = s.Settings(t.Context())
	must(t, err)
	if want := (Settings{MinReplicas: 1, MaxLag: 2 * time.Second}); got != want {
		t.Errorf("Settings = %+v", got)
	}
}

func TestInfo(t *testing.T) {
	p, s := newPrimary(t)
	p2, replica := newServer(t, p.addr, "replica-priority 5")
	linked(t, replica, p.addr)
	must(t, write(t, client(t, p.addr, "default")))
	acknowledged(t, s)

	i, err := s.Info(t.Context())
	must(t, err)
	r, err := replica.Info(t.Context())
	must(t, err)
	if i.Role != Primary || i.PID != p.cmd.Process.Pid || i.Keys != 1 || len(i.RunID) != 40 || i.Version == "" {
		t.Errorf("Info of the primary: %+v", i)
	}
	if len(i.Replicas) != 1 || i.Replicas[0].Addr.Port() != p2.addr.Port() || !i.Replicas[0].Online {
		t.Errorf("its replicas: %+v", i.Replicas)
	}
	if r.Role != Replica || r.PrimaryAddr != p.addr || !r.LinkUp || r.NeverLinked || r.Priority != 5 {
		t.Errorf("Info of the replica: %+v", r)
	}
	if r.ReplID != i.ReplID || r.Offset != i.Offset || r.Keys != 1 {
		t.Errorf("replica %s %d, primary %s %d", r.ReplID, r.Offset, i.ReplID, i.Offset)
	}

	p.kill()
	await(t, "the lost link", func() bool {
		r, err = replica.Info(t.Context())
		return err == nil && !r.LinkUp
	})
	if r.NeverLinked {
		t.Error("NeverLinked after a link")
	}
	must(t, replica.Promote(t.Context(), 0))
	i, err = replica.Info(t.Context())
	must(t, err)
	if i.ReplID2 != r.ReplID || i.SecondOffset != r.Offset+1 {
		t.Errorf("promoted: history %s until %d, was %s at %d", i.ReplID2, i.SecondOffset, r.ReplID, r.Offset)
	}
}

// A server before Redis 7 takes one section and one directive at a time.
func TestOldServer(t *testing.T) {
	var asked []string
	addr := fakeServer(t, func(args []string) string {
		asked = append(asked, strings.Join(args, " "))
		switch {
		case strings.EqualFold(args[0], "info") && len(args) == 1:
			return bulk("redis_version:6.2.14\r\nrole:master\r\n")
		case strings.EqualFold(args[0], "config") && len(args) == 4 && args[2] != "bad":
			return "+OK"
		}
		return "-ERR syntax error"
	})
	s := connect(t, addr, Credentials{})
	for range 2 {
		i, err := s.Info(t.Context())
		must(t, err)
		if i.Role != Primary || i.Version != "6.2.14" {
			t.Errorf("Info = %+v", i)
		}
	}
	if len(asked) != 3 {
		t.Errorf("asked %q, want the sections once only", asked)
	}
	must(t, s.ConfigSet(t.Context(), Directive{"a", "1"}, Directive{"b", "2"}))
	err := s.ConfigSet(t.Context(), Directive{"a", "1"}, Directive{"bad", "2"})
	var refused *ConfigError
	if !errors.As(err, &refused) || refused.Directive != "bad" {
		t.Errorf("ConfigSet: %v, want it to name bad", err)
	}
}

// An error never shows a value: it may be a password.
func TestErrorsKeepSecrets(t *testing.T) {
	p, s := newServer(t, placeholder)
	const secret = "battery-staple"
	for _, err := range []error{
		s.ConfigSet(t.Context(), Directive{"masterauth", secret}, Directive{"no-such", secret}),
		connect(t, p.addr, Credentials{AgentUser, secret}).Ping(t.Context()),
	} {
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
}

// SetPassword replaces the password and nothing else: not what the user may do, not who is logged
// in, not the replicas' links.
func TestSetPassword(t *testing.T) {
	const next = "battery-staple"
	p, s := newPrimary(t)
	_, replica := newServer(t, p.addr)
	linked(t, replica, p.addr)
	acknowledged(t, s)
	clients := client(t, p.addr, "default")
	links := func() string {
		t.Helper()
		list, err := s.do(t.Context(), call("replicas' connections", "CLIENT", "LIST", "TYPE", "replica"))
		must(t, err)
		id, _, _ := strings.Cut(list.(string), " ")
		return id
	}
	before, link := userRules(t, s), links()

	for _, user := range []string{"default", ReplicaUser} {
		must(t, s.SetPassword(t.Context(), user, next))
		if err := connect(t, p.addr, Credentials{user, testPassword}).Ping(t.Context()); AnswerOf(err) != NoAuth {
			t.Errorf("%s with the old password: %v", user, err)
		}
		must(t, connect(t, p.addr, Credentials{user, next}).Ping(t.Context()))
	}
	if after := userRules(t, s); !slices.Equal(before, after) {
		t.Errorf("the users became\n%q, were\n%q", after, before)
	}
	must(t, write(t, clients))
	acknowledged(t, s)
	if now := links(); link == "" || now != link {
		t.Errorf("the replica's link is %q, was %q", now, link)
	}
}

// userRules lists the users without their passwords.
func userRules(t *testing.T, s *Server) []string {
	t.Helper()
	list, err := s.do(t.Context(), call("users", "ACL", "LIST"))
	must(t, err)
	var users []string
	for _, user := range list.([]any) {
		rules := slices.DeleteFunc(strings.Fields(user.(string)), func(word string) bool { return strings.HasPrefix(word, "#") })
		users = append(users, strings.Join(rules, " "))
	}
	return users
}

// Connections that somebody's CLIENT KILL closed are replaced unseen.
func TestReconnects(t *testing.T) {
	p, s := newPrimary(t)
	other := client(t, p.addr, "default")
	for range 5 {
		must(t, s.Ping(t.Context()))
		must(t, other.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal").Err())
	}
	must(t, s.Promote(t.Context(), 0))
}

func TestClose(t *testing.T) {
	_, s := newServer(t, placeholder)
	must(t, s.Close())
	if err := s.Ping(context.Background()); AnswerOf(err) != Unknown {
		t.Errorf("Ping after Close: %v", err)
	}
}

func BenchmarkInfo(b *testing.B) {
	text := testdata(b, "info-primary.txt")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseInfo(text); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPoll: one round trip says what two do, to a redis-server before 7 too.
func TestPoll(t *testing.T) {
	p, s := newPrimary(t)
	must(t, write(t, client(t, p.addr, "default")))
	must(t, s.SetMinReplicas(t.Context(), 1))
	for _, plain := range []bool{false, true} {
		s.plain.Store(plain)
		info, set, err := s.Poll(t.Context())
		must(t, err)
		if info.Role != Primary || info.Keys != 1 || info.Version == "" {
			t.Errorf("plain %v: Info = %+v", plain, info)
		}
		if set.MinReplicas != 1 || set.MaxLag != 2*time.Second {
			t.Errorf("plain %v: Settings = %+v", plain, set)
		}
	}
}

// TestCloseOthers: what was sent on another connection of the same user can no longer be carried
// out, and other users are left alone.
func TestCloseOthers(t *testing.T) {
	p, s := newPrimary(t)
	old, sentinel := client(t, p.addr, AgentUser), client(t, p.addr, SentinelUser)
	must(t, s.CloseOthers(t.Context()))
	if err := old.Ping(t.Context()).Err(); AnswerOf(err) != Closed {
		t.Errorf("the other connection: %v, want it closed", err)
	}
	must(t, sentinel.Ping(t.Context()).Err())
	must(t, s.Ping(t.Context()))
}
