package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// dialTimeout is how long one connection attempt may take. The library dials apart from the
	// caller's context, so this also bounds what a call leaves behind after its context has ended.
	dialTimeout = 500 * time.Millisecond

	// callTimeout bounds a call whose context ends later or never.
	callTimeout = time.Second

	// poolSize connections serve the poll, the lease and a command at once.
	poolSize = 4

	// bufferSize holds one INFO reply (5 KB); the library's default is 32 KB, twice per connection.
	bufferSize = 8 << 10
)

// Credentials name an ACL user. Without a password no AUTH is sent.
type Credentials struct {
	User, Password string
}

// Directive is a configuration directive of Redis, or an option of a Sentinel's primary, with its
// value.
type Directive struct {
	Name, Value string
}

// conn is what Server and Sentinel share: a small pool to one address.
type conn struct {
	addr netip.AddrPort
	user string
	pool *goredis.Client
}

// The library logs each failed connection through one global logger; the same failure is in the
// error that the caller gets.
var silenceLibrary = sync.OnceFunc(logging.Disable)

// newConn connects to addr over TCP, and logs in.
func newConn(addr netip.AddrPort, cred Credentials) conn {
	return connBy(addr, cred.User, func(ctx context.Context) (net.Conn, error) {
		w, err := enter(ctx, dialTCP(addr), cred)
		if err != nil {
			return nil, err
		}
		return w.Conn, nil
	})
}

func dialTCP(addr netip.AddrPort) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr.String())
	}
}

// connBy is the pool to addr whose connections come, logged in as user, from dial.
func connBy(addr netip.AddrPort, user string, dial func(context.Context) (net.Conn, error)) conn {
	silenceLibrary()
	return conn{addr: addr, user: user, pool: goredis.NewClient(&goredis.Options{
		Addr:                  addr.String(),
		Protocol:              2,
		Dialer:                neverFailing(dial),
		DialTimeout:           dialTimeout,
		DialerRetries:         1,
		MaxRetries:            -1,
		ReadTimeout:           callTimeout,
		WriteTimeout:          callTimeout,
		ContextTimeoutEnabled: true,
		PoolSize:              poolSize,
		PoolTimeout:           callTimeout,
		PipelinePoolSize:      -1, // pipelines share the pool
		ReadBufferSize:        bufferSize,
		WriteBufferSize:       bufferSize,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	})}
}

// Close closes the connections. A call after it fails.
func (c conn) Close() error {
	if err := c.pool.Close(); err != nil && !errors.Is(err, goredis.ErrClosed) {
		return fmt.Errorf("close connections to %s: %w", c.addr, err)
	}
	return nil
}

// Addr is the address that the connections go to.
func (c conn) Addr() netip.AddrPort { return c.addr }

// command is one command with the words that an error names it by. The words never contain a value:
// it may be a password.
type command struct {
	what string
	args []any
}

func call(what string, args ...any) command { return command{what, args} }

// do sends one command. Its reply is in RESP2: a string, an int64, or a slice.
func (c conn) do(ctx context.Context, cmd command) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := c.pool.Do(ctx, cmd.args...).Result()
	if err != nil {
		return nil, c.wrap(cmd.what, err)
	}
	return reply, nil
}

func (c conn) wrap(what string, err error) error {
	return fmt.Errorf("%s on %s: %w", what, c.addr, err)
}

// pipe sends the commands in one round trip. Each is carried out whatever becomes of the others;
// the error has those that failed.
func (c conn) pipe(ctx context.Context, cmds ...command) ([]*goredis.Cmd, error) {
	return c.batch(ctx, c.pool.Pipeline(), cmds)
}

// transaction sends the commands within MULTI and EXEC: one round trip, no other client's command
// between them, and none carried out when one of them is refused as it is queued (no permission,
// loading, busy). A command that fails later does not undo the others.
func (c conn) transaction(ctx context.Context, cmds ...command) ([]*goredis.Cmd, error) {
	return c.batch(ctx, c.pool.TxPipeline(), cmds)
}

func (c conn) batch(ctx context.Context, p goredis.Pipeliner, cmds []command) ([]*goredis.Cmd, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	replies := make([]*goredis.Cmd, len(cmds))
	for i, cmd := range cmds {
		replies[i] = p.Do(ctx, cmd.args...)
	}
	_, err := p.Exec(ctx)
	if err == nil {
		return replies, nil
	}
	if Code(err) == "" { // not a reply: the same for every command
		return replies, c.wrap(cmds[0].what, err)
	}
	var errs []error
	for i, reply := range replies {
		if err := reply.Err(); err != nil && Code(err) != codeAborted {
			errs = append(errs, c.wrap(cmds[i].what, err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, c.wrap(cmds[0].what, err))
	}
	return replies, errors.Join(errs...)
}

// neverFailing makes dials that never fail: an attempt that does is handed on as a connection whose
// every use returns that failure. The library counts failed dials, and after poolSize of them
// answers with the last failure for a second without trying: a redis-server that came back would be
// reported as gone for that long.
func neverFailing(dial func(context.Context) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := dial(ctx)
		if err != nil {
			return failedConn{err}, nil
		}
		return c, nil
	}
}

// failedConn is a connection that could not be made.
type failedConn struct{ err error }

func (c failedConn) Read([]byte) (int, error)         { return 0, c.err }
func (c failedConn) Write([]byte) (int, error)        { return 0, c.err }
func (c failedConn) Close() error                     { return nil }
func (c failedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c failedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c failedConn) SetDeadline(time.Time) error      { return nil }
func (c failedConn) SetReadDeadline(time.Time) error  { return nil }
func (c failedConn) SetWriteDeadline(time.Time) error { return nil }
