package agent

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/supervisor"
)

// An agent whose redis-server takes connections and answers nothing ends all the same when it is
// told to: each poll that times out finds the next one due.
func TestEndsWhilePollsTimeOut(t *testing.T) {
	dir := t.TempDir()
	addr := netip.AddrFrom4([4]byte{127, 79, byte(os.Getpid()), 1})
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 6379).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			asked <- struct{}{}
		}
	}()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := config.Default()
	cfg.Cluster.Name, cfg.Cluster.Expect, cfg.Cluster.GossipPort = "test", 1, 7946
	cfg.Cluster.SecretFile = write("secret", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n", 0o600)
	cfg.Cluster.Join = []string{netip.AddrPortFrom(addr, 7946).String()}
	cfg.Node.Name, cfg.Node.Address = "a", addr
	cfg.Node.StateDir, cfg.Node.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	cfg.Node.Roles = []string{config.RoleRedis}
	cfg.Redis.Port = 6379
	cfg.Redis.Binary = write("redis-server", "#!/bin/sh\nexec sleep 60\n", 0o755)
	a, err := New(Options{
		Config: cfg, LastGood: true, Log: slog.New(slog.DiscardHandler), Version: "test",
		Lines: func(string) func(supervisor.Line) { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for range 3 {
		select {
		case <-asked:
		case err := <-ended:
			t.Fatalf("ended by itself: %v", err)
		case <-time.After(20 * time.Second):
			t.Fatal("redis-server is not polled")
		}
	}
	pid := a.actor.procs[0].pid()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
	if p, err := os.FindProcess(pid); err != nil || p.Kill() != nil {
		t.Errorf("its redis-server, process %s, does not run on: %v", strconv.Itoa(pid), err)
	}
}
