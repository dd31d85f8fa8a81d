package powerloss

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Trace is what a program did, from what was there before.
type Trace struct {
	before   *tree
	ops      []op
	isFolder map[node]bool
}

// recorder turns system calls into changes. It follows what the program sees: names and
// descriptors.
type recorder struct {
	dir   string
	trace Trace
	now   *tree
	next  node
	open  map[string]*descriptor
}

// descriptor is an open file: of the folder, or (inside false) of elsewhere.
type descriptor struct {
	inside   bool
	node     node
	path     string // elsewhere
	offset   int
	appended bool
}

func newRecorder(dir string) *recorder {
	return &recorder{dir: dir, open: map[string]*descriptor{}, next: root + 1,
		trace: Trace{isFolder: map[node]bool{root: true}}}
}

// snapshot takes in what is in the folder before the program runs.
func (r *recorder) snapshot() error {
	r.now = newTree()
	at := map[string]node{r.dir: root}
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == r.dir {
			return err
		}
		n := r.make(d.IsDir())
		at[path] = n
		r.now.folder(at[filepath.Dir(path)])[d.Name()] = n
		if !d.IsDir() {
			r.now.files[n], err = os.ReadFile(path)
		}
		return err
	})
	r.trace.before = r.now.clone()
	return err
}

func (r *recorder) make(folder bool) node {
	n := r.next
	r.next++
	r.trace.isFolder[n] = folder
	return n
}

func (r *recorder) add(o op) {
	o.apply(r.now)
	r.trace.ops = append(r.trace.ops, o)
}

var errElsewhere = errors.New("it is not of the folder")

// find resolves a path to the folder that it is in, and its name there.
func (r *recorder) find(at, path string) (folder node, name string, err error) {
	folder = root
	if !filepath.IsAbs(path) {
		d := r.open[at]
		if d == nil || !d.inside {
			return 0, "", errElsewhere
		}
		folder = d.node
	} else {
		rest, ok := strings.CutPrefix(filepath.Clean(path), r.dir)
		if !ok || rest != "" && rest[0] != '/' {
			return 0, "", errElsewhere
		}
		path = strings.TrimPrefix(rest, "/")
	}
	parts := strings.Split(filepath.Clean(path), "/")
	for _, part := range parts[:len(parts)-1] {
		child, ok := r.now.folders[folder][part]
		if !ok {
			return 0, "", fmt.Errorf("%s: there is no %s", path, part)
		}
		folder = child
	}
	return folder, parts[len(parts)-1], nil
}

// take takes in one call. One that it does not know, on a file of the folder, is an error.
func (r *recorder) take(c call) error {
	fd := strconv.FormatInt(c.result, 10)
	a := c.args
	switch c.name {
	case "open":
		return r.opened(fd, "", a[0], a[1])
	case "creat":
		return r.opened(fd, "", a[0], "O_WRONLY|O_CREAT|O_TRUNC")
	case "openat":
		return r.opened(fd, a[0], a[1], a[2])
	case "close":
		delete(r.open, a[0])
	case "write", "pwrite64":
		return r.written(c)
	case "copy_file_range", "sendfile", "splice":
		return r.copied(c)
	case "lseek":
		if d := r.open[a[0]]; d != nil {
			d.offset = int(c.result)
		}
	case "ftruncate":
		if d := r.open[a[0]]; d != nil && d.inside {
			return r.resized(d.node, a[1])
		}
	case "fsync", "fdatasync":
		if d := r.open[a[0]]; d != nil && d.inside {
			r.add(op{words: c.name + " of " + r.name(d.node), isSync: true, syncs: d.node})
		}
	case "sync", "syncfs":
		r.add(op{words: c.name, isSync: true, syncsAll: true})
	case "rename":
		return r.renamed("", a[0], "", a[1])
	case "renameat":
		return r.renamed(a[0], a[1], a[2], a[3])
	case "renameat2":
		if a[4] != "0" && a[4] != "RENAME_NOREPLACE" {
			return fmt.Errorf("the model has no %s", a[4])
		}
		return r.renamed(a[0], a[1], a[2], a[3])
	case "mkdir":
		return r.made("", a[0])
	case "mkdirat":
		return r.made(a[0], a[1])
	case "unlink", "rmdir":
		return r.removed("", a[0])
	case "unlinkat":
		return r.removed(a[0], a[1])
	default:
		return r.unknown(c)
	}
	return nil
}

// unknown is an error if the call may concern the folder.
func (r *recorder) unknown(c call) error {
	for _, a := range c.args {
		if d := r.open[a]; d != nil && d.inside || strings.HasPrefix(a, r.dir) {
			return errors.New("the model does not know this call")
		}
	}
	return nil
}

func elsewhere(err error) error {
	if errors.Is(err, errElsewhere) {
		return nil
	}
	return err
}

