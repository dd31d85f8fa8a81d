package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/oldconf"
)

// importCure is what takes over what is named.
const importCure = "`redisd import-config --write` takes it over, for the files to be copied to every node; or set it as you want it"

// oldServer finds what the Redis that was on this host before had, and would lose without a word by
// the first start, which takes over its data.
func (f *findings) oldServer(ctx context.Context) {
	if config.Further(f.cfg.Instance()) {
		return // redisd.service stands in for that server
	}
	if first, err := agent.FirstStart(f.cfg); err != nil || !first {
		return // what cannot be read is the matter of directories
	}
	for _, s := range agent.OldServers(f.cfg) {
		conf, there, err := s.Read()
		switch {
		case !there:
			continue
		case errors.Is(err, fs.ErrPermission):
			f.list = append(f.list, finding{warning, fmt.Errorf("%w: the Redis that was here before is not taken into account: run `redisd check` as root", err)})
		case err != nil:
			f.list = append(f.list, finding{mistake, fmt.Errorf("the configuration of the Redis that was here before: %w; put it right, or move it away if it is of no use", err)})
		default:
			f.oldConf(ctx, conf)
		}
		return
	}
}

func (f *findings) oldConf(ctx context.Context, conf oldconf.Conf) {
	p := conf.Propose(nil)
	for _, k := range p.Keys {
		if isSet(f.cfg, k.Name) {
			continue
		}
		switch {
		case k.Name == oldconf.KeyPassword:
			f.add(mistake, k.Name, "clients of the Redis that was here before log in with a password (%s), which would change: %s", k.At, importCure)
		case k.Name == oldconf.KeyUsers:
			f.add(mistake, k.Name, "the Redis that was here before has users (%s), who would be gone: %s", k.At, importCure)
		case k.Matters():
			f.add(mistake, k.Name, "the Redis that was here before has %q (%s), which would change: %s", k.Value, k.At, importCure)
		}
	}
	for _, n := range p.Notes {
		if n.Matters && (n.Settled == "" || !isSet(f.cfg, n.Settled)) {
			f.list = append(f.list, finding{mistake, fmt.Errorf("%s: %s: this is not taken over from the Redis that was here before: %s. Once that is settled, take the line out there", n.At, n.What, n.Why)})
		}
	}
	f.oldRest(ctx, conf)
}

// oldRest is what nothing depends on: it is named, and no more.
func (f *findings) oldRest(ctx context.Context, conf oldconf.Conf) {
	defaults, err := agent.Defaults(ctx, f.cfg.Redis.Binary)
	if err != nil {
		return // that redis-server does not work is found elsewhere
	}
	var names []string
	for _, k := range conf.Propose(differsFrom(defaults)).Keys {
		name, is := strings.CutPrefix(k.Name, "redis.directives.")
		if is && !k.Matters() && !isSet(f.cfg, k.Name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		f.list = append(f.list, finding{warning, fmt.Errorf("%s sets %s, and redisd.toml does not: `redisd import-config` shows what could be taken over", conf.File, strings.Join(names, ", "))})
	}
}

// oldData is what keeps the data itself from being taken over. It reads all of it.
func (f *findings) oldData() {
	if first, err := agent.FirstStart(f.cfg); err != nil || !first {
		return
	}
	switch wrong, err := agent.CheckOldData(f.cfg); {
	case wrong != nil:
		f.add(mistake, wrong.Key, "%s", wrong.Problem)
	case err != nil && !errors.Is(err, fs.ErrPermission):
		f.list = append(f.list, finding{warning, fmt.Errorf("the data that was on this host before: %w", err)})
	}
}
