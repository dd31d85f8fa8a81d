package powerloss

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	runEnv = "POWERLOSS_RUN" // in the process that is recorded: the name of the test
	dirEnv = "POWERLOSS_DIR"

	begunMark, doneMark = "powerloss: begun ", "powerloss: done "
)

// traced are the calls that change files, or say which file a descriptor is. One that is missing
// here would be missed: what this repository writes files by is here.
const traced = "open,openat,creat,close,dup,dup2,dup3,lseek,write,pwrite64,writev,pwritev,ftruncate,truncate,fallocate," +
	"copy_file_range,sendfile,splice,fsync,fdatasync,sync,syncfs,sync_file_range,rename,renameat,renameat2,link,linkat," +
	"symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat"

// Begin says, in the program that is recorded, that it is about to write the value n.
func Begin(n int) { fmt.Fprintf(os.Stderr, "%s%d\n", begunMark, n) }

// Done says that whoever wrote the value n was told that it will last.
func Done(n int) { fmt.Fprintf(os.Stderr, "%s%d\n", doneMark, n) }

// Record runs program in a process of its own and returns what it did to the files of dir. It may
// be called once by a test, before anything else that the test does: the process is the same test
// binary, and comes here, too. What prepare puts into dir, before, is durable.
func Record(t *testing.T, prepare, program func(dir string) error) *Trace {
	t.Helper()
	if os.Getenv(runEnv) == t.Name() {
		if err := program(os.Getenv(dirEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	require(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
	}
	r := newRecorder(dir)
	if err := r.snapshot(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-xx", "-s", "16777216", "-e", "signal=none", "-e", "trace="+traced, "-o", log,
		os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$")
	cmd.Env = append(os.Environ(), runEnv+"="+t.Name(), dirEnv+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("run the program under strace: %v\n%s", err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	calls, err := parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		if err := r.take(c); err != nil {
			t.Fatalf("%s%q: %v", c.name, c.args, err)
		}
	}
	if len(r.trace.ops) == 0 {
		t.Fatal("the program changed nothing")
	}
	return &r.trace
}

// require skips where strace is missing; with CI set in the environment that is a failure: there a
// skipped test is a test that nobody ever runs.
func require(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs strace")
	}
	fmt.Fprintf(os.Stderr, "\n*** NOT TESTED: %s needs strace\n\n", t.Name())
	t.Skip("NOT TESTED: needs strace")
}
