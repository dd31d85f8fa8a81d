package supervisor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for what must come; it is reached only by a failure.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if raw := os.Getenv("SUPERVISOR_TEST_AGENT"); raw != "" {
		runAgent(raw)
		return
	}
	goleak.VerifyTestMain(m)
}

// agentTask is what a second process, the test binary as "agent", is to do.
type agentTask struct {
	Dir       string
	Argv      []string
	ReadyLine string // report when this was printed
	DieAt     string // "fork": kill itself between the fork and the record
}

// runAgent starts a program, says so on standard output, and waits to be killed.
func runAgent(raw string) {
	var task agentTask
	if err := json.Unmarshal([]byte(raw), &task); err != nil {
		panic(err)
	}
	ready := make(chan struct{}, 1)
	p := New(slog.New(slog.DiscardHandler), task.Dir, "redis-server", func(l Line) {
		if strings.Contains(l.Text, task.ReadyLine) {
			select {
			case ready <- struct{}{}:
			default:
			}
		}
	})
	if task.DieAt == "fork" {
		p.forked = func(int) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if err := p.Start(context.Background(), Spec{Argv: task.Argv}); err != nil {
		panic(err)
	}
	orphaned := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(orphaned)
	}()
	select {
	case <-ready:
		fmt.Println(p.State().PID)
		<-orphaned
	case <-orphaned:
	}
	_ = p.Kill() // the test has ended without killing its agent: leave nothing behind
}

// startAgent runs task in a process of its own. With the returned function it is killed, unless it
// has killed itself.
func startAgent(t *testing.T, task agentTask, change func(*exec.Cmd)) (pid int, kill func()) {
	t.Helper()
	raw, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SUPERVISOR_TEST_AGENT="+string(raw))
	cmd.Stderr = os.Stderr
	if change != nil {
		change(cmd)
	}
	if _, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	if task.DieAt == "" {
		if _, err := fmt.Fscan(stdout, &pid); err != nil {
			t.Fatalf("agent: %v", err)
		}
		started, err := openRun(pid)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = started.signal(syscall.SIGKILL)
			started.handle.Close()
		})
	} else {
		_, _ = io.Copy(io.Discard, stdout)
	}
	return pid, kill
}

// tempDir is short enough for a unix socket within, which t.TempDir is not.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// recorder keeps the lines it receives.
type recorder struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{}, 1)} }

func (r *recorder) receive(l Line) {
	r.mu.Lock()
	r.lines = append(r.lines, l.Text)
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

// await returns when a line that contains text was received.
func (r *recorder) await(t *testing.T, text string) {
	t.Helper()
	r.awaitTimes(t, text, 1)
}

// awaitTimes returns when as many lines that contain text were received.
func (r *recorder) awaitTimes(t *testing.T, text string, times int) {
	t.Helper()
	limit := time.After(patience)
	for {
		found := 0
		for _, line := range r.all() {
			if strings.Contains(line, text) {
				found++
			}
		}
		if found >= times {
			return
		}
		select {
		case <-r.more:
		case <-limit:
			t.Fatalf("no line with %q in:\n%s", text, strings.Join(r.all(), "\n"))
		}
	}
}

func newProcess(t *testing.T, dir string) (*Process, *recorder) {
	t.Helper()
	lines := newRecorder()
	p := New(slog.New(slog.DiscardHandler), dir, "redis-server", lines.receive)
	t.Cleanup(func() {
		s := p.State()
		if s.Status == Running {
			_ = p.Kill()
			awaitExit(t, p)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, lines
}

func start(t *testing.T, p *Process, argv ...string) State {
	t.Helper()
	if err := p.Start(t.Context(), Spec{Argv: argv}); err != nil {
		t.Fatal(err)
	}
	return p.State()
}

// awaitExit waits for the event and returns how the process ended.
func awaitExit(t *testing.T, p *Process) *ExitError {
	t.Helper()
	limit := time.After(patience)
	for {
		if s := p.State(); s.Status == Exited {
			return s.Exit
		}
		select {
		case <-p.Changed():
		case <-limit:
			t.Fatalf("no exit seen: %+v", p.State())
		}
	}
}

// eventually is for what the kernel tells only when asked.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("never came true: " + what)
		}
	}
}

// redisArgs starts a redis-server on a unix socket in dir.
func redisArgs(dir string, more ...string) []string {
	return append([]string{"redis-server", "--port", "0", "--unixsocket", socketOf(dir), "--dir", dir}, more...)
}

func socketOf(dir string) string { return filepath.Join(dir, "s") }

const redisReady = "ready to accept connections"

// ask sends one command and returns the first line of the reply.
func ask(t *testing.T, dir, command string) string {
	t.Helper()
	conn := dial(t, dir)
	defer conn.Close()
	fmt.Fprintf(conn, "%s\r\n", command)
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return strings.TrimSpace(reply)
}

func dial(t *testing.T, dir string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", socketOf(dir))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func alive(pid int) bool {
	st, err := readStat(pid)
	return err == nil && st.state != 'Z'
}
