package redis

import (
	"cmp"
	"context"
	"slices"

	goredis "github.com/redis/go-redis/v9"
)

// Running is what a server runs with, and its clients can change.
type Running struct {
	Config map[string]string // the directives that were asked for; unknown ones are missing
	Users  []string          // the lines of ACL LIST
}

// Running reads the named directives, and the users, in one round trip. It costs the server some
// 10 µs.
func (s *Server) Running(ctx context.Context, names []string) (Running, error) {
	replies, err := s.pipe(ctx, s.asks(names)...)
	if !s.plain.Load() && Code(err) == codeGeneric {
		s.plain.Store(true)
		return s.Running(ctx, names)
	}
	if err != nil {
		return Running{}, err
	}
	return s.running(replies)
}

// asks are the commands that read the users and the directives: these by one command, or by one
// each before Redis 7. ACL LIST is the cheapest that tells users: redis-server keeps its lines,
// while it takes 0.1 ms for each ACL GETUSER.
func (s *Server) asks(names []string) []command {
	cmds := []command{call("list users", "ACL", "LIST")}
	if s.plain.Load() || len(names) == 0 {
		return append(cmds, configGets(names)...)
	}
	args := []any{"CONFIG", "GET"}
	for _, name := range names {
		args = append(args, name)
	}
	return append(cmds, call("config get", args...))
}

// running reads the replies to asks.
func (s *Server) running(replies []*goredis.Cmd) (r Running, err error) {
	if r.Users, err = replies[0].StringSlice(); err != nil {
		return Running{}, s.wrap("list users", err)
	}
	r.Config, err = s.configValues(replies[1:])
	return r, err
}

// UserRules are a user and the rules that ACL SETUSER makes it of.
type UserRules struct {
	Name  string
	Rules []string
}

// Restored is what a server ran with before and after Restore.
type Restored struct {
	Before, After Running
	// Refused has the server's reason by the name of each directive and user that it did not take.
	Refused map[string]error
}

// Restore sets directives, then users, in one transaction, so that no other client sees what lies
// in between: requirepass alone would open the default user to everybody. One that is refused does
// not undo the others. A user that exists keeps its connections.
func (s *Server) Restore(ctx context.Context, directives []Directive, users []UserRules) (Restored, error) {
	var names, changed []string
	var sets []command
	for _, d := range directives {
		names, changed = append(names, d.Name), append(changed, d.Name)
		sets = append(sets, call("config set "+d.Name, "CONFIG", "SET", d.Name, d.Value))
	}
	for _, u := range users {
		changed = append(changed, u.Name)
		sets = append(sets, setUser(u))
	}
	look := s.asks(names)
	cmds := slices.Concat(look, sets, look)
	replies, failed := s.transaction(ctx, cmds...)
	before, err := s.running(replies[:len(look)])
	if err != nil {
		return Restored{}, cmp.Or(failed, err) // not carried out: what was read then has no answer
	}
	after, err := s.running(replies[len(look)+len(sets):])
	r := Restored{Before: before, After: after, Refused: map[string]error{}}
	for i, name := range changed {
		if reason := replies[len(look)+i].Err(); reason != nil {
			r.Refused[name] = reason
		}
	}
	return r, err
}

// ConfigAt reads all directives of the server behind a unix socket that asks for no password.
func ConfigAt(ctx context.Context, socket string) (map[string]string, error) {
	c := goredis.NewClient(&goredis.Options{Network: "unix", Addr: socket, Protocol: 2, MaxRetries: -1, DisableIdentity: true})
	defer c.Close()
	return c.ConfigGet(ctx, "*").Result()
}
