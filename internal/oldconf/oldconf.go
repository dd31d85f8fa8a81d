// Package oldconf reads the redis.conf of a server that was there before redisd, with the files it
// includes and its users, and says what of it redisd goes on with, what it leaves out, and why. It
// reads those files and nothing else, and changes nothing. The command `redisd import-config`, the
// checks before a first start, and the import of the data use it.
package oldconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redisd/redisd/internal/directive"
)

// Conf is a configuration as redis-server reads it, line by line.
type Conf struct {
	File     string
	Settings []Setting // each directive once, in the order in which they are first set
	Users    []Line    // `user` lines, of the ACL file if there is one
}

// Setting is a directive, with the lines that count: the last one, or all of a directive that has
// several.
type Setting struct {
	Name  string // canonical
	Lines []Line
}

// Line is a line of a file.
type Line struct {
	File   string
	Number int
	Words  []string
	Rest   string // what follows the first word, as it stands there
}

// At is where the line is.
func (l Line) At() string { return l.File + ":" + strconv.Itoa(l.Number) }

// Value is what stands after the directive's name, as [redis.directives] takes it.
func (s Setting) Value() string {
	var values []string
	for _, l := range s.Lines {
		values = append(values, l.Rest)
	}
	if value := strings.Join(values, "\n"); strings.Trim(value, `"'`) != "" {
		return value
	}
	return ""
}

// At is where it is set.
func (s Setting) At() string { return s.Lines[len(s.Lines)-1].At() }

// Read reads a configuration. A file that it includes and that is not there, and a line that
// redis-server would not understand, are errors.
func Read(path string) (Conf, error) {
	c := Conf{File: path}
	if err := c.file(path, 0); err != nil {
		return Conf{}, err
	}
	if aclfile := c.Value("aclfile"); aclfile != "" {
		if !filepath.IsAbs(aclfile) {
			aclfile = filepath.Join(c.Dataset().Dir, aclfile)
		}
		lines, err := readLines(aclfile, nil)
		if err != nil {
			return Conf{}, fmt.Errorf("read the users that %s names: %w", path, err)
		}
		for _, l := range lines {
			if l.Words[0] == "user" && len(l.Words) > 1 {
				c.Users = append(c.Users, l)
			}
		}
	}
	return c, nil
}

// deepest is how far files may include one another (config.c has no more than this either).
const deepest = 16

func (c *Conf) file(path string, depth int) error {
	if depth > deepest {
		return fmt.Errorf("%s: files include one another more than %d deep", path, deepest)
	}
	lines, err := readLines(path, directive.SplitArgs)
	if err != nil {
		return err
	}
	for _, l := range lines {
		switch name := directive.Canonical(l.Words[0]); {
		case name == "include" && len(l.Words) > 1:
			if err := c.include(l, depth); err != nil {
				return err
			}
		case name == "user" && len(l.Words) > 1:
			c.Users = append(c.Users, l)
		default:
			c.set(name, l)
		}
	}
	return nil
}

// include reads what a line includes; a pattern may fit nothing.
func (c *Conf) include(l Line, depth int) error {
	pattern := l.Words[1]
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(l.File), pattern)
	}
	found, err := filepath.Glob(pattern)
	if err == nil && len(found) == 0 && !strings.ContainsAny(pattern, "*?[") {
		err = fs.ErrNotExist
	}
	for _, path := range found {
		err = errors.Join(err, c.file(path, depth+1))
	}
	if err != nil {
		return fmt.Errorf("%s includes %s: %w", l.At(), l.Words[1], err)
	}
	return nil
}

// several are the directives of which more than one line counts.
var several = []string{"save", "loadmodule", "rename-command", bufferLimit}

// bufferLimit has a line for each class of clients.
const bufferLimit = "client-output-buffer-limit"

func (c *Conf) set(name string, l Line) {
	i := slices.IndexFunc(c.Settings, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		c.Settings = append(c.Settings, Setting{Name: name, Lines: []Line{l}})
		return
	}
	s := &c.Settings[i]
	if name == bufferLimit && len(l.Words) > 1 {
		class := directive.Canonical(l.Words[1])
		s.Lines = slices.DeleteFunc(s.Lines, func(old Line) bool { return len(old.Words) > 1 && directive.Canonical(old.Words[1]) == class })
	}
	emptied := name == "save" && slices.Equal(l.Words[1:], []string{""}) // it takes back the lines before it
	if slices.Contains(several, name) && !emptied {
		s.Lines = append(s.Lines, l)
		return
	}
	s.Lines = []Line{l}
}

// readLines are the lines of a file that say something. Without split words are what is between
// white space: a file of users knows no quotes.
func readLines(path string, split func(string) ([]string, error)) ([]Line, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines []Line
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.Trim(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		rest := strings.Trim(line[len(words[0]):], directive.Spaces)
		if split != nil {
			if words, err = split(line); err != nil || len(words) == 0 {
				return nil, fmt.Errorf("%s:%d: %w", path, number, err)
			}
		}
		lines = append(lines, Line{File: path, Number: number, Words: words, Rest: rest})
	}
	return lines, nil
}

// Setting returns what is set of a directive.
func (c Conf) Setting(name string) (Setting, bool) {
	i := slices.IndexFunc(c.Settings, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		return Setting{}, false
	}
	return c.Settings[i], true
}

// Value is the first argument of a directive; "": it is not set.
func (c Conf) Value(name string) string {
	s, set := c.Setting(name)
	if words := s.words(); set && len(words) > 1 {
		return words[1]
	}
	return ""
}

func (s Setting) words() []string {
	if len(s.Lines) == 0 {
		return nil
	}
	return s.Lines[len(s.Lines)-1].Words
}

// Dataset is where a redis-server keeps its data.
type Dataset struct {
	Dir        string // "" where nothing says it
	DBFilename string
	Appendonly string // "yes", "no", or "" where nothing says it
	AOFDir     string // within Dir, from Redis 7 on
	AOFName    string
}

// Usual is where a server of the distribution has its data whose configuration says nothing.
func Usual(dir string) Dataset {
	return Dataset{Dir: dir, DBFilename: "dump.rdb", AOFDir: "appendonlydir", AOFName: "appendonly.aof"}
}

// Dataset is where it says that the data is.
func (c Conf) Dataset() Dataset {
	d := Usual("")
	d.Appendonly = "no" // redis-server's default
	for name, field := range map[string]*string{
		"dir": &d.Dir, "dbfilename": &d.DBFilename, "appendonly": &d.Appendonly, "appenddirname": &d.AOFDir, "appendfilename": &d.AOFName,
	} {
		if value := c.Value(name); value != "" {
			*field = value
		}
	}
	d.Appendonly = strings.ToLower(d.Appendonly)
	return d
}
