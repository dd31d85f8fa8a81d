package oldconf

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/redisd/redisd/internal/directive"
)

// Proposal is what redisd goes on with, and what not.
type Proposal struct {
	Keys  []Key // of redisd.toml
	Notes []Note
	// Password is what clients logged in with who named no user; "": none, or it is not known.
	Password string
	// Users are the lines for redis.users_file. No password is in them in clear.
	Users []string
}

// Key is a key of redisd.toml and its value; where the value comes from, too.
type Key struct {
	Name, Value string // "redis.maxmemory"; a value of several lines has a \n between them
	At          string
	Number      bool // it is written without quotes
}

// Note is what is left out, and why.
type Note struct {
	At, What, Why string
	// Matters: clients, or the data, depend on it, and it must not be lost without a word.
	Matters bool
	// Settled is the key of redisd.toml by which it no longer is; "": the line has to go.
	Settled string
}

// Keys of redisd.toml for what is no directive there.
const (
	KeyPassword  = "redis.password_file"
	KeyUsers     = "redis.users_file"
	KeyMaxMemory = "redis.maxmemory"
	KeyPort      = "redis.port"
	directives   = "redis.directives."
)

// matters are the values by redis-server's own default of what clients or the data depend on.
var matters = map[string]string{
	directives + "maxmemory-policy": "noeviction",
	directives + "databases":        "16",
	KeyMaxMemory:                    "0",
}

// Matters: a start with another value would change what clients find, or find the data unreadable.
func (k Key) Matters() bool {
	usual, known := matters[k.Name]
	return known && !strings.EqualFold(k.Value, usual)
}

// whyNot are reasons of its own for what redisd owns, or does not take from an old file.
var whyNot = map[string]struct {
	why     string
	matters bool
}{
	"rename-command":     {"redisd has no renamed commands: clients must use it by its own name, and what it kept from them is for a user without the right to it to be kept from (redis.users_file)", true},
	"replicaof":          {"redisd decides which node is the primary. If that server is still the primary of clients, take over its data, not this copy", false},
	"dir":                {"redisd copies the data from there to a folder of its own, and leaves it as it is", false},
	"unixsocket":         {"its folder is there only while the distribution's service runs; set unixsocket and unixsocketperm under [redis.directives] if programs on this host need one", false},
	"unixsocketperm":     {"see unixsocket", false},
	"dbfilename":         {"redisd takes the data from there, and has a name of its own", false},
	"appendfilename":     {"redisd takes the data from there, and has a name of its own", false},
	"appenddirname":      {"redisd takes the data from there, and has a name of its own", false},
	"repl-diskless-load": {"with redisd a replica keeps what it has until a full copy is complete", false},
	"cluster-enabled":    {"redisd runs a primary with replicas, not Redis Cluster: this data is a part of one", true},
	"tls-port":           {"redisd does not set up TLS yet: clients that connect by it would find nobody there; use an encrypted network (WireGuard, IPsec)", true},
}

// silent are left out without a word: how the process was run, which is redisd's, and what another
// line speaks of.
var silent = []string{"daemonize", "supervised", "pidfile", "logfile", "aclfile", "requirepass", "protected-mode", "bind"}

// Propose says what to do with each setting that differs from redis-server's own default. What
// differs the caller knows, who can ask redis-server: nil is every one.
func (c Conf) Propose(differs func(Setting) bool) Proposal {
	var p Proposal
	for _, s := range c.Settings {
		if differs == nil {
			p.setting(s)
		} else if s.Lines = differing(s, differs); len(s.Lines) > 0 {
			p.setting(s)
		}
	}
	p.password(c)
	p.noPassword(c)
	p.users(c)
	return p
}

// differing are the lines that do. Each line of these stands for itself, a class of clients.
func differing(s Setting, differs func(Setting) bool) []Line {
	switch {
	case s.Name == bufferLimit:
		return slices.DeleteFunc(slices.Clone(s.Lines), func(l Line) bool { return !differs(Setting{s.Name, []Line{l}}) })
	case differs(s):
		return s.Lines
	}
	return nil
}

