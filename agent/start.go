package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/internal/atomicfile"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/supervisor"
)

// startRedis starts redis-server; rdb is what its file says of the dataset that it loads.
func (a *actor) startRedis(ctx context.Context, primary string, setAside bool) (pid int, rdb *node.RDB, err error) {
	cfg := *a.cfg.Load()
	if setAside {
		if err := a.setAsideBroken(primary); err != nil {
			return 0, nil, err
		}
	}
	a.mendTail()
	if err := a.files.writeRedisFiles(cfg, primary); err != nil {
		return 0, nil, err
	}
	rdb = a.savedRDB()
	a.journal.say(func(log *slog.Logger) { log.Info("starting redis-server", "replica_of", primary) })
	pid, err = a.run(ctx, a.procs[node.Redis], a.redisDir(), cfg.Redis.Binary, confgen.RedisConfName)
	return pid, rdb, err
}

func (a *actor) startSentinel(ctx context.Context, primary string) (pid int, err error) {
	cfg := *a.cfg.Load()
	if err := a.files.writeSentinelFile(cfg, primary, a.quorum()); err != nil {
		return 0, err
	}
	a.journal.say(func(log *slog.Logger) { log.Info("starting redis-sentinel", "primary", primary) })
	return a.run(ctx, a.procs[node.Sentinel], a.sentinelDir(), cfg.Sentinel.Binary, confgen.SentinelConfName, sentinelArgs(cfg.Sentinel.Binary)...)
}

// sentinelArgs makes a server a Sentinel: a program called -sentinel is one by its name.
func sentinelArgs(binary string) []string {
	if strings.HasSuffix(filepath.Base(binary), "-sentinel") {
		return nil
	}
	return []string{"--sentinel"}
}

// run starts a program with its configuration. It gets an ordinary place in the queue for the
// processor, behind the agent, which must not wait when it has to act, and an ordinary place when
// memory runs out.
func (a *actor) run(ctx context.Context, p *supervised, dir, binary, conf string, args ...string) (pid int, err error) {
	ordinary := 0
	argv := append([]string{binary, filepath.Join(dir, conf)}, args...)
	err = p.Start(ctx, supervisor.Spec{Argv: argv, Dir: dir, OOMScoreAdj: &ordinary})
	if err != nil {
		return 0, err
	}
	pid = p.State().PID
	if err := unix.Setpriority(unix.PRIO_PROCESS, pid, ordinary); err != nil {
		a.log.Debug("priority not set", "program", binary, "error", err)
	}
	return pid, nil
}

// setAsideBroken moves a dataset out of the way that redis-server cannot load (an append-only file
// that a full disk has cut, for example), so that this node gets it anew from the primary. Nothing
// is deleted, and nothing is done while no other node is known to have the data.
func (a *actor) setAsideBroken(primary string) error {
	aside, err := setAside(a.redisDir(), a.aofDir(), a.rdbFile())
	if err != nil {
		return fmt.Errorf("set a broken dataset aside: %w", err)
	}
	if aside != "" {
		a.journal.say(func(log *slog.Logger) {
			log.Warn("redis-server cannot load its dataset: it is set aside, and this node gets it from the primary",
				"set_aside", aside, "primary", primary, "cure", "remove the directory once it is of no use")
		})
		a.events.add("set_aside", "a dataset that could not be loaded: "+aside)
	}
	return nil
}

// mendTail makes a dataset loadable that a power loss has cut. When it cannot, redis-server will
// say what is wrong.
func (a *actor) mendTail() {
	cut, err := cutZeroTail(a.redisDir())
	if err != nil {
		a.log.Warn("the end of the append-only file was not looked at", "error", err)
	}
	if cut > 0 {
		a.log.Warn("a power loss has left zeros at the end of the append-only file: they are taken off", "bytes", cut)
		a.events.add("tail_mended", fmt.Sprintf("%d zeros at the end of the append-only file", cut))
	}
}

// setAside moves the dataset in dir into a new directory there, whose path it returns; empty when
// there is no dataset.
func setAside(dir string, what ...string) (aside string, err error) {
	to := filepath.Join(dir, "set-aside-"+time.Now().UTC().Format("20060102-150405"))
	for _, from := range what {
		if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if aside == "" {
			if err := makeDurable(to); err != nil {
				return "", err
			}
		}
		if err := os.Rename(from, filepath.Join(to, filepath.Base(from))); err != nil {
			return "", err
		}
		aside = to
	}
	if aside == "" {
		return "", nil
	}
	return aside, errors.Join(atomicfile.SyncDir(aside), atomicfile.SyncDir(dir))
}

// makeDurable makes a directory that is there after a power loss, and with it what is moved to it.
func makeDurable(dir string) error {
	return errors.Join(os.MkdirAll(dir, 0o750), atomicfile.SyncDir(filepath.Dir(dir)))
}
