package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/redisd/redisd/internal/directive"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/redis"
)

// directive is what redis-server runs with, as far as redisd says so; otherwise Redis' own value.
func (s *site) directive(name, own string) string {
	if value, set := s.cfg.Load().Redis.Directives[name]; set {
		return strings.Trim(value, `"'`)
	}
	if value, ok := directive.Default(name); ok {
		return value
	}
	return own
}

// aofDir and rdbFile are what redis-server keeps its dataset in.
func (s *site) aofDir() string {
	return filepath.Join(s.redisDir(), s.directive("appenddirname", "appendonlydir"))
}

func (s *site) rdbFile() string {
	return filepath.Join(s.redisDir(), s.directive("dbfilename", "dump.rdb"))
}

// usesAOF: redis-server is to have an append-only file.
func (s *site) usesAOF() bool { return strings.EqualFold(s.directive("appendonly", "no"), "yes") }

// oldAOF: the append-only file is that of before the last full copy. A part of the next one is
// written beside it, until the rewrite that follows the copy has ended (Redis' aof.c,
// getTempIncrAofName).
func (s *site) oldAOF() bool {
	_, err := os.Lstat(filepath.Join(s.aofDir(), "temp-"+s.directive("appendfilename", "appendonly.aof")+".incr"))
	return err == nil
}

// savedRDB is what the RDB file says that redis-server would load now; nil: it loads an append-only
// file. One that cannot be read says nothing, and neither does one that is not there.
func (s *site) savedRDB() *node.RDB {
	if s.usesAOF() {
		return nil
	}
	h, err := redis.ReadRDBHeader(s.rdbFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the RDB file does not say which dataset it has", "error", err)
	}
	return &node.RDB{ReplID: h.ReplID, Offset: h.Offset}
}

// dataset tells of redis-server what its disk has of what is in memory.
func (s *site) dataset(i redis.Info, to *node.RedisInfo) {
	to.AOF, to.AOFOn, to.RewriteOK = s.usesAOF(), i.AOFEnabled, i.AOFRewriteOK
	to.Rewriting = i.AOFRewriting
	to.OldAOF = to.AOF && s.oldAOF()
}
