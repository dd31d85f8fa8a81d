package powerloss

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// replace is what package atomicfile does, with each of its two calls to sync left out on demand.
func replace(path, text string, syncFile, syncFolder bool) error {
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if syncFile {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	if !syncFolder {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// TestMissingSyncIsFound leaves out one sync, then the other: Play must find a disk that shows it.
// It must find none when both are there.
func TestMissingSyncIsFound(t *testing.T) {
	for _, c := range []struct {
		name                 string
		syncFile, syncFolder bool
		torn, older          bool // what is found
	}{
		{"both", true, true, false, false},
		{"no sync of the file", false, true, true, false},
		{"no sync of the folder", true, false, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			trace := Record(t, nil, func(dir string) error {
				for n := 1; n <= 3; n++ {
					Begin(n)
					if err := replace(filepath.Join(dir, "f"), fmt.Sprint("value ", n), c.syncFile, c.syncFolder); err != nil {
						return err
					}
					Done(n)
				}
				return nil
			})
			var torn, older bool
			trace.each(func(o outcome) bool {
				dir := t.TempDir()
				if err := o.tree.put(dir, trace.isFolder); err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(filepath.Join(dir, "f"))
				var n int
				_, scanned := fmt.Sscanf(string(text), "value %d", &n)
				switch {
				case errors.Is(err, fs.ErrNotExist):
					older = older || o.Done > 0
				case scanned != nil:
					torn = true
				case n > o.Begun:
					t.Errorf("%d was read before it was written", n)
				default:
					older = older || n < o.Done
				}
				return true
			})
			if torn != c.torn || older != c.older {
				t.Errorf("a torn file found: %t, want %t; an older one: %t, want %t", torn, c.torn, older, c.older)
			}
		})
	}
}

// TestModelFollowsTheProgram compares what the model believes to be there at the end, when nothing
// is lost, with what is.
func TestModelFollowsTheProgram(t *testing.T) {
	var ran string
	trace := Record(t, func(dir string) error {
		ran = dir
		return errors.Join(os.Mkdir(filepath.Join(dir, "old"), 0o700),
			os.WriteFile(filepath.Join(dir, "old", "copied"), []byte("copied by the kernel"), 0o600))
	}, func(dir string) error {
		path := func(name string) string { return filepath.Join(dir, name) }
		f, err := os.OpenFile(path("appended"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		for _, text := range []string{"one ", "two ", "three"} {
			if _, err := f.WriteString(text); err != nil {
				return err
			}
		}
		return errors.Join(
			os.CopyFS(path("new/deep"), os.DirFS(path("old"))),
			os.WriteFile(path("gone"), []byte("x"), 0o600), os.Remove(path("gone")),
			os.MkdirAll(path("gone too/deep"), 0o700), os.RemoveAll(path("gone too")),
			f.Truncate(7),
			os.Rename(path("new"), path("old/new")))
	})
	whole := trace.before.clone()
	for _, o := range trace.ops {
		o.apply(whole)
	}
	r := newRecorder(ran)
	if err := r.snapshot(); err != nil {
		t.Fatal(err)
	}
	if got, want := whole.text(trace.isFolder), r.now.text(r.trace.isFolder); got != want {
		t.Errorf("the model has\n%s\nthe disk has\n%s", got, want)
	}
}
