package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAdoptAfterTheAgentWasKilled(t *testing.T) {
	dir := tempDir(t)
	pid, killAgent := startAgent(t, agentTask{Dir: dir, Argv: redisArgs(dir), ReadyLine: redisReady}, nil)
	killAgent()
	if reply := ask(t, dir, "PING"); reply != "+PONG" {
		t.Fatal("it did not survive its agent:", reply)
	}
	p, lines := newProcess(t, dir)
	if ok, err := p.Adopt(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	s := p.State()
	if s.Status != Running || s.PID != pid || !s.Adopted || time.Since(s.StartedAt) > patience || time.Since(s.StartedAt) < 0 {
		t.Fatalf("%+v", s)
	}
	if ok, err := p.Adopt(); !ok || err != nil {
		t.Fatal("again:", ok, err)
	}
	ask(t, dir, "CONFIG SET save ''")
	ask(t, dir, "DEBUG LOG after-adoption")
	ask(t, dir, "BGREWRITEAOF")
	lines.await(t, "append only file rewriting")

	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	exit := awaitExit(t, p)
	t.Logf("seen after %v: %v", time.Since(killed), exit)
	if exit.Code != -1 || exit.Signal != 0 || !strings.Contains(exit.Error(), "exit status unknown") || len(exit.Output) == 0 {
		t.Errorf("exit: %+v", exit)
	}
}

func TestStopOfAnAdopted(t *testing.T) {
	dir := tempDir(t)
	pid, killAgent := startAgent(t, agentTask{Dir: dir, Argv: redisArgs(dir, "--save", "3600 1"), ReadyLine: redisReady}, nil)
	killAgent()
	ask(t, dir, "SET colour blue")
	p, lines := newProcess(t, dir)
	if ok, err := p.Adopt(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if proc, err := p.Proc(); err != nil || proc.RSS == 0 {
		t.Errorf("%+v, %v", proc, err)
	}
	if err := p.Stop(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	if alive(pid) || !exists(filepath.Join(dir, "dump.rdb")) {
		t.Error("not stopped, or not saved")
	}
	lines.await(t, "bye bye")
	if ok, err := p.Adopt(); ok || err != nil {
		t.Error(ok, err)
	}
}

// The agent may die at any point of a start. The worst is when the program runs and no record of it
// was written.
func TestAdoptWithoutRecord(t *testing.T) {
	dir := tempDir(t)
	startAgent(t, agentTask{Dir: dir, Argv: redisArgs(dir), DieAt: "fork"}, nil)
	p, lines := newProcess(t, dir)
	if exists(p.recordPath()) {
		t.Fatal("the agent was too slow to die")
	}
	if ok, err := p.Adopt(); !ok || err != nil {
		t.Fatal("lost:", ok, err)
	}
	lines.await(t, redisReady)
	if rec, err := loadRecord(p.recordPath()); err != nil || rec == nil || rec.PID != p.State().PID {
		t.Errorf("record: %+v, %v", rec, err)
	}
	if reply := ask(t, dir, "PING"); reply != "+PONG" {
		t.Fatal(reply)
	}
	if err := p.Stop(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
}

// The record describes a process that is alive, but not the one that was started.
func TestOthersAreNotAdopted(t *testing.T) {
	other := exec.Command("sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	st, err := readStat(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	right := record{PID: other.Process.Pid, StartTicks: st.start, BootID: bootID(), Exe: executable(other.Process.Pid)}
	for _, test := range []struct {
		name   string
		change func(*record)
		want   bool
		status Status
	}{
		{"the right one", func(*record) {}, true, Running},
		{"number used again", func(r *record) { r.StartTicks-- }, false, Exited},
		{"other program", func(r *record) { r.Exe = "/usr/bin/redis-server" }, false, Exited},
		{"other boot", func(r *record) { r.BootID = "0" }, false, Idle},
		{"no such process", func(r *record) { r.PID = 1 << 22 }, false, Exited},
		{"damaged", func(r *record) { r.PID = 0 }, false, Idle},
	} {
		t.Run(test.name, func(t *testing.T) {
			rec := right
			test.change(&rec)
			raw, err := json.Marshal(rec)
			if err != nil {
				t.Fatal(err)
			}
			lines := newRecorder()
			p := New(discard, tempDir(t), "redis-server", lines.receive)
			defer p.Close() // not newProcess: nothing must be killed
			if err := os.WriteFile(p.recordPath(), raw, 0o600); err != nil {
				t.Fatal(err)
			}
			ok, err := p.Adopt()
			if err != nil || ok != test.want || p.State().Status != test.status {
				t.Errorf("adopted %v, %v, %+v", ok, err, p.State())
			}
			if !test.want && test.name != "damaged" && exists(p.recordPath()) {
				t.Error("the stale record is still there")
			}
		})
	}
	if !alive(other.Process.Pid) {
		t.Error("a stranger was killed")
	}
}

// An upgrade of the package replaces the file of the program that runs.
func TestAdoptAfterAnUpgrade(t *testing.T) {
	dir := tempDir(t)
	program, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sleep")
	install := func() {
		if err := os.WriteFile(path+".new", program, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	install()
	first := New(discard, dir, "redis-server", nil)
	start(t, first, path, "60")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	install()
	rec, err := loadRecord(first.recordPath())
	if err != nil {
		t.Fatal(err)
	}
	r, err := rec.find()
	if err != nil || r == nil {
		t.Fatal("not found by its record:", err)
	}
	r.handle.Close()
	p, _ := newProcess(t, dir)
	if ok, err := p.Adopt(); !ok || err != nil {
		t.Error(ok, err)
	}
}

// The server died while no agent ran, in the middle of a BGSAVE.
func TestAdoptFindsTheServerDead(t *testing.T) {
	dir := tempDir(t)
	argv := redisArgs(dir, "--rdb-key-save-delay", "60000000")
	pid, killAgent := startAgent(t, agentTask{Dir: dir, Argv: argv, ReadyLine: redisReady}, nil)
	killAgent()
	fork := bgsave(t, dir, pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is dead", func() bool { return !alive(pid) })
	if !alive(fork) {
		t.Fatal("the fork is dead already, nothing is tested")
	}
	p, lines := newProcess(t, dir)
	if ok, err := p.Adopt(); ok || err != nil {
		t.Fatal(ok, err)
	}
	s := p.State()
	if s.Status != Exited || s.Exit.Code != -1 || !slices.ContainsFunc(s.Exit.Output, func(l string) bool { return strings.Contains(l, redisReady) }) {
		t.Errorf("%+v", s)
	}
	eventually(t, "the fork is gone", func() bool { return !alive(fork) })
	if exists(p.recordPath()) {
		t.Error("the stale record is still there")
	}
	start(t, p, redisArgs(dir)...)
	lines.await(t, fmt.Sprintf("%d:M", p.State().PID))
}

// As TestForksEndWithTheServer, for a server that is no child of ours.
func TestForksEndWithAnAdopted(t *testing.T) {
	dir := tempDir(t)
	argv := redisArgs(dir, "--rdb-key-save-delay", "60000000")
	pid, killAgent := startAgent(t, agentTask{Dir: dir, Argv: argv, ReadyLine: redisReady}, nil)
	killAgent()
	fork := bgsave(t, dir, pid)
	p, _ := newProcess(t, dir)
	if ok, err := p.Adopt(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitExit(t, p)
	eventually(t, "the fork is gone", func() bool { return !alive(fork) })
}
