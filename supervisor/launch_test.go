package supervisor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var discard = slog.New(slog.DiscardHandler)

func TestEnviron(t *testing.T) {
	got := environ([]string{"PATH=/bin", "NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=1", "WATCHDOG_PID=2", "LISTEN_FDS=1", "LISTEN_PIDFDID=9",
		"NOTIFY_SOCKETS=kept", "LISTENER=kept", "REDISD_NODE_NAME=a", "TZ=", "odd"})
	want := []string{"PATH=/bin", "NOTIFY_SOCKETS=kept", "LISTENER=kept", "TZ=", "odd"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestChildIsOnItsOwn(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/nowhere")
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("LISTEN_FDS", "1")
	var leaked [2]int
	if err := unix.Pipe(leaked[:]); err != nil { // without close-on-exec, as what systemd passes on
		t.Fatal(err)
	}
	defer unix.Close(leaked[0])
	defer unix.Close(leaked[1])

	p, lines := newProcess(t, tempDir(t))
	dir, score := tempDir(t), 321
	argv := []string{"/bin/sh", "-c", "echo up; echo oops >&2; read x; echo read=$?; sleep 60 & wait"}
	if err := p.Start(t.Context(), Spec{Argv: argv, Dir: dir, OOMScoreAdj: &score}); err != nil {
		t.Fatal(err)
	}
	lines.await(t, "up")
	lines.await(t, "oops")
	lines.await(t, "read=1") // the end of /dev/null
	pid := p.State().PID

	env := procFile(t, pid, "environ")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG", "LISTEN"} {
		if strings.Contains(env, name) {
			t.Errorf("%s was inherited", name)
		}
	}
	if !strings.Contains(env, "PATH=") {
		t.Error("the rest was not")
	}
	if got := strings.TrimSpace(procFile(t, pid, "oom_score_adj")); got != "321" {
		t.Error("out-of-memory score:", got)
	}
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); cwd != dir {
		t.Error("working directory:", cwd)
	}
	if st, err := readStat(pid); err != nil || st.session != pid {
		t.Errorf("not a session of its own: %+v, %v", st, err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil || len(fds) != 3 {
		t.Errorf("open: %v, %v", fds, err)
	}
	if info, err := os.Stat(p.out.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("output file: %v, %v", info, err)
	}
}

func procFile(t *testing.T, pid int, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// redis-server with NOTIFY_SOCKET in its environment would send READY=1 in the agent's name.
func TestRedisDoesNotNotify(t *testing.T) {
	dir := tempDir(t)
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(dir, "notify")}); err != nil {
		t.Fatal(err)
	}
	p, lines := newProcess(t, dir)
	start(t, p, redisArgs(dir, "--supervised", "auto")...)
	lines.await(t, redisReady)
	if err := p.Stop(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, 100)
	if n, _, err := unix.Recvfrom(fd, message, 0); err != unix.EAGAIN {
		t.Errorf("it said %q, %v", message[:max(n, 0)], err)
	}
}

// The agent runs as an ordinary user with CAP_NET_ADMIN in its ambient set; redis-server must not
// get it.
func TestCapabilitiesAreDropped(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to run an agent as another user with a capability")
	}
	const nobody = 65534
	dir := tempDir(t)
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// The test binary lies where another user may not go.
	binary := filepath.Join(dir, "agent")
	copyFile(t, os.Args[0], binary)
	pid, _ := startAgent(t, agentTask{Dir: dir, Argv: redisArgs(dir), ReadyLine: redisReady}, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = binary, dir
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: []uintptr{unix.CAP_NET_ADMIN},
		}
	})
	st, err := readStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	const none = "0000000000000000"
	if agent := capabilities(t, st.ppid, "CapEff"); agent == none {
		t.Error("the agent has none, so nothing is tested")
	}
	for _, set := range []string{"CapEff", "CapPrm", "CapAmb"} {
		if redis := capabilities(t, pid, set); redis != none {
			t.Errorf("redis-server has %s %s", set, redis)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// The agent's service lets its timers be late; those of redis-server are its own business.
func TestTimerSlackIsTheChildsOwn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to read the timer slack of another process")
	}
	dir := tempDir(t)
	runtime.LockOSThread() // the slack is a thread's, and what it starts inherits it; the thread ends with the test
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(time.Millisecond), 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	pid, _ := startAgent(t, agentTask{Dir: dir, Argv: redisArgs(dir), ReadyLine: redisReady}, func(*exec.Cmd) {})
	st, err := readStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	// The thread that started redis-server has set its own; all others keep the agent's.
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", st.ppid))
	if err != nil {
		t.Fatal(err)
	}
	late := 0
	for _, thread := range threads {
		slack, err := os.ReadFile(filepath.Join("/proc", thread.Name(), "timerslack_ns"))
		if errors.Is(err, os.ErrNotExist) || string(slack) == "1000000\n" { // that thread may have ended
			late++
		}
	}
	if late < len(threads)-1 {
		t.Errorf("%d of %d threads of the agent may be late", late, len(threads))
	}
	if redis := procFile(t, pid, "timerslack_ns"); redis != "50000\n" {
		t.Errorf("redis-server has %q", redis)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func capabilities(t *testing.T, pid int, set string) string {
	t.Helper()
	_, rest, _ := strings.Cut(procFile(t, pid, "status"), set+":\t")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}
