package redis

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Server is one redis-server. It connects when first asked, and again whenever it must. It is safe
// for concurrent use.
type Server struct {
	conn
	plain atomic.Bool // INFO takes one section at most: before Redis 7
}

// NewServer does not connect. Close it.
func NewServer(addr netip.AddrPort, cred Credentials) *Server {
	return &Server{conn: newConn(addr, cred)}
}

// Probe asks for PING and classifies what comes back.
func (s *Server) Probe(ctx context.Context) Answer { return AnswerOf(s.Ping(ctx)) }

// Ping returns nil when the server answers PONG.
func (s *Server) Ping(ctx context.Context) error {
	_, err := s.do(ctx, call("ping", "PING"))
	return err
}

// Info asks for INFO, in one round trip. It also answers while loading.
func (s *Server) Info(ctx context.Context) (Info, error) {
	text, err := s.info(ctx)
	if err != nil {
		return Info{}, err
	}
	i, err := parseInfo(text)
	if err != nil {
		return Info{}, s.wrap("read info", err)
	}
	return i, nil
}

func (s *Server) info(ctx context.Context) (string, error) {
	args := []any{"INFO"}
	if !s.plain.Load() {
		args = append(args, infoSections...)
	}
	reply, err := s.do(ctx, call("info", args...))
	if len(args) > 1 && Code(err) == codeGeneric {
		s.plain.Store(true)
		reply, err = s.do(ctx, call("info", "INFO"))
	}
	if err != nil {
		return "", err
	}
	text, _ := reply.(string)
	return text, nil
}

// RoleInfo is what ROLE says.
type RoleInfo struct {
	Role        Role
	Offset      int64          // as in Info; negative for a replica without a link
	PrimaryAddr netip.AddrPort // of a replica
	LinkUp      bool           // of a replica
}

// Role asks for ROLE, the cheapest question about the role (0.2 µs of the server's time). It is
// answered while loading, but not by a busy script.
func (s *Server) Role(ctx context.Context) (RoleInfo, error) {
	reply, err := s.do(ctx, call("role", "ROLE"))
	if err != nil {
		return RoleInfo{}, err
	}
	r, err := parseRole(reply)
	if err != nil {
		return RoleInfo{}, s.wrap("read role", err)
	}
	return r, nil
}

// parseRole reads ["master", offset, replicas] or ["slave", host, port, state, offset].
func parseRole(reply any) (RoleInfo, error) {
	list, _ := reply.([]any)
	if len(list) == 0 {
		return RoleInfo{}, errNoRole
	}
	word, _ := list[0].(string)
	r := RoleInfo{Role: roleOf(word)}
	switch {
	case r.Role == Primary && len(list) >= 2:
		r.Offset, _ = list[1].(int64)
	case r.Role == Replica && len(list) >= 5:
		host, _ := list[1].(string)
		port, _ := list[2].(int64)
		state, _ := list[3].(string)
		r.PrimaryAddr = addrPort(host, strconv.FormatInt(port, 10))
		r.LinkUp = state == "connected"
		r.Offset, _ = list[4].(int64)
	default:
		return RoleInfo{}, errNoRole
	}
	return r, nil
}

// WaitAcks asks every replica to acknowledge at once (they do once a second otherwise) and waits
// until n have acknowledged all that the primary had when it was asked, which is offset, or until
// timeout. acked counts those that have. Asking adds 37 bytes to the history itself: compare
// offsets by order, not for equality.
func (s *Server) WaitAcks(ctx context.Context, n int, timeout time.Duration) (acked int, offset int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+callTimeout)
	defer cancel()
	// WAIT is about the last command of its own connection, hence ROLE before it on the same one.
	// Redis takes 0 as for ever.
	limit := max(timeout.Milliseconds(), 1)
	p := s.pool.WithTimeout(timeout + callTimeout).Pipeline()
	role, wait := p.Do(ctx, "ROLE"), p.Do(ctx, "WAIT", n, limit)
	if _, err := p.Exec(ctx); err != nil {
		return 0, 0, s.wrap("wait for replicas", err)
	}
	r, err := parseRole(role.Val())
	if err != nil {
		return 0, 0, s.wrap("wait for replicas", err)
	}
	count, _ := wait.Val().(int64)
	return int(count), r.Offset, nil
}