func (r *recorder) opened(fd, at, path, flags string) error {
	folder, name, err := r.find(at, path)
	if errors.Is(err, errElsewhere) {
		r.open[fd] = &descriptor{path: path}
		return nil
	}
	if err != nil {
		return err
	}
	has := func(flag string) bool { return strings.Contains("|"+flags+"|", "|"+flag+"|") }
	n, exists := r.now.folders[folder][name]
	switch {
	case name == "" || name == ".":
		n = folder
	case !exists && has("O_CREAT"):
		n = r.make(false)
		r.add(op{words: "create " + name, entries: []entry{{folder, name, n}}})
	case !exists:
		return fmt.Errorf("%s was opened, and is not there", path)
	case has("O_TRUNC") && len(r.now.files[n]) > 0:
		r.add(op{words: "empty " + name, file: n, change: resize})
	}
	r.open[fd] = &descriptor{inside: true, node: n, appended: has("O_APPEND")}
	return nil
}

func (r *recorder) written(c call) error {
	d := r.open[c.args[0]]
	if c.args[0] == "2" && d == nil {
		return r.mark(c.args[1])
	}
	if d == nil || !d.inside || c.result == 0 {
		return nil
	}
	data := []byte(c.args[1])[:c.result]
	offset := d.offset
	switch {
	case c.name == "pwrite64":
		at, err := strconv.Atoi(c.args[3])
		if err != nil {
			return err
		}
		offset = at
	case d.appended:
		offset = len(r.now.files[d.node])
		fallthrough
	default:
		d.offset = offset + len(data)
	}
	r.write(d.node, offset, data)
	return nil
}

func (r *recorder) write(n node, offset int, data []byte) {
	r.add(op{words: fmt.Sprintf("write of %d bytes at %d to %s", len(data), offset, r.name(n)),
		file: n, change: write, offset: offset, data: data})
}

// copied is a copy by the kernel: the data is not in the call.
func (r *recorder) copied(c call) error {
	in, out := c.args[0], c.args[2]
	if c.name == "sendfile" {
		in, out = c.args[1], c.args[0]
	}
	to, from := r.open[out], r.open[in]
	if to == nil || !to.inside || c.result == 0 {
		return nil
	}
	if from == nil || c.name != "copy_file_range" || c.args[1] != "NULL" || c.args[3] != "NULL" {
		return errors.New("the model does not know this kind of copy")
	}
	source := r.now.files[from.node]
	if !from.inside {
		var err error
		if source, err = os.ReadFile(from.path); err != nil {
			return err
		}
	}
	data := source[from.offset : from.offset+int(c.result)]
	r.write(to.node, to.offset, data)
	from.offset += len(data)
	to.offset += len(data)
	return nil
}

func (r *recorder) resized(n node, size string) error {
	to, err := strconv.Atoi(size)
	if err == nil && to != len(r.now.files[n]) {
		r.add(op{words: fmt.Sprintf("resize of %s to %d", r.name(n), to), file: n, change: resize, size: to})
	}
	return err
}

func (r *recorder) renamed(fromAt, from, toAt, to string) error {
	oldFolder, oldName, err := r.find(fromAt, from)
	if err != nil {
		return elsewhere(err)
	}
	newFolder, newName, err := r.find(toAt, to)
	if err != nil {
		return err // out of the folder
	}
	n, ok := r.now.folders[oldFolder][oldName]
	if !ok {
		return fmt.Errorf("there is no %s", from)
	}
	r.add(op{words: "rename " + oldName + " to " + newName, entries: []entry{{oldFolder, oldName, -1}, {newFolder, newName, n}}})
	return nil
}

func (r *recorder) made(at, path string) error {
	folder, name, err := r.find(at, path)
	if err == nil {
		r.add(op{words: "mkdir " + name, entries: []entry{{folder, name, r.make(true)}}})
	}
	return elsewhere(err)
}

func (r *recorder) removed(at, path string) error {
	folder, name, err := r.find(at, path)
	if err == nil {
		r.add(op{words: "remove " + name, entries: []entry{{folder, name, -1}}})
	}
	return elsewhere(err)
}

// mark takes in what Begin and Done have said.
func (r *recorder) mark(text string) error {
	o := op{begun: -1, done: -1, words: strings.TrimSpace(text)}
	begun, isBegun := strings.CutPrefix(o.words, begunMark)
	done, isDone := strings.CutPrefix(o.words, doneMark)
	var err error
	switch {
	case isBegun:
		o.begun, err = strconv.Atoi(begun)
	case isDone:
		o.done, err = strconv.Atoi(done)
	default:
		return nil
	}
	r.add(o)
	return err
}

// name is one that the file has, or had.
func (r *recorder) name(n node) string {
	if n == root {
		return "the folder"
	}
	for _, o := range r.trace.ops {
		for _, e := range o.entries {
			if e.child == n {
				return e.name
			}
		}
	}
	for _, entries := range r.trace.before.folders {
		for name, child := range entries {
			if child == n {
				return name
			}
		}
	}
	return "a file"
}
