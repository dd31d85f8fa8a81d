package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// follower is an output that is followed, and a process's handle on it.
type follower struct {
	*output
	*recorder
	child *os.File
}

// follow begins to follow the output file in dir; end is called at the end of the test, if not
// before.
func follow(t *testing.T, dir string, change func(*output)) (f *follower, end func()) {
	t.Helper()
	f = &follower{recorder: newRecorder()}
	f.output = newOutput(discard, filepath.Join(dir, "redis-server"), f.receive)
	if change != nil {
		change(f.output)
	}
	if err := f.begin(); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.child, _, err = f.forChild(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		f.child.Close()
		f.quit()
		f.tasks.Wait()
		f.close()
	}
	t.Cleanup(end)
	return f, end
}

func (f *follower) write(t *testing.T, text string) {
	t.Helper()
	if _, err := f.child.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestLinesAreDelivered(t *testing.T) {
	f, _ := follow(t, t.TempDir(), nil)
	long := strings.Repeat("x", lineLimit)
	f.write(t, "one\ntwo\r\n\n \nhalf")
	f.await(t, "two")
	f.write(t, " and half\n"+long+"yy\nbad \xff byte\nunfinished")
	f.await(t, "byte")
	f.finish()
	f.await(t, "unfinished")
	want := []string{"one", "two", "half and half", long, "yy", "bad \uFFFD byte", "unfinished"}
	if got := f.all(); !slices.Equal(got, want) {
		t.Errorf("%.60q", got)
	}
	if got := f.last(); len(got) == 0 || got[len(got)-1] != "unfinished" {
		t.Errorf("last: %.60q", got)
	}
}

func TestFileIsEmptiedOnceDelivered(t *testing.T) {
	f, _ := follow(t, t.TempDir(), func(o *output) { o.trim = 1000 })
	var want []string
	emptied := 0
	for i := range 300 {
		line := fmt.Sprintf("line %d of many", i)
		want = append(want, line)
		f.write(t, line+"\n")
		f.await(t, line)
		// Not the next line yet: one that is written while the file is emptied may be lost.
		eventually(t, "the file is looked at", func() bool {
			f.output.mu.Lock()
			defer f.output.mu.Unlock()
			info, err := f.file.Stat()
			if err == nil && info.Size() == 0 && f.pos == 0 {
				emptied++
				return true
			}
			return err == nil && f.pos == info.Size() && f.pos < f.trim
		})
		if got := f.last(); !slices.Equal(got, want[max(0, len(want)-outputKept):]) {
			t.Fatalf("last lines: %q", got)
		}
	}
	if !slices.Equal(f.all(), want) {
		t.Errorf("%q", f.all())
	}
	if emptied < 3 {
		t.Errorf("emptied %d times", emptied)
	}
}

// A program that writes without end must neither fill the disk nor stop the rest.
func TestFlood(t *testing.T) {
	hold := make(chan struct{})
	f, _ := follow(t, t.TempDir(), func(o *output) {
		o.trim, o.flood = 1000, 100_000
		receive := o.lines
		o.lines = func(l Line) {
			<-hold
			receive(l)
		}
	})
	f.write(t, "first\n")
	for range 100 {
		f.write(t, strings.Repeat(strings.Repeat("z", 99)+"\n", 100))
	}
	close(hold)
	eventually(t, "the file is emptied", func() bool {
		info, err := os.Stat(f.path)
		return err == nil && info.Size() == 0
	})
	f.write(t, "after\n")
	f.await(t, "after")
	if n := len(f.all()); n > 2000 {
		t.Errorf("%d lines of 10000 were delivered", n)
	}
}

func TestPositionIsKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "redis-server")
	first, end := follow(t, dir, nil)
	child, _, err := first.forChild()
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	say := func(text string) {
		if _, err := child.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	say("one\ntwo\nhal")
	first.await(t, "two")
	end()
	say("f\nthree\n")

	second, end := follow(t, dir, func(o *output) { o.saveEvery = time.Millisecond })
	second.await(t, "three")
	if got := second.all(); !slices.Equal(got, []string{"half", "three"}) {
		t.Errorf("the second agent got %q", got)
	}
	eventually(t, "the position is on disk while it runs", func() bool {
		raw, err := os.ReadFile(path + ".pos")
		return err == nil && string(raw) == "19"
	})
	end()

	// As if it had been killed between emptying the file and noting that.
	if err := os.Truncate(path+".out", 0); err != nil {
		t.Fatal(err)
	}
	say("four\n")
	third, end := follow(t, dir, nil)
	third.await(t, "four")
	if err := os.Truncate(path+".out", 0); err != nil { // by someone else
		t.Fatal(err)
	}
	say("5\n")
	third.await(t, "5")
	end()

	// The position was lost with the power, the output was not.
	if err := os.WriteFile(path+".pos", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	say(strings.Repeat("old\n", lineLimit) + "six\n")
	fourth, _ := follow(t, dir, nil)
	fourth.await(t, "six")
	if n := len(fourth.all()); n < 2 || n > lineLimit/4+1 {
		t.Errorf("%d lines were repeated", n)
	}
}

func TestOutputOfAnEarlierRun(t *testing.T) {
	f, _ := follow(t, t.TempDir(), nil)
	f.write(t, "old\nunfinis")
	second, from, err := f.forChild()
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if got := f.last(); len(got) != 0 || from != int64(len("old\nunfinis\n")) {
		t.Errorf("before it wrote anything: %q, from %d", got, from)
	}
	fmt.Fprint(second, "new\n")
	f.await(t, "new")
	if got := f.all(); !slices.Equal(got, []string{"old", "unfinis", "new"}) {
		t.Errorf("%q", got)
	}
	if got := f.last(); !slices.Equal(got, []string{"new"}) {
		t.Errorf("last: %q", got)
	}
}

func TestFollowsWithoutInotify(t *testing.T) {
	f, end := follow(t, t.TempDir(), nil)
	f.watch.Close() // awaitWrites ends, as if it had never been
	f.tasks.Go(f.poll)
	f.write(t, "polled\n")
	f.await(t, "polled")
	end()
}