func (p *Proposal) setting(s Setting) {
	why, special := whyNot[s.Name]
	reason, owned := directive.Owned(s.Name)
	value := s.Value()
	switch {
	case s.Name == "port":
		p.key(KeyPort, s)
	case s.Name == "maxmemory":
		p.key(KeyMaxMemory, s)
	case slices.Contains(silent, s.Name):
	case special && (value == "no" || value == "0"):
	case special && s.Name == "rename-command":
		for _, l := range s.Lines {
			p.Notes = append(p.Notes, Note{At: l.At(), What: s.Name + " " + l.Rest, Why: why.why, Matters: true})
		}
	case special:
		p.Notes = append(p.Notes, Note{At: s.At(), What: s.Name + " " + value, Why: why.why, Matters: why.matters})
	case owned:
		what := s.Name + " " + value
		if strings.HasSuffix(s.Name, "auth") || strings.HasSuffix(s.Name, "pass") {
			what = s.Name // a password
		}
		p.Notes = append(p.Notes, Note{At: s.At(), What: what, Why: reason})
	case !directive.Known(s.Name) && !strings.Contains(s.Name, "."):
		p.Notes = append(p.Notes, Note{At: s.At(), What: s.Name + " " + value, Why: "redis.conf has no such directive today"})
	default:
		if same, ok := directive.Default(s.Name); !ok || !strings.EqualFold(same, value) { // redisd has it so anyway
			p.key(directives+s.Name, s)
		}
	}
}

func (p *Proposal) key(name string, s Setting) {
	value := s.Value()
	if len(s.Lines) == 1 && len(s.words()) == 2 {
		value = s.words()[1] // without its quotes
		if strings.ContainsAny(value, " \t\"'\\") || value == "" {
			value = s.Value()
		}
	}
	p.Keys = append(p.Keys, Key{Name: name, Value: value, At: s.At(), Number: name == KeyPort})
}

// password is that of the user default.
func (p *Proposal) password(c Conf) {
	if pw := c.Value("requirepass"); pw != "" {
		s, _ := c.Setting("requirepass")
		p.setPassword(pw, s.At())
	}
	for _, l := range c.Users {
		if l.Words[1] != "default" {
			continue
		}
		p.defaultUser(l)
	}
}

// noPassword tells of what redisd does not have.
func (p *Proposal) noPassword(c Conf) {
	known := slices.ContainsFunc(p.Keys, func(k Key) bool { return k.Name == KeyPassword }) ||
		slices.ContainsFunc(p.Notes, func(n Note) bool { return n.Settled == KeyPassword })
	if !known {
		p.Notes = append(p.Notes, Note{At: c.File, What: "no password", Why: "clients need one with redisd: `redisd password` prints it, or name a file with your own as password_file in [redis]"})
	}
}

// setPassword: the last one counts, as it does for redis-server.
func (p *Proposal) setPassword(password, at string) {
	p.Keys = slices.DeleteFunc(p.Keys, func(k Key) bool { return k.Name == KeyPassword })
	p.Password = password
	p.Keys = append(p.Keys, Key{Name: KeyPassword, At: at})
}

// plain are the rules that redisd's own user default has, too, or that say nothing.
var plain = []string{"on", "~*", "&*", "+@all", "allkeys", "allchannels", "allcommands", "sanitize-payload", "nopass", "reset", "resetpass", "resetkeys", "resetchannels", "-@all"}

func (p *Proposal) defaultUser(l Line) {
	password, hashed, limited := "", false, false
	for _, rule := range l.Words[2:] {
		switch {
		case strings.HasPrefix(rule, ">"):
			password = rule[1:]
		case strings.HasPrefix(rule, "#"):
			hashed = true
		case !slices.Contains(plain, rule):
			limited = true
		}
	}
	switch {
	case password != "":
		p.setPassword(password, l.At())
	case hashed:
		p.Notes = append(p.Notes, Note{At: l.At(), What: "user default", Matters: true, Settled: KeyPassword,
			Why: "its password is here as a hash alone: write the password that clients use into a file, and name that as password_file in [redis]"})
	}
	if limited {
		p.Notes = append(p.Notes, Note{At: l.At(), What: "user default", Matters: true, Settled: KeyUsers,
			Why: "with redisd it may do everything but REPLICAOF, SLAVEOF and FAILOVER: give clients that are to do less a user of their own, in a file that users_file in [redis] names"})
	}
}

// users are all others.
func (p *Proposal) users(c Conf) {
	at := ""
	for _, l := range c.Users {
		name := l.Words[1]
		switch {
		case name == "default":
		case strings.HasPrefix(name, "redisd-"):
			p.Notes = append(p.Notes, Note{At: l.At(), What: "user " + name, Why: "names that begin with redisd- are redisd's own", Matters: true})
		default:
			if at == "" {
				at = l.At()
			}
			p.Users = append(p.Users, userLine(l))
		}
	}
	if at != "" {
		p.Keys = append(p.Keys, Key{Name: KeyUsers, At: at})
	}
}

// userLine is the line of a user with its passwords hashed, as users.acl has it.
func userLine(l Line) string {
	words := slices.Clone(l.Words)
	for i, w := range words[2:] {
		if strings.HasPrefix(w, ">") {
			words[i+2] = fmt.Sprintf("#%x", sha256.Sum256([]byte(w[1:])))
		}
	}
	return strings.Join(words, " ")
}
