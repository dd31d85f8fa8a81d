package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/redisd/redisd/internal/directive"
)

// maxFile bounds what is read: a redisd.toml has a few kilobytes.
const maxFile = 1 << 20

// Load reads a redisd.toml, then the environment variables that override the node's own keys, and
// checks all of it. On an error, all that is wrong is in it, one *Mistake each, and the Config must
// not be used.
func Load(path string) (Config, error) { return LoadAs(InstanceOf(path), path) }

// LoadAs is Load for a copy of an instance's file, which is somewhere else.
func LoadAs(instance, path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	return DefaultOf(instance).with(path, string(text), os.LookupEnv)
}

func parse(path, text string, lookup func(string) (string, bool)) (Config, error) {
	return Default().with(path, text, lookup)
}

// with fills in what a text says, and the environment, over what c has.
func (c Config) with(path, text string, lookup func(string) (string, bool)) (Config, error) {
	if len(text) > maxFile {
		return Config{}, fmt.Errorf("read the configuration: %s has more than %d bytes", path, maxFile)
	}
	// Everything is taken as it comes, and judged below: the decoder's own mapping into structs
	// stops at the first wrong type and knows keys in any case.
	var raw map[string]any
	if _, err := toml.Decode(text, &raw); err != nil {
		return Config{}, syntaxMistake(path, err)
	}
	lines := keyLines(text)
	c.source = source{instance: c.source.instance, file: path, at: map[string]string{}}
	for key, line := range lines {
		c.source.at[key] = path + ":" + strconv.Itoa(line)
	}
	l := &loader{config: &c, mistakes: mistakes{source: c.source, lines: lines}}
	l.file(raw)
	l.environment(lookup)
	c.validate(&l.mistakes)
	if err := l.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// syntaxMistake is the one mistake that hides all others.
func syntaxMistake(path string, err error) error {
	pe, ok := errors.AsType[toml.ParseError](err)
	if !ok {
		return &Mistake{Where: path, Problem: err.Error()}
	}
	problem := pe.Message
	if problem == "" {
		problem = err.Error()
	}
	return &Mistake{
		Where:   path + ":" + strconv.Itoa(pe.Position.Line),
		Problem: "this is not TOML: " + strings.ToLower(problem[:1]) + problem[1:],
		line:    pe.Position.Line,
	}
}

type loader struct {
	mistakes
	config *Config
}

func (l *loader) file(raw map[string]any) {
	known := map[string]bool{}
	for _, s := range sections {
		known[s] = true
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		switch table, isTable := raw[name].(map[string]any); {
		case !known[name]:
			l.add(name, "%s", unknownKey("", name, known))
		case name == "vip":
			l.vips(raw[name])
		case !isTable:
			l.add(name, "invalid value %s: must be a table, [%s]", literalTOML(raw[name]), name)
		default:
			l.section(name, table)
		}
	}
}

func (l *loader) section(section string, table map[string]any) {
	known := keysOf(section)
	for _, k := range keys {
		in, name, _ := strings.Cut(k.name, ".")
		v, set := table[name]
		if in == section && set {
			l.set(k.name, k.field(l.config), k.allowed, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		full := section + "." + name
		switch {
		case !known[name]:
			l.add(full, "%s", unknownKey(section, name, known))
		case full == directivesKey:
			l.directives(table[name])
		}
	}
}

// set gives a field its value, or reports what is wrong with the value's type.
func (l *loader) set(key string, field any, allowed string, v any) {
	if assign(field, v) {
		return
	}
	_, number := v.(int64)
	s, text := v.(string)
	switch field.(type) {
	case *Duration:
		if number {
			l.add(key, `invalid value %d: must be %s; write "%ds" or "%dms"`, v, allowed, v, v)
			return
		}
	case *netip.Prefix:
		if a, err := netip.ParseAddr(s); text && err == nil {
			l.add(key, "invalid value %q: must be %s; write %q with the length of this network", s, allowed, a.String()+prefixExample(a))
			return
		}
	case *[]string:
		if text {
			l.add(key, "invalid value %q: must be %s; write [%q]", s, allowed, s)
			return
		}
	case *int, **int:
		if _, err := strconv.Atoi(s); text && err == nil {
			l.add(key, "invalid value %q: must be %s; write it without quotes", s, allowed)
			return
		}
	}
	l.add(key, "invalid value %s: must be %s", literalTOML(v), allowed)
}

func prefixExample(a netip.Addr) string {
	if a.Is4() {
		return "/24"
	}
	return "/64"
}

func (l *loader) vips(raw any) {
	var tables []map[string]any
	switch v := raw.(type) {
	case []map[string]any:
		tables = v
	case []any:
		for i, one := range v {
			t, ok := one.(map[string]any)
			if !ok {
				l.add(index("vip", i), "invalid value %s: must be a table", literalTOML(one))
				return
			}
			tables = append(tables, t)
		}
	case map[string]any:
		l.add("vip", "invalid value [vip]: must be [[vip]], in double brackets: there can be several")
		return
	default:
		l.add("vip", "invalid value %s: must be [[vip]]", literalTOML(raw))
		return
	}
	for i, t := range tables {
		l.config.VIPs = append(l.config.VIPs, l.vip(index("vip", i), t))
	}
}

func (l *loader) vip(prefix string, table map[string]any) VIP {
	v := VIP{Role: RolePrimary}
	known := map[string]bool{}
	for _, k := range vipKeys {
		known[k.name] = true
		if value, set := table[k.name]; set {
			l.set(prefix+"."+k.name, k.field(&v), k.allowed, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !known[name] {
			l.add(prefix+"."+name, "%s", unknownKey("vip", name, known))
		}
	}
	if _, set := table["address"]; !set {
		l.source.at[prefix+".address"] = l.source.at[prefix]
		l.lines[prefix+".address"] = l.lines[prefix]
		l.add(prefix+".address", "missing: must be %s", vipKeys[0].allowed)
	}
	return v
}

func (l *loader) directives(raw any) {
	table, ok := raw.(map[string]any)
	if !ok {
		l.add(directivesKey, "invalid value %s: must be a table, [%s]", literalTOML(raw), directivesKey)
		return
	}
	written := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		key, canonical := directivesKey+"."+name, directive.Canonical(name)
		if other, twice := written[canonical]; twice {
			l.add(key, "it is set as %q, too: both are names of one directive", other)
			continue
		}
		written[canonical] = name
		if problem := directiveProblem(name); problem != "" {
			l.add(key, "%s", problem)
			continue
		}
		value, problem := directiveValue(table[name])
		if problem != "" {
			l.add(key, "%s", problem)
			continue
		}
		l.config.Redis.Directives[canonical] = value
		l.source.at[directivesKey+"."+canonical] = l.source.at[key]
		l.lines[directivesKey+"."+canonical] = l.lines[key]
	}
}

// directiveValue turns a value of TOML into what stands in redis.conf.
func directiveValue(v any) (value, problem string) {
	list, isList := v.([]any)
	if !isList {
		return directiveLine(v)
	}
	if len(list) == 0 {
		return "", `invalid value []: must have at least one line; write "" for an empty value`
	}
	lines := make([]string, len(list))
	for i, one := range list {
		if lines[i], problem = directiveLine(one); problem != "" {
			return "", fmt.Sprintf("line %d of the list: %s", i+1, problem)
		}
		if lines[i] == "" {
			return "", fmt.Sprintf("line %d of the list is empty", i+1)
		}
	}
	return strings.Join(lines, "\n"), ""
}

func directiveLine(v any) (line, problem string) {
	switch v := v.(type) {
	case string:
		if strings.Contains(v, "\n") {
			return "", `invalid value of several lines: must be a list, as in save = ["900 1", "300 10"]`
		}
		return v, ""
	case int64:
		return strconv.FormatInt(v, 10), ""
	case bool:
		if v {
			return "yes", ""
		}
		return "no", ""
	case float64:
		return "", fmt.Sprintf("invalid value %v: must be in quotes, exactly as redis.conf has it", v)
	}
	return "", fmt.Sprintf("invalid value %s: must be a text, a whole number, true, false, or a list of them", literalTOML(v))
}

// environment lets variables override the node's own keys. An empty one counts as not set: that is
// how a unit file or a container passes on nothing.
func (l *loader) environment(lookup func(string) (string, bool)) {
	for _, k := range keys {
		text, _ := lookup(k.env)
		if k.env == "" || text == "" {
			continue
		}
		l.source.at[k.name] = k.env
		delete(l.lines, k.name)
		delete(l.mistakes.keys, k.name)
		var v any = text
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && isNumber(k.field(l.config)) {
			v = n
		}
		l.set(k.name, k.field(l.config), k.allowed, v)
	}
}

func isNumber(field any) bool {
	_, ok := field.(*int)
	return ok
}

// SocketPath is where the agent listens for the commands.
func (c Config) SocketPath() string { return filepath.Join(c.Node.RunDir, "redisd.sock") }
