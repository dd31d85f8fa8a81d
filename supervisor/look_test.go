package supervisor

import (
	"os"
	"syscall"
	"testing"
)

func TestLookChangesNothing(t *testing.T) {
	dir := tempDir(t)
	if pid, err := Look(dir, "redis-server"); pid != 0 || err != nil {
		t.Fatal("in an empty directory:", pid, err)
	}
	if pid, err := Look(dir+"/missing", "redis-server"); pid != 0 || err != nil || exists(dir+"/missing") {
		t.Fatal("in no directory:", pid, err)
	}
	pid, killAgent := startAgent(t, agentTask{Dir: dir, Argv: redisArgs(dir), ReadyLine: redisReady}, nil)
	killAgent()
	before := listed(t, dir)
	if got, err := Look(dir, "redis-server"); got != pid || err != nil {
		t.Fatalf("found %d, %v; want %d", got, err, pid)
	}
	if err := os.Rename(dir+"/redis-server.json", dir+"/away"); err != nil {
		t.Fatal(err)
	}
	if got, err := Look(dir, "redis-server"); got != pid || err != nil {
		t.Fatalf("without a record: found %d, %v; want %d", got, err, pid)
	}
	if err := os.Rename(dir+"/away", dir+"/redis-server.json"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing found", func() bool {
		got, err := Look(dir, "redis-server")
		return got == 0 && err == nil
	})
	if after := listed(t, dir); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// listed is what the files of a process hold, but for its socket.
func listed(t *testing.T, dir string) string {
	t.Helper()
	text := ""
	for _, name := range []string{"redis-server.json", "redis-server.pos"} {
		b, err := os.ReadFile(dir + "/" + name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		text += name + ": " + string(b) + "\n"
	}
	return text
}
