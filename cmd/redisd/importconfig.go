package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/atomicfile"
	"github.com/redisd/redisd/internal/oldconf"
)

func (a *app) importConfigCommand() *cobra.Command {
	var write bool
	c := &cobra.Command{
		Use:   "import-config [REDIS.CONF]",
		Short: "Take over the settings of the Redis that was here: say what, or with --write do it",
		Long: `Read the redis.conf of the Redis that was on this host before, with the files that
it includes and its users, and print the lines of redisd.toml that go on with it,
and what is left out, line by line, with the reason. Without a file it is that of
the distribution.

With --write the lines are added to redisd.toml, and the password of the clients
and the users are written into files beside it, unless they are set there already.
Copy these files to every node. The data itself is copied by the first start.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("%s takes one file, found %q; see `%s --help`", c.CommandPath(), args, c.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.importConfig(cmd.Context(), args, write) },
	}
	c.Flags().BoolVar(&write, "write", false, "write the lines into redisd.toml, and the files that they name")
	return c
}

func (a *app) importConfig(ctx context.Context, args []string, write bool) error {
	cfg, err := a.readConfig()
	if err != nil {
		return err
	}
	cfg, _ = resolve(cfg) // the program is known, whether the node's address is or not
	path := ""
	if len(args) > 0 {
		path = args[0]
	} else if path = oldConfFile(agent.OldServers(cfg)); path == "" {
		return usageError{errors.New("there is no configuration of a Redis that was here before; name one if it is elsewhere")}
	}
	file, err := filepath.Abs(a.configPath)
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	conf, err := oldconf.Read(path)
	if err != nil {
		return usageError{err}
	}
	defaults, err := agent.Defaults(ctx, cfg.Redis.Binary)
	if err != nil {
		return err
	}
	imp := newImport(conf, cfg, file, defaults)
	if write {
		if err := imp.write(ctx, file); err != nil {
			return err
		}
	}
	_, err = fmt.Fprint(a.out, imp.text(write))
	return err
}

// oldConfFile is the first that is there.
func oldConfFile(servers []agent.OldServer) string {
	for _, s := range servers {
		if _, err := os.Stat(s.Conf); !errors.Is(err, fs.ErrNotExist) {
			return s.Conf
		}
	}
	return ""
}

// importing is what is taken over from a redis.conf into a redisd.toml.
type importing struct {
	oldconf.Proposal
	from            string
	password, users string // the files
	add, set        []oldconf.Key
}

func newImport(conf oldconf.Conf, cfg config.Config, file string, defaults map[string]string) *importing {
	imp := &importing{
		Proposal: conf.Propose(differsFrom(defaults)), from: conf.File,
		password: filepath.Join(filepath.Dir(file), "password"), users: filepath.Join(filepath.Dir(file), "users.acl"),
	}
	for _, k := range imp.Keys {
		switch k.Name {
		case oldconf.KeyPassword:
			k.Value = imp.password
		case oldconf.KeyUsers:
			k.Value = imp.users
		}
		if isSet(cfg, k.Name) {
			imp.set = append(imp.set, k)
		} else {
			imp.add = append(imp.add, k)
		}
	}
	return imp
}

// isSet: redisd.toml says something of a key, whatever that is.
func isSet(cfg config.Config, key string) bool {
	return cfg.Where(key) != "default" || key == oldconf.KeyMaxMemory && cfg.Where("redis.directives.maxmemory") != "default"
}

// differsFrom: a setting has another value than redis-server's own.
func differsFrom(defaults map[string]string) func(oldconf.Setting) bool {
	return func(s oldconf.Setting) bool {
		value := confgen.SetValue(s.Value())
		switch s.Name {
		case "port": // the redis-server that was asked had none
			return value != "6379"
		case "dir":
			return filepath.Clean(value) != "/var/lib/redis" && filepath.Clean(value) != "/var/lib/valkey"
		}
		if _, known := defaults[s.Name]; !known {
			return true
		}
		return len(confgen.CompareChosen([]confgen.Setting{{Name: s.Name, Value: value}}, defaults)) > 0
	}
}

// tables are the lines to add, by the table that they belong to.
func (imp *importing) tables() (redis, directives []string) {
	for _, k := range imp.add {
		table, name := &redis, strings.TrimPrefix(k.Name, "redis.")
		if directive, is := strings.CutPrefix(name, "directives."); is {
			table, name = &directives, directive
			if strings.Contains(name, ".") { // a module's
				name = strconv.Quote(name)
			}
		}
		*table = append(*table, fmt.Sprintf("%s = %s  # as in %s", name, literal(k), k.At))
	}
	return redis, directives
}

func literal(k oldconf.Key) string {
	if k.Number {
		return k.Value
	}
	lines := strings.Split(k.Value, "\n")
	if len(lines) == 1 {
		return strconv.Quote(k.Value)
	}
	for i, l := range lines {
		lines[i] = strconv.Quote(l)
	}
	return "[" + strings.Join(lines, ", ") + "]"
}

// text is the proposal, or what was written, as lines of redisd.toml.
func (imp *importing) text(written bool) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	redis, directives := imp.tables()
	switch {
	case len(imp.add) == 0:
		say("# There is nothing in %s to add to redisd.toml.", imp.from)
	case written:
		say("# Added to redisd.toml, from %s. Copy it, and the files that it names, to every node:", imp.from)
	default:
		say("# To go on with what %s says, add to redisd.toml (import-config --write does it):", imp.from)
	}
	for _, t := range []struct {
		header string
		lines  []string
	}{{"[redis]", redis}, {"[redis.directives]", directives}} {
		if len(t.lines) > 0 {
			say("\n%s\n%s", t.header, strings.Join(t.lines, "\n"))
		}
	}
	if len(imp.set) > 0 {
		say("\n# Set in redisd.toml already, and left as they are there:")
		for _, k := range imp.set {
			say("#   %s (%s)", k.Name, k.At)
		}
	}
	if len(imp.Notes) > 0 {
		say("\n# Left out:")
		for _, n := range imp.Notes {
			say("#   %s: %s: %s", n.At, n.What, n.Why)
		}
	}
	return b.String()
}

// write adds the lines to redisd.toml, and writes the files that they name: all of it, or nothing.
func (imp *importing) write(ctx context.Context, path string) error {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil || len(imp.add) == 0 {
		return err
	}
	var made []string
	undo := func(err error) error {
		for _, path := range made {
			err = errors.Join(err, os.Remove(path))
		}
		return err
	}
	for _, k := range imp.add {
		content := imp.Password + "\n"
		switch k.Name {
		case oldconf.KeyUsers:
			content = strings.Join(imp.Users, "\n") + "\n"
		case oldconf.KeyPassword:
		default:
			continue
		}
		if err := writePrivate(k.Value, content); err != nil {
			return undo(err)
		}
		made = append(made, k.Value)
	}
	redis, directives := imp.tables()
	text := addTo(addTo(string(old), "[redis]", redis), "[redis.directives]", directives)
	if err := tryConfig(ctx, path, text); err != nil {
		return undo(fmt.Errorf("nothing was written: %s with these lines would not be accepted: %w", path, err))
	}
	if err := atomicfile.WriteFile(path, []byte(text), st.Mode().Perm()); err != nil {
		return undo(err)
	}
	return nil
}

// writePrivate makes a file with a password in it, which is not there yet. It is for the group of
// its folder to read, as the secret is.
func writePrivate(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: name it in redisd.toml if it is the right one, or move it away", path)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// addTo adds lines below the header of a table, and the header if it is not there.
func addTo(text, header string, lines []string) string {
	if len(lines) == 0 {
		return text
	}
	added := strings.Join(lines, "\n") + "\n"
	at := regexp.MustCompile(`(?m)^[ \t]*` + regexp.QuoteMeta(header) + `[ \t]*(#.*)?$\n?`).FindStringIndex(text)
	if at == nil {
		return strings.TrimRight(text, "\n") + "\n\n" + header + "\n" + added
	}
	before := text[:at[1]]
	if !strings.HasSuffix(before, "\n") {
		before += "\n"
	}
	return before + added + text[at[1]:]
}

// tryConfig: a configuration is one that redisd, and redis-server, would accept.
func tryConfig(ctx context.Context, path, text string) error {
	dir, err := os.MkdirTemp("", "redisd-import")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	cfg, err := config.Load(file)
	if err == nil {
		cfg, _ = resolve(cfg)
		err = agent.Trial(ctx, cfg)
	}
	if err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), file, path))
	}
	return nil
}
