package powerloss

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// node is a file or a folder, whatever its name at the moment.
type node int

const root node = 0

// tree is what is on a disk, or in the page cache above it.
type tree struct {
	folders map[node]map[string]node
	files   map[node][]byte
}

func newTree() *tree {
	return &tree{folders: map[node]map[string]node{root: {}}, files: map[node][]byte{}}
}

func (t *tree) clone() *tree {
	c := &tree{folders: map[node]map[string]node{}, files: map[node][]byte{}}
	for n, entries := range t.folders {
		c.folders[n] = maps.Clone(entries)
	}
	for n, data := range t.files {
		c.files[n] = data // replaced, never changed
	}
	return c
}

// folder returns the entries of a folder; of one that was made and never written to, none.
func (t *tree) folder(n node) map[string]node {
	if t.folders[n] == nil {
		t.folders[n] = map[string]node{}
	}
	return t.folders[n]
}

func (t *tree) write(n node, offset int, data []byte) {
	old := t.files[n]
	out := make([]byte, max(len(old), offset+len(data)))
	copy(out, old)
	copy(out[offset:], data)
	t.files[n] = out
}

func (t *tree) resize(n node, size int) {
	out := make([]byte, size)
	copy(out, t.files[n])
	t.files[n] = out
}

// put writes the tree to an empty folder of this machine.
func (t *tree) put(dir string, isFolder map[node]bool) error { return t.putFolder(root, dir, isFolder) }

func (t *tree) putFolder(n node, dir string, isFolder map[node]bool) error {
	for name, child := range t.folders[n] {
		path := filepath.Join(dir, name)
		if !isFolder[child] {
			if err := os.WriteFile(path, t.files[child], 0o600); err != nil {
				return err
			}
			continue
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := t.putFolder(child, path, isFolder); err != nil {
			return err
		}
	}
	return nil
}

// text is the same for two trees that a program cannot tell apart.
func (t *tree) text(isFolder map[node]bool) string {
	var b strings.Builder
	t.describe(&b, root, "", isFolder, false)
	return b.String()
}

// list is the tree for people.
func (t *tree) list(isFolder map[node]bool) string {
	var b strings.Builder
	t.describe(&b, root, "", isFolder, true)
	return b.String()
}

func (t *tree) describe(b *strings.Builder, n node, path string, isFolder map[node]bool, short bool) {
	for _, name := range slices.Sorted(maps.Keys(t.folders[n])) {
		child := t.folders[n][name]
		switch data := t.files[child]; {
		case isFolder[child]:
			fmt.Fprintf(b, "%s%s/\n", path, name)
			t.describe(b, child, path+name+"/", isFolder, short)
		case short:
			fmt.Fprintf(b, "%s%s: %d bytes, %.60q\n", path, name, len(data), data)
		default:
			fmt.Fprintf(b, "%s%s %d\n", path, name, len(data))
			b.Write(data)
		}
	}
}

// op is one change, or one call that makes changes durable.
type op struct {
	words string // for people

	// The folder's part of a change: names that are given, names that are taken.
	entries []entry
	// The file's part.
	file   node
	change change
	offset int // write
	size   int // resize
	data   []byte

	// syncs is what becomes durable: the content of a file, the names of a folder.
	syncs    node
	isSync   bool
	syncsAll bool

	begun, done int // marks: from here on, -1 otherwise
}

type entry struct {
	folder node
	name   string
	child  node // -1: the name is taken away
}

type change int

const (
	none change = iota
	write
	resize
)

// apply carries the change out.
func (o op) apply(t *tree) {
	for _, e := range o.entries {
		if e.child < 0 {
			delete(t.folder(e.folder), e.name)
		} else {
			t.folder(e.folder)[e.name] = e.child
		}
	}
	switch o.change {
	case write:
		t.write(o.file, o.offset, o.data)
	case resize:
		t.resize(o.file, o.size)
	}
}

func (o op) changes() bool { return len(o.entries) > 0 || o.change != none }

// torn are the ways in which a write may be on disk in part.
func (o op) torn() []op {
	if o.change != write || len(o.data) < 2 {
		return nil
	}
	half := len(o.data) / 2
	first, last := o, o
	first.data = o.data[:half]
	last.offset, last.data = o.offset+half, o.data[half:]
	first.words, last.words = "the first half of "+o.words, "the last half of "+o.words
	return []op{first, last}
}