// Shutdown ends the process, after writing an RDB file if save. It returns when the connection has
// closed, or with the server's reason for not stopping. It may take until ctx's deadline: a primary
// first waits for its replicas (10 s, shutdown-timeout), and an RDB file takes its time.
func (s *Server) Shutdown(ctx context.Context, save bool) error {
	how := "NOSAVE"
	if save {
		how = "SAVE"
	}
	patience := time.Hour
	if deadline, ok := ctx.Deadline(); ok {
		patience = time.Until(deadline)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := s.pool.WithTimeout(patience).Do(ctx, "SHUTDOWN", how).Err()
	if err == nil || AnswerOf(err) == Closed {
		return nil
	}
	return s.wrap("shutdown", err)
}

// ConfigGet returns the values of the named directives; unknown ones are missing.
func (s *Server) ConfigGet(ctx context.Context, names ...string) (map[string]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	replies, err := s.pipe(ctx, configGets(names)...)
	if err != nil {
		return nil, err
	}
	return s.configValues(replies)
}

func configGets(names []string) []command {
	cmds := make([]command, len(names))
	for i, name := range names {
		cmds[i] = call("config get "+name, "CONFIG", "GET", name)
	}
	return cmds
}

func (s *Server) configValues(replies []*goredis.Cmd) (map[string]string, error) {
	values := make(map[string]string, len(replies))
	for _, reply := range replies {
		list, err := reply.StringSlice()
		if err != nil {
			return nil, s.wrap("read config", err)
		}
		for name, value := range pairs(list) {
			values[name] = value
		}
	}
	return values, nil
}

// ConfigError names the directive that the server refused.
type ConfigError struct {
	Directive string // "" where the server did not say which
	Err       error
}

func (e *ConfigError) Error() string {
	if e.Directive == "" {
		return "config set: " + e.Err.Error()
	}
	return "config set " + e.Directive + ": " + e.Err.Error()
}

func (e *ConfigError) Unwrap() error { return e.Err }

// ConfigSet sets all of them or, when one is refused, none, and then returns a *ConfigError. Before
// Redis 7, which has no such command, those before the refused one stay set.
func (s *Server) ConfigSet(ctx context.Context, directives ...Directive) error {
	if len(directives) == 0 {
		return nil
	}
	args := []any{"CONFIG", "SET"}
	for _, d := range directives {
		args = append(args, d.Name, d.Value)
	}
	_, err := s.do(ctx, call("config set", args...))
	if Code(err) != codeGeneric {
		return err
	}
	if len(directives) > 1 && s.old(ctx) {
		for _, d := range directives {
			if err := s.ConfigSet(ctx, d); err != nil {
				return err
			}
		}
		return nil
	}
	return &ConfigError{Directive: refusedDirective(err, directives), Err: err}
}

// refusedDirective finds which of the names the server quoted in its refusal. Its prose is not
// interpreted.
func refusedDirective(err error, directives []Directive) string {
	if len(directives) == 1 {
		return directives[0].Name
	}
	for _, d := range directives {
		if strings.Contains(err.Error(), "'"+d.Name+"'") {
			return d.Name
		}
	}
	return ""
}

// old reports a server before Redis 7.
func (s *Server) old(ctx context.Context) bool {
	i, err := s.Info(ctx)
	return err == nil && i.Version != "" && majorVersion(i.Version) < 7
}

func majorVersion(version string) int {
	major, _, _ := strings.Cut(version, ".")
	return int(integer(major))
}

// Settings are the run-time values that decide about writes.
type Settings struct {
	MinReplicas int           // min-replicas-to-write; Fence: no writes
	MaxLag      time.Duration // min-replicas-max-lag
}

// Settings reads them in one round trip.
func (s *Server) Settings(ctx context.Context) (Settings, error) {
	values, err := s.ConfigGet(ctx, settings...)
	if err != nil {
		return Settings{}, err
	}
	return s.parseSettings(values)
}

// settings are the directives of Settings.
var settings = []string{dirMinReplicas, dirMaxLag}

// Poll asks for Info and Settings together, in one round trip.
func (s *Server) Poll(ctx context.Context) (Info, Settings, error) {
	if s.plain.Load() {
		return s.pollTwice(ctx)
	}
	replies, err := s.pipe(ctx, append([]command{call("info", append([]any{"INFO"}, infoSections...)...)}, configGets(settings)...)...)
	if len(replies) > 0 && Code(replies[0].Err()) == codeGeneric {
		s.plain.Store(true)
		return s.pollTwice(ctx)
	}
	if err != nil {
		return Info{}, Settings{}, err
	}
	text, _ := replies[0].Val().(string)
	i, err := parseInfo(text)
	if err != nil {
		return Info{}, Settings{}, s.wrap("read info", err)
	}
	values, err := s.configValues(replies[1:])
	if err != nil {
		return Info{}, Settings{}, err
	}
	set, err := s.parseSettings(values)
	return i, set, err
}

// pollTwice is Poll before Redis 7.
func (s *Server) pollTwice(ctx context.Context) (Info, Settings, error) {
	i, err := s.Info(ctx)
	if err != nil {
		return Info{}, Settings{}, err
	}
	set, err := s.Settings(ctx)
	return i, set, err
}

func (s *Server) parseSettings(values map[string]string) (Settings, error) {
	var set Settings
	var errs []error
	number := func(name string) int {
		n, err := strconv.Atoi(values[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("read %s: %w", name, err))
		}
		return n
	}
	set.MinReplicas = number(dirMinReplicas)
	set.MaxLag = time.Duration(number(dirMaxLag)) * time.Second
	if err := errors.Join(errs...); err != nil {
		return Settings{}, s.wrap("read settings", err)
	}
	return set, nil
}

// pairs reads a flat list of names and values; an odd last name is left out.
func pairs(list []string) map[string]string {
	m := make(map[string]string, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}
