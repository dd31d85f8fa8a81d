package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/oldconf"
	"github.com/redisd/redisd/redis"
)

// OldServer is a server that may have been on this host before redisd: its configuration, and where
// it has its data if that does not say.
type OldServer struct{ Conf, Dir string }

// Read reads its configuration, if it is there.
func (s OldServer) Read() (conf oldconf.Conf, there bool, err error) {
	if _, err := os.Stat(s.Conf); errors.Is(err, fs.ErrNotExist) {
		return conf, false, nil
	}
	conf, err = oldconf.Read(s.Conf)
	return conf, true, err
}

// The services of the distribution.
var (
	oldRedis  = OldServer{"/etc/redis/redis.conf", "/var/lib/redis"}
	oldValkey = OldServer{"/etc/valkey/valkey.conf", "/var/lib/valkey"}
)

// OldServers are those whose data a node goes on with: first that of the program that it runs.
func OldServers(cfg config.Config) []OldServer {
	if strings.HasPrefix(filepath.Base(cfg.Redis.Binary), "valkey") {
		return []OldServer{oldValkey, oldRedis}
	}
	return []OldServer{oldRedis, oldValkey}
}

// oldDataset is data of a server that was there before.
type oldDataset struct{ oldconf.Dataset }

// oldDatasets are the places where such data may be: where a configuration says, and where it
// usually is.
func oldDatasets(servers []OldServer) ([]oldDataset, error) {
	var all []oldDataset
	for i, s := range servers {
		usual := oldconf.Usual(s.Dir)
		conf, there, err := s.Read()
		switch {
		case !there || err != nil && i > 0 && errors.Is(err, fs.ErrPermission):
		case err != nil:
			return nil, fmt.Errorf("read the configuration of the server that was here before: %w; put it right, or move it away if its data is not wanted", err)
		default:
			d := conf.Dataset()
			if d.Dir != "" && filepath.Clean(d.Dir) != s.Dir {
				all = append(all, oldDataset{d})
			} else {
				d.Dir = s.Dir
				usual = d
			}
		}
		all = append(all, oldDataset{usual})
	}
	return all, nil
}

// form is what a dataset is kept in.
type form int

const (
	noData    form = iota
	dump           // an RDB file
	singleAOF      // an append-only file of before Redis 7, which may begin as an RDB file
	folderAOF      // a folder with a manifest
)

const manifestSuffix = ".manifest"

// foundData is the dataset that a server would go on with.
type foundData struct {
	form  form
	path  string
	files []string // all that the data is in
	older string   // another one beside it, which is not it
}

// find looks for the data. Which of an append-only file and a dump is the data, the configuration
// says; where it has no append-only file, or nothing says, what was written last: one that is not
// in use any more stays behind.
func (d oldDataset) find() (foundData, error) {
	aof, aofTime, err := d.aof()
	if err != nil {
		return foundData{}, err
	}
	rdb := foundData{form: dump, path: filepath.Join(d.Dir, d.DBFilename)}
	rdb.files = []string{rdb.path}
	rdbTime, err := written(rdb.path)
	switch {
	case err != nil:
		return foundData{}, err
	case aof.form == noData && rdbTime.IsZero():
		return foundData{}, nil
	case aof.form == noData:
		return rdb, nil
	case rdbTime.IsZero() || d.Appendonly == "yes":
		return aof, nil
	case rdbTime.Before(aofTime):
		aof.older = rdb.path
		return aof, nil
	}
	rdb.older = aof.path
	return rdb, nil
}

// aof is the append-only file, and when it was last written.
func (d oldDataset) aof() (found foundData, last time.Time, err error) {
	dir := filepath.Join(d.Dir, d.AOFDir)
	manifest := filepath.Join(dir, d.AOFName+manifestSuffix)
	if last, err = written(manifest); err != nil {
		return foundData{}, last, err
	}
	if last.IsZero() {
		single := filepath.Join(d.Dir, d.AOFName)
		if last, err = written(single); err != nil || last.IsZero() {
			return foundData{}, last, err
		}
		return foundData{form: singleAOF, path: single, files: []string{single}}, last, nil
	}
	text, err := os.ReadFile(manifest)
	if err != nil {
		return foundData{}, last, err
	}
	found = foundData{form: folderAOF, path: dir}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 6 || words[0] != "file" || words[5] == "h" { // history: to be deleted
			continue
		}
		file := filepath.Join(dir, filepath.Base(strings.Trim(words[1], `"`)))
		found.files = append(found.files, file)
		if at, err := written(file); err == nil && at.After(last) {
			last = at
		}
	}
	return found, last, nil
}

// written is when a file was last written; zero: it is not there, or empty.
func written(path string) (time.Time, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	case st.Size() == 0 || !st.Mode().IsRegular():
		return time.Time{}, nil
	}
	return st.ModTime(), nil
}

// usualDatabases is what redis-server has unless it is told.
const usualDatabases = 16

// databasesProblem: redis-server must have all databases that the data has keys in. With an RDB
// file it ends otherwise; of an append-only file it carries out the commands in another database.
func databasesProblem(cfg config.Config, found foundData) (*config.Mistake, error) {
	const name = "databases"
	has := usualDatabases
	if text, set := cfg.Redis.Directives[name]; set {
		n, err := strconv.Atoi(strings.Trim(text, `"'`))
		if err != nil {
			return nil, nil // redis-server says what is wrong with it
		}
		has = n
	}
	highest := -1
	for _, file := range found.files {
		n, err := redis.HighestDB(file)
		if err != nil {
			return nil, err
		}
		highest = max(highest, n)
	}
	if highest < has {
		return nil, nil
	}
	return &config.Mistake{Where: "redisd.toml", Key: cfg.DirectiveKey(name), Problem: fmt.Sprintf(
		"the data that was on this host before (%s) has keys in database %d, and redis-server has %d databases: set %s = %d, on every node", found.path, highest, has, name, highest+1)}, nil
}

// CheckOldData says what keeps this node from taking over the data of the server that was here
// before. It reads all of it.
func CheckOldData(cfg config.Config) (*config.Mistake, error) {
	datasets, err := oldDatasets(OldServers(cfg))
	if err != nil {
		return nil, err
	}
	for _, d := range datasets {
		found, err := d.find()
		if err != nil {
			return nil, err
		}
		if found.form != noData {
			return databasesProblem(cfg, found)
		}
	}
	return nil, nil
}
